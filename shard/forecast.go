package shard

import (
	"fmt"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/btfhub"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

// Forecast says what preflight makes of a payload's BPF objects on kernels that
// need not boot for that.
type Forecast struct{ run *preflightRun }

// NewForecast finds the objects of a payload. types are for kernels without any,
// as of [Config].
func NewForecast(p guest.Payload, types *btfhub.Files, arch string) Forecast {
	return Forecast{newPreflight(p, types, arch)}
}

// Objects are the payload's, none if they cannot be found.
func (f Forecast) Objects() []*preflight.Object { return f.run.objects }

// Of returns what becomes of each program on a kernel, and the kernel's kind.
// Both are "" where nothing is known.
func (f Forecast) Of(k *preflight.Kernel) (word, kind string) {
	if len(f.run.objects) == 0 {
		return "", ""
	}
	k.LoadOnly(f.run.modules)
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
func (f Forecast) Difference(a, b *preflight.Kernel) *preflight.Difference {
	for _, k := range []*preflight.Kernel{a, b} {
		k.LoadOnly(f.run.modules)
	}
	return preflight.DiffFor(f.run.objects, a, b)
}
