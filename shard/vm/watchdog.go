package vm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Watch says how one VM is watched.
type Watch struct {
	Case
	Nonce   string
	Limits  Limits
	Console io.Writer // gets the console as it comes
	Before  []byte    // what was on the console of a restored VM when it was saved

	// Ready is called when init is up, and Done when the payload has ended
	// well and left nothing to collect, and again when everything has. They must not block. Both are
	// optional.
	Ready, Done func()

	Collects bool // init still collects files when the payload has ended

	Stream *Stream // of a job with wire.Job.Stream; nil for others
}

// Start runs a VM to its end, as qemu.Run does.
type Start func(ctx context.Context, console, results io.Writer) (qemu.Exit, error)

// Observe starts a VM and watches it to its end. When a limit passes, or ctx
// ends, the VM is ended. An error means that nothing is known about the kernel.
func (w Watch) Observe(ctx context.Context, start Start) (Observation, error) {
	vmCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := newWatchdog(w, cancel)
	if len(w.Before) > 0 {
		d.read(w.Before)
	}

	// Frames come on a line of their own or, if the kernel has only one or the
	// payload took the other away, on the console. The one can be the results': a
	// kernel for x86 with one serial port takes that which it finds last.
	output, records := make(chan []byte), make(chan wire.Record)
	frames := wire.NewCollector(w.Nonce, func(r wire.Record) { records <- r })
	if w.Stream != nil {
		frames.OnChunk(false, w.Stream.take)
	}
	lines := [2]io.WriteCloser{wire.Strip(sender(output), w.Nonce), wire.Strip(sender(output), w.Nonce)}
	type result struct {
		exit qemu.Exit
		err  error
	}
	over := make(chan result)
	go func() {
		exit, err := start(vmCtx, io.MultiWriter(lines[0], frames.Stream()), io.MultiWriter(lines[1], frames.Stream()))
		for _, l := range lines {
			_ = l.Close() // a sender takes everything
		}
		over <- result{exit, err}
	}()

	for {
		select {
		case p := <-output:
			d.read(p)
		case r := <-records:
			d.record(r)
		case <-d.deadline.C:
			d.stop(d.limit.reason)
		case <-d.silence.C:
			if w.Stream != nil && w.Stream.waiting() { // what init has to say waits, too
				d.silence.Reset(w.Limits.Silence)
				break
			}
			d.stop(stopSilence)
		case end := <-over:
			o := d.observation(frames)
			o.Exit = end.exit
			err := end.err
			if err == nil {
				err = d.transcript.err
			}
			if err == nil {
				err = ctx.Err()
			}
			return o, err
		}
	}
}

// sender is a writer that sends what is written to it.
type sender chan<- []byte

func (s sender) Write(p []byte) (int, error) {
	s <- bytes.Clone(p)
	return len(p), nil
}

// limit is when a VM is ended, and why.
type limit struct {
	at     time.Time
	reason stopReason
}

// watchdog is the state of a watch. One goroutine has it.
type watchdog struct {
	Watch
	cancel     func() // ends the VM
	transcript transcript
	scanner    console.Scanner

	start    time.Time
	booted   time.Duration // from start to the first record
	helloAt  int64         // bytes of console that had come by then
	begunAt  []int64       // the same when each program began
	stopped  stopReason
	deadline *time.Timer
	limit    limit       // that deadline is for
	resumed  limit       // the one to go back to when a halted guest goes on
	final    bool        // no later event replaces the limit
	silence  *time.Timer // runs while init gives signs of life
}

func newWatchdog(w Watch, cancel func()) *watchdog {
	d := &watchdog{Watch: w, cancel: cancel, start: time.Now(), deadline: time.NewTimer(0), silence: time.NewTimer(0)}
	d.silence.Stop()
	d.transcript.file = w.Console
	if w.Limits.Sign > 0 {
		d.set(w.Limits.Sign, stopBoot)
	} else {
		d.set(w.Limits.Boot, stopBoot)
	}
	return d
}

// set replaces the limit in force.
func (d *watchdog) set(after time.Duration, reason stopReason) {
	d.limit = limit{time.Now().Add(after), reason}
	d.deadline.Reset(after)
}

// stop ends the VM.
func (d *watchdog) stop(reason stopReason) {
	d.deadline.Stop()
	d.silence.Stop()
	d.stopped, d.final = reason, true
	d.cancel()
}

