package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const scratchPrefix = "bpf-kernel-check-scratch-"

// sweepScratch removes the directories below parent that killed runs have left.
// A run holds a lock in its directory, which ends with the process however that
// ends.
func sweepScratch(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, scratchPrefix+"*")) // the pattern is good
	for _, old := range left {
		if lock, err := lockDir(old); err == nil {
			os.RemoveAll(old)
			lock.Close()
		}
	}
}

// makeScratch makes a directory below parent for unpacked kernels, which are
// large, and removes those that killed runs have left there.
func makeScratch(parent string) (dir string, remove func(), err error) {
	sweepScratch(parent)
	for {
		if dir, err = os.MkdirTemp(parent, scratchPrefix); err != nil {
			return "", nil, fmt.Errorf("make a directory for unpacked kernels (TMPDIR chooses another place): %w", err)
		}
		lock, err := lockDir(dir)
		switch {
		case err == nil && sameDir(lock, dir):
			return dir, func() {
				os.RemoveAll(dir)
				lock.Close()
				// A process that was killed while it started another has its
				// lock until that one is gone, a moment later.
				sweepScratch(parent)
			}, nil
		case err == nil:
			lock.Close()
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, os.ErrNotExist):
			os.RemoveAll(dir)
			return "", nil, fmt.Errorf("lock the directory for unpacked kernels: %w", err)
		}
		// Another run that starts took it for a killed one's before it was
		// locked, and removes it.
	}
}

// sameDir says whether an open directory still has its name.
func sameDir(f *os.File, dir string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(dir)
	return err == nil && os.SameFile(opened, named)
}

// lockOut keeps other runs from the output directory until the process ends or
// unlock is called. Where the file system knows no locks there is none.
func lockOut(dir, name string) (unlock func(), err error) {
	lock, err := lockDir(dir)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, usagef("--out: %s: another run writes to it: wait for its end, or give another directory", name)
	case err != nil:
		return func() {}, nil
	}
	return func() { lock.Close() }, nil
}

// lockDir opens and locks the directory itself: a file in it would have a
// moment in which it is there and not locked.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
