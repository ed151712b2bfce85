// Package plan decides which kernels one job boots: it lists the sources,
// filters, pins the list with a digest, and partitions it into shards, by
// number or by the time that kernels took before. It owns the assignment of
// kernels to shards, which is the same on every machine. It knows nothing of
// VMs and of payloads, and of results only whether those of an earlier run differ.
package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
)

// Entry is a kernel of a plan and the source it comes from.
type Entry struct {
	kernel.Ref
	Source kernel.Source
	Cost   time.Duration // what its VM took before; 0 if not known
	Kinds  bool          // its line of a list file wants one of each kind only
	New    string        // why it is new, see OnlyNew; "" where nobody asked
}

// Plan is the pinned list of kernels, sorted by id, or one shard's part of it.
type Plan struct {
	Entries []Entry
	Part    *Part     // nil for a whole list
	Skipped []Skipped // that the filter left out, sorted by id
	LeftOut []string  // ids of all others that the sources hold and were not wanted, sorted
	Known   []string  // ids that were wanted and are not new, see OnlyNew; sorted

	// Represented are kernels of the whole list that are not booted, each since
	// another of its kind is; sorted by id. They are not in Entries.
	Represented []report.Represented
	Payload     string // digest of the payload that plan has picked for; "": there was none
}

// New lists the sources and keeps what the globs match, of all architectures and
// releases.
func New(ctx context.Context, sources []kernel.Source, globs []string) (Plan, error) {
	return Select(ctx, sources, Filter{Globs: globs})
}

// Select lists the sources and keeps what the filter lets through. A kernel
// that two sources offer is taken once, from the first, when both pin the same
// bytes; else it is an error. So is a list that comes out empty; the plan then
// still says what was skipped.
func Select(ctx context.Context, sources []kernel.Source, filter Filter) (Plan, error) {
	p, listed, err := listKernels(ctx, sources, filter, nil)
	switch {
	case err != nil:
		return Plan{Skipped: p.Skipped}, err
	case len(p.Entries) > 0:
		return p, nil
	case len(p.Skipped) > 0:
		return p, p.allSkipped()
	case listed == 0:
		return p, &kernel.UsageError{Msg: "no kernels to test: the sources are empty"}
	}
	return p, &kernel.UsageError{Msg: fmt.Sprintf("no kernels to test: none of %d matches --kernel %s; bpf-kernel-check list shows their names", listed, strings.Join(filter.Globs, " --kernel "))}
}