// read follows the console.
func (d *watchdog) read(p []byte) {
	if d.Limits.Sign > 0 && d.transcript.seen == 0 && !d.final {
		d.set(d.Limits.Boot, stopBoot)
	}
	_, _ = d.transcript.Write(p)
	_, _ = d.scanner.Write(p)
	switch {
	case d.final:
	case d.scanner.Unrecoverable():
		after := d.Limits.Crash
		if !d.scanner.Panicking() {
			after /= 3 // it will not end by itself: time for the report to be printed
		}
		d.set(after, stopCrash)
		d.final = true
		d.silence.Stop()
	case d.scanner.Halted() && d.resumed.at.IsZero():
		// Most machines are off by then, and a guest that goes on has said so.
		d.resumed = d.limit
		d.set(wire.AlivePeriod+d.Limits.Crash/3, stopHalt)
	}
}

// record follows the guest's progress.
func (d *watchdog) record(r wire.Record) {
	if d.final {
		return
	}
	// The console is no sign of life: a kernel that hangs may print about it for
	// ever.
	if d.Limits.Silence > 0 {
		d.silence.Reset(d.Limits.Silence)
	}
	if d.limit.reason == stopHalt {
		// The guest goes on: its kernel did not print that it has stopped.
		d.set(max(0, time.Until(d.resumed.at)), d.resumed.reason)
	}
	if d.Done != nil && (r.Type == wire.TypeEnd || r.Exit != nil && r.Exit.Code == 0 && !d.Collects && len(d.Programs) == 0) {
		d.Done()
	}
	if d.Stream != nil && r.Exit != nil {
		d.Stream.ended(*r.Exit)
	}
	switch r.Type {
	case wire.TypeHello:
		d.booted, d.helloAt = time.Since(d.start), d.transcript.seen
		if d.Ready != nil {
			d.Ready()
		}
		d.set(d.Limits.Payload+d.Limits.Grace, stopVM)
	case wire.TypeProgram:
		// Each program has a limit of its own, and each once.
		if m := r.Program; m != nil && m.End == nil && len(d.begunAt) < len(d.Programs) {
			d.set(d.Programs[len(d.begunAt)].Timeout+d.Limits.Grace, stopVM)
			d.begunAt = append(d.begunAt, d.transcript.seen)
		}
	case wire.TypeEnd:
		d.set(d.Limits.Off, stopOff)
		d.final = true
		d.silence.Stop()
	}
}

// observation is what was seen when the VM is gone.
func (d *watchdog) observation(frames *wire.Collector) Observation {
	d.deadline.Stop()
	d.silence.Stop()
	o := Observation{
		Case: d.Case, Tail: d.transcript.tail(), words: console.InitsWords(string(d.transcript.last)), Boot: d.booted,
		nonce: d.Nonce, stopped: d.stopped, limits: d.Limits, helloAt: d.helloAt, begunAt: d.begunAt,
	}
	o.Records, o.stats, o.wireErr = frames.Records()
	o.streams = d.Stream != nil
	o.chunks, o.chunksLost = frames.Chunks()
	o.Findings = withLog(d.scanner.Findings(), o.Records)
	return o
}

const (
	maxConsole = 64 << 20 // bytes of a console that are kept; the rest is scanned and dropped
	tailBytes  = 8 << 10
)

// transcript keeps a console: the beginning in a file, and the last lines.
type transcript struct {
	file io.Writer
	err  error // the first of writing to file; the guest goes on
	seen int64 // bytes
	last []byte
}

func (t *transcript) Write(p []byte) (int, error) {
	if left := maxConsole - t.seen; t.err == nil && left > 0 {
		if _, err := t.file.Write(p[:min(int64(len(p)), left)]); err != nil {
			t.err = fmt.Errorf("write the console's file: %w", err)
		}
		if int64(len(p)) >= left {
			_, _ = fmt.Fprintf(t.file, "\n[bpf-kernel-check: the console is longer than %d MiB; the rest is left out]\n", maxConsole>>20)
		}
	}
	t.seen += int64(len(p))
	t.last = append(t.last, p...)
	if len(t.last) > 4*tailBytes {
		t.last = append(t.last[:0], t.last[len(t.last)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *transcript) tail() string {
	b := t.last[max(0, len(t.last)-tailBytes):]
	return string(bytes.ToValidUTF8(b, []byte("?")))
}
