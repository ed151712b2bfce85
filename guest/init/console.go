package main

import (
	"bytes"
	"cmp"
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
//
// The console is slow, and the payload must not wait for it: the output is
// read as fast as it comes and printed by another goroutine.
type payloadOutput struct {
	con  *serialConsole
	tail lines.Clip
	most int // bytes to print; 0 for maxPrint
}

const (
	maxPrint       = 1 << 20  // an emulated serial line carries only some 300 kB a second
	maxStreamed    = 32 << 10 // of standard output and error each, where the host gets them anyway
	maxPayloadLine = 16 << 10 // longer lines are broken up
	keepTail       = 60 << 10 // of a payload's output, for its record
	showTail       = 4 << 10  // of what did not fit the console
)

// copyFrom copies r until it ends and closes ended then; it returns when
// everything is printed.
func (p *payloadOutput) copyFrom(r io.Reader, ended chan<- struct{}) {
	// The channel holds all that may be printed: sending never blocks.
	chunks := make(chan []byte, 2+2*maxPrint/minChunk)
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		p.print(chunks)
	}()
	buf := make([]byte, 64<<10)
	var pending []byte
	left, dropped := cmp.Or(p.most, maxPrint), 0
	for {
		n, err := r.Read(buf)
		_, _ = p.tail.Write(buf[:n])
		take := min(n, left)
		left -= take
		dropped += n - take
		pending = append(pending, buf[:take]...)
		// Small pieces go at once while there is room for many of them.
		if n := len(pending); n >= minChunk || n > 0 && (len(chunks) < cap(chunks)/2 || err != nil) {
			chunks <- pending
			pending = nil
		}
		if err != nil {
			break
		}
	}
	close(ended)
	close(chunks)
	<-printed
	if dropped > 0 {
		last := p.tail.String()
		last = last[max(0, len(last)-showTail):]
		p.con.logf("%d more bytes of output are left out here; the last were:\n%s", dropped, last)
	}
}

const minChunk = 4 << 10

func (p *payloadOutput) print(chunks <-chan []byte) {
	var line []byte
	for b := range chunks {
		line = append(line, b...)
		for len(line) > 0 {
			end := bytes.IndexByte(line, '\n') + 1
			if end == 0 {
				if len(line) < maxPayloadLine {
					break
				}
				p.flush(append(line[:maxPayloadLine:maxPayloadLine], '\n'))
				line = line[maxPayloadLine:]
				continue
			}
			p.flush(line[:end])
			line = line[end:]
		}
	}
	if len(line) > 0 {
		p.flush(append(line, '\n'))
	}
}

func (p *payloadOutput) flush(line []byte) { p.con.write(console.Quote(line)) }
