package analysis

import (
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
)

// NewChange compares a result with an earlier one, both in order of the ids.
// Kernels of which nothing is known on either side are neither better nor
// worse. maxGrowth is by how many percent a BPF program may grow, 0 by any.
func NewChange(base, now *report.Merged, maxGrowth int) *report.Change {
	c := &report.Change{BaseSHA: base.HeadSHA}
	was := make(map[string]*report.Result, len(base.Kernels))
	for i := range base.Kernels {
		was[base.Kernels[i].ID] = &base.Kernels[i]
	}
	represented := map[string]bool{} // which are neither new nor gone
	for _, r := range slices.Concat(base.Represented, now.Represented) {
		represented[r.ID] = true
	}
	for _, k := range now.Kernels {
		old, ok := was[k.ID]
		switch {
		case !ok && represented[k.ID]:
		case !ok:
			c.New = append(c.New, k.ID)
		case old.OK() && k.Verdict.Failed() && !k.FailedAsExpected():
			c.NewlyFail = append(c.NewlyFail, k.ID)
		case old.Verdict.Failed() && k.Verdict == report.Pass:
			c.Fixed = append(c.Fixed, k.ID)
		}
		delete(was, k.ID)
	}
	for _, k := range base.Kernels {
		if _, ok := was[k.ID]; ok && !represented[k.ID] {
			c.Gone = append(c.Gone, k.ID)
		}
	}
	changeCosts(c, base, now, maxGrowth)
	return c
}
