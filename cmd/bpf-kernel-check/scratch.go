package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const scratchPrefix = "bpf-kernel-check-scratch-"

// makeScratch makes a directory below parent for unpacked kernels, which are
// large, and removes those that killed runs have left there. A run holds a lock
// in its directory, which ends with the process however that ends.
func makeScratch(parent string) (dir string, remove func(), err error) {
	left, _ := filepath.Glob(filepath.Join(parent, scratchPrefix+"*")) // the pattern is good
	for _, old := range left {
		// One that is new may be about to be locked.
		if info, err := os.Stat(old); err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		if lock, err := lockScratch(old); err == nil {
			os.RemoveAll(old)
			lock.Close()
		}
	}
	if dir, err = os.MkdirTemp(parent, scratchPrefix); err != nil {
		return "", nil, fmt.Errorf("make a directory for unpacked kernels: %w", err)
	}
	lock, err := lockScratch(dir)
	if err != nil {
		os.RemoveAll(dir)
		return "", nil, fmt.Errorf("lock the directory for unpacked kernels: %w", err)
	}
	return dir, func() {
		os.RemoveAll(dir)
		lock.Close()
	}, nil
}

// lockScratch opens and locks the directory itself: a file in it would have a
// moment in which it is there and not locked.
func lockScratch(dir string) (*os.File, error) {
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
