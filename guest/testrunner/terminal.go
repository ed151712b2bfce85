package testrunner

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Size of the terminal that a program gets.
const (
	terminalRows    = 40
	terminalColumns = 120
)

// ptyBuffer bounds what a pseudoterminal holds that was written and not read
// yet: the kernel's limit is 8 KiB on the way and 4 KiB at the end of it.
const ptyBuffer = 64 << 10

// openTerminal opens a pseudoterminal by ptmx, the device that makes them: what is written to program comes out of r
// as it is. A program whose standard output is a terminal prints line by line,
// where it keeps kilobytes back for a pipe, which are lost when it crashes, and
// printed twice when it forks.
//
// It is no controlling terminal: what a program leaves behind gets no SIGHUP when
// it ends, and no process is stopped for writing to it.
func openTerminal(ptmx string) (r, program *os.File, err error) {
	// Nonblocking, so that reads can be given up.
	fd, err := unix.Open(ptmx, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", ptmx, err)
	}
	r = os.NewFile(uintptr(fd), ptmx)
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, fmt.Errorf("unlock the pseudoterminal: %w", err)
	}
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, fmt.Errorf("get the pseudoterminal's number: %w", err)
	}
	name := "/dev/pts/" + strconv.Itoa(int(n))
	tty, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", name, err)
	}
	program = os.NewFile(uintptr(tty), name)
	t, err := unix.IoctlGetTermios(tty, unix.TCGETS)
	if err == nil {
		// No echo, no CR before LF, no byte that means anything.
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		err = unix.IoctlSetTermios(tty, unix.TCSETS, t)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(tty, unix.TIOCSWINSZ, &unix.Winsize{Row: terminalRows, Col: terminalColumns})
	}
	if err != nil {
		program.Close()
		return nil, nil, fmt.Errorf("set up %s: %w", name, err)
	}
	return r, program, nil
}
