package qemu

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

// The registers as QEMU prints them.
const (
	regsX86 = "RAX=0000000000000000 RBX=ffff888003a1c000 RCX=0000000000000001 RDX=0000000000000000\n" +
		"ES =0000 0000000000000000 ffffffff 00c00000\nCode=00 00 <f3> 0f 1e fa\n"
	regs32  = "EAX=00000000 EBX=00000000 ECX=00000000 EDX=00000663\nEIP=0000fff0 EFL=00000002\n"
	regsARM = " PC=ffff800010081234 X00=0000000000000000 X01=0000000000000001\nX02=0000000000000002 X03=0000000000000003\n"
)

// A QEMU that stops its VM for good and lives on is ended at once. The stand-in
// prints what the real one prints, by its source of 5.0 to 10.2, and waits; that
// real ones wait so too was not seen on hardware.
func TestRunEndsAVMThatWasStopped(t *testing.T) {
	for _, tt := range []struct{ name, stderr, want string }{
		{"an internal error", "KVM internal error. Suberror: 1\nextra data[0]: 0x0000000000000001\nemulation failure\n" + regsX86, "it stopped the VM: KVM internal error. Suberror: 1"},
		{"an internal error that is a warning", "qemu-system-x86_64: warning: KVM internal error: Encounter a notify exit with invalid context in guest.\n" + regsX86, "KVM internal error: Encounter a notify exit"},
		{"entry failed", "KVM: entry failed, hardware error 0x80000021\n\nIf you're running a guest on an Intel machine without unrestricted mode\n" + regs32, "KVM: entry failed, hardware error 0x80000021"},
		{"run failed", "error: kvm run failed Bad address\n" + regsX86, "error: kvm run failed Bad address"},
		{"unknown exit", "KVM: unknown exit, hardware reason 31\n" + regsX86, "KVM: unknown exit, hardware reason 31"},
		{"exception", "KVM: exception 8 exit (error code 0x0)\n" + regsX86, "KVM: exception 8 exit"},
		{"registers", "qemu-system-x86_64: Failed to put registers after init: Invalid argument\n" + regsX86, "Failed to put registers after init"},
		{"arm64", "qemu-system-aarch64: Data abort exception triggered by guest memory access at physical address: 0x4007c000\nKVM unable to emulate faulting instruction.\n" + regsARM, "KVM unable to emulate faulting instruction"},
		{"a message of another version", "qemu-system-aarch64: something that is new\n" + regsARM, "something that is new"},
		{"no message", regsX86, "it stopped the VM"},
		{"warnings before it", "qemu-system-x86_64: warning: host doesn't support requested feature: MSR(48FH).vmx-exit-load-perf-global-ctrl [bit 12]\nKVM internal error. Suberror: 3\n" + regsX86, "it stopped the VM: KVM internal error. Suberror: 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			text := "cat >&2 <<'END'\n" + tt.stderr + "END\nsleep 600" // not exec: nothing of a wrapper may stay
			e, err := Run(ctx, script(t, text), machine(t), &bytes.Buffer{}, &bytes.Buffer{})
			if err != nil || !e.Fault || e.Killed || e.Clean() || e.FromOutside() || !strings.Contains(e.String(), tt.want) {
				t.Errorf("got %+v (%s), %v; want %q", e, e, err, tt.want)
			}
		})
	}
}

// What QEMU survives is no reason to end its VM, and no reason for its end.
func TestRunBearsWithWarnings(t *testing.T) {
	for _, line := range []string{
		"qemu-system-x86_64: warning: host doesn't support requested feature: MSR(480H).vmx-true-ctls [bit 55]",
		"qemu-system-x86_64: warning: TCG doesn't support requested feature: CPUID.01H:ECX.vmx [bit 5]",
		"KVM: injection failed, interrupt lost (Invalid argument)",
		"qemu-system-x86_64: warning: KVM: Encounter a notify exit with valid context in guest.",
		strings.Repeat("x", 5000) + "KVM internal error",
	} {
		e, err := Run(t.Context(), script(t, "cat >&2 <<'END'\n"+line+"\nEND\necho con >&3"), machine(t), &bytes.Buffer{}, &bytes.Buffer{})
		if err != nil || !e.Clean() || e.MSR() != "" {
			t.Errorf("%.80s: %+v, %v", line, e, err)
		}
	}
}

