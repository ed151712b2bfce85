package main

import (
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// memfdCreateExec copies this binary into memory and executes it from there,
// as do_nothing.
func memfdCreateExec(_ []string, stdout *os.File) (object, error) {
	const name, flags = "IceIceBaby", unix.MFD_CLOEXEC
	info, err := pidInfo()
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate(name, flags)
	if err != nil {
		return nil, wrap("memfd_create", err)
	}
	if err := copySelf(fd); err != nil {
		return nil, err
	}
	did := object{}.
		object("pid_info", info).
		object("flags", object{}.
			num("value", flags).
			flag("mfd_cloexec", true).
			flag("mfd_allow_sealing", false).
			flag("mfd_hugetlb", false).
			flag("mfd_noexec_seal", false).
			flag("mfd_exec", false)).
		text("filename", name)
	if _, err := stdout.WriteString(did.line()); err != nil {
		return nil, wrap("print", err)
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
