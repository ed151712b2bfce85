package shard

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

func TestAgain(t *testing.T) {
	unpacked := job{boot: "vmlinux", image: &kernel.Image{Kernel: "bzImage"}}
	shipped := job{boot: "bzImage", image: &kernel.Image{Kernel: "bzImage"}}
	tests := []struct {
		name  string
		accel qemu.Accel
		j     job
		v     verdict
		want  bool
	}{
		{"QEMU was killed", qemu.TCG, shipped, verdict{Verdict: report.Infra}, true},
		{"no sign of init", qemu.TCG, shipped, verdict{Verdict: report.NoBoot}, true},
		{"a panic before init, and another way to boot", qemu.TCG, unpacked, verdict{Verdict: report.NoBoot, panicked: true}, true},
		{"a panic before init on KVM", qemu.KVM, shipped, verdict{Verdict: report.NoBoot, panicked: true}, true},
		{"a panic before init, and nothing else to try", qemu.TCG, shipped, verdict{Verdict: report.NoBoot, panicked: true}, false},
		{"a failed test", qemu.KVM, unpacked, verdict{Verdict: report.Fail}, false},
		{"a crash", qemu.KVM, unpacked, verdict{Verdict: report.Crash}, false},
		{"a timeout", qemu.KVM, unpacked, verdict{Verdict: report.Timeout}, false},
		{"a pass", qemu.KVM, unpacked, verdict{Verdict: report.Pass}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Runner{Accel: tt.accel}
			if got := r.again(tt.j, tt.v, 1); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if tt.v.panicked && r.again(tt.j, tt.v, 2) {
				t.Error("a second panic is tried again")
			}
		})
	}
}

// What is tried again is tried without KVM, and gets the time that this takes.
func TestAttemptWithoutKVM(t *testing.T) {
	r := &Runner{Accel: qemu.KVM, Limits: Limits{Boot: time.Second, Test: 2 * time.Second}}
	if l, n := r.limits(qemu.KVM); !reflect.DeepEqual(l, r.Limits) || n != 1 {
		t.Errorf("on KVM: %+v, %d", l, n)
	}
	if l, n := r.limits(qemu.TCG); l.Boot != 3*time.Second || l.Test != 6*time.Second || n != 3 {
		t.Errorf("without: %+v, %d", l, n)
	}
	r.Accel = qemu.TCG
	if l, n := r.limits(qemu.TCG); !reflect.DeepEqual(l, r.Limits) || n != 1 {
		t.Errorf("a run on TCG: %+v, %d", l, n)
	}
}

func TestFetchAgain(t *testing.T) {
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
		if got := fetchAgain(tt.err); got != tt.want {
			t.Errorf("%T: %v, want %v", tt.err, got, tt.want)
		}
	}
}

// runOf makes the result of one repeat: a verdict, and tests as "p", "f", "s" or "-"
// for one that is not there.
func runOf(v report.Verdict, tests string) report.Kernel {
	k := report.Kernel{ID: "a/1", Verdict: v, Attempts: 1, TestsOnly: v == report.Fail, Phases: map[string]int64{"vm": 10}, Console: "results/a/1." + v.String() + ".txt"}
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
		runs  []report.Kernel
		want  report.Verdict
		title string
		tests string
		flaky []report.Flaky
		only  bool
	}{
		{name: "all pass", runs: []report.Kernel{runOf(report.Pass, "ps"), runOf(report.Pass, "pp")}, want: report.Pass, tests: "pp"},
		{name: "a flaky pass is no pass", runs: []report.Kernel{runOf(report.Pass, "pp"), runOf(report.Fail, "pf"), runOf(report.Pass, "pp")}, want: report.Fail, title: "fail (1 of 3 runs)", tests: "pf", flaky: []report.Flaky{{Name: "B", Failed: 1, Runs: 3}}, only: true},
		{name: "always the same is not flaky", runs: []report.Kernel{runOf(report.Fail, "pf"), runOf(report.Fail, "pf")}, want: report.Fail, title: "fail", tests: "pf", only: true},
		{name: "a skip is neither", runs: []report.Kernel{runOf(report.Fail, "f"), runOf(report.Pass, "s")}, want: report.Fail, title: "fail (1 of 2 runs)", tests: "f", only: true},
		{name: "a crash is worse than a failure", runs: []report.Kernel{runOf(report.Fail, "f"), runOf(report.Crash, "-"), runOf(report.Timeout, "p")}, want: report.Crash, title: "crash", tests: "f", flaky: []report.Flaky{{Name: "A", Failed: 1, Runs: 2}}},
		{name: "what was not tested once did not pass", runs: []report.Kernel{runOf(report.Pass, "p"), runOf(report.Infra, "")}, want: report.Infra, title: "infra (1 of 2 runs)", tests: "p"},
		{name: "a failure is worse than no test", runs: []report.Kernel{runOf(report.Infra, ""), runOf(report.Fail, "f")}, want: report.Fail, title: "fail", tests: "f"},
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
