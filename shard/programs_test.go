package shard

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
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
		if v.Badness() > k.Verdict.Badness() || k.Cause == nil && v != report.Pass {
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
		{"QEMU failed between two", []seen{{infra, "a=pass b=missing c=missing"}, {pass, "b=pass c=pass"}}, "pass pass pass pass", "", "abc"},
		{"QEMU failed between two, and under one then", []seen{{infra, "a=pass b=missing c=missing"}, {infra, "b=pass c=infra"}}, "pass pass infra infra", "vm", "ab"},
		{"a VM failed as such", []seen{{fail, "a=pass b=missing c=missing"}, {pass, "b=pass c=pass"}}, "pass pass pass fail", "vm", "abc"},
		{"no VM booted", []seen{{report.NoBoot, "a=no-boot b=no-boot c=no-boot"}}, "no-boot no-boot no-boot no-boot", "vm", ""},
		{"a VM does not name one", []seen{{pass, "a=pass b=pass"}}, "pass pass missing missing", "c: not run", "ab"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var vms []report.Result
			for i, s := range tt.vms {
				k := vmResult(t, s.own, s.programs)
				k.Console = vmPath("results/debian/6.1.txt", i+1)
				vms = append(vms, k)
			}
			k := joinVMs([]wire.Program{{Name: "a"}, {Name: "b"}, {Name: "c"}}, vms, 3)
			for _, a := range k.History {
				if a.Repeat != 3 {
					t.Errorf("%+v is of no repeat", a)
				}
			}
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

// Each VM has a job of its own, with the programs that are left.
func TestBootPrograms(t *testing.T) {
	for _, tt := range []struct {
		name    string
		isolate bool
		vms     []string // what they do
		want    string   // the programs' verdicts, and the kernel's
		console string   // is of the VM with this number
	}{
		{"one VM", false, []string{"a=pass b=fail c=pass"}, "pass fail pass fail", ""},
		{"a crash", false, []string{"a=pass b=crash", "c=fail"}, "pass crash fail crash", "1"},
		{"the second VM crashes", false, []string{"a=crash", "b=fail c=pass"}, "crash fail pass crash", "1"},
		{"it ends early", false, []string{"a=pass", "b=fail c=pass"}, "pass fail pass fail", "2"},
		{"QEMU is killed, and then under the next one", false, []string{"a=pass b=killed", "a=pass b=pass c=killed", "c=pass"}, "pass pass pass pass", ""},
		{"QEMU is killed under a program at each attempt", false, []string{"a=pass b=killed", "a=pass b=killed", "b=killed", "b=killed", "c=fail"}, "pass infra fail fail", ""},
		{"QEMU is killed under the first", false, []string{"a=killed", "a=killed", "b=pass c=pass"}, "infra pass pass infra", ""},
		{"QEMU is killed before any", false, []string{"is killed at boot"}, "infra infra infra infra", ""},
		{"the emulator fails after a failure", false, []string{"a=fail b=impossible", "a=pass b=pass c=pass"}, "fail pass pass fail", ""},
		{"the emulator fails after a failure, and then a VM ends early", false, []string{"a=fail b=impossible", "a=pass b=pass", "c=pass"}, "fail crash pass crash", ""},
		{"other programs run than the job has", false, []string{"a=pass b=crash", "b=pass c=pass"}, "pass crash fail crash", ""},
		{"isolated", true, []string{"a=pass", "b=crash", "c=pass"}, "pass crash pass crash", "2"},
		{"isolated, and QEMU is killed", true, []string{"a=killed", "a=killed", "b=pass", "c=pass"}, "infra pass pass infra", ""},
		{"isolated, and QEMU is killed at boot", true, []string{"is killed at boot", "is killed at boot", "b=pass", "c=fail"}, "infra pass fail fail", ""},
		{"isolated, and QEMU is killed at each boot", true, []string{"is killed at boot"}, "infra infra missing infra", ""},
		{"isolated, and it does not boot", true, []string{"panics at boot"}, "no-boot missing missing no-boot", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, _ := standInRunner(t, qemu.TCG)
			r.Isolate = tt.isolate
			r.ProgramFlags = map[string][]string{"b": {"--test", "name=b -- ./b"}}
			r.Payload.Job = wire.Job{Programs: []wire.Program{{Name: "a", Args: []string{"/a"}}, {Name: "b", Args: []string{"/b"}}, {Name: "c", Args: []string{"/c"}}}, Timeout: far}
			k, vms, _ := script{"tcg": tt.vms}.testIn(t, r, "6.1")
			var got []string
			for _, p := range k.Programs {
				got = append(got, p.Verdict.String())
			}
			if d := cmp.Diff(tt.want, strings.Join(append(got, k.Verdict.String()), " ")); d != "" {
				t.Errorf("%s: %+v", d, k)
			}
			consoles, _ := filepath.Glob(filepath.Join(r.Out, "results/debian/*.txt"))
			if n := strings.Count(vms, "tcg"); len(consoles) != n && tt.vms[0] != "panics at boot" {
				t.Errorf("%d consoles of %d VMs: %q", len(consoles), n, consoles)
			}
			more, _ := filepath.Glob(filepath.Join(r.Out, "results/debian/*.vm-*.txt"))
			for _, a := range append(k.History, report.Attempt{Console: k.Console}) {
				if _, err := os.Stat(filepath.Join(r.Out, a.Console)); err != nil {
					t.Error(err)
				}
			}
			if tt.console != "" && slices.ContainsFunc(k.History, func(a report.Attempt) bool {
				return strconv.Itoa(a.VM) == tt.console && !strings.Contains(a.Console, ".attempt-")
			}) {
				t.Errorf("the console is not that of VM %s: %+v", tt.console, k.History)
			}
			if b, err := os.ReadFile(filepath.Join(r.Scratch, "initramfs-job-0")); len(more) > 0 && (err != nil || !bytes.Contains(b, []byte(`"programs":[{"name":"`)) || bytes.Contains(b, []byte(`"name":"a"`)) && !tt.isolate && !strings.Contains(tt.name, "killed")) {
				t.Errorf("the last VM's job: %v", err)
			}
			if worst := worstProgram(k.Programs); worst == "b" && !strings.Contains(k.Reproduce, "./b") {
				t.Errorf("reproduced by %q", k.Reproduce)
			}
		})
	}
}

// What is wrong with one's names in another one's VM is found, too.
func TestIsolatedNames(t *testing.T) {
	r, _ := standInRunner(t, qemu.TCG)
	r.Isolate = true
	r.Payload.Job = wire.Job{Programs: []wire.Program{{Name: "a", Args: []string{"/a"}}, {Name: "a/T", Args: []string{"/T"}}}, Timeout: far}
	k, _, _ := script{"tcg": {"a=fail", "a/T=pass"}}.testIn(t, r, "6.1")
	if a, b := k.Programs[0], k.Programs[1]; a.Verdict != report.Fail || a.TestsOnly || b.Verdict != report.Pass || k.TestsOnly {
		t.Errorf("%+v", k)
	}
}
