package shard

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// A kernel that does not come up on the microvm is booted on the usual one,
// in the same attempt, and from then on at once.
func TestMicroVMIsLearned(t *testing.T) {
	l := theLab(t)
	if !l.features.MicroVM {
		t.Fatal("this QEMU has no microvm")
	}
	for _, tt := range []struct{ name, act, again string }{
		{"goes down", "exit 0", "usual"},
		{"is refused by QEMU", "echo 'microvm: not here' >&2; exit 1", "microvm usual"}, // for want of memory, maybe
		{"makes QEMU crash", "kill -ABRT $$", "usual"},
		{"hangs", "exec sleep 1000", "usual"},
		{"panics before init", `printf 'Kernel panic - not syncing: no such machine\n' >&3; exit 0`, "usual"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			log := filepath.Join(dir, "log")
			script := filepath.Join(dir, "qemu")
			text := fmt.Sprintf("#!/bin/sh\ncase \"$*\" in *microvm*) echo microvm >>%s; %s;; esac\necho usual >>%s\nexec %s \"$@\"\n", log, tt.act, log, l.qemu)
			if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"microvm usual", tt.again} {
				r := l.runner(t, l.passPayload(t))
				// The note is of a QEMU, and so of this test.
				r.QEMU, r.QEMUDigest, r.forTests.bootLimits = script, dir, &vm.BootLimits{MicroVM: 2 * time.Second}
				k, console := l.run(t, r)
				if k.Verdict != report.Pass || k.Machine != "pc" || k.Attempts != 1 || k.Boot != "cold" || strings.Contains(console, "no such machine") {
					t.Errorf("%s on %s, %d attempts, booted %s", k.Verdict, k.Machine, k.Attempts, k.Boot)
				}
				b, _ := os.ReadFile(log)
				os.Remove(log)
				if got := strings.Join(strings.Fields(string(b)), " "); got != want {
					t.Errorf("machines %q, want %q", got, want)
				}
			}
		})
	}
}

// Who asks for something that the microvm has not gets the usual one.
func TestMicroVMIsForPlainBoots(t *testing.T) {
	l := theLab(t)
	for _, tt := range []struct {
		name   string
		change func(*Runner, *job)
		want   bool
	}{
		{"a plain boot", func(*Runner, *job) {}, true},
		{"a network", func(r *Runner, _ *job) { r.Net = true }, false},
		{"a clock of unknown rate", func(r *Runner, _ *job) { r.TSC = 0 }, false},
		{"a QEMU without it", func(r *Runner, _ *job) { r.MicroVM = false }, false},
		{"KVM", func(r *Runner, _ *job) { r.Accel = qemu.KVM }, false},
		{"no PVH entry", func(_ *Runner, j *job) { j.boot = j.image.Kernel }, false},
		{"an old kernel", func(_ *Runner, j *job) { j.image.Release = "5.8.18" }, false},
		{"the first kernel", func(_ *Runner, j *job) { j.image.Release = "5.9.0" }, true},
		{"a kernel that does not say", func(_ *Runner, j *job) { j.image.Release = "" }, false},
	} {
		r := l.runner(t, l.passPayload(t))
		r.QEMUDigest = t.Name()
		im, err := l.entry.Source.Open(t.Context(), l.entry.Ref)
		if err != nil {
			t.Fatal(err)
		}
		j := job{fetched: fetched{entry: l.entry, image: im}, boot: "vmlinux"}
		tt.change(r, &j)
		if got := r.newRun().useMicroVM(&j, r.Accel); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	r := l.runner(t, l.passPayload(t))
	if k, _ := l.run(t, r); k.Verdict != report.Pass || k.Machine != "microvm" {
		t.Errorf("%s on %s", k.Verdict, k.Machine)
	}
}
