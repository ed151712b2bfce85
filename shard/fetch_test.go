package shard

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// lateSource has kernels whose download goes on for a while when it is told to
// end.
type lateSource struct {
	open func(ctx context.Context) error
}

func (lateSource) String() string                             { return "late" }
func (lateSource) List(context.Context) ([]kernel.Ref, error) { return nil, nil }
func (s lateSource) Open(ctx context.Context, _ kernel.Ref) (*kernel.Image, error) {
	return nil, s.open(ctx)
}

// When Run returns nothing is fetched any more: what a download writes to and
// reports to may be gone.
func TestNothingIsFetchedAfterRun(t *testing.T) {
	arch, err := qemu.LookupArch("amd64")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan struct{})
	var running atomic.Int32
	src := lateSource{func(ctx context.Context) error {
		if running.Add(1) == downloads {
			cancel()
		}
		defer running.Add(-1)
		<-ctx.Done()
		select {
		case <-returned:
			t.Error("Run has returned, and a kernel is still fetched")
		case <-time.After(100 * time.Millisecond):
		}
		return context.Cause(ctx)
	}}
	var list plan.Plan
	for _, name := range []string{"1.1__a", "1.2__a", "1.3__a", "1.4__a", "1.5__a", "1.6__a"} {
		list.Entries = append(list.Entries, plan.Entry{Ref: kernel.Ref{Distro: "late", Name: name}, Source: src})
	}
	r := &Runner{
		Config: Config{Out: t.TempDir(), Arch: arch, Boot: BootCold, Jobs: 2, Report: func(Event) {}},
		Host:   Host{Scratch: t.TempDir(), Accel: qemu.TCG, Now: time.Now, Random: rand.Reader},
	}
	results, err := r.Run(ctx, list)
	close(returned)
	if n := running.Load(); n != 0 {
		t.Errorf("%d kernels are still fetched", n)
	}
	if err != nil && !errors.Is(err, context.Canceled) || len(results) != len(list.Entries) {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for _, k := range results {
		if k.Verdict != report.Missing {
			t.Errorf("%s: %v", k.ID, k.Verdict)
		}
	}
}
