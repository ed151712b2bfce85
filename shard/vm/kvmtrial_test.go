package vm

import (
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// What a VM shows, what is doubted then, and the verdict without doubt. The
// observations are those of QEMU's source and of kernels; none was made on
// hardware.
func TestKVMDoubt(t *testing.T) {
	hello := wire.Record{Type: wire.TypeHello, At: time.Second, Hello: &wire.Hello{}}
	stopped := qemu.Exit{Fault: true, Stderr: "KVM internal error. Suberror: 1\n"}
	warning := console.Finding{Kind: console.Splat, Title: "WARNING in cpu_init", Offset: 500, At: 400 * time.Millisecond}
	late := console.Finding{Kind: console.Splat, Title: "WARNING in bpf_check", Offset: 5000, At: 3 * time.Second}
	panicked := console.Finding{Kind: console.Panic, Title: "Kernel panic - not syncing: x"}
	trial := Limits{Sign: 10 * time.Second, Boot: 20 * time.Second}
	booted := func(o Observation, records ...wire.Record) Observation {
		o.Records, o.helloAt, o.nonce, o.Payload = append([]wire.Record{hello}, records...), 1000, "n", true
		return o
	}
	end := []wire.Record{
		{Type: wire.TypeTest, Test: &wire.Test{Name: "A", Verdict: wire.TestPass}},
		{Type: wire.TypeExit, Exit: &wire.Exit{}},
		{Type: wire.TypeEnd, End: &wire.End{Nonce: "n", Tests: 1, Passed: 1, Complete: true}},
	}
	for _, tt := range []struct {
		name    string
		o       Observation
		verdict report.Verdict
		why     string // "": no doubt
		kernels bool
		tested  bool
		advised bool // it ends with what to do
	}{
		{name: "a pass", o: booted(Observation{}, end...), verdict: report.Pass},
		{name: "nothing printed", o: Observation{stopped: stopBoot, Exit: qemu.Exit{Killed: true}, limits: trial}, verdict: report.NoBoot, why: "printed nothing within 10s", advised: true},
		{name: "a hang at boot", o: Observation{stopped: stopBoot, Exit: qemu.Exit{Killed: true}, limits: trial, Tail: "Linux"}, verdict: report.NoBoot, why: "did not start init within 20s", advised: true},
		{name: "a hang at boot with a word", o: Observation{stopped: stopBoot, Exit: qemu.Exit{Killed: true}, limits: trial, Tail: "WARNING", Findings: []console.Finding{warning}}, verdict: report.NoBoot, why: "did not start init", kernels: true, advised: true},
		{name: "a panic at boot", o: Observation{Findings: []console.Finding{panicked}}, verdict: report.NoBoot, why: "before init: Kernel panic", kernels: true},
		{name: "a reset at boot", o: Observation{}, verdict: report.NoBoot, why: "went down before init", kernels: true},
		{name: "an internal error at boot", o: Observation{Exit: stopped}, verdict: report.Infra, why: "KVM internal error. Suberror: 1", advised: true},
		{name: "an internal error in a test", o: booted(Observation{Exit: stopped}), verdict: report.Infra, why: "KVM internal error. Suberror: 1", tested: true},
		{name: "an internal error after a failed test", o: booted(Observation{Exit: stopped}, wire.Record{Type: wire.TypeTest, Test: &wire.Test{Name: "A", Verdict: wire.TestFail}}), verdict: report.Infra, why: "KVM internal error", tested: true},
		{name: "an internal error after the end", o: booted(Observation{Exit: stopped}, end...), verdict: report.Infra, why: "KVM internal error", tested: true},
		{name: "a crash in a test, then an internal error", o: booted(Observation{Exit: stopped, Findings: []console.Finding{late}}), verdict: report.Crash},
		{name: "a crash that is allowed, then an internal error", o: booted(Observation{Exit: stopped, stopped: stopCrash}), verdict: report.Infra, why: "KVM internal error", tested: true},
		{name: "a warning at boot", o: booted(Observation{Findings: []console.Finding{warning}}, end...), verdict: report.Crash, why: "while it booted: WARNING in cpu_init", kernels: true, tested: true},
		{name: "a warning at boot and one in a test", o: booted(Observation{Findings: []console.Finding{warning, late}}, end...), verdict: report.Crash},
		{name: "a warning in a test", o: booted(Observation{Findings: []console.Finding{late}}, end...), verdict: report.Crash},
		{name: "a warning that the log alone has", o: booted(Observation{Findings: []console.Finding{{Kind: console.Splat, Title: "WARNING in x"}}}, end...), verdict: report.Crash},
		{name: "a warning of a test on a line that is late", o: booted(Observation{Findings: []console.Finding{{Kind: console.Splat, Title: "WARNING in x", Offset: 500, At: 3 * time.Second}}}, end...), verdict: report.Crash},
		{name: "a failed test", o: booted(Observation{}, wire.Record{Type: wire.TypeTest, Test: &wire.Test{Name: "A", Verdict: wire.TestFail}}, end[1], wire.Record{Type: wire.TypeEnd, End: &wire.End{Nonce: "n", Tests: 1, Failed: 1, Complete: true}}), verdict: report.Fail},
		{name: "silence in a test", o: booted(Observation{stopped: stopSilence, Exit: qemu.Exit{Killed: true}}), verdict: report.Timeout},
		{name: "a reset in a test", o: booted(Observation{}), verdict: report.Fail},
		{name: "an abort in a test", o: booted(Observation{Exit: qemu.Exit{Code: -1, Signal: "SIGABRT", Stderr: "qemu: fatal: x\n"}}), verdict: report.Infra, why: "killed by SIGABRT: qemu: fatal: x", tested: true},
		{name: "killed in a test", o: booted(Observation{Exit: qemu.Exit{Code: -1, Signal: "SIGKILL"}}), verdict: report.Infra},
		{name: "killed at boot", o: Observation{Exit: qemu.Exit{Code: -1, Signal: "SIGKILL"}}, verdict: report.Infra},
		{name: "told to end in a test", o: booted(Observation{Exit: qemu.Exit{Signal: "SIGTERM"}}), verdict: report.Infra},
		{name: "a register", o: Observation{Exit: qemu.Exit{Code: -1, Signal: "SIGABRT", Stderr: "error: failed to set MSR 0x10a to 0x0\n"}}, verdict: report.Infra, why: "died on a register of the CPU that KVM does not have (error: failed to set MSR 0x10a to 0x0)", advised: true},
		{name: "a harmless word about a register", o: Observation{Exit: qemu.Exit{Code: 1, Stderr: "qemu-system-x86_64: warning: host doesn't support requested feature: MSR(48FH).vmx [bit 12]\nqemu: could not load kernel '/x': Invalid argument\n"}}, verdict: report.Infra, why: "QEMU ended before the kernel was up (exit status 1: qemu: could not load kernel"},
		{name: "ended by us", o: Observation{Exit: qemu.Exit{Killed: true}}, verdict: report.Infra},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := tt.o.Judge()
			d := DoubtKVM(tt.o, v)
			if v.Verdict != tt.verdict {
				t.Errorf("verdict %v (%+v), want %v", v.Verdict, v.Cause, tt.verdict)
			}
			if (d.Why == "") != (tt.why == "") || !strings.Contains(d.Why, tt.why) || d.Kernels != tt.kernels || d.Tested != tt.tested {
				t.Errorf("got %+v, want %q, kernels %v, tested %v", d, tt.why, tt.kernels, tt.tested)
			}
			if got := strings.HasSuffix(d.Why, ": "+qemu.KVMAdvice()); got != tt.advised || d.Advised != tt.advised {
				t.Errorf("what to do in %q: %v, %v, want %v", d.Why, got, d.Advised, tt.advised)
			}
		})
	}
}
