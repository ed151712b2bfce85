package shard

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// maxConsole is what is kept of a console, in bytes. The rest is read, looked
// at and dropped.
const maxConsole = 64 << 20

// observe boots a machine and watches it to its end. Its console goes to con
// as it comes.
func observe(ctx context.Context, qemuPath string, m qemu.Machine, limits Limits, con io.Writer) (observation, error) {
	return observeVM(ctx, m.Nonce, m.Arch.Results == "", limits, con, nil, func(ctx context.Context, console, results io.Writer) (qemu.Exit, error) {
		return qemu.Run(ctx, qemuPath, m, console, results)
	})
}

// observeVM watches the VM that run runs. shared says that the frames come on
// the console, and before is what is on it already.
func observeVM(ctx context.Context, nonce string, shared bool, limits Limits, con io.Writer, before []byte, run func(ctx context.Context, console, results io.Writer) (qemu.Exit, error)) (observation, error) {
	vmCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watch{nonce: nonce, limits: limits, cancel: cancel, con: con, start: time.Now()}
	if limits.Sign > 0 {
		w.arm(limits.Sign, stopBoot)
	} else {
		w.arm(limits.Boot, stopBoot)
	}
	defer w.disarm()
	_, _ = w.Write(before)

	// The frames come on a line of their own or, where the kernel has only
	// one or the payload took it away, on the console.
	frames := wire.NewCollector(nonce, w.record)
	var shown io.WriteCloser = nopCloser{w}
	if shared {
		shown = wire.Strip(w, nonce)
	}
	exit, err := run(vmCtx, io.MultiWriter(shown, frames.Stream()), frames.Stream())
	_ = shown.Close() // the watch takes everything
	o := observation{nonce: nonce, exit: exit, limits: limits}
	o.records, o.stats, o.wireErr = frames.Records()
	w.mu.Lock()
	defer w.mu.Unlock()
	o.booted, o.helloAt = w.booted, w.helloAt
	o.findings, o.stopped, o.tail = withLog(w.scanner.Findings(), o.records), w.stopped, w.tail()
	if err == nil {
		err = w.conErr
	}
	if err == nil {
		err = ctx.Err()
	}
	return o, err
}

// withLog adds to what the console says what the kernel's log says besides: a
// payload that runs as root can turn the console off, or its time stamps.
func withLog(found []console.Finding, records []wire.Record) []console.Finding {
	for _, r := range records {
		if r.Log == nil {
			continue
		}
		var s console.Scanner
		_, _ = io.WriteString(&s, r.Log.Text)
		for _, f := range s.Findings() {
			if !slices.ContainsFunc(found, func(other console.Finding) bool {
				return f.Title == other.Title || f.Kind == other.Kind && f.Location != "" && f.Location == other.Location
			}) {
				f.Offset = 0 // of the log
				found = append(found, f)
			}
		}
	}
	return found
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// watch follows a console and ends the VM when a limit passes.
type watch struct {
	nonce  string
	limits Limits
	cancel func()

	mu      sync.Mutex
	con     io.Writer
	conErr  error
	written int64
	scanner console.Scanner
	last    []byte
	stopped stop
	timer   *time.Timer
	limit   limit       // that timer is for
	halted  bool        // the kernel says that it has stopped
	before  limit       // the one in force before that
	over    bool        // no later limit may replace the present one
	silence *time.Timer // runs while init gives signs of life

	start  time.Time
	booted time.Duration // from start to the first record

	seen    int64 // bytes of the console
	helloAt int64 // of those, when init was up
}

// Write takes the console's bytes. It never fails, so that the guest goes on;
// a disk that is full is reported at the end.
func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if room := maxConsole - w.written; w.conErr == nil && room > 0 {
		keep := p[:min(int64(len(p)), room)]
		if _, err := w.con.Write(keep); err != nil {
			w.conErr = fmt.Errorf("write the console's file: %w", err)
		}
		w.written += int64(len(keep))
		if w.written == maxConsole {
			_, _ = fmt.Fprintf(w.con, "\n[bpf-kernel-check: the console is longer than %d MiB; the rest is left out]\n", maxConsole>>20)
		}
	}
	if w.limits.Sign > 0 && len(w.last) == 0 && w.stopped == notStopped && !w.over {
		w.set(w.limits.Boot, stopBoot)
	}
	w.last = append(w.last, p...)
	if len(w.last) > 4*tailBytes {
		w.last = append(w.last[:0], w.last[len(w.last)-tailBytes:]...)
	}
	_, _ = w.scanner.Write(p)
	w.seen += int64(len(p))
	if w.scanner.Unrecoverable() && !w.over {
		limit := w.limits.Crash
		if !w.scanner.Panicking() {
			limit /= 3 // it will not end by itself: time for the report to be printed
		}
		w.set(limit, stopCrash)
		w.over = true
	}
	if w.scanner.Halted() && !w.over && !w.halted {
		// Most machines are off by then, and a guest that goes on has said so.
		w.halted, w.before = true, w.limit
		w.set(wire.AlivePeriod+w.limits.Crash/3, stopHalt)
	}
	return len(p), nil
}

const tailBytes = 8 << 10

func (w *watch) tail() string {
	b := w.last[max(0, len(w.last)-tailBytes):]
	return string(bytes.ToValidUTF8(b, []byte("?")))
}

// record follows the guest's progress.
func (w *watch) record(r wire.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	w.heard()
	if w.halted && w.limit.stop == stopHalt {
		// Someone else wrote what the kernel says then.
		w.set(max(0, time.Until(w.before.at)), w.before.stop)
	}
	if end := r.Type == wire.TypeEnd || r.Exit != nil && r.Exit.Code == 0; end && w.limits.ended != nil {
		w.limits.ended()
	}
	switch r.Type {
	case wire.TypeHello:
		w.booted, w.helloAt = time.Since(w.start), w.seen
		if w.limits.up != nil {
			w.limits.up()
		}
		w.set(w.limits.Payload+w.limits.Grace, stopVM)
	case wire.TypeEnd:
		w.set(w.limits.Off, stopOff)
		w.over = true
	}
}

// heard starts the time of silence anew. What stands on the console is no sign
// of life: a kernel that hangs may print about it for ever.
func (w *watch) heard() {
	if w.limits.Silence <= 0 {
		return
	}
	if w.silence != nil {
		w.silence.Stop()
	}
	var t *time.Timer
	t = time.AfterFunc(w.limits.Silence, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.silence == t && !w.over && w.stopped == notStopped {
			w.stopped = stopSilence
			w.cancel()
		}
	})
	w.silence = t
}

func (w *watch) arm(d time.Duration, s stop) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set(d, s)
}

// limit is when a VM is ended, and for what.
type limit struct {
	at   time.Time
	stop stop
}

// set replaces the limit in force.
func (w *watch) set(d time.Duration, s stop) {
	w.limit = limit{time.Now().Add(d), s}
	if w.timer != nil {
		w.timer.Stop()
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.timer == t && w.stopped == notStopped {
			w.stopped = s
			w.cancel()
		}
	})
	w.timer = t
}

func (w *watch) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.timer = nil
	if w.silence != nil {
		w.silence.Stop()
		w.silence = nil
	}
}
