package shard

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// How a kernel is booted once more, after what, and when not at all.
func TestShouldRetry(t *testing.T) {
	bzImage := fetched{image: &kernel.Image{Kernel: "bzImage"}}
	unpacked := &job{fetched: bzImage, boot: "vmlinux"}
	shipped := &job{fetched: bzImage, boot: "bzImage"}
	failed := func(v report.Verdict) vm.Verdict { return vm.Verdict{Verdict: v, Cause: &report.Cause{Title: "x"}} }
	panicked := vm.Verdict{Verdict: report.NoBoot, Cause: &report.Cause{Title: "x"}, Panicked: true}
	on := func(accel qemu.Accel, m vm.Method, note string) attempt {
		return attempt{mode: vm.BootMode{Accel: accel, Method: m}, note: note}
	}
	free := func(a attempt) attempt { a.free = true; return a }
	onKVM, onTCG, noted := on(qemu.KVM, vm.Fastest, ""), on(qemu.TCG, vm.Fastest, ""), on(qemu.TCG, vm.Fastest, "y")
	conservative := on(qemu.TCG, vm.Conservative, "")
	untested, tested := vm.Doubt{Why: "y"}, vm.Doubt{Why: "y", Tested: true}
	tests := []struct {
		name string
		only bool // KVM
		j    *job
		a    attempt
		v    vm.Verdict
		d    vm.Doubt
		none bool // no attempt is left
		want attempt
		why  string // "": none
	}{
		{name: "QEMU was killed", j: shipped, a: onTCG, v: failed(report.Infra), want: conservative, why: "x"},
		{name: "QEMU was killed, on KVM", j: shipped, a: onKVM, v: failed(report.Infra), want: conservative, why: "x"},
		{name: "QEMU was killed, on KVM alone", only: true, j: shipped, a: onKVM, v: failed(report.Infra), want: on(qemu.KVM, vm.Conservative, ""), why: "x"},
		{name: "QEMU was killed, and no attempt is left", j: shipped, a: onTCG, v: failed(report.Infra), none: true},
		{name: "no sign of init", j: shipped, a: onTCG, v: failed(report.NoBoot), want: conservative, why: "x"},
		{name: "no sign of init on KVM", j: shipped, a: onKVM, v: failed(report.NoBoot), d: untested, none: true, want: free(noted), why: "y"},
		{name: "KVM fails in a test", j: shipped, a: onKVM, v: failed(report.Infra), d: tested, none: true, want: noted, why: "y"},
		{name: "KVM fails in a test, KVM alone", only: true, j: shipped, a: onKVM, v: failed(report.Infra), d: tested, want: on(qemu.KVM, vm.Conservative, ""), why: "x"},
		{name: "KVM alone on trial", only: true, j: shipped, a: on(qemu.KVM, vm.Trial, ""), v: failed(report.Infra), d: untested},
		{name: "a warning at boot on KVM", j: shipped, a: onKVM, v: failed(report.Crash), d: tested, want: noted, why: "y"},
		{name: "a warning at boot, TCG", j: shipped, a: onTCG, v: failed(report.Crash), d: tested},
		{name: "TCG after KVM keeps the note", j: shipped, a: free(noted), v: failed(report.NoBoot), d: untested, want: on(qemu.TCG, vm.Conservative, "y"), why: "x"},
		{name: "a panic before init, and another way to boot", j: unpacked, a: onTCG, v: panicked, want: conservative, why: "x"},
		{name: "a second one", j: unpacked, a: conservative, v: panicked},
		{name: "a panic before init on KVM", j: shipped, a: onKVM, v: panicked, d: untested, want: free(noted), why: "y"},
		{name: "a panic before init, and nothing else to try", j: shipped, a: onTCG, v: panicked},
		{name: "a failed test", j: unpacked, a: onKVM, v: failed(report.Fail)},
		{name: "a crash", j: unpacked, a: onKVM, v: failed(report.Crash)},
		{name: "a timeout", j: unpacked, a: onKVM, v: failed(report.Timeout)},
		{name: "a pass", j: unpacked, a: onKVM, v: vm.Verdict{Verdict: report.Pass}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &run{Runner: &Runner{Config: Config{NoEmulation: tt.only}, Host: Host{Accel: tt.a.mode.Accel}}}
			got, why := r.shouldRetry(tt.j, tt.a, tt.v, tt.d, !tt.none)
			if !reflect.DeepEqual(got, tt.want) || why != tt.why {
				t.Errorf("got %+v, %q, want %+v, %q", got, why, tt.want, tt.why)
			}
		})
	}
}

