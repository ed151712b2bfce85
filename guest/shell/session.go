package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// sessionFlag tells the shell that it is the session's first: it prepares the
// guest for a person.
const sessionFlag = "--session"

// prepareSession makes the links of the commands, sets the terminal up, and says what there is. What does not work is said too, and
// the session starts all the same.
func prepareSession(script bool, std stdio) {
	problem := func(doing string, err error) {
		if err != nil {
			fmt.Fprintf(std.err, "sh: %s: %v\n", doing, err)
		}
	}
	self, err := os.Executable()
	problem("find this program", err)
	names := append(slices.Collect(maps.Keys(applets())), "sh")
	for _, name := range names {
		if err := os.Symlink(self, "/bin/"+name); err != nil && !errors.Is(err, fs.ErrExist) {
			problem("make a command", err)
		}
	}
	if f, ok := std.in.(*os.File); ok {
		problem("set up the terminal", setUpTerminal(int(f.Fd()), script))
	}
	// init lets the kernel print everything, which a person can have by dmesg.
	problem("quiet the kernel", os.WriteFile("/sys/module/printk/parameters/ignore_loglevel", []byte("N"), 0))
	if b, err := os.ReadFile(wire.SessionMotd); err == nil {
		_, _ = std.out.Write(b)
	}
}

// setUpTerminal makes a serial line what a terminal is to programs. One that is
// no terminal stays as it is.
func setUpTerminal(fd int, script bool) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil
	}
	t.Iflag = t.Iflag&^(unix.IXON|unix.INLCR|unix.IGNCR) | unix.ICRNL
	t.Oflag |= unix.OPOST | unix.ONLCR
	t.Lflag |= unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE | unix.IEXTEN
	if script { // its output goes to the host as it is
		t.Oflag &^= unix.OPOST
	}
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return err
	}
	size := func(name string) uint16 {
		n, _ := strconv.ParseUint(os.Getenv(name), 10, 16)
		return uint16(n)
	}
	rows, cols := size("LINES"), size("COLUMNS")
	if rows == 0 || cols == 0 {
		return nil
	}
	return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
}
