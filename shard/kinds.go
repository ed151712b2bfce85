package shard

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/btfhub"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

// Kinds tells of which kinds kernels are for a payload.
type Kinds struct {
	Payload guest.Payload
	BTF     *btfhub.Files // types for kernels that have none; nil: there are none
	Arch    string        // as in GOARCH
	Index   *index.Index  // nil: there is none
	Jobs    int           // kernels at a time

	// Read has kernels fetched and read that the index lacks; else their kinds are
	// not known.
	Read    bool
	Cache   *kernel.Cache
	Scratch string // directory for unpacked kernels; exists
}

// Found is what Kinds found.
type Found struct {
	Kinds   map[string]string // by id; "": not known
	Lacking int               // kernels that the index lacks
	Unknown map[string]int    // kernels of no known kind, without those that are not read since the index lacks them, by what is not known of them: "build options", or "" where nothing is
	Without []string          // of several programs those without BPF objects: nothing is known of what they depend on
	Series  bool              // the payload has no BPF objects: kernels of a series are of one kind
}

// Find finds the kinds of kernels. What cannot be read is of no known kind; an
// error is that of ctx.
func (k Kinds) Find(ctx context.Context, entries []plan.Entry) (Found, error) {
	s := newPreflight(k.Payload, k.BTF, k.Arch)
	s.index = k.Index
	found := Found{Kinds: map[string]string{}, Unknown: map[string]int{}, Series: len(s.objects) == 0}
	for _, p := range k.Payload.Job.Programs {
		if at := slices.Index(p.Args, "--") + 1; at == 0 || at == len(p.Args) || !s.carry[p.Args[at]] {
			found.Without = append(found.Without, p.Name)
		}
	}
	var mu sync.Mutex
	var looking errgroup.Group
	looking.SetLimit(max(1, k.Jobs))
	for _, e := range entries {
		looking.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			kind, lacks, lacking := preflight.KindSeries, "", false
			if !found.Series {
				kind, lacks, lacking = k.find(ctx, s, e)
			}
			mu.Lock()
			defer mu.Unlock()
			found.Kinds[e.ID()] = kind
			if lacking {
				found.Lacking++
			}
			if kind == "" && (k.Read || !lacking) {
				found.Unknown[lacks]++
			}
			return ctx.Err()
		})
	}
	return found, looking.Wait()
}

func (k Kinds) find(ctx context.Context, s *preflightRun, e plan.Entry) (kind, lacks string, lacking bool) {
	on, indexed, err := s.find(ctx, e, k.Cache, k.Scratch, k.Read)
	lacking = k.Index != nil && !indexed
	if on == nil || err != nil {
		return "", "", lacking
	}
	kind, lacks = s.kind(on, preflight.CheckAll(s.objects, on, s.alternatives, s.attach))
	return kind, lacks, lacking
}