// How QEMU's own ends read, and whether one is its own.
func TestExitWords(t *testing.T) {
	const harmless = "qemu-system-x86_64: warning: host doesn't support requested feature: MSR(48FH).vmx [bit 12]\n"
	for _, tt := range []struct {
		name string
		exit Exit
		want string
	}{
		{"a fatal error with registers behind it", Exit{Code: -1, Signal: "SIGABRT", Stderr: "qemu: fatal: Trying to execute code outside RAM or ROM at 0x000000008000001c\n" + regsX86 + "XMM00=0000 XMM01=0000\n"}, "killed by SIGABRT: qemu: fatal: Trying to execute code outside RAM"},
		{"the translator's", Exit{Code: -1, Signal: "SIGABRT", Stderr: "../tcg/tcg.c:3135: tcg fatal error\n"}, "tcg fatal error"},
		{"an assertion, and more", Exit{Code: -1, Signal: "SIGABRT", Stderr: harmless + "**\nERROR:../accel/tcg/cpu-exec.c:954:cpu_exec: assertion failed: (cpu == current_cpu)\nBail out! ERROR:../accel/tcg/cpu-exec.c\n"}, "ERROR:../accel/tcg/cpu-exec.c:954"},
		{"no memory", Exit{Code: 1, Stderr: "qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory\n"}, "exit status 1: qemu-system-x86_64: cannot set up guest memory"},
		{"a warning alone", Exit{Code: -1, Signal: "SIGSEGV", Stderr: harmless}, "killed by SIGSEGV"},
		{"a register that KVM lacks", Exit{Code: -1, Signal: "SIGABRT", Stderr: harmless + "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x0\nqemu-system-x86_64: ../target/i386/kvm/kvm.c:2893: kvm_buf_set_msrs: Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed.\n"}, "failed to set MSR 0x10a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.exit.String()
			if !strings.Contains(got, tt.want) || strings.Contains(got, "warning") {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
			if m := tt.exit.MSR(); (m != "") != strings.Contains(tt.want, "MSR") || strings.Contains(m, "warning") {
				t.Errorf("register %q", m)
			}
		})
	}
}

// QEMU takes a signal from someone else as the wish to end and returns 0, which
// is no end of the guest's.
func TestRunToldToEndByOthers(t *testing.T) {
	for name, text := range map[string]string{
		"SIGTERM": "trap 'echo \"qemu-system-x86_64: terminating on signal 15 from pid 1234 (<unknown process>)\" >&2; exit 0' TERM; kill $$; :",
		"SIGHUP":  "echo 'qemu-system-x86_64: terminating on signal 1' >&2",
	} {
		e, err := Run(t.Context(), script(t, text), machine(t), &bytes.Buffer{}, &bytes.Buffer{})
		if err != nil || e.Clean() || !e.FromOutside() || e.Signal != name || !strings.Contains(e.String(), "killed by "+name) {
			t.Errorf("%s: %+v (%s), %v", name, e, e, err)
		}
	}
}

func FuzzFaultWatch(f *testing.F) {
	f.Add([]byte("KVM internal error. Suberror: 1\n"+regsX86), 7)
	f.Add([]byte("qemu: fatal: x\n"+regsARM+"\nterminating on signal 15\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		// However the bytes are cut, the same is seen.
		seen := func(step int) bool {
			w := &faultWatch{found: func() {}}
			for p := b; len(p) > 0; {
				k := min(step, len(p))
				_, _ = w.Write(p[:k])
				p = p[k:]
			}
			return w.done
		}
		if all, parts := seen(len(b)+1), seen(max(1, n%64)); all != parts {
			t.Errorf("%q: %v at once, %v in parts", b, all, parts)
		}
		_, _, _ = message(string(b)), caughtSignal(string(b)), Exit{Stderr: string(b)}.MSR()
	})
}
