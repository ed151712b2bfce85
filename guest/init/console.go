package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/lines"
)

// serialConsole is the console that the kernel prints to as well. It writes
// whole lines: init's own with the time since boot, and the payload's, quoted.
type serialConsole struct {
	mu  sync.Mutex
	tty *os.File
}

func newConsole(tty *os.File) *serialConsole { return &serialConsole{tty: tty} }

// logf prints init's own words. A text of several lines gets the prefix once.
func (c *serialConsole) logf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	var b bytes.Buffer
	for line := range strings.Lines(fmt.Sprintf("%9.3f init: %s\n", uptime().Seconds(), strings.TrimSuffix(text, "\n"))) {
		b.Write(console.Quote([]byte(line)))
	}
	c.write(b.Bytes())
}

func (c *serialConsole) write(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.tty.Write(b); err == nil {
		return
	}
	// A payload may have hung the terminal up.
	if tty, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0); err == nil {
		c.tty = tty
		_, _ = c.tty.Write(b)
	}
}

// drain waits until everything has left for the host.
func (c *serialConsole) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = drainTTY(int(c.tty.Fd()))
}

// drainTTY is tcdrain(3).
func drainTTY(fd int) error { return unix.IoctlSetInt(fd, unix.TCSBRK, 1) }

// payloadOutput prints a payload's output on the console line by line, at most
// maxPrint bytes of it, and keeps its end.
type payloadOutput struct {
	con  *serialConsole
	tail lines.Clip
}

const (
	maxPrint       = lines.PipeSize // an emulated serial line carries only some 300 kB a second
	maxPayloadLine = 16 << 10       // longer lines are broken up
	keepTail       = 60 << 10       // of a payload's output, for its record
	showTail       = 4 << 10        // of what did not fit the console
)

// copyFrom copies r until it ends and closes ended then; it returns when
// everything is printed.
//
// The console is slow, and the payload must not wait for it: the output is read as
// fast as it comes, and what may be printed waits in a pipe that has room for it all.
func (p *payloadOutput) copyFrom(r io.Reader, ended chan<- struct{}) {
	printed := make(chan struct{})
	chosen, printer, err := lines.Pipe()
	if err == nil {
		defer chosen.Close()
		go func() { defer close(printed); p.print(chosen) }()
	} else {
		p.con.logf("print the payload's output: %v", err)
		close(printed)
	}
	buf := make([]byte, 64<<10)
	left, dropped := maxPrint, 0
	for {
		n, err := r.Read(buf)
		_, _ = p.tail.Write(buf[:n])
		take := min(n, left)
		left -= take
		dropped += n - take
		_, _ = printer.Write(buf[:take])
		if err != nil {
			break
		}
	}
	close(ended)
	printer.Close()
	<-printed
	if dropped > 0 {
		last := p.tail.String()
		last = last[max(0, len(last)-showTail):]
		p.con.logf("%d more bytes of output are left out here; the last were:\n%s", dropped, last)
	}
}

func (p *payloadOutput) print(r io.Reader) {
	b := bufio.NewReaderSize(r, maxPayloadLine)
	for {
		line, err := b.ReadSlice('\n')
		if n := len(line); n > 0 && line[n-1] != '\n' {
			line = append(line[:n:n], '\n')
		}
		if len(line) > 0 {
			p.con.write(console.Quote(line))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}
