package plan

import (
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// Why a kernel is new against an earlier run.
const (
	WhyNew       = "new"
	WhyRebuilt   = "rebuilt"        // its bytes are others
	WhyNotTested = "not tested yet" // it was to be, and nothing came of it
)

// OnlyNew leaves the kernels out of which an earlier run, which is whole, has a
// result, or has one of a kernel that represents them. It returns of the others, by
// id, why they are new, and which of that run no source holds any more.
func (p Plan) OnlyNew(base *report.Merged) (fresh Plan, why map[string]string, gone []string) {
	now := &report.Merged{}
	for _, e := range p.Entries {
		now.Kernels = append(now.Kernels, report.Result{ID: e.ID(), Digest: e.Ref.Digest, Verdict: report.Missing})
	}
	change, reasons := analysis.NewChange(base, now, 0), map[string]string{}
	set := func(why string, ids ...string) {
		for _, id := range ids {
			reasons[id] = why
		}
	}
	set(WhyNew, change.New...)
	set(WhyRebuilt, change.Rebuilt...)
	set(WhyNotTested, base.Gone...)
	for _, k := range base.Kernels {
		if k.Verdict == report.Infra || k.Verdict == report.Missing {
			set(WhyNotTested, k.ID)
		}
	}
	gone = slices.DeleteFunc(change.Gone, func(id string) bool { return slices.Contains(p.LeftOut, id) })
	fresh, why = p, map[string]string{}
	fresh.Entries, fresh.LeftOut = nil, slices.Clone(p.LeftOut)
	for _, e := range p.Entries {
		if reason := reasons[e.ID()]; reason != "" {
			why[e.ID()] = reason
			fresh.Entries = append(fresh.Entries, e)
		} else if len(fresh.LeftOut) < maxLeftOut {
			fresh.LeftOut = append(fresh.LeftOut, e.ID())
		}
	}
	slices.Sort(fresh.LeftOut)
	return fresh, why, gone
}
