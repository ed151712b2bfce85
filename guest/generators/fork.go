package main

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// forkAndExit forks a child that exits with 0 and executes nothing. It is one
// clone(2) with nothing but a signal, as fork(2) makes it; arm64 has no other.
//
// A child of a Go process has one thread, so the runtime's others are gone, and
// it must not run any code that could need them: no allocation, no growing of
// the stack, which is a copy here, hence nosplit, and no scheduling.
//
//go:nosplit
//go:noinline
//go:norace
func forkAndExit() (pid uintptr, errno syscall.Errno) {
	flags, stack := uintptr(unix.SIGCHLD), uintptr(0)
	if runtime.GOARCH == "s390x" { // whose clone(2) takes the stack first
		flags, stack = stack, flags
	}
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, flags, stack, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// start starts a program in a child. Not by package os, which forks once more to
// find out what the kernel can do.
func start(program string, argv, env []string) (pid int, err error) {
	pid, err = syscall.ForkExec(program, argv, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}})
	return pid, wrap("execute "+program, err)
}

// startSelf starts this program as one that works for a generator.
func startSelf(name string, args ...string) (pid int, err error) {
	return start("/proc/self/exe", append([]string{name}, args...), os.Environ())
}

// wait waits for a child's end and returns what went wrong in it. What it was has
// been said on the standard error.
func wait(pid int) error {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return wrap("wait for the child", err)
		case ws.Signaled():
			return errors.New("the child was ended by signal " + strconv.Itoa(int(ws.Signal())))
		case ws.ExitStatus() != 0:
			return errors.New("the child ended with exit status " + strconv.Itoa(ws.ExitStatus()))
		}
		return nil
	}
}
