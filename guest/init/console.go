package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/console"
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
	_ = drainTTY(c.tty)
}

// drainTTY is tcdrain(3).
func drainTTY(f *os.File) error { return unix.IoctlSetInt(int(f.Fd()), unix.TCSBRK, 1) }

// payloadOutput prints a payload's output on the console line by line, at most
// max bytes of it, and keeps its end.
type payloadOutput struct {
	con     *serialConsole
	left    int64 // bytes that may still go to the console
	dropped int64
	line    []byte
	tail    []byte
}

const (
	maxPayloadLine = 16 << 10 // longer lines are broken up
	keepTail       = 60 << 10 // of a payload's output, for its record
)

// copyFrom copies r until it ends.
func (p *payloadOutput) copyFrom(r io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		p.tail = append(p.tail, buf[:n]...)
		if len(p.tail) > 4*keepTail {
			p.tail = append(p.tail[:0], p.tail[len(p.tail)-keepTail:]...)
		}
		p.print(buf[:n])
		if err != nil {
			break
		}
	}
	if len(p.line) > 0 {
		p.flush(append(p.line, '\n'))
	}
	if p.dropped > 0 {
		p.con.logf("%d more bytes of output are left out here; the last lines were:", p.dropped)
		last := p.tail[max(0, len(p.tail)-4<<10):]
		p.con.logf("%s", last)
	}
}

func (p *payloadOutput) print(b []byte) {
	if p.left <= 0 {
		p.dropped += int64(len(b))
		return
	}
	if int64(len(b)) > p.left {
		p.dropped += int64(len(b)) - p.left
		b = b[:p.left]
	}
	p.left -= int64(len(b))
	p.line = append(p.line, b...)
	for len(p.line) > 0 {
		end := bytes.IndexByte(p.line, '\n') + 1
		if end == 0 {
			if len(p.line) < maxPayloadLine {
				return
			}
			p.flush(append(p.line[:maxPayloadLine:maxPayloadLine], '\n'))
			p.line = p.line[maxPayloadLine:]
			continue
		}
		p.flush(p.line[:end])
		p.line = p.line[end:]
	}
}

func (p *payloadOutput) flush(line []byte) { p.con.write(console.Quote(line)) }
