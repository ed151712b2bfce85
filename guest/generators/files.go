package main

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// fileOperations takes a file through its life. The names hold the pid, and
// the file must be new: nothing of anybody else's is touched.
func fileOperations(self object, _ []string, _ *os.File) (object, error) {
	pid := strconv.Itoa(unix.Getpid())
	orig, renamed := "/tmp/foo."+pid, "/tmp/bar."+pid
	unix.Umask(0o022)
	fd, err := unix.Openat(unix.AT_FDCWD, orig, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, wrap("create "+orig, err)
	}
	defer unix.Close(fd)
	if err := unix.Renameat(unix.AT_FDCWD, orig, unix.AT_FDCWD, renamed); err != nil {
		_ = unix.Unlinkat(unix.AT_FDCWD, orig, 0)
		return nil, wrap("rename "+orig, err)
	}
	err = changeFile(fd, renamed)
	if e := unix.Unlinkat(unix.AT_FDCWD, renamed, 0); err == nil {
		err = wrap("delete "+renamed, e)
	}
	return object{"pid_info": self, "filename_orig": orig, "filename_new": renamed}, err
}

// changeFile makes four changes: of the mode, and to sizes 4, 14 and 0. Both
// write and writev are used, as tracers may hook either.
func changeFile(fd int, name string) error {
	if err := unix.Fchmodat(unix.AT_FDCWD, name, 0o777, 0); err != nil {
		return wrap("change the mode of "+name, err)
	}
	if n, err := unix.Write(fd, []byte("test")); n != 4 || err != nil {
		return wrap("write 4 bytes to "+name, short(err))
	}
	if n, err := unix.Writev(fd, [][]byte{[]byte("test1"), []byte("test2")}); n != 10 || err != nil {
		return wrap("write 10 bytes to "+name, short(err))
	}
	return wrap("truncate "+name, unix.Ftruncate(fd, 0))
}

func short(err error) error {
	if err == nil {
		return errors.New("short write")
	}
	return err
}
