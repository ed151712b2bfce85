package analysis

import (
	"fmt"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// Standing says how far the kernels that were tested stand for those that were
// not booted. It is the zero value where none is represented.
type Standing struct {
	For     map[string][]string // by id of a kernel of the list, those that it represents, by version
	Tested  int                 // kernels with a result
	Covered int                 // Tested, and those that they represent
	All     int                 // the list, and those that it represents
	list    int                 // kernels of it
	reused  bool                // some of Tested have the result of an earlier run
	series  bool                // the kinds are whole series
}

// NewStanding counts a result's represented kernels, where it is of one shard those
// that its own represent.
func NewStanding(m *report.Merged) (s Standing) {
	if len(m.Represented) == 0 {
		return s
	}
	s.For, s.list = map[string][]string{}, len(m.Kernels)
	for _, r := range m.Represented {
		s.For[r.By] = append(s.For[r.By], r.ID)
	}
	for i := range m.Kernels {
		k := &m.Kernels[i]
		slices.SortFunc(s.For[k.ID], CompareKernels)
		s.All += 1 + len(s.For[k.ID])
		s.series = s.series || k.Facts != nil && k.Facts.Kind == seriesKind
		if k.Verdict.Tested() {
			s.Tested++
			s.Covered += 1 + len(s.For[k.ID])
			s.reused = s.reused || k.Reused != nil
		}
	}
	return s
}

// seriesKind is the kind of all kernels for a payload whose BPF objects are not
// known.
const seriesKind = "series"

// Words say what was booted and what was not: a sentence's beginning, "16 booted,
// standing for 84 kernels", and the rest of it. Both are "" where all kernels were
// to be booted.
func (s Standing) Words() (first, rest string) {
	if s.All == s.list {
		return "", ""
	}
	booted, kernels := "booted", report.Count(s.Covered, "kernel")
	if s.reused {
		booted = "booted or reused"
	}
	if s.Covered < s.All {
		kernels = report.Thousands(s.Covered) + " of " + report.Count(s.All, "kernel")
	}
	first = fmt.Sprintf("%s %s, standing for %s", report.Thousands(s.Tested), booted, kernels)
	if n := s.Covered - s.Tested; n > 0 {
		alike := "on which the payload's BPF programs find the same types, functions and options"
		if s.series {
			alike = "here a newer one of the same series, since the payload's BPF programs are not known before it runs"
		}
		its, they := report.Plural(n, "its", "their"), report.Plural(n, "It was", "They were")
		rest = fmt.Sprintf("%s %s represented by a kernel of %s kind, %s. %s not booted.", report.Thousands(n), report.Plural(n, "is", "are"), its, alike, they)
	}
	if n := s.All - s.Covered; n > 0 {
		untested := s.list - s.Tested
		other := "other "
		if s.Covered == 0 {
			other = ""
		}
		rest += fmt.Sprintf(" Nothing is known of the %s%s: %s %s not tested", other, report.Thousands(n), report.Thousands(untested), report.Plural(untested, "was", "were"))
		if n -= untested; n > 0 {
			rest += fmt.Sprintf(", and %s represented by %s", report.Thousands(n)+report.Plural(n, " is", " are"), report.Plural(untested, "it", "them"))
		}
		rest += "."
	}
	return first, strings.TrimSpace(rest)
}

// Became says what became of a kernel that represents others and did not pass:
// " (failed)", to follow its name; "" where it passed.
func Became(k *report.Result) string {
	switch {
	case k.FailedAsExpected():
		return " (failed as expected)"
	case k.Verdict == report.Pass:
		return ""
	case k.Verdict.Tested():
		return " (failed)"
	}
	return " (not tested)"
}

// short is the part of a headline: "standing for 84".
func (s Standing) short(t report.Counts) string {
	switch all := report.Thousands(s.All); {
	case s.Covered < s.All:
		return fmt.Sprintf("the %s tested stand for %s of %s", report.Thousands(s.Tested), report.Thousands(s.Covered), all)
	case t.Passed == t.Kernels:
		return "standing for " + all
	default:
		return fmt.Sprintf("the %s stand for %s", report.Thousands(t.Kernels), all)
	}
}

// MoreWords say for how many kernels that were not booted the group's stand: what
// follows its Text. Those that were not tested stand for none.
func (g Group) MoreWords() string {
	if g.More == 0 || !g.Verdict.Tested() {
		return ""
	}
	return ", standing for " + report.Count(g.More, "more kernel")
}

// ScorePicks says how picks would have done in a full run; nil for another run, or
// where no kernel's kind is known. Kernels without an outcome do not count.
func ScorePicks(m *report.Merged) *report.Picks {
	if len(m.Represented) > 0 {
		return nil
	}
	var candidates []Candidate
	tested := map[string]*report.Result{}
	kind, kinds := map[string]string{}, map[string]bool{} // by id, with what else kernels of one kind have alike
	for i := range m.Kernels {
		k := &m.Kernels[i]
		if Outcome(k) == "" {
			continue
		}
		tested[k.ID] = k
		c := Candidate{ID: k.ID, Arch: m.Arch}
		if k.Facts != nil && k.Facts.Kind != "" {
			c.Kind = k.Facts.Kind
			like, _ := likeness(k.ID)
			kind[k.ID] = strings.Join(append(like[:], c.Kind), "\x00")
			kinds[kind[k.ID]] = true
		}
		candidates = append(candidates, c)
	}
	if len(kinds) == 0 {
		return nil
	}
	by := map[string]string{}
	for _, r := range Represent(candidates) {
		by[r.ID] = r.By
	}
	p := &report.Picks{HeadSHA: m.HeadSHA, Kernels: len(tested), Boots: len(tested) - len(by), Kinds: len(kinds)}
	mixed := map[string]bool{}
	for _, c := range candidates {
		k, other := tested[c.ID], tested[by[c.ID]]
		if other != nil && Outcome(k) != Outcome(other) {
			p.Mixed = append(p.Mixed, k.ID)
			mixed[kind[k.ID]] = true
		}
		if isFailure(k) {
			p.Failures++
			if other == nil || isFailure(other) {
				p.Found++
			}
		}
	}
	p.MixedKinds = len(mixed)
	return p
}

// isFailure says whether a kernel fails a run. A failure that was expected does
// not, though it is an outcome of its own.
func isFailure(k *report.Result) bool {
	var c report.Counts
	c.Add(k)
	return c.Failed > 0
}

// PicksWords say how picks did, or would have done, in a sentence; "" where that is
// not known. quote is for names of kernels.
func PicksWords(p *report.Picks, quote func(string) string) string {
	if p == nil {
		return ""
	}
	boots := fmt.Sprintf("%s of %s", report.Thousands(p.Boots), report.Count(p.Kernels, "boot"))
	found := fmt.Sprintf("found %s of %s in %s", report.Thousands(p.Found), report.Count(p.Failures, "failure"), boots)
	if p.Failures == 0 {
		found = "taken " + boots + ", and there was no failure to find"
	}
	run := "This full run"
	if p.Base {
		run = "Last full run"
	}
	s := fmt.Sprintf("%s: %s of %s %s mixed; picks would have %s.", run, report.Thousands(p.MixedKinds), report.Count(p.Kinds, "kind"), report.Plural(p.MixedKinds, "was", "were"), found)
	if n := len(p.Mixed); n > 0 {
		s += fmt.Sprintf(" %s had another result than the kernel that would have stood for %s: %s; later picks boot %[2]s.", report.Count(n, "kernel"), report.Plural(n, "it", "them"), report.List(p.Mixed, 5, quote))
	}
	return s
}
