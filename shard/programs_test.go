package shard

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// vmResult is a VM's result: its programs' verdicts, each as name=verdict, and the
// worst of them and of the VM's own, whose cause is "vm".
func vmResult(t *testing.T, own report.Verdict, programs string) report.Result {
	t.Helper()
	k := report.Result{ID: "debian/6.1", Verdict: own, Attempts: 1, TestsOnly: own == report.Pass, Phases: map[string]int64{"vm": 10}}
	if own != report.Pass {
		k.Cause = &report.Cause{Title: "vm"}
	}
	for _, p := range strings.Fields(programs) {
		name, verdict, _ := strings.Cut(p, "=")
		v, err := report.ParseVerdict(verdict)
		if err != nil {
			t.Fatal(err)
		}
		one := report.Program{Name: name, Verdict: v, Tests: 1, TestsOnly: v == report.Fail}
		if v != report.Pass {
			one.Cause = &report.Cause{Title: verdict}
		}
		if v.Tested() {
			k.Tests = append(k.Tests, report.Test{Name: name + "/T", Verdict: report.TestPass})
		}
		k.Programs = append(k.Programs, one)
		if vm.Badness(v) > vm.Badness(k.Verdict) || k.Cause == nil && v != report.Pass {
			k.Verdict, k.Cause = v, vm.OfProgram(name, one.Cause)
			k.TestsOnly = v == report.Fail
		}
	}
	return k
}

func TestJoinVMs(t *testing.T) {
	const pass, infra, fail, crash = report.Pass, report.Infra, report.Fail, report.Crash
	type seen struct {
		own      report.Verdict
		programs string
	}
	for _, tt := range []struct {
		name  string
		vms   []seen
		want  string // the programs' verdicts, and the kernel's
		cause string
		tests string
	}{
		{"one VM", []seen{{pass, "a=pass b=pass c=pass"}}, "pass pass pass pass", "", "abc"},
		{"a crash in the middle", []seen{{crash, "a=pass b=crash c=missing"}, {pass, "c=pass"}}, "pass crash pass crash", "vm", "abc"},
		{"two crashes", []seen{{crash, "a=crash b=missing c=missing"}, {crash, "b=crash c=missing"}, {pass, "c=pass"}}, "crash crash pass crash", "vm", "abc"},
		{"it ended early, and all passed", []seen{{pass, "a=pass b=missing c=missing"}, {pass, "b=pass c=pass"}}, "pass pass pass pass", "", "abc"},
		{"it ended early, and the rest failed", []seen{{pass, "a=pass b=missing c=missing"}, {pass, "b=fail c=pass"}}, "pass fail pass fail", "b: fail", "abc"},
		{"the rest was not tested", []seen{{pass, "a=pass b=missing c=missing"}, {infra, "b=infra c=infra"}}, "pass infra infra infra", "vm", "a"},
		{"nothing came to the last", []seen{{crash, "a=pass b=crash c=missing"}, {infra, "c=infra"}}, "pass crash infra crash", "vm", "ab"},
		{"QEMU failed under one, which passed then", []seen{{infra, "a=pass b=infra c=missing"}, {pass, "b=pass c=pass"}}, "pass pass pass pass", "", "abc"},
		{"QEMU failed under one, which failed then", []seen{{infra, "a=pass b=infra c=missing"}, {pass, "b=fail c=pass"}}, "pass fail pass fail", "b: fail", "abc"},
		{"QEMU failed behind the last", []seen{{infra, "a=pass b=pass c=pass"}}, "pass pass pass infra", "vm", "abc"},
		{"QEMU failed between two", []seen{{infra, "a=pass b=missing c=missing"}, {pass, "b=pass c=pass"}}, "pass pass pass infra", "vm", "abc"},
		{"a VM failed as such", []seen{{fail, "a=pass b=missing c=missing"}, {pass, "b=pass c=pass"}}, "pass pass pass fail", "vm", "abc"},
		{"no VM booted", []seen{{report.NoBoot, "a=no-boot b=no-boot c=no-boot"}}, "no-boot no-boot no-boot no-boot", "vm", ""},
		{"a VM does not name one", []seen{{pass, "a=pass b=pass"}}, "pass pass missing missing", "c: no VM came to it", "ab"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var vms []report.Result
			for i, s := range tt.vms {
				k := vmResult(t, s.own, s.programs)
				k.Console = vmPath("results/debian/6.1.txt", i+1)
				vms = append(vms, k)
			}
			k := joinVMs([]wire.Program{{Name: "a"}, {Name: "b"}, {Name: "c"}}, vms)
			got := []string{}
			for _, p := range k.Programs {
				got = append(got, p.Verdict.String())
			}
			if d := cmp.Diff(tt.want, strings.Join(append(got, k.Verdict.String()), " ")); d != "" {
				t.Error(d)
			}
			tests := ""
			for _, x := range k.Tests {
				tests += strings.TrimSuffix(x.Name, "/T")
			}
			if tests != tt.tests || len(k.History) != len(vms)-1 || k.Phases["vm"] != int64(10*len(vms)) {
				t.Errorf("tests %s, history %+v, phases %v", tests, k.History, k.Phases)
			}
			if (k.Cause == nil) != (k.Verdict == pass) || k.Cause != nil && k.Cause.Title != tt.cause {
				t.Errorf("cause %+v, want %s", k.Cause, tt.cause)
			}
			if k.Verdict == pass {
				k.Console = "results/debian/6.1.txt"
				for i := range k.History {
					k.History[i].Console = fmt.Sprintf("results/debian/6.1.vm-%d.txt", i+2)
				}
				if err := k.Check(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
