package vm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// guest is a VM that the test plays.
type guest struct {
	t       *testing.T
	ctx     context.Context
	console io.Writer
	frames  *wire.Writer
}

func (g guest) print(text string) { _, _ = io.WriteString(g.console, text) }

func (g guest) send(records ...wire.Record) {
	g.t.Helper()
	for _, r := range records {
		if err := g.frames.Write(r); err != nil {
			g.t.Error(err)
		}
	}
}

// alive gives signs of life for some time.
func (g guest) alive(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end) && g.ctx.Err() == nil; {
		time.Sleep(wire.AlivePeriod)
		g.send(wire.Record{Type: wire.TypeAlive})
	}
}

func (g guest) hang() { <-g.ctx.Done() }

var (
	helloRecord = wire.Record{Type: wire.TypeHello, At: time.Second, Hello: &wire.Hello{}}
	endRecord   = wire.Record{Type: wire.TypeEnd, End: &wire.End{}}
)

// observe watches what play does, and returns how long that took.
func observe(t *testing.T, w Watch, play func(guest)) (Observation, time.Duration, error) {
	t.Helper()
	w.Nonce = "n"
	if w.Console == nil {
		w.Console = io.Discard
	}
	start := time.Now()
	o, err := w.Observe(t.Context(), func(ctx context.Context, console, results io.Writer) (qemu.Exit, error) {
		play(guest{t, ctx, console, wire.NewWriter(results, "n")})
		return qemu.Exit{Killed: ctx.Err() != nil}, nil
	})
	return o, time.Since(start), err
}

// Each limit ends a VM at its time, and the next one counts from what it is for.
func TestWatchdogLimits(t *testing.T) {
	limits := Limits{Boot: time.Minute, Payload: 10 * time.Minute, Grace: time.Minute, Off: 10 * time.Second, Crash: 30 * time.Second, Silence: 40 * time.Second}
	trial := limits
	trial.Sign = 5 * time.Second
	const (
		banner  = "[    0.000000] Linux version 6.1.0\n"
		panicky = "[    1.000000] Kernel panic - not syncing: x\n[    1.000001] ---[ end Kernel panic - not syncing: x ]---\n"
		halted  = "[    1.000000] reboot: System halted\n"
	)
	programs := []Program{{"a", time.Minute}, {"b", 2 * time.Minute}} // which most of them do not run
	for _, tt := range []struct {
		name    string
		limits  Limits
		play    func(guest)
		stopped stopReason
		after   time.Duration
	}{
		{"ends by itself", limits, func(g guest) { g.send(helloRecord, endRecord) }, notStopped, 0},
		{"no sign of init", limits, func(g guest) { g.print(banner); g.hang() }, stopBoot, time.Minute},
		{"no sign of a kernel", trial, func(g guest) { g.hang() }, stopBoot, 5 * time.Second},
		{"a sign of a kernel and none of init", trial, func(g guest) { time.Sleep(4 * time.Second); g.print(banner); g.hang() }, stopBoot, 64 * time.Second},
		{"silence", limits, func(g guest) {
			g.send(helloRecord)
			for g.ctx.Err() == nil { // the console is no sign of life
				time.Sleep(time.Second)
				g.print("still here\n")
			}
		}, stopSilence, 40 * time.Second},
		{"a payload without end", limits, func(g guest) { g.send(helloRecord); g.alive(time.Hour) }, stopVM, 11 * time.Minute},
		{"a program without end, after one that took its time", limits, func(g guest) {
			g.send(helloRecord, begins(0, "a"))
			g.alive(80 * time.Second)
			g.send(ends(0, "a"), begins(1, "b"))
			g.alive(time.Hour)
		}, stopVM, 80*time.Second + 3*time.Minute},
		{"more programs than there are", limits, func(g guest) {
			g.send(helloRecord)
			for i := range 100 {
				g.send(begins(i, "a"))
				g.alive(time.Minute)
			}
		}, stopVM, time.Minute + 3*time.Minute},
		{"no power-off", limits, func(g guest) { g.send(helloRecord, endRecord); g.hang() }, stopOff, 10 * time.Second},
		{"a panic", limits, func(g guest) { g.send(helloRecord); g.print(panicky); g.alive(time.Hour) }, stopCrash, 30 * time.Second},
		{"a halt", limits, func(g guest) { g.send(helloRecord); g.print(halted); g.hang() }, stopHalt, wire.AlivePeriod + 10*time.Second},
		{"words of a halt, and a guest that goes on", limits, func(g guest) {
			g.send(helloRecord)
			for g.ctx.Err() == nil {
				g.print(halted)
				time.Sleep(wire.AlivePeriod)
				g.send(wire.Record{Type: wire.TypeAlive})
			}
		}, stopVM, 11 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, took, err := observe(t, Watch{Limits: tt.limits, Case: Case{Programs: programs}}, tt.play)
				// The guest notices its end within its own pauses.
				if err != nil || o.stopped != tt.stopped || took < tt.after || took > tt.after+wire.AlivePeriod {
					t.Errorf("stopped for %d after %v, %v; want %d after %v", o.stopped, took, err, tt.stopped, tt.after)
				}
				if o.Exit.Killed != (tt.stopped != notStopped) {
					t.Errorf("killed: %v", o.Exit.Killed)
				}
			})
		})
	}
}

