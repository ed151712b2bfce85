package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// Limits of the number of shards.
const (
	MaxMatrix = 256  // jobs in a matrix of GitHub
	MaxShards = 4096 // more are not merged
)

// DefaultCost is the time that a kernel is taken to need when none is known.
const DefaultCost = 30 * time.Second

// Part says which part of a list a plan's entries are.
type Part struct {
	List      string // digest of the whole list
	Algorithm Algorithm
	Shard     int // from 1
	Shards    int
}

// Shard returns the plan's Part, which for a whole list is 1 of 1.
func (p Plan) Shard() Part {
	if p.Part != nil {
		return *p.Part
	}
	return Part{List: p.Digest(), Algorithm: Single, Shard: 1, Shards: 1}
}

// SetCosts gives each kernel the time that it took before and returns how many
// are known.
func (p Plan) SetCosts(t report.Timings) (known int) {
	for i := range p.Entries {
		e := &p.Entries[i]
		if e.Cost = t.Kernels[e.ID()].Total; e.Cost > 0 {
			known++
		}
	}
	return known
}

// Costs returns the time that each kernel took before, in the order of Entries. A
// kernel without a known time gets the median of the others.
func (p Plan) Costs() []time.Duration {
	costs := make([]time.Duration, len(p.Entries))
	for i, e := range p.Entries {
		costs[i] = e.Cost
	}
	return fillCosts(costs)
}

// Load is the sum of the kernels' costs.
func (p Plan) Load() time.Duration {
	load, _ := p.load()
	return load
}

func (p Plan) load() (load, longest time.Duration) {
	for _, c := range p.Costs() {
		c = min(c, maxCost)
		load += c
		longest = max(longest, c)
	}
	return load, longest
}

// Partition cuts a whole list into n shards. Some are empty when n is more than
// the number of kernels.
func (p Plan) Partition(a Algorithm, n int) []Plan {
	costs := p.Costs()
	shards := newShards(Part{List: p.Digest(), Algorithm: a, Shards: n}, p)
	for i, s := range assign(a, p.IDs(), costs, n) {
		e := p.Entries[i]
		e.Cost = costs[i] // a shard's own median would be another
		shards[s-1].Entries = append(shards[s-1].Entries, e)
	}
	return shards
}

func newShards(part Part, of Plan) []Plan {
	shards := make([]Plan, part.Shards)
	for i := range shards {
		own := part
		own.Shard = i + 1
		shards[i] = Plan{Part: &own, LeftOut: of.LeftOut, Known: of.Known, Represented: of.Represented, Payload: of.Payload}
	}
	return shards
}

// PartitionByTime cuts a whole list into as few shards as keep each below target,
// with jobs VMs at a time. A shard may exceed it by one kernel that alone takes
// longer than target. When no number of shards up to limit is enough, the one
// that comes nearest is taken.
func (p Plan) PartitionByTime(a Algorithm, target time.Duration, jobs, limit int) []Plan {
	capacity := target * time.Duration(jobs)
	limit = min(limit, len(p.Entries))
	least := 1
	if load, longest := p.load(); longest <= capacity {
		least = max(1, min(limit, int(load/capacity)))
	}
	var best []Plan
	var bestLoad time.Duration
	for n := least; n <= limit; n++ {
		shards := p.Partition(a, n)
		var most time.Duration
		for _, s := range shards {
			load, longest := s.load()
			if longest > capacity {
				load -= longest
			}
			most = max(most, load)
		}
		if best == nil || most < bestLoad {
			best, bestLoad = shards, most
		}
		if most <= capacity {
			break
		}
	}
	return best
}

// Fullest returns the highest load of the shards.
func Fullest(shards []Plan) time.Duration {
	var most time.Duration
	for _, s := range shards {
		most = max(most, s.Load())
	}
	return most
}

// File makes plan.json from the plan and the shards that it was cut into.
func (p Plan) File(tool string, shards []Plan) *report.PlanFile {
	part := shards[0].Shard()
	f := &report.PlanFile{Tool: tool, List: part.List, Algorithm: string(part.Algorithm), Gone: p.Gone(), LeftOut: p.LeftOut, Known: p.Known, Represented: p.Represented, Payload: p.Payload}
	for _, e := range p.Entries {
		f.Kernels = append(f.Kernels, report.PlanKernel{
			ID: e.ID(), Digest: e.Ref.Digest, Source: e.Source.String(),
			Release: e.Release, Arch: e.Arch, Size: e.Size, Locator: e.Locator,
		})
	}
	for i, s := range shards {
		f.Shards = append(f.Shards, report.PlanShard{Shard: i + 1, Kernels: s.IDs()})
	}
	return f
}

// Pinned returns the shards of plan.json with the kernels as the sources offer
// them now. A kernel that is gone, or whose bytes changed since the plan was
// made, stays in its shard and cannot be opened: it fails with infra, and
// nothing else is tested instead.
func Pinned(ctx context.Context, f *report.PlanFile, sources []kernel.Source, globs []string) ([]Plan, error) {
	// Picks such as newest:2 were made when the plan was; now all are listed.
	offered, _, err := listKernels(ctx, sources, Filter{Globs: globs}, f)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]Entry, len(offered.Entries))
	for _, e := range offered.Entries {
		byID[e.ID()] = e
	}
	shards := newShards(Part{List: f.List, Algorithm: Algorithm(f.Algorithm), Shards: len(f.Shards)}, Plan{LeftOut: f.LeftOut, Known: f.Known, Represented: f.Represented, Payload: f.Payload})
	for i, s := range f.Shards {
		for _, id := range s.Kernels {
			k, _ := f.Kernel(id) // its shards are a partition of its list
			e, ok := byID[id]
			switch {
			case !ok:
				e = unavailable(k, "the plan pins it, and the sources do not offer it any more: plan again")
			case e.Ref.Digest != k.Digest:
				e = unavailable(k, fmt.Sprintf("the plan pins %.80s, and the sources now offer other bytes, %.80s: plan again", k.Digest, e.Ref.Digest))
			}
			shards[i].Entries = append(shards[i].Entries, e)
		}
		slices.SortFunc(shards[i].Entries, func(a, b Entry) int { return cmp.Compare(a.ID(), b.ID()) })
	}
	return shards, nil
}

// unavailable returns the entry of a pinned kernel that the sources lack.
func unavailable(k report.PlanKernel, reason string) Entry {
	ref := kernel.Ref{Release: k.Release, Arch: k.Arch, Digest: k.Digest, Size: k.Size}
	ref.Distro, ref.Name, _ = strings.Cut(k.ID, "/")
	return Entry{Ref: ref, Source: noSource{k.Source, reason}}
}

// noSource is the source of unavailable kernels.
type noSource struct{ spec, reason string }

func (s noSource) String() string { return s.spec }

func (s noSource) List(context.Context) ([]kernel.Ref, error) { return nil, nil }

func (s noSource) Open(_ context.Context, ref kernel.Ref) (*kernel.Image, error) {
	return nil, &kernel.BadKernelError{ID: ref.ID(), Err: errors.New(s.reason)}
}
