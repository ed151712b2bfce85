package analysis

import (
	"fmt"
	"maps"
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
)

// NewChange compares a result with an earlier, whole one, both in order of the ids.
// Kernels of which nothing is known on either side are neither better nor
// worse. maxGrowth is by how many percent a BPF program may grow, 0 by any.
func NewChange(base, now *report.Merged, maxGrowth int) *report.Change {
	c := &report.Change{BaseSHA: base.HeadSHA}
	whole := now.Whole()
	known, before, after := base.IDs(), base.IDs(), whole.IDs()
	for _, id := range base.Gone {
		known[id] = true
	}
	was, tested := make(map[string]*report.Result, len(base.Kernels)), map[string]bool{}
	for i := range base.Kernels {
		k := &base.Kernels[i]
		was[k.ID], tested[k.ID] = k, k.Verdict.Tested()
	}
	if base.Change != nil {
		for _, id := range base.Change.TestedBefore {
			tested[id] = true
		}
	}
	for i := range now.Kernels {
		k := &now.Kernels[i]
		old, ok := was[k.ID]
		switch {
		case !ok:
		case old.OK() && k.Verdict.Failed() && !k.FailedAsExpected():
			c.NewlyFail = append(c.NewlyFail, k.ID)
		case old.Verdict.Failed() && k.Verdict == report.Pass:
			c.Fixed = append(c.Fixed, k.ID)
		}
		if ok && old.Digest != "" && k.Digest != "" && old.Digest != k.Digest {
			c.Rebuilt = append(c.Rebuilt, k.ID)
		}
		if k.Verdict.Tested() && known[k.ID] && !tested[k.ID] {
			c.FirstTested = append(c.FirstTested, k.ID)
		}
	}
	for i := range whole.Kernels {
		if k := &whole.Kernels[i]; k.Verdict.Tested() {
			delete(tested, k.ID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(after)) {
		if !known[id] {
			c.New = append(c.New, id)
		}
		if tested[id] {
			c.TestedBefore = append(c.TestedBefore, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if !after[id] {
			c.Gone = append(c.Gone, id)
		}
	}
	changeCosts(c, base, now, maxGrowth)
	return c
}

// Changed is one way in which kernels of a list are other than in the base.
type Changed struct {
	Name string // "New in the list"
	IDs  []string
}

// ListChanges are the ways in which a list of kernels has changed, without those in
// which none has.
func ListChanges(c *report.Change) (all []Changed) {
	if c == nil {
		return nil
	}
	for _, l := range []Changed{
		{"New in the list", c.New},
		{"Rebuilt since", c.Rebuilt},
		{"Tested for the first time", c.FirstTested},
		{"Gone from the sources", c.Gone},
	} {
		if len(l.IDs) > 0 {
			all = append(all, l)
		}
	}
	return all
}

// EarlierFailed counts, where only new kernels were booted, those of the others that
// are not known to pass.
func EarlierFailed(m *report.Merged) (n int) {
	if m.Earlier != nil {
		for i := range m.Earlier.Kernels {
			if !m.Earlier.Kernels[i].OK() {
				n++
			}
		}
	}
	return n
}

// EarlierWords says in one line how the kernels did that are not new; "" if nothing
// is known of any.
func EarlierWords(m *report.Merged) string {
	if m.Earlier == nil {
		return ""
	}
	n := len(m.Earlier.Kernels)
	return fmt.Sprintf("%s of %s passed; this run booted new ones only", report.Thousands(n-EarlierFailed(m)), report.Count(n, "other kernel"))
}
