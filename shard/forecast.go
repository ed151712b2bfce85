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
	index  *index.Index
	run    *preflightRun
}

// Forecast finds the objects of the payload. x may be nil.
func (r *Runner) Forecast(x *index.Index) *Forecast {
	return &Forecast{r, x, newPreflight(r.Payload, r.BTF, r.Arch.Name)}
}

// Possible says whether the payload has objects that can be found.
func (f *Forecast) Possible() bool { return len(f.run.objects) > 0 }

// Kernel reads a kernel from the index or the cache. It is nil for one that is in
// neither.
func (f *Forecast) Kernel(ctx context.Context, e plan.Entry) *preflight.Kernel {
	var k *preflight.Kernel
	facts, err := f.index.Facts(e.ID(), e.Digest)
	switch {
	case err == nil && facts != nil:
		k, err = preflight.NewKernel(facts)
	case !f.runner.Cache.Has(e.Digest):
		return nil
	default:
		im, oerr := e.Source.Open(ctx, e.Ref)
		if oerr != nil {
			return nil
		}
		if k, err = preflight.Load(ctx, im, f.runner.Cache, f.runner.Scratch, ""); err == nil {
			err = k.TakeTypes(ctx, im, f.run.btf)
		}
	}
	if err != nil {
		return nil
	}
	k.LoadOnly(f.run.modules)
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
	return b.String(), preflight.Kind(f.run.objects, k, results)
}

// Difference is what differs between two kernels for the payload's objects.
func (f *Forecast) Difference(a, b *preflight.Kernel) *preflight.Difference {
	return preflight.DiffFor(f.run.objects, a, b)
}
