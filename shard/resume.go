package shard

import (
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// known returns a result for each of the plan's kernels, empty for those that
// are to do, and the indices of these.
func (r *Runner) known(list plan.Plan) (results []report.Kernel, todo []int) {
	results = make([]report.Kernel, len(list.Entries))
	done := map[string]report.Kernel{}
	if r.Resumed != nil {
		for _, k := range r.Resumed.Kernels {
			done[k.ID] = k
		}
	}
	for i, e := range list.Entries {
		k, ok := done[e.ID()]
		if !ok {
			todo = append(todo, i)
			continue
		}
		results[i] = k
	}
	return results, todo
}

// shardFile starts the shard file, or goes on with that of an interrupted run.
func (r *Runner) shardFile(list plan.Plan) (*report.ShardWriter, error) {
	if r.Resumed != nil {
		return r.Resumed.Resume()
	}
	return report.CreateShardFile(r.Out, r.Record(list))
}

// only returns the elements of order that are in todo, in order's order.
func only(todo, order []int) []int {
	return slices.DeleteFunc(order, func(i int) bool {
		_, found := slices.BinarySearch(todo, i)
		return !found
	})
}
