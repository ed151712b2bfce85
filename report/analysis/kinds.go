package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// Candidate is a kernel that may be booted, or represented by another.
type Candidate struct {
	ID   string
	Arch string
	Kind string // of package preflight; "": it is like no other

	// Outcome is that of an earlier run. Kernels with different outcomes are never of
	// one kind. "": it is not known, and taken to be that of the newest kernel of its
	// kind that has one.
	Outcome string
}

// Outcome names what a run found of a kernel: its verdict, the tests that failed,
// and the programs that did not pass. It is "" for one that says nothing of the payload.
func Outcome(k *report.Result) string {
	if !k.Verdict.Tested() && k.Verdict != report.NoBoot {
		return ""
	}
	var failed []string
	if k.OK() != (k.Verdict == report.Pass) {
		failed = append(failed, "") // what was expected makes it another outcome
	}
	for _, t := range k.Tests {
		if report.TestVerdict(t) == report.TestFail {
			failed = append(failed, t.Name)
		}
	}
	slices.Sort(failed)
	var programs []string
	for _, p := range k.Programs {
		if p.Verdict != report.Pass {
			programs = append(programs, fmt.Sprintf("%s: %v", p.Name, p.Verdict))
		}
	}
	slices.Sort(programs)
	return fmt.Sprintf("%v %q %q", k.Verdict, failed, programs)
}

// fewest is how many kernels a series has of which the oldest is booted too,
// whatever kind it is of.
const fewest = 10

// Represent says which kernels need not be booted, and by which each is
// represented: of those of one architecture, distribution, flavour, series and
// kind the newest is booted; of those of one series the oldest, too, if there are
// more than a few.
func Represent(candidates []Candidate) (represented []report.Represented) {
	type group struct {
		like [3]string // distribution, flavour, series
		arch string
	}
	groups := map[group][]Candidate{}
	for _, c := range candidates {
		like, v := likeness(c.ID)
		if v.series == noSeries {
			continue
		}
		g := group{like, c.Arch}
		groups[g] = append(groups[g], c)
	}
	for _, list := range groups {
		slices.SortFunc(list, func(a, b Candidate) int { // the newest first
			_, v := likeness(a.ID)
			_, w := likeness(b.ID)
			if c := w.compareTo(v); c != 0 {
				return c
			}
			return strings.Compare(b.ID, a.ID)
		})
		outcomes := map[string]string{}
		for _, c := range list {
			if outcomes[c.Kind] == "" {
				outcomes[c.Kind] = c.Outcome
			}
		}
		newest := map[[2]string]string{}
		for i, c := range list {
			kind := [2]string{c.Kind, cmp.Or(c.Outcome, outcomes[c.Kind])}
			by, ok := newest[kind]
			switch oldest := i == len(list)-1 && len(list) >= fewest; {
			case c.Kind == "" || oldest:
			case ok:
				represented = append(represented, report.Represented{ID: c.ID, By: by, Kind: c.Kind})
			default:
				newest[kind] = c.ID
			}
		}
	}
	slices.SortFunc(represented, func(a, b report.Represented) int { return strings.Compare(a.ID, b.ID) })
	return represented
}
