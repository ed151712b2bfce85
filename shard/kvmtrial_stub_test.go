package shard

import (
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Kernels that come one after the other, what their VMs do on KVM and on TCG, and
// whether KVM is still there for the last one.
func TestKVMTrial(t *testing.T) {
	well := script{"kvm": {"passes"}, "tcg": {"passes"}}
	on := func(kvm string, tcg ...string) script { return script{"kvm": {kvm}, "tcg": tcg} }
	for _, tt := range []struct {
		name    string
		kernels []script
		want    string // of each kernel its verdict, and the VMs it took
		why     string // KVM is given up; "": it is not
	}{
		{"KVM that works", []script{well, well}, "pass kvm, pass kvm", ""},
		{"a kernel refused everywhere", []script{on("is refused", "is refused"), well}, "infra kvm tcg tcg, pass kvm", ""},
		{"a kernel that panics everywhere", []script{on("panics at boot", "panics at boot"), well}, "no-boot kvm tcg, pass kvm", ""},
		{"two kernels that panic everywhere", []script{on("panics at boot", "panics at boot"), on("panics at boot", "panics at boot"), well}, "no-boot kvm tcg, no-boot kvm tcg, pass kvm", ""},
		{"a kernel that resets everywhere", []script{on("resets at boot", "resets at boot"), well}, "no-boot kvm tcg tcg, pass kvm", ""},
		{"a kernel refused on KVM alone", []script{on("is refused", "passes"), well}, "pass kvm tcg, pass tcg", "without PVH"},
		{"KVM that QEMU cannot use", []script{on("cannot use KVM", "passes"), well}, "pass kvm tcg, pass tcg", "failed to initialize kvm"},
		{"one panic on KVM alone", []script{on("panics at boot", "passes"), well, on("panics at boot", "passes"), well}, "pass kvm tcg, pass kvm, pass kvm tcg, pass kvm", ""},
		{"two panics in a row on KVM alone", []script{on("panics at boot", "passes"), on("panics at boot", "passes"), well}, "pass kvm tcg, pass kvm tcg, pass tcg", "Attempted to kill init"},
		{"a reset on KVM alone", []script{on("resets at boot", "passes"), well}, "pass kvm tcg, pass kvm", ""},
		{"an internal error at boot, the first kernel", []script{on("stops with an internal error at boot", "passes"), well}, "pass kvm tcg, pass tcg", "KVM internal error"},
		{"an internal error at boot, later", []script{well, on("stops with an internal error at boot", "passes"), well}, "pass kvm, pass kvm tcg, pass kvm", ""},
		{"an internal error in a test", []script{on("stops with an internal error in a test", "passes"), well}, "pass kvm tcg, pass kvm", ""},
		{"an internal error in a test that fails", []script{on("stops with an internal error in a test", "fails")}, "fail kvm tcg", ""},
		{"an internal error in two kernels in a row", []script{on("stops with an internal error in a test", "passes"), on("stops with an internal error in a test", "fails"), well}, "pass kvm tcg, fail kvm tcg, pass tcg", "KVM internal error"},
		{"an internal error after the end", []script{on("stops with an internal error, later", "passes")}, "pass kvm tcg", ""},
		{"KVM that vanishes", []script{well, on("cannot use KVM", "passes"), on("cannot use KVM", "passes"), well}, "pass kvm, pass kvm tcg, pass kvm tcg, pass tcg", "failed to initialize kvm"},
		{"no memory for a vCPU, once", []script{well, on("gets no vCPU", "passes"), well}, "pass kvm, pass kvm tcg, pass kvm", ""},
		{"an abort in a test", []script{on("aborts in a test", "passes"), well}, "pass kvm tcg, pass kvm", ""},
		{"a warning at boot on KVM alone", []script{on("warns at boot", "passes"), well}, "pass kvm tcg, pass kvm", ""},
		{"a warning at boot on KVM alone, and a failed test", []script{on("warns at boot", "fails"), well}, "fail kvm tcg, pass kvm", ""},
		{"two such warnings in a row", []script{on("warns at boot", "passes"), on("warns at boot", "passes"), well}, "pass kvm tcg, pass kvm tcg, pass tcg", "WARNING in cpu_init"},
		{"a warning at boot on both", []script{on("warns at boot", "warns at boot"), well}, "crash kvm tcg, pass kvm", ""},
		{"a warning in a test", []script{on("warns in a test", "passes")}, "crash kvm", ""},
		{"a warning at boot and one in a test", []script{on("warns at boot and in a test", "passes")}, "crash kvm", ""},
		{"a failed test", []script{on("fails", "passes")}, "fail kvm", ""},
		{"no end", []script{on("prints no end", "passes")}, "fail kvm", ""},
		{"killed at boot", []script{on("is killed at boot", "passes"), well}, "pass kvm tcg, pass kvm", ""},
		{"killed in a test", []script{on("is killed in a test", "passes"), well}, "pass kvm tcg, pass kvm", ""},
		{"told to end by others", []script{on("is told to end in a test", "passes"), well}, "pass kvm tcg, pass kvm", ""},
		{"KVM's fault, then TCG's", []script{on("stops with an internal error at boot", "aborts in a test", "passes"), well}, "pass kvm tcg tcg, pass tcg", "KVM internal error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, events := standInRunner(t, qemu.KVM)
			var got []string
			for i, does := range tt.kernels {
				k, vms := does.test(t, r, string(rune('a'+i)))
				got = append(got, k.Verdict.String()+" "+vms)
				// Who was ended from outside is retried, and KVM is not to blame.
				others := tt.name == "told to end by others" || strings.HasPrefix(tt.name, "killed")
				if noted := k.AccelNote != ""; noted != (k.Accel == "tcg" && !others) {
					t.Errorf("%s: on %s with the note %q", k.ID, k.Accel, k.AccelNote)
				}
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
			gaveUp := ""
			for _, e := range *events {
				if e.State == Emulating {
					gaveUp += e.Reason
				}
			}
			if (gaveUp == "") != (tt.why == "") || !strings.Contains(gaveUp, tt.why) {
				t.Errorf("KVM was given up for %q, want %q", gaveUp, tt.why)
			}
		})
	}
}

// QEMU's own ends are infrastructure under TCG as well, and are tried once more;
// the kernel's are not.
func TestQEMUEndsUnderTCG(t *testing.T) {
	for _, tt := range []struct {
		first string
		want  string
		cause string // of the first VM, when it was tried again; else of the result
	}{
		{"aborts in a test", "pass tcg tcg", "qemu: fatal: Trying to execute code outside RAM"},
		{"is killed in a test", "pass tcg tcg", "QEMU: killed by SIGKILL"},
		{"is told to end in a test", "pass tcg tcg", "QEMU: killed by SIGTERM: qemu-system-aarch64: terminating on signal 15"},
		{"is killed at boot", "pass tcg tcg", "QEMU: killed by SIGKILL"},
		{"is refused", "pass tcg tcg", "QEMU: exit status 1: qemu: Error loading uncompressed kernel"},
		{"resets at boot", "pass tcg tcg", "went down before init"},
		{"resets in a test", "fail tcg", "it broke down (on x86, a triple fault), or the payload reset the machine"},
		{"restarts in a test", "fail tcg", "the payload ended the VM, or closed the result channel"},
		{"warns at boot", "crash tcg", "WARNING in cpu_init"},
	} {
		t.Run(tt.first, func(t *testing.T) {
			t.Parallel()
			r, _ := standInRunner(t, qemu.TCG)
			k, vms := script{"tcg": {tt.first, "passes"}}.test(t, r, "a")
			if got := k.Verdict.String() + " " + vms; got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			cause := ""
			if k.Cause != nil {
				cause = k.Cause.Title
			}
			if len(k.History) > 0 {
				cause = k.History[0].Cause
			}
			if !strings.Contains(cause, tt.cause) {
				t.Errorf("cause %q, want %q", cause, tt.cause)
			}
		})
	}
}

// With KVM alone a kernel's own fault leaves the question open, and what KVM is
// at fault for is said with what to do.
func TestKVMAlone(t *testing.T) {
	r, events := standInRunner(t, qemu.KVM)
	r.NoEmulation, r.Retries = true, 0
	for i, tt := range []struct{ does, want, cause string }{
		{"is refused", "infra kvm", "QEMU: exit status 1: qemu: Error loading"},
		{"panics at boot", "no-boot kvm", "Kernel panic"},
		{"cannot use KVM", "infra kvm", "on KVM QEMU ended before the kernel was up"},
		{"passes", "pass kvm", ""},
		{"stops with an internal error in a test", "infra kvm", "QEMU: it stopped the VM: KVM internal error. Suberror: 1"},
		{"warns at boot", "crash kvm", "WARNING in cpu_init"},
		{"passes", "pass kvm", ""},
	} {
		k, vms := script{"kvm": {tt.does}}.test(t, r, string(rune('a'+i)))
		if got := k.Verdict.String() + " " + vms; got != tt.want || k.Cause != nil && !strings.Contains(k.Cause.Title, tt.cause) || (k.Cause == nil) != (tt.cause == "") {
			t.Errorf("%s: got %s, %+v, want %s, %q", tt.does, got, k.Cause, tt.want, tt.cause)
		}
	}
	for _, e := range *events {
		if e.State == Emulating {
			t.Errorf("KVM was given up: %s", e.Reason)
		}
	}
}
