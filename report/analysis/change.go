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
	was := make(map[string]*report.Result, len(base.Kernels))
	for i := range base.Kernels {
		was[base.Kernels[i].ID] = &base.Kernels[i]
	}
	before, after, tested := idsOf(base), idsOf(whole), map[string]bool{}
	for _, k := range base.Kernels {
		tested[k.ID] = k.Verdict.Tested()
	}
	if base.Change != nil {
		for _, id := range base.Change.TestedBefore {
			tested[id] = true
		}
	}
	lost := map[string]bool{}
	for _, id := range base.Gone {
		lost[id] = true
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
		if k.Verdict.Tested() && (before[k.ID] || lost[k.ID]) && !tested[k.ID] {
			c.FirstTested = append(c.FirstTested, k.ID)
		}
	}
	booted := map[string]bool{}
	for _, k := range whole.Kernels {
		booted[k.ID] = k.Verdict.Tested()
	}
	for _, id := range slices.Sorted(maps.Keys(after)) {
		if !before[id] && !lost[id] {
			c.New = append(c.New, id)
		}
		if tested[id] && !booted[id] {
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

// idsOf are the kernels of a run's list: those that were to be booted, and those that
// others represent.
func idsOf(m *report.Merged) map[string]bool {
	ids := map[string]bool{}
	for _, k := range m.Kernels {
		ids[k.ID] = true
	}
	for _, r := range m.Represented {
		ids[r.ID] = true
	}
	return ids
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

// EarlierFailed counts the kernels that a run left out and that were no pass when
// they were last run.
func EarlierFailed(m *report.Merged) (n int) {
	if m.Earlier == nil {
		return 0
	}
	for i := range m.Earlier.Kernels {
		if !m.Earlier.Kernels[i].OK() {
			n++
		}
	}
	return n
}

// EarlierWords says in one line how the kernels did that this run left out; "" if
// nothing is known of any.
func EarlierWords(m *report.Merged) string {
	if m.Earlier == nil {
		return ""
	}
	n, failed := len(m.Earlier.Kernels), EarlierFailed(m)
	s := fmt.Sprintf("%s, of which %s passed in earlier runs", report.Count(n, "kernel"), report.Thousands(n-failed))
	if failed > 0 {
		s += fmt.Sprintf(" and %s did not", report.Thousands(failed))
	}
	return s
}
