package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func TestRunning(t *testing.T) {
	const limit = 10 * time.Second
	// Each step is at a second, and tells what the payload tells: "run A",
	// "pause A", "end A", or nothing.
	tests := []struct {
		name  string
		steps []string // "<second> <what> <test>"
		at    int      // second of the look
		late  string
		left  []string
	}{
		{name: "nothing runs", at: 100},
		{name: "in time", steps: []string{"0 run A"}, at: 10, left: []string{"A"}},
		{name: "too long", steps: []string{"0 run A"}, at: 11, late: "A", left: []string{"A"}},
		{name: "ended", steps: []string{"0 run A", "5 end A"}, at: 100},
		{name: "over, and not reported yet", steps: []string{"0 run A", "5 pause A"}, at: 100},
		{name: "paused time does not count", steps: []string{"0 run A", "5 pause A", "50 run A"}, at: 60, left: []string{"A"}},
		{name: "started twice counts from the first", steps: []string{"0 run A", "9 run A"}, at: 11, late: "A", left: []string{"A"}},
		{name: "a part that ends gives the whole its time anew", steps: []string{"0 run A", "0 run A/b", "9 end A/b"}, at: 15, left: []string{"A"}},
		{name: "a part of a part does too", steps: []string{"0 run A", "9 run A/b/c"}, at: 15, left: []string{"A/b/c", "A"}},
		{name: "a part that hangs is the one", steps: []string{"0 run A", "0 run A/b"}, at: 11, late: "A/b", left: []string{"A/b", "A"}},
		{name: "another test's end gives no time", steps: []string{"0 run A", "9 run AB", "9 end AB"}, at: 11, late: "A", left: []string{"A"}},
		{name: "the first of two", steps: []string{"0 run B", "1 run A"}, at: 12, late: "B", left: []string{"B", "A"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			second := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
			r := newRunning(func(wire.Run) {})
			for _, s := range tt.steps {
				f := strings.Fields(s)
				n := 0
				for _, c := range f[0] {
					n = n*10 + int(c-'0')
				}
				switch f[1] {
				case "run", "pause":
					r.run(wire.Run{Name: f[2], Paused: f[1] == "pause"}, second(n))
				case "end":
					r.ended(f[2], second(n))
				}
			}
			late := r.tick(second(tt.at), limit)
			if late != tt.late {
				t.Errorf("late is %q, want %q", late, tt.late)
			}
			if d := cmp.Diff(tt.left, r.close(late, second(tt.at))); d != "" && !(len(tt.left) == 0) {
				t.Errorf("what runs (-want +got):\n%s", d)
			}
			if got := r.tick(second(tt.at), 0); got != "" {
				t.Errorf("without a limit %q is late", got)
			}
		})
	}
}

// The host hears of the first tests at once, and of the others only when they
// take long: a serial line is slow.
func TestRunningTellsTheHost(t *testing.T) {
	var told []wire.Run
	r := newRunning(func(t wire.Run) { told = append(told, t) })
	now := time.Now()
	for range tellAtOnce / 2 {
		r.run(wire.Run{Name: "short"}, now)
		r.run(wire.Run{Name: "short", Paused: true}, now)
	}
	if len(told) != tellAtOnce {
		t.Fatalf("told %d, want %d", len(told), tellAtOnce)
	}
	r.run(wire.Run{Name: "short"}, now)
	r.ended("short", now)
	r.run(wire.Run{Name: "long"}, now)
	r.tick(now, 0)
	if len(told) != tellAtOnce {
		t.Errorf("told %v at once", told[tellAtOnce:])
	}
	r.tick(now.Add(tellLater), 0)
	if d := cmp.Diff([]wire.Run{{Name: "long"}}, told[tellAtOnce:]); d != "" {
		t.Errorf("later (-want +got):\n%s", d)
	}
	for i := range 2 * wire.MaxRecords {
		r.run(wire.Run{Name: "x", Paused: i%2 == 1}, now)
		r.tick(now.Add(time.Hour), 0)
	}
	if len(told) > maxTold+1 {
		t.Errorf("told %d times, more than %d", len(told), maxTold)
	}
}

// A payload that is ended reports what was cut short: that says nothing about
// what hung.
func TestRunningAfterTheTimeIsUp(t *testing.T) {
	r := newRunning(func(wire.Run) {})
	now := time.Now()
	r.run(wire.Run{Name: "A"}, now)
	if d := cmp.Diff([]string{"A"}, r.close("A", time.Now())); d != "" {
		t.Error(d)
	}
	r.run(wire.Run{Name: "B"}, now)
	r.ended("A", now)
	if !r.reported("A") || r.reported("B") || r.previous() != "" {
		t.Errorf("reported A %v, B %v, previous %q", r.reported("A"), r.reported("B"), r.previous())
	}
}

func TestScaleOf(t *testing.T) {
	for cmdline, want := range map[string]time.Duration{
		"": 1, "quiet bkc.scale=3 x": 3, "bkc.scale=0": 1, "bkc.scale=-2": 1, "bkc.scale=101": 1, "bkc.scale=x": 1,
	} {
		if got := scaleOf(cmdline); got != want {
			t.Errorf("%q: %d, want %d", cmdline, got, want)
		}
	}
	job := scaled(wire.Job{Timeout: time.Minute, TestTimeout: time.Second, Env: []string{"A=b"}}, 3)
	if job.Timeout != 3*time.Minute || job.TestTimeout != 3*time.Second || job.Env[0] != wire.TestTimeoutEnv+"=3s" {
		t.Errorf("got %+v", job)
	}
}
