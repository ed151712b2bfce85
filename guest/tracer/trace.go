package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf/ringbuf"
)

// trace loads the probes and prints events until ctx ends.
func trace(ctx context.Context, opts options, f faults, stdout, stderr io.Writer) error {
	var log io.Writer
	if opts.verbose {
		log = stderr
	}
	l, err := newLoader(log, f)
	if err != nil {
		return err
	}
	defer l.close()
	if !opts.kprobesOnly {
		l.detectTrampolines()
	}
	warn := func(s string) { fmt.Fprintf(stderr, "tracer: %s\n", s) }
	if err := l.attachAll(warn); err != nil {
		return err
	}
	rd, err := ringbuf.NewReader(l.maps["samples"])
	if err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	defer rd.Close()

	p := &printer{out: stdout, faults: f, wanted: opts.events}
	if opts.printFeatures {
		_, err := os.Stat("/proc/sys/net/ipv6")
		if err := p.write([]byte(features{l.trampolines, err == nil}.readyLine())); err != nil {
			return err
		}
	}
	stopLost := watchLost(l.lossCounters(), warn)
	err = read(ctx, rd, p, warn)
	lost := stopLost()
	if opts.stats {
		fmt.Fprintf(stderr, "tracer: %d events printed, %d lost or missed\n", p.printed, lost)
	}
	return err
}

// pollEvery is the longest that an event waits for being read. The programs
// wake nobody up; see submit in bpf/task.h.
const pollEvery = 5 * time.Millisecond

// read prints what comes until ctx ends, and then what is still there.
func read(ctx context.Context, rd *ringbuf.Reader, p *printer, warn func(string)) error {
	stop := context.AfterFunc(ctx, func() { rd.Flush() })
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
	faults  faults
	wanted  map[string]bool
	printed int

	mu  sync.Mutex // late lines come from timers
	out io.Writer
}

func (p *printer) print(ev event) error {
	if !p.wanted[ev.eventType()] {
		return nil
	}
	o, err := p.faults.render(ev)
	if err != nil {
		return err
	}
	switch {
	case len(o.data) == 0:
		return nil
	case o.delay > 0:
		time.AfterFunc(o.delay, func() { p.write(o.data) })
	default:
		if err := p.write(o.data); err != nil {
			return err
		}
	}
	p.printed++
	if p.faults.dieAfter > 0 && p.printed >= p.faults.dieAfter {
		return dieOfSegv()
	}
	return nil
}

func (p *printer) write(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.out.Write(b); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}
