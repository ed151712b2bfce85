package shard

import (
	"context"
	"fmt"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

// Forecast says what preflight makes of a payload's BPF objects on kernels without
// booting or fetching them.
type Forecast struct {
	runner *Runner
	run    *preflightRun
}

// Forecast finds the objects of the payload. x may be nil.
func (r *Runner) Forecast(x *index.Index) *Forecast {
	f := &Forecast{r, newPreflight(r.Payload, r.BTF, r.Arch.Name)}
	f.run.index = x
	return f
}

// Possible says whether the payload has objects that can be found.
func (f *Forecast) Possible() bool { return len(f.run.objects) > 0 }

// Kernel reads a kernel from the index or the cache. It is nil for one that is in
// neither.
func (f *Forecast) Kernel(ctx context.Context, e plan.Entry) *preflight.Kernel {
	k, _, err := f.run.find(ctx, e, f.runner.Cache, f.runner.Scratch, f.runner.Cache.Has(e.Digest))
	if err != nil {
		return nil
	}
	return k
}

// Of returns what becomes of each program on a kernel, and the kernel's kind.
func (f *Forecast) Of(k *preflight.Kernel) (word, kind string) {
	results := preflight.CheckAll(f.run.objects, k, f.run.alternatives, f.run.attach)
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintln(&b, r.Err)
		for _, p := range r.Programs {
			becomes := p.Loads
			if f.run.attach {
				becomes = p.Attaches
			}
			fmt.Fprintln(&b, p.Name, p.Skip, becomes)
		}
	}
	kind, _ = f.run.kind(k, results)
	return b.String(), kind
}

// Difference is what differs between two kernels for the payload's objects.
func (f *Forecast) Difference(a, b *preflight.Kernel) *preflight.Difference {
	return preflight.DiffFor(f.run.objects, a, b)
}
