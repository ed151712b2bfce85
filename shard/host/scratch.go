package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const scratchPrefix = "bpf-kernel-check-scratch-"

// SweepScratch removes the scratch directories that killed runs left below
// parent. A run locks its directory; the kernel drops the lock when the process
// ends.
func SweepScratch(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, scratchPrefix+"*")) // the pattern is good
	for _, old := range left {
		if lock, err := LockDir(old); err == nil {
			os.RemoveAll(old)
			lock.Close()
		}
	}
}

// MakeScratch makes a directory below parent for unpacked kernels and removes
// those that killed runs left there. The caller calls remove when it is done.
func MakeScratch(parent string) (dir string, remove func(), err error) {
	SweepScratch(parent)
	for {
		if dir, err = os.MkdirTemp(parent, scratchPrefix); err != nil {
			return "", nil, fmt.Errorf("make a directory for unpacked kernels (TMPDIR chooses another place): %w", err)
		}
		lock, err := LockDir(dir)
		switch {
		case err == nil && sameDir(lock, dir):
			return dir, func() {
				os.RemoveAll(dir)
				lock.Close()
				// The child of a killed process holds the lock until it ends
				// as well, a moment later.
				SweepScratch(parent)
			}, nil
		case err == nil:
			lock.Close()
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, os.ErrNotExist):
			os.RemoveAll(dir)
			return "", nil, fmt.Errorf("lock the directory for unpacked kernels: %w", err)
		}
		// Another run swept the directory before it was locked: try again.
	}
}

// sameDir reports whether dir still names the open directory f.
func sameDir(f *os.File, dir string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(dir)
	return err == nil && os.SameFile(opened, named)
}

// LockDir opens and locks a directory, or returns unix.EWOULDBLOCK when another
// process holds the lock. It locks the directory itself: a lock file would exist
// for a moment before it is locked. Opening a named pipe, which others can make
// in a directory for temporary files, would never end.
func LockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
