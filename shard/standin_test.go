package shard

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// buildStandIn builds testdata/standin once.
var buildStandIn = sync.OnceValues(func() (string, error) {
	path := filepath.Join(hostileDir(), "standin")
	out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "./testdata/standin").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return path, err
})

// script is what VMs of one kernel do: behaviours by accelerator, those of the
// first VM, the second and so on, and the last one's for all that follow.
type script map[string][]string

// standInRunner is one whose VMs are the stand-in's. arm64 has results and
// console on one line, so what comes first is seen first.
func standInRunner(t *testing.T, accel qemu.Accel) (*run, *[]Event) {
	t.Helper()
	arch, err := qemu.LookupArch("arm64")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := buildStandIn()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var events []Event
	r := &Runner{
		Config: Config{
			Out: t.TempDir(), Arch: arch, Jobs: 1, Retries: 1,
			Limits:  vm.Limits{Boot: far, Payload: far, Grace: far, Off: far, Crash: far, Silence: far},
			Payload: guest.Payload{Job: wire.Job{Args: []string{"/payload"}}},
			Report: func(e Event) {
				mu.Lock()
				defer mu.Unlock()
				events = append(events, e)
			},
		},
		Host:     Host{Scratch: t.TempDir(), QEMU: bin, Accel: accel, Now: time.Now, Random: rand.Reader},
		forTests: overrides{bootLimits: &vm.BootLimits{TrialSign: far, TrialBoot: far}},
	}
	return r.newRun(), &events
}

// test boots the kernel of a script and says on which accelerators.
func (does script) test(t *testing.T, r *run, name string) (k report.Result, vms string) {
	t.Helper()
	k, vms, _ = does.testIn(t, r, name)
	return k, vms
}

// testIn is test, and says where the kernel is: beside it are the arguments of
// its VMs, for each accelerator.
func (does script) testIn(t *testing.T, r *run, name string) (k report.Result, vms, path string) {
	t.Helper()
	j := does.job(t, r, name)
	path = j.boot
	k, ok := r.bootPrograms(t.Context(), j, 0)
	if !ok {
		t.Fatal("the kernel was not done")
	}
	if err := k.Check(); err != nil {
		t.Errorf("no shard file may have this result: %v", err)
	}
	for _, accel := range []string{"kvm", "tcg"} {
		b, _ := os.ReadFile(path + "." + accel)
		for range strings.Count(string(b), "\n") {
			vms += accel + " "
		}
	}
	return k, strings.TrimSpace(vms), path
}

// job is that of a script's kernel.
func (does script) job(t *testing.T, r *run, name string) *job {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kernel")
	b, err := json.Marshal(does)
	if err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &job{
		fetched: fetched{entry: plan.Entry{Ref: kernel.Ref{Distro: "debian", Name: name}, Source: namedSource{}}, image: &kernel.Image{Kernel: path}},
		boot:    path, initrd: path, jobInitrd: filepath.Join(r.Scratch, "initramfs-job-0"), slot: &slot{of: make(chan struct{}, 1)},
	}
}

type namedSource struct{ kernel.Source }

func (namedSource) String() string { return "dir:x" }
