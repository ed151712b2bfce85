package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
)

// trace loads the probes and prints events until ctx ends.
func trace(ctx context.Context, opts options, f faults, stdout, stderr io.Writer) error {
	var log io.Writer
	if opts.verbose {
		log = stderr
	}
	warn := func(s string) { fmt.Fprintf(stderr, "tracer: %s\n", s) }
	// Kernels for riscv64 have it off, and refuse fentry and kprobes then.
	const jit = "/proc/sys/net/core/bpf_jit_enable"
	if b, err := os.ReadFile(jit); err == nil && string(b) == "0\n" && os.WriteFile(jit, []byte("1"), 0) == nil {
		warn("turned the BPF JIT compiler on: net.core.bpf_jit_enable was 0")
	}
	l, err := newLoader(log, f)
	if err != nil {
		return err
	}
	defer l.close()
	l.detectTrampolines()
	if err := l.attachAll(warn); err != nil {
		return err
	}
	rd, err := ringbuf.NewReader(l.maps["samples"])
	if err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	defer rd.Close()

	p := printer{stdout, f, opts.events}
	if opts.printFeatures {
		_, err := os.Stat("/proc/sys/net/ipv6")
		if err := p.write([]byte(readyLine(l.trampolines, err == nil))); err != nil {
			return err
		}
	}
	defer watchLost(l.lost, warn)()
	return read(ctx, rd, p, warn)
}

// pollEvery is the longest that an event waits for being read. The programs
// wake nobody up; see submit in bpf/task.h.
const pollEvery = 5 * time.Millisecond

// read prints what comes until ctx ends, and then what is still there.
func read(ctx context.Context, rd *ringbuf.Reader, p printer, warn func(string)) error {
	stop := context.AfterFunc(ctx, func() { _ = rd.Flush() })
	defer stop()
	var rec ringbuf.Record
	rd.SetDeadline(time.Now().Add(pollEvery))
	for {
		err := rd.ReadInto(&rec)
		if errors.Is(err, os.ErrDeadlineExceeded) { // and the ring is empty
			rd.SetDeadline(time.Now().Add(pollEvery))
			continue
		}
		if errors.Is(err, ringbuf.ErrFlushed) || errors.Is(err, ringbuf.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		ev, err := decodeSample(rec.RawSample)
		if err != nil {
			warn(fmt.Sprintf("decode a sample: %v", err))
			continue
		}
		if err := p.print(ev); err != nil {
			return err
		}
	}
}

// A printer writes the wanted events, each at once and in one write.
type printer struct {
	out    io.Writer
	faults faults
	wanted map[string]bool
}

func (p printer) print(ev event) error {
	if !p.wanted[ev.eventType()] {
		return nil
	}
	line, err := p.faults.render(ev)
	if err != nil || line == nil {
		return err
	}
	return p.write(line)
}

func (p printer) write(b []byte) error {
	if _, err := p.out.Write(b); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}
