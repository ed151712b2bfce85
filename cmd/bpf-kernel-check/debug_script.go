package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// runScript boots a machine whose session runs commands, and prints their output.
func (c *command) runScript(ctx context.Context, d debugging, bin string, m qemu.Machine, mark string) error {
	vmCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	split := &marked{mark: mark, out: c.scriptOut(), rest: c.stderr, began: make(chan struct{})}
	var late atomic.Bool
	if !d.o.gdb { // a debugger takes its time
		timer := time.AfterFunc(d.o.bootTimeout, func() {
			select {
			case <-split.began:
			default:
				late.Store(true)
				cancel()
			}
		})
		defer timer.Stop()
	}
	exit, err := qemu.Run(vmCtx, bin, m, split, io.Discard)
	split.flush()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !late.Load():
		return err
	case split.ended && split.status == 0:
		return nil
	case split.ended:
		return exitError(report.ExitFail)
	case late.Load():
		return fmt.Errorf("%s: no sign of the shell within %v: see the console above, and --boot-timeout", d.entry.ID(), d.o.bootTimeout)
	case !exit.Clean():
		return fmt.Errorf("QEMU: %v", exit)
	}
	return fmt.Errorf("%s: %w: see the console above", d.entry.ID(), errNoTerminal)
}

// scriptOut takes the output of commands unchanged, as it may be binary. In a
// job, whose log would run commands in it, it is escaped.
func (c *command) scriptOut() io.Writer {
	if l, ok := c.stdout.(*github.Log); ok && c.getenv("CI") == "" {
		return l.Unwrap()
	}
	return c.stdout
}

// marked splits a console: text between a session's marks goes to out, all else
// to rest.
type marked struct {
	mark      string
	out, rest io.Writer
	began     chan struct{}

	mu      sync.Mutex
	pending []byte
	inside  bool
	ended   bool
	status  int
}

// maxPending bounds the bytes of a line that are held back.
const maxPending = 64 << 10

func (s *marked) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, p...)
	for {
		n := bytes.IndexByte(s.pending, '\n') + 1
		if n == 0 {
			if len(s.pending) <= maxPending {
				return len(p), nil
			}
			n = maxPending / 2 // a mark fits into the other half
		}
		s.line(string(s.pending[:n]))
		s.pending = s.pending[n:]
	}
}

func (s *marked) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) > 0 {
		s.line(string(s.pending))
		s.pending = nil
	}
}

// line passes one line on, and ignores errors of the reader.
func (s *marked) line(line string) {
	if s.inside {
		if before, status, ok := wire.ParseMarkEnd(strings.TrimRight(line, "\r\n"), s.mark); ok {
			_, _ = io.WriteString(s.out, before)
			s.inside, s.ended, s.status = false, true, status
			return
		}
		_, _ = io.WriteString(s.out, line)
		return
	}
	if strings.TrimRight(line, "\r\n") == wire.MarkBegin(s.mark) && !s.ended {
		s.inside = true
		close(s.began)
		return
	}
	_, _ = io.WriteString(s.rest, line)
}
