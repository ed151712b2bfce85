package main

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// runOnTerminal runs the job with a serial line as its controlling terminal, for
// a person at the other end: nothing of it is quoted, bounded or reported.
func runOnTerminal(job wire.Job, con *serialConsole) error {
	con.drain()
	// Not /dev/console: that cannot be a controlling terminal, and without one
	// there are no interrupts.
	tty, err := os.OpenFile("/dev/"+job.Terminal, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("open the terminal: %w", err)
	}
	fd := tty.Fd()
	pid, err := syscall.ForkExec(job.Args[0], job.Args, &syscall.ProcAttr{
		Dir: "/", Env: setEnv(setEnv(baseEnv(), []string{"TERM=linux", "NO_COLOR="}), job.Env), Files: []uintptr{fd, fd, fd},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	})
	tty.Close()
	if err != nil {
		return fmt.Errorf("start %s: %w", job.Args[0], err)
	}
	ended := make(chan syscall.WaitStatus, 1)
	go reap(pid, ended)
	<-ended
	_ = unix.Kill(-1, unix.SIGKILL)
	return nil
}
