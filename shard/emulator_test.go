package shard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// What may be the emulator's fault is tried on another CPU, once: what comes again
// is the kernel's, and what does not is in the history.
func TestEmulatorsFault(t *testing.T) {
	const (
		strange = "crashes as only an emulator does"
		early   = "crashes at boot as only an emulator does"
	)
	for _, tt := range []struct {
		name    string
		vms     []string
		retries int
		want    string // verdict, and those of the history
		console string // what the result's own console has
		cpus    string // of the VMs
	}{
		{"once", []string{strange, "passes"}, 1, "pass infra", "", "max plain"},
		{"once, and no retries are wanted", []string{strange, "passes"}, 0, "pass infra", "", "max plain"},
		{"once, and a test fails", []string{strange, "fails"}, 1, "fail infra", "", "max plain"},
		{"twice", []string{strange, strange, "passes"}, 1, "crash crash", "Undefined instruction", "max plain"},
		{"then a crash of another kind", []string{strange, "crashes", "passes"}, 1, "crash crash", "WARNING", "max plain"},
		{"a crash that is possible", []string{"crashes", "passes"}, 1, "crash", "WARNING", "max"},
		{"at boot", []string{early, "passes"}, 1, "pass infra", "", "max plain"},
		{"at boot, twice", []string{early, early, "passes"}, 1, "no-boot no-boot", "Undefined instruction", "max plain"},
		{"then QEMU is killed", []string{strange, "is killed in a test", "passes"}, 1, "crash infra", "Undefined instruction", "max plain"},
		{"then QEMU is killed, and it passes", []string{strange, "is killed in a test", "passes"}, 2, "pass infra infra", "", "max plain plain"},
		{"then it does not boot", []string{strange, "panics at boot", "passes"}, 1, "crash no-boot", "Undefined instruction", "max plain"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, events := standInRunner(t, qemu.TCG)
			r.Retries = tt.retries
			k, vms, path := script{"tcg": tt.vms}.testIn(t, r, "a")
			got := k.Verdict.String()
			for _, a := range k.History {
				got += " " + a.Verdict.String()
				if b, err := os.ReadFile(filepath.Join(r.Out, a.Console)); err != nil || a.Cause == "" {
					t.Errorf("%+v: its console is %q, %v", a, b, err)
				}
			}
			if got != tt.want {
				t.Errorf("got %s, want %s: %+v", got, tt.want, k)
			}
			if n := strings.Count(vms, "tcg"); k.Attempts != n {
				t.Errorf("%d attempts in %d VMs", k.Attempts, n)
			}
			log, err := os.ReadFile(path + ".tcg")
			if err != nil {
				t.Fatal(err)
			}
			cpus := ""
			for line := range strings.Lines(string(log)) {
				switch {
				case strings.Contains(line, "-cpu "+r.Arch.CPU[qemu.TCG]+" "):
					cpus += "max "
				case strings.Contains(line, "-cpu "+r.Arch.PlainCPU[qemu.TCG]+" "):
					cpus += "plain "
				}
			}
			if strings.TrimSpace(cpus) != tt.cpus {
				t.Errorf("CPUs %s, want %s", cpus, tt.cpus)
			}
			b, err := os.ReadFile(filepath.Join(r.Out, k.Console))
			if err != nil || !strings.Contains(string(b), tt.console) {
				t.Errorf("console %q, %v, want %q", b, err, tt.console)
			}
			if k.Verdict == report.Pass {
				if c := k.History[0].Cause; !strings.HasPrefix(c, report.EmulatorFailed+": an undefined instruction, and 8b010000 is a valid one (Internal error: Oops - Undefined instruction in foo)") {
					t.Errorf("history says %q", c)
				}
				if k.Reusable() == nil {
					t.Error("the result may stand for later VMs")
				}
			}
			for _, e := range *events {
				if e.State == Retrying && strings.Contains(e.Reason, "emulator") != strings.HasPrefix(e.Reason, "Internal error") {
					t.Errorf("said %q", e.Reason)
				}
			}
		})
	}
}