// What is tried again is tried without KVM, and gets the time that this takes; so
// does a kernel that checks itself.
func TestSlowness(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, []byte("CONFIG_KASAN=y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	plain, checks := &kernel.Image{}, &kernel.Image{Config: config}
	for _, tt := range []struct {
		of, on qemu.Accel
		image  *kernel.Image
		want   time.Duration
	}{
		{qemu.KVM, qemu.KVM, plain, 1},
		{qemu.KVM, qemu.TCG, plain, 3},
		{qemu.TCG, qemu.TCG, plain, 1},
		{qemu.KVM, qemu.KVM, checks, 5},
		{qemu.KVM, qemu.TCG, checks, 15},
		{qemu.TCG, qemu.TCG, checks, 5},
	} {
		r := &run{Runner: &Runner{Config: Config{Limits: vm.Limits{Boot: time.Second, Test: 2 * time.Second}}, Host: Host{Accel: tt.of}}}
		programs := []vm.Program{{Timeout: time.Second}}
		w := vm.Watch{Case: vm.Case{Programs: programs}}
		if l := r.limits(&w, tt.image, tt.on); l.Boot != tt.want*time.Second || l.Test != tt.want*2*time.Second || w.Programs[0].Timeout != tt.want*time.Second {
			t.Errorf("%+v: %+v, programs %+v", tt, l, w.Programs)
		}
		if programs[0].Timeout != time.Second {
			t.Error("another boot's limits have changed")
		}
		// Init is told, of a saved VM when that is booted.
		if told := slices.Contains(r.baseMachine(tt.image, tt.on).Append, vm.ScaleParam(tt.want)); told != (tt.want > 1) {
			t.Errorf("%+v: init is told: %v", tt, told)
		}
	}
}

func TestShouldRefetch(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{errors.New("connection reset by peer"), true},
		{&kernel.DigestError{}, true},
		{&kernel.BadKernelError{Err: &kernel.DigestError{}}, true},
		{&kernel.BadKernelError{Err: errors.New("holds no kernel")}, false},
		{&kernel.UsageError{Msg: "x"}, false},
	} {
		if got := shouldRefetch(tt.err); got != tt.want {
			t.Errorf("%T: %v, want %v", tt.err, got, tt.want)
		}
	}
}

// runOf makes the result of one repeat: a verdict, and tests as "p", "f", "s" or "-"
// for one that is not there.
func runOf(v report.Verdict, tests string) report.Result {
	k := report.Result{ID: "a/1", Verdict: v, Attempts: 1, TestsOnly: v == report.Fail, Phases: map[string]int64{"vm": 10}, Console: "results/a/1." + v.String() + ".txt"}
	if v != report.Pass {
		k.Cause = &report.Cause{Title: v.String()}
	}
	for i, c := range tests {
		if verdict := map[rune]string{'p': "pass", 'f': "fail", 's': "skip"}[c]; verdict != "" {
			k.Tests = append(k.Tests, report.Test{Name: string(rune('A' + i)), Verdict: verdict})
		}
	}
	return k
}

func TestCombine(t *testing.T) {
	tests := []struct {
		name  string
		runs  []report.Result
		want  report.Verdict
		title string
		tests string
		flaky []report.Flaky
		only  bool
	}{
		{name: "all pass", runs: []report.Result{runOf(report.Pass, "ps"), runOf(report.Pass, "pp")}, want: report.Pass, tests: "pp"},
		{name: "a flaky pass is no pass", runs: []report.Result{runOf(report.Pass, "pp"), runOf(report.Fail, "pf"), runOf(report.Pass, "pp")}, want: report.Fail, title: "fail (1 of 3 runs)", tests: "pf", flaky: []report.Flaky{{Name: "B", Failed: 1, Runs: 3}}, only: true},
		{name: "always the same is not flaky", runs: []report.Result{runOf(report.Fail, "pf"), runOf(report.Fail, "pf")}, want: report.Fail, title: "fail", tests: "pf", only: true},
		{name: "a skip is neither", runs: []report.Result{runOf(report.Fail, "f"), runOf(report.Pass, "s")}, want: report.Fail, title: "fail (1 of 2 runs)", tests: "f", only: true},
		{name: "a crash is worse than a failure", runs: []report.Result{runOf(report.Fail, "f"), runOf(report.Crash, "-"), runOf(report.Timeout, "p")}, want: report.Crash, title: "crash", tests: "f", flaky: []report.Flaky{{Name: "A", Failed: 1, Runs: 2}}},
		{name: "what was not tested once did not pass", runs: []report.Result{runOf(report.Pass, "p"), runOf(report.Infra, "")}, want: report.Infra, title: "infra (1 of 2 runs)", tests: "p"},
		{name: "a failure is worse than no test", runs: []report.Result{runOf(report.Infra, ""), runOf(report.Fail, "f")}, want: report.Fail, title: "fail", tests: "f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := combine(tt.runs)
			got := ""
			for _, x := range k.Tests {
				got += x.Verdict[:1]
			}
			if k.Verdict != tt.want || got != tt.tests || k.TestsOnly != tt.only || k.Repeats != len(tt.runs) || k.Phases["vm"] != int64(10*len(tt.runs)) {
				t.Errorf("got %v, tests %q, only tests %v, %d repeats, %v", k.Verdict, got, k.TestsOnly, k.Repeats, k.Phases)
			}
			if k.Cause != nil && k.Cause.Title != tt.title || k.Cause == nil && tt.title != "" {
				t.Errorf("cause %+v, want %q", k.Cause, tt.title)
			}
			if d := cmp.Diff(tt.flaky, k.Flaky); d != "" {
				t.Errorf("flaky (-want +got):\n%s", d)
			}
			if len(k.History) != len(tt.runs)-1 {
				t.Errorf("history %+v", k.History)
			}
		})
	}
}
