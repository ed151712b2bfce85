package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// results is the serial line that carries the frames and nothing else.
type results struct {
	path     string
	tty      *os.File
	fallback io.Writer // takes over when the line is gone for good
	gone     bool
}

// openResults opens the results' device. A kernel that does not have it sends
// its frames on the console, where each is repeated because a kernel message
// can land in its middle.
func openResults(device string, con *serialConsole) (io.Writer, int) {
	if device == wire.ResultsNone {
		return io.Discard, 0
	}
	shared := sharedConsole{con: con, log: openKernelLog()}
	r := &results{path: "/dev/" + device, fallback: shared}
	if device == "" {
		return shared, 1
	}
	if err := r.open(); err != nil {
		con.logf("%v; the results share the console", err)
		return shared, 1
	}
	return r, 0
}

func (r *results) open() error {
	fd, err := unix.Open(r.path, unix.O_WRONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the results' line %s: %w", r.path, err)
	}
	// Without hardware behind it the node opens, but has no terminal settings.
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err == nil {
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		t.Cflag = t.Cflag&^unix.CSIZE | unix.CS8 | unix.CLOCAL
		err = unix.IoctlSetTermios(fd, unix.TCSETS, t)
	}
	if err != nil {
		unix.Close(fd)
		return fmt.Errorf("set up the results' line %s: %w", r.path, err)
	}
	r.tty = os.NewFile(uintptr(fd), r.path)
	return nil
}

// Write sends a frame and waits until it has left, so that a crash after it
// does not take it along. A payload that runs as root can hang the line up,
// and it is opened again; or take it away, and the console serves.
func (r *results) Write(b []byte) (int, error) {
	// The newline ends whatever of a frame, or of a payload's doing, came
	// before.
	again := append([]byte("\n"), b...)
	if !r.gone {
		if _, err := r.tty.Write(b); err == nil {
			return len(b), drainTTY(int(r.tty.Fd()))
		}
		r.tty.Close()
		if r.open() == nil {
			if _, err := r.tty.Write(again); err == nil {
				return len(b), drainTTY(int(r.tty.Fd()))
			}
		}
		r.gone = true
	}
	for range 2 {
		if _, err := r.fallback.Write(b); err != nil {
			return 0, fmt.Errorf("write to %s and to the console: %w", r.path, err)
		}
	}
	return len(b), nil
}

// oneAtATime keeps what several goroutines write apart.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneAtATime) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}

// sharedConsole carries frames where there is no line of their own.
type sharedConsole struct {
	con *serialConsole
	log *kernelLog
}

// maxNoisy is how often a frame is sent in the hope that the kernel prints
// nothing meanwhile.
const maxNoisy = 3

// Write sends a frame, on a line of its own, until one copy has left while the
// kernel printed nothing. A kernel that does not stop is muted for the time that
// a copy takes.
func (s sharedConsole) Write(b []byte) (int, error) {
	frame := append([]byte("\n"), b...)
	for range maxNoisy {
		s.log.mark()
		s.con.write(frame)
		s.con.drain()
		if s.log.silent() {
			return len(b), nil
		}
	}
	defer muteConsole()()
	s.con.write(frame)
	s.con.drain()
	return len(b), nil
}

// escapeStamps writes what looks like a kernel message's time stamp in a
// record's JSON so that it does not: on the console, the host would take the
// text of a test's output for the kernel's.
func escapeStamps(body []byte) []byte {
	return bytes.ReplaceAll(console.Quote(body), []byte("[\x1f"), []byte(`\u005b`))
}