// listKernels is Select for a list that may come out empty. It returns how many
// kernels the sources hold, too. Of what a plan has pinned it takes all that a source holds,
// where Select takes what the source would choose of it, such as the newest of
// those that are not gone.
func listKernels(ctx context.Context, sources []kernel.Source, filter Filter, pinned *report.PlanFile) (p Plan, listed int, err error) {
	if err := source.CheckGlobs(filter.Globs); err != nil {
		return Plan{}, 0, err
	}
	seen := map[string]int{} // the place in the plan's entries
	skipped := map[string]Skipped{}
	var empty error // of a source whose kernels are all gone
	held := map[string]bool{}
	for _, src := range sources {
		refs, err := src.List(ctx)
		if err != nil {
			return Plan{}, 0, fmt.Errorf("list %s: %w", src, err)
		}
		listed += len(refs)
		for _, ref := range refs {
			held[ref.ID()] = true
		}
		for _, id := range source.Filtered(src) {
			held[id] = true
		}
		var keep []kernel.Ref
		refs = slices.DeleteFunc(slices.Clone(refs), func(r kernel.Ref) bool { return !report.MatchKernel(filter.Globs, r.ID()) })
		unfit := filter.unfit(ctx, src, refs)
		if ctx.Err() != nil {
			return Plan{}, 0, fmt.Errorf("list %s: %w", src, context.Cause(ctx))
		}
		for i, ref := range refs {
			if s := unfit[i]; s.Reason != "" {
				skipped[s.ID] = s
				continue
			}
			keep = append(keep, ref)
		}
		if prober, ok := src.(kernel.Prober); ok && pinned == nil && filter.Probe != ProbeNever {
			wanted, gone := len(keep), prober.Gone(ctx, keep, filter.Probe == ProbeAlone)
			if ctx.Err() != nil {
				return Plan{}, 0, fmt.Errorf("list %s: %w", src, context.Cause(ctx))
			}
			keep = slices.DeleteFunc(keep, func(ref kernel.Ref) bool {
				if gone[ref.Digest] {
					skipped[ref.ID()] = Skipped{ref.ID(), SkipGone, "listed, and the server no longer has it"}
				}
				return gone[ref.Digest]
			})
			if wanted > 0 && len(keep) == 0 {
				empty = &kernel.UsageError{Msg: fmt.Sprintf("kernel source %q: its server no longer has any of the kernels that are wanted of it (%d): leave it out", src, wanted)}
			}
		}
		if picker, ok := src.(source.Picker); ok && pinned == nil {
			keep = picker.Pick(keep)
		}
		for _, ref := range keep {
			if elsewhere(pinned, ref, src, sources) {
				continue
			}
			kinds := source.PicksKinds(src)
			if n, ok := seen[ref.ID()]; ok {
				old := &p.Entries[n]
				if old.Kinds = old.Kinds && kinds; old.Digest != ref.Digest {
					return Plan{}, 0, &kernel.UsageError{Msg: fmt.Sprintf("kernel %s stands in %s and in %s with different contents: name one of them only", ref.ID(), old.Source, src)}
				}
				continue
			}
			seen[ref.ID()] = len(p.Entries)
			p.Entries = append(p.Entries, Entry{Ref: ref, Source: src, Kinds: kinds})
		}
	}
	for _, s := range skipped {
		if _, ok := seen[s.ID]; ok && s.Reason == SkipGone {
			continue // another source has it
		}
		p.Skipped = append(p.Skipped, s)
	}
	for _, id := range slices.Sorted(maps.Keys(held)) {
		_, ok := seen[id]
		if !ok && skipped[id].Reason != SkipGone && len(p.LeftOut) < maxLeftOut {
			p.LeftOut = append(p.LeftOut, id)
		}
	}
	slices.SortFunc(p.Skipped, func(a, b Skipped) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(p.Entries, func(a, b Entry) int { return strings.Compare(a.ID(), b.ID()) })
	return p, listed, empty
}

const maxLeftOut = 100_000 // as many as plan.json takes

// elsewhere says whether a plan takes a kernel from another of the sources: that
// one may have lost it, or have other bytes.
func elsewhere(f *report.PlanFile, ref kernel.Ref, src kernel.Source, sources []kernel.Source) bool {
	if f == nil {
		return false
	}
	k, ok := f.Kernel(ref.ID())
	return ok && k.Source != src.String() && slices.ContainsFunc(sources, func(s kernel.Source) bool { return s.String() == k.Source })
}

// IDs returns the kernels' ids, sorted.
func (p Plan) IDs() []string {
	ids := make([]string, len(p.Entries))
	for i, e := range p.Entries {
		ids[i] = e.ID()
	}
	return ids
}

// Digest is the list's: over every kernel's id and digest.
func (p Plan) Digest() string {
	ks := make([]report.PlanKernel, len(p.Entries))
	for i, e := range p.Entries {
		ks[i] = report.PlanKernel{ID: e.ID(), Digest: e.Ref.Digest}
	}
	return report.ListDigest(ks)
}

// IsUsage says whether err is the user's to mend before anything can run.
func IsUsage(err error) bool {
	var u *kernel.UsageError
	return errors.As(err, &u)
}

// ForArch counts the kernels that are, or may be, for an architecture.
func (p Plan) ForArch(arch string) int {
	n := 0
	for _, e := range p.Entries {
		if e.Arch == "" || e.Arch == arch {
			n++
		}
	}
	return n
}

// Newest returns the kernel with the highest version. The plan must not be
// empty.
func (p Plan) Newest() Entry {
	return slices.MaxFunc(p.Entries, func(a, b Entry) int { return report.CompareVersions(a.Name, b.Name) })
}
