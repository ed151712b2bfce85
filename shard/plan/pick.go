package plan

import (
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// Picks says of which kernels one of each kind is enough, and what is known of
// them.
type Picks struct {
	All   bool              // of all; else of those with Entry.Kinds
	Kinds map[string]string // by id; no or an empty kind: it is like no other
	Base  *report.Merged    // an earlier run: kernels with other results there are of other kinds; nil: none
}

// Wanted are the entries of which one of each kind is enough.
func (p Plan) Wanted(all bool) (wanted []Entry) {
	for _, e := range p.Entries {
		if all || e.Kinds {
			wanted = append(wanted, e)
		}
	}
	return wanted
}

// Pick returns a whole list without the kernels that another one represents.
func (p Plan) Pick(picks Picks) Plan {
	outcomes := map[string]string{}
	if picks.Base != nil {
		for i := range picks.Base.Kernels {
			k := &picks.Base.Kernels[i]
			outcomes[k.ID+" "+k.Digest] = analysis.Outcome(k)
		}
	}
	var candidates []analysis.Candidate
	for _, e := range p.Wanted(picks.All) {
		candidates = append(candidates, analysis.Candidate{ID: e.ID(), Arch: e.Arch, Kind: picks.Kinds[e.ID()], Outcome: outcomes[e.ID()+" "+e.Ref.Digest]})
	}
	p.Represented = analysis.Represent(candidates)
	var left []Entry
	for _, e := range p.Entries {
		_, found := slices.BinarySearchFunc(p.Represented, e.ID(), func(r report.Represented, id string) int { return strings.Compare(r.ID, id) })
		if !found {
			left = append(left, e)
		}
	}
	p.Entries = left
	return p
}
