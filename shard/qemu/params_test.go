package qemu

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

func TestParseParams(t *testing.T) {
	got, err := ParseParams([]string{`lsm=lockdown,bpf  slab_nomerge`, ``, `dyndbg="file net/* +p" nokaslr hugepages=4`})
	want := []string{"lsm=lockdown,bpf", "slab_nomerge", `dyndbg="file net/* +p"`, "nokaslr", "hugepages=4"}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	for line, why := range map[string]string{
		"console=tty0": "console and the results", `"console=tty0"`: "console and the results", `x="a console=tty0"`: "console and the results",
		"earlyprintk": "console and the results", "8250.nr_uarts=1": "console and the results",
		"bkc.nonce=1": "its orders", "bkc.handover=1": "its orders", `dyndbg="a bkc.scale=100 b"`: "its orders",
		"quiet": "log levels", "ignore-loglevel": "log levels", "printk.devkmsg=off": "log levels", "sysctl.kernel/printk=1": "log levels",
		"panic=0": "no longer be seen", "panic_on_warn": "no longer be seen", "oops=panic": "no longer be seen", "sysctl.kernel.panic_on_oops=0": "no longer be seen", "nosoftlockup": "no longer be seen",
		"watchdog_thresh=60": "no longer be seen", "nmi-watchdog=0": "no longer be seen", "sysctl.kernel.watchdog_thresh=60": "no longer be seen", "sysctl.kernel.nmi_watchdog=0": "no longer be seen", "rcupdate.rcu_cpu_stall_timeout=300": "no longer be seen",
		"init=/bin/sh": "has to start", "rdinit=/x": "has to start", "root=/dev/sda": "has to start", "initcall-blacklist=x": "has to start",
		"nr_cpus=1": "--cpus", "maxcpus=1": "--cpus", "nosmp": "--cpus", "mem=64M": "--memory",
		"--": "takes no parameters", "a -- b": "takes no parameters",
		"a\x00b": "printable", "a\nb": "printable", "ä": "printable", `a="b`: "not closed", strings.Repeat("a", maxParams): "at most 1024",
	} {
		if got, err := ParseParams([]string{"nokaslr", line}); err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %q, %v, want %s", line, got, err, why)
		}
	}
}

// Whatever is taken, the kernel splits it as SplitParams does, and none of the
// VM's own parameters is in it.
func FuzzParseParams(f *testing.F) {
	for _, s := range []string{`a="b c" d`, `"console=x"`, "bkc.nonce=1", `a"b"c=d`, "-", "--", `""`, "panic=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		params, err := ParseParams([]string{line})
		if err != nil {
			return
		}
		joined := strings.Join(params, " ")
		again, err := ParseParams([]string{joined})
		if err != nil || !slices.Equal(params, again) || len(joined) > maxParams {
			t.Fatalf("%q: %q, then %q, %v", line, params, again, err)
		}
		for word := range strings.FieldsSeq(joined) {
			if name, _, _ := strings.Cut(strings.Trim(word, `"`), "="); slices.Contains([]string{"console", "panic", "init", "mem", "quiet"}, name) || strings.HasPrefix(name, "bkc.") {
				t.Fatalf("%q has %s", line, name)
			}
		}
	})
}

// The documentation's table has each parameter and CPU that a VM can get, and what
// it changes for what is tested.
func TestEveryParameterIsInTheTable(t *testing.T) {
	b, err := os.ReadFile("../../.github/docs/machines.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(b), "\n## What the VM changes in the kernel\n")
	if !ok {
		t.Fatal("the section is gone")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	needs := func(what string) {
		if !strings.Contains(table, "`"+what+"`") {
			t.Errorf("`%s` is not in the table", what)
		}
	}
	for _, name := range goarch.Names() {
		arch, err := LookupArch(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, accel := range []Accel{TCG, KVM} {
			for i := range 1 << 6 {
				is := func(bit int) bool { return i>>bit&1 == 1 }
				m := Machine{
					Arch: arch, Accel: accel, Nonce: "n", TSC: 1, CPUs: 1,
					Conservative: is(0), PlainCPU: is(1), Avoid: is(2), Snapshot: is(3), Net: is(4),
				}
				if is(5) {
					m.CPUs = 2
				}
				needs(m.cpu())
				for param := range strings.FieldsSeq(m.Cmdline() + " " + arch.EarlyCon) {
					key, _, has := strings.Cut(param, "=")
					if has && !strings.Contains(table, "`"+param+"`") {
						key += "="
					} else if has {
						continue
					}
					needs(key)
				}
			}
		}
	}
}

// The verifier of kernels from 6.7 passes over its Spectre checks where no fault
// of the CPU is mitigated.
func TestMitigationsAreTheKernelsOwn(t *testing.T) {
	for _, name := range goarch.Names() {
		arch, err := LookupArch(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, own := range []string{"mitigations", "nospectre", "spectre_v2", "pti", "nopti", "retbleed", "spec_store_bypass_disable", "bhi", "spectre_bhi"} {
			if c := (Machine{Arch: arch, Accel: TCG}).Cmdline(); strings.Contains(" "+c, " "+own) {
				t.Errorf("%s: %s is set: %s", name, own, c)
			}
		}
	}
}
