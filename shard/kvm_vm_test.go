package shard

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// kvmRunner is one for a KVM that was found to work, with a QEMU that does
// something else when it is told to use it.
func (l *lab) kvmRunner(t *testing.T, onKVM string) (*Runner, *[]Event) {
	t.Helper()
	r := l.runner(t, l.passPayload(t))
	r.Accel = qemu.KVM
	r.Limits = vm.DefaultLimits(qemu.KVM, far, far)
	if onKVM != "" {
		r.QEMU = filepath.Join(t.TempDir(), "qemu")
		text := "#!/bin/sh\ncase \"$*\" in *'-accel kvm'*)\n" + onKVM + "\n;; esac\nexec " + l.qemu + " \"$@\"\n"
		if err := os.WriteFile(r.QEMU, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var events []Event
	r.Report = func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.State == Emulating || e.State == Retrying {
			events = append(events, e)
		}
	}
	return r, &events
}

// A KVM whose proof is good and that does not carry a kernel is given up with
// the first kernel, which is no further attempt, and all pass on TCG.
func TestKVMIsGivenUp(t *testing.T) {
	for _, tt := range []struct {
		name, onKVM, why string
	}{
		{"hangs", "exec sleep 600", "printed nothing within 10s"},
		{"dies on an MSR", "echo 'qemu-system-x86_64: error: failed to set MSR 0x10a to 0x0' >&2; echo 'qemu-system-x86_64: kvm_buf_set_msrs: Assertion failed.' >&2; kill -ABRT $$", "MSR 0x10a"},
		{"cannot be used by QEMU", "echo 'Could not access KVM kernel module' >&2; exit 1", "exit status 1: Could not access KVM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			r, events := l.kvmRunner(t, tt.onKVM)
			r.Jobs = 2
			second := l.entry
			second.Name += "-again"
			k, console := l.run(t, r, l.entry, second)
			checkEmulated(t, r, k, tt.why)
			if len(*events) != 1 || (*events)[0].State != Emulating {
				t.Errorf("events %+v, want that KVM is given up, once", *events)
			}
			if !strings.Contains(console, "hello from the payload") {
				t.Error("the console is not that of the VM that passed")
			}
			sf, err := filepath.Glob(filepath.Join(r.Out, "shard-*.ndjson"))
			if err != nil || len(sf) != 1 {
				t.Fatalf("%v, %v", sf, err)
			}
			b, err := os.ReadFile(sf[0])
			if err != nil || strings.Count(string(b), `"accel":"tcg"`) != 2 || strings.Count(string(b), `"accel_note":`) != 2 {
				t.Errorf("%v; want both kernels on TCG and why:\n%s", err, b)
			}
		})
	}
}

func checkEmulated(t *testing.T, r *Runner, k report.Result, why string) {
	t.Helper()
	if k.Verdict != report.Pass || k.Accel != "tcg" || k.Attempts != 1 || !strings.Contains(k.AccelNote, why) {
		t.Errorf("%v on %s, attempt %d, %q, %+v; want a pass on tcg at the first attempt, because of %q", k.Verdict, k.Accel, k.Attempts, k.AccelNote, k.Cause, why)
	}
	kept, err := filepath.Glob(filepath.Join(r.Out, "results", "*", "*.kvm.txt"))
	if err != nil || len(kept) != 1 {
		t.Errorf("%v, %v: want the console of the VM on KVM kept", kept, err)
	}
}

// Without emulation nothing is tested, and the reason is what to do.
func TestKVMIsDemanded(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	r, _ := l.kvmRunner(t, "echo 'error: failed to set MSR 0x10a' >&2; exit 1")
	r.NoEmulation = true
	k, _ := l.run(t, r)
	if k.Verdict != report.Infra || k.Cause == nil || !strings.Contains(k.Cause.Title, "MSR 0x10a") || !strings.Contains(k.Cause.Title, qemu.KVMAdvice()[:40]) {
		t.Errorf("got %v, %+v", k.Verdict, k.Cause)
	}
}

// A kernel that starts is a pass on KVM, as far as this machine can tell: its
// QEMU says that it uses KVM and emulates.
func TestKVMThatWorksIsUsed(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	r, events := l.kvmRunner(t, "for a; do\ncase $a in kvm) a=tcg ;; host) a=max,-erms,-fsrm ;; esac\nset -- \"$@\" \"$a\"\nshift\ndone")
	r.forTests.bootLimits = &vm.BootLimits{TrialSign: far, TrialBoot: far} // it emulates
	k, console := l.run(t, r)
	if k.Verdict != report.Pass || k.Accel != "kvm" || k.AccelNote != "" || len(*events) != 0 {
		t.Errorf("%v on %s, %q, %+v", k.Verdict, k.Accel, k.AccelNote, *events)
	}
	if !strings.Contains(console, "Kernel command line: ") {
		t.Error("the kernel gave no early sign of life")
	}
}

// The real device of a machine whose KVM opens and does not work, taken for one
// that does: the watch over the first kernel finds out.
func TestKVMOfThisMachineIsGivenUp(t *testing.T) {
	if _, err := os.Stat(qemu.DefaultKVM); err != nil {
		t.Skip("this machine has no KVM")
	}
	f, err := os.OpenFile(qemu.DefaultKVM, os.O_RDWR, 0)
	if err != nil {
		t.Skipf("this user may not open KVM: %v", err)
	}
	f.Close()
	if err := qemu.ProveKVM(t.Context(), qemu.DefaultKVM); err == nil {
		t.Skip("KVM works here")
	}
	t.Parallel()
	l := theLab(t)
	r, events := l.kvmRunner(t, "")
	k, _ := l.run(t, r)
	checkEmulated(t, r, k, qemu.KVMAdvice()[:40])
	t.Logf("%+v", *events)
}
