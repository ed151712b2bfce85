package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"
)

// shared is a stream that several goroutines write to.
type shared struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// lines returns a writer whose lines go to the stream behind a name.
func (s *shared) lines(name string) io.Writer {
	return &prefixed{to: s, prefix: []byte("[" + name + "] ")}
}

// prefixed writes whole lines.
type prefixed struct {
	to     *shared
	prefix []byte
	buf    []byte
}

// maxPrefixed is how long a line may be until it is broken, in bytes.
const maxPrefixed = 64 << 10

func (p *prefixed) Write(b []byte) (int, error) {
	p.buf = append(p.buf, b...)
	var out []byte
	for {
		end := bytes.IndexByte(p.buf, '\n')
		if end < 0 && len(p.buf) < maxPrefixed {
			break
		}
		if end < 0 {
			end = maxPrefixed - 1
			p.buf = slices.Insert(p.buf, end, '\n')
		}
		out = append(append(out, p.prefix...), p.buf[:end+1]...)
		p.buf = append(p.buf[:0], p.buf[end+1:]...)
	}
	if len(out) > 0 {
		_, _ = p.to.Write(out)
	}
	return len(b), nil
}

// flush ends the line that a program did not.
func flush(w io.Writer) {
	if p, ok := w.(*prefixed); ok && len(p.buf) > 0 {
		_, _ = p.Write([]byte("\n"))
	}
}

// spool keeps what was read of standard input, which each kernel's program reads
// from its start, and reads no more than one of them asks for.
type spool struct {
	src  io.Reader
	file *os.File

	mu      sync.Mutex
	size    int64
	err     error
	reading bool
	more    chan struct{} // closed when there is more
}

func newSpool(src io.Reader) (*spool, error) {
	f, err := os.CreateTemp("", "bpf-kernel-check-stdin-")
	if err != nil {
		return nil, fmt.Errorf("make a file for standard input: %w", err)
	}
	os.Remove(f.Name())
	return &spool{src: src, file: f, more: make(chan struct{})}, nil
}

func (s *spool) Close() error { return s.file.Close() }

// ReadAt is vm.Input's.
func (s *spool) ReadAt(ctx context.Context, b []byte, off int64) (int, error) {
	for {
		s.mu.Lock()
		size, err, more := s.size, s.err, s.more
		if off >= size && err == nil && !s.reading {
			s.reading = true
			go s.fill()
		}
		s.mu.Unlock()
		switch {
		case off < size:
			return s.file.ReadAt(b[:min(int64(len(b)), size-off)], off)
		case err != nil:
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-more:
		}
	}
}

// fill reads once. It may wait for ever, and ends with the process then.
func (s *spool) fill() {
	buf := make([]byte, 32<<10)
	n, err := s.src.Read(buf)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, werr := s.file.WriteAt(buf[:n], s.size); err == nil {
		err = werr
	}
	s.size, s.err, s.reading = s.size+int64(n), err, false
	close(s.more)
	s.more = make(chan struct{})
}

// endGrace is how long a program may take to end after the first signal that asks
// it to.
const endGrace = 10 * time.Second

// passSignals passes signals on to the program. The second that asks it to end
// ends its VM, and so does the first where it does not run yet.
func (e *execution) passSignals() (stop func()) {
	sigs, done := make(chan os.Signal, 16), make(chan struct{})
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2} {
		if !signal.Ignored(sig) { // as by nohup
			signal.Notify(sigs, sig)
		}
	}
	go func() {
		var late <-chan time.Time
		var first syscall.Signal
		for {
			select {
			case <-done:
				return
			case <-late:
				e.cancel(interrupted{first})
			case s := <-sigs:
				sig := s.(syscall.Signal)
				running := e.signal(sig)
				switch {
				case sig == syscall.SIGUSR1 || sig == syscall.SIGUSR2:
				case !running || late != nil:
					e.cancel(interrupted{sig})
				default:
					first, late = sig, time.After(endGrace)
				}
			}
		}
	}()
	return func() { signal.Stop(sigs); close(done) }
}

// signal passes a signal on, and says whether the program runs anywhere.
func (e *execution) signal(sig syscall.Signal) (running bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.streams {
		running = running || s.Started()
		s.Signal(sig)
	}
	return running
}
