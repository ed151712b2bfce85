package main

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// memfdCreateExec copies this binary into memory and executes it from there,
// as do_nothing.
func memfdCreateExec(self object, _ []string, stdout *os.File) (object, error) {
	const name, flags = "IceIceBaby", unix.MFD_CLOEXEC
	fd, err := unix.MemfdCreate(name, flags)
	if err != nil {
		return nil, wrap("memfd_create", err)
	}
	if err := copySelf(fd); err != nil {
		return nil, err
	}
	did := object{
		"pid_info": self,
		"flags": object{
			"value":             flags,
			"mfd_cloexec":       true,
			"mfd_allow_sealing": false,
			"mfd_hugetlb":       false,
			"mfd_noexec_seal":   false,
			"mfd_exec":          false,
		},
		"filename": name,
	}
	if err := did.print(stdout); err != nil {
		return nil, err
	}
	return nil, wrap("execute the memfd", syscall.Exec("/proc/self/fd/"+strconv.Itoa(fd), []string{"do_nothing"}, nil))
}

func copySelf(fd int) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return wrap("open this program", err)
	}
	defer self.Close()
	for {
		n, err := unix.Sendfile(fd, int(self.Fd()), nil, 1<<30)
		if err != nil && err != unix.EINTR {
			return wrap("copy this program", err)
		}
		if n == 0 && err == nil {
			return nil
		}
	}
}