// The next VM need not wait for one whose payload has ended well. After any other
// end init still has much to tell, and so it waits until that is told.
func TestDoneWhenThePayloadHasEnded(t *testing.T) {
	for _, tt := range []struct {
		name     string
		exit     *wire.Exit
		collects bool
		want     []int // how often after each record
	}{
		{"well", &wire.Exit{}, false, []int{0, 0, 1, 2}},
		{"well, and files are collected", &wire.Exit{}, true, []int{0, 0, 0, 1}},
		{"badly", &wire.Exit{Code: 1}, false, []int{0, 0, 0, 1}},
		{"by a signal", &wire.Exit{Code: -1, Signal: "SIGSEGV"}, false, []int{0, 0, 0, 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			done, ready := 0, 0
			w := Watch{Limits: Limits{Boot: time.Hour, Payload: time.Hour, Off: time.Hour}, Collects: tt.collects, Ready: func() { ready++ }, Done: func() { done++ }}
			_, _, _ = observe(t, w, func(g guest) {
				for i, r := range []wire.Record{
					helloRecord,
					{Type: wire.TypeTest, Test: &wire.Test{Name: "a", Verdict: wire.TestPass}},
					{Type: wire.TypeExit, Exit: tt.exit},
					endRecord,
				} {
					g.send(r)
					synctest.Wait()
					if done != tt.want[i] || ready != 1 {
						t.Errorf("%s: done %d times after the %s record, want %d; ready %d times", tt.name, done, r.Type, tt.want[i], ready)
					}
				}
			})
		})
	}
}

// A console is kept up to a limit and scanned beyond it, and a disk that is full
// does not stop the guest.
func TestWatchdogKeepsTheConsole(t *testing.T) {
	var kept bytes.Buffer
	o, _, err := observe(t, Watch{Limits: Limits{Boot: time.Hour, Crash: time.Hour}, Console: &kept, Before: []byte("before\n")}, func(g guest) {
		line := strings.Repeat("x", 1<<20-1) + "\n"
		for range maxConsole>>20 + 1 {
			g.print(line)
		}
		g.print("[    1.000000] Kernel panic - not syncing: x\n")
	})
	if err != nil || len(o.Findings) != 1 || !strings.HasSuffix(o.Tail, "not syncing: x\n") {
		t.Errorf("%v, findings %+v, %q at the end", err, o.Findings, o.Tail[max(0, len(o.Tail)-60):])
	}
	if b := kept.Bytes(); !bytes.HasPrefix(b, []byte("before\nxxx")) || len(b) < maxConsole || len(b) > maxConsole+200 || !bytes.HasSuffix(b, []byte("the rest is left out]\n")) {
		t.Errorf("%d bytes are kept", len(b))
	}
	o, _, err = observe(t, Watch{Limits: Limits{Boot: time.Hour, Payload: time.Hour, Off: time.Hour}, Console: full{}}, func(g guest) {
		g.print("text\n")
		g.send(helloRecord, endRecord)
	})
	if !errors.Is(err, errFull) || !o.SawInit() {
		t.Errorf("%v, records %v", err, o.Records)
	}
}

var errFull = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// A run that ends takes its VMs with it, and learns nothing about their kernels.
func TestWatchdogIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Watch{Limits: Limits{Boot: time.Hour}, Console: io.Discard}.Observe(ctx, func(ctx context.Context, _, _ io.Writer) (qemu.Exit, error) {
		cancel()
		<-ctx.Done()
		return qemu.Exit{Killed: true}, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A kernel with one serial port can have its console where the results come: what it
// says there counts as well.
func TestWatchdogReadsTheResultsLine(t *testing.T) {
	w := Watch{Limits: Limits{Boot: time.Minute, Payload: time.Minute}}
	w.Nonce = "n"
	var kept bytes.Buffer
	w.Console = &kept
	o, err := w.Observe(t.Context(), func(_ context.Context, console, results io.Writer) (qemu.Exit, error) {
		_, _ = io.WriteString(console, "[    0.100000] early\n")
		frames := wire.NewWriter(results, "n")
		if err := errors.Join(frames.Write(helloRecord), frames.Write(endRecord)); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(results, "[    1.000000] Kernel panic - not syncing: x\n")
		return qemu.Exit{}, nil
	})
	if err != nil || len(o.Records) != 2 || len(o.Findings) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	if got := kept.String(); !strings.Contains(got, "early") || !strings.Contains(got, "panic") || strings.Contains(got, "hello") {
		t.Errorf("console %q", got)
	}
}
