package plan

import (
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// Why a kernel is new against an earlier run.
const (
	WhyNew       = "new"
	WhyRebuilt   = "rebuilt"        // its bytes are others
	WhyNotTested = "not tested yet" // it was to be, and nothing came of it
)

// OnlyNew leaves the kernels out of which an earlier run, which is whole, has a result, or has one of
// a kernel that represents them. It returns of the others, by id, why they are new.
func (p Plan) OnlyNew(base *report.Merged) (Plan, map[string]string) {
	why := map[string]string{}
	known := map[string]*report.Result{}
	for i := range base.Kernels {
		known[base.Kernels[i].ID] = &base.Kernels[i]
	}
	represented := map[string]bool{}
	for _, r := range base.Represented {
		represented[r.ID] = true
	}
	var left []Entry
	p.LeftOut = slices.Clone(p.LeftOut)
	for _, e := range p.Entries {
		switch k := known[e.ID()]; {
		case k == nil && represented[e.ID()]:
		case k == nil:
			why[e.ID()] = WhyNew
		case k.Verdict == report.Infra || k.Verdict == report.Missing:
			why[e.ID()] = WhyNotTested
		case k.Digest != e.Ref.Digest:
			why[e.ID()] = WhyRebuilt
		}
		if why[e.ID()] != "" {
			left = append(left, e)
		} else if len(p.LeftOut) < maxLeftOut {
			p.LeftOut = append(p.LeftOut, e.ID())
		}
	}
	p.Entries = left
	slices.Sort(p.LeftOut)
	return p, why
}

// GoneSince are the ids of kernels that an earlier run, which is whole, had and no source holds.
func (p Plan) GoneSince(base *report.Merged) (gone []string) {
	for _, k := range base.Kernels {
		gone = append(gone, k.ID)
	}
	for _, r := range base.Represented {
		gone = append(gone, r.ID)
	}
	slices.SortFunc(gone, strings.Compare)
	held := append(p.IDs(), p.LeftOut...)
	slices.Sort(held)
	return slices.DeleteFunc(gone, func(id string) bool { _, ok := slices.BinarySearch(held, id); return ok })
}
