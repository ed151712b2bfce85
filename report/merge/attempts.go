package merge

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
)

// chosen are the shard files that count.
type chosen struct {
	runID   string
	attempt int             // the highest seen
	shards  map[int]*counts // by number
}

// counts is a shard's result: of the highest attempt that left a file, be it
// complete or not.
type counts struct {
	*File
	duplicates []*File // other files of the same attempt; only calls of a program may be made twice
}

// choose takes of each shard the file of its highest attempt. A shard that was
// not run again keeps its earlier one. A later attempt counts even when it was
// cut short: what an earlier one says was not good enough for whoever ran it
// again.
func (g *merger) choose(files []*File) chosen {
	files = slices.Clone(files)
	// The order of directories has no say.
	slices.SortStableFunc(files, func(a, b *File) int {
		return cmp.Or(compareRuns(b.Plan.RunID, a.Plan.RunID), cmp.Compare(a.Plan.Shard, b.Plan.Shard),
			cmp.Compare(b.Plan.Attempt, a.Plan.Attempt), cmp.Compare(a.Name, b.Name))
	})
	c := chosen{shards: map[int]*counts{}}
	if len(files) == 0 {
		return c
	}
	c.runID = files[0].Plan.RunID
	other := map[string]bool{}
	for _, f := range files {
		if f.Plan.RunID == c.runID {
			c.attempt = max(c.attempt, f.Plan.Attempt)
			continue
		}
		if !other[f.Plan.RunID] {
			other[f.Plan.RunID] = true
			g.refuse(0, "", "%s is of %s, others are of %s: merge the files of one run only", f.Name, runName(f.Plan.RunID), runName(c.runID))
		}
	}
	for _, f := range files {
		if f.Plan.RunID != c.runID || g.stale(f, c.attempt) {
			continue
		}
		first := c.shards[f.Plan.Shard]
		switch {
		case first == nil:
			c.shards[f.Plan.Shard] = &counts{File: f}
		case first.Plan.Attempt == f.Plan.Attempt:
			first.duplicates = append(first.duplicates, f)
			if g.program != "" && f.Plan.Payload == first.Plan.Payload && f.Plan.Content == first.Plan.Content {
				continue // the program was run twice: of each kernel the worse result stands
			}
			g.refuse(f.Plan.Shard, "", "%s has two files of attempt %d, %s and %s: only one can be its result", shardName(f.Plan), f.Plan.Attempt, first.Name, f.Name)
		}
	}
	return c
}

// stale says whether a file is of an earlier attempt that was cut into more
// shards than the plan has. Nobody runs such a shard again, and the plan tells
// who boots its kernels now.
func (g *merger) stale(f *File, attempt int) bool {
	return g.plan != nil && f.Plan.Attempt < attempt && f.Plan.Shard > len(g.plan.Shards)
}

// compareRuns orders run ids, which are numbers on every CI system that has
// them, by age.
func compareRuns(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func runName(id string) string {
	if id == "" {
		return "no run"
	}
	return "run " + id
}

func shardName(p report.Plan) string { return fmt.Sprintf("shard %d of %d", p.Shard, p.Shards) }
