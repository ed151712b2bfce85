package main

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ttyWrite writes to the serial terminal that its argument names, or to the first
// that there is of the usual ones and the console's.
func ttyWrite(_ object, args []string, _ *os.File) (did object, err error) {
	candidates := []string{"/dev/ttyS0", "/dev/ttyAMA0", "/dev/hvc0"}
	active, _ := os.ReadFile("/sys/class/tty/console/active") // without it, only the usual ones
	for _, name := range strings.Fields(string(active)) {
		candidates = append(candidates, "/dev/"+name)
	}
	if len(args) > 0 {
		candidates = args[:1]
	}
	for _, name := range candidates {
		if did, err = writeTTY(name); err == nil {
			break
		}
	}
	return did, err
}

func writeTTY(name string) (object, error) {
	// Without blocking: opening one waits for a carrier. It must not become
	// the controlling terminal either.
	fd, err := unix.Openat(unix.AT_FDCWD, name, unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, wrap("open "+name, err)
	}
	defer unix.Close(fd)
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, wrap("make "+name+" block", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, wrap("stat "+name, err)
	}
	// A port that is not there can be opened, but not asked.
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return nil, wrap("ask "+name+" for its settings", err)
	}
	text := []byte("--- OK\n")
	if n, err := unix.Write(fd, text); n != len(text) || err != nil {
		return nil, wrap("write to "+name, short(err))
	}
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return nil, wrap("ask "+name+" for its size", err)
	}
	return object{
		"pid":   unix.Getpid(),
		"tty":   name,
		"major": unix.Major(uint64(st.Rdev)),
		"minor": unix.Minor(uint64(st.Rdev)),
		"rows":  size.Row,
		"cols":  size.Col,
	}, nil
}
