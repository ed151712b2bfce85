package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// Boundary says on which versions of one distribution's kernels a failure is.
// Names of kernels are their releases, without further identifiers.
type Boundary struct {
	Distro  string
	Flavour string // of the kernels it is about, such as "cloud-amd64"; "": of all
	Failing int
	Passing int

	// The two kernels between which it begins or ends, of different versions:
	// all that are known to pass are on one side, all that fail on the other.
	// Empty: there is no such place.
	LastPass, FirstFail string // it fails from here on
	LastFail, FirstPass string // it fails up to here

	// What the failing programs depend on and these two do not have alike, what
	// the failure itself names first.
	Differences []Difference
	Named       int // of Differences, those that the failure names

	apart     []apart // kernels of which it is not known whether they have the failure
	otherwise int     // of these, those that fail in another way
}

// apart are kernels of a boundary that neither pass nor fail this way.
type apart struct {
	why    unclearWhy
	groups []int       // numbers of the failures that they are in, from 1, by their first kernels
	ranges [][2]string // first and last release, with no kernel of another kind between them
	n      int         // kernels
}

// unclearWhy is why a kernel says nothing about a failure. They are told in
// this order.
type unclearWhy uint8

const (
	failsOtherwise unclearWhy = iota
	failsAsExpected
	didNotBoot
	notTested
	skipsIt      // the test was skipped
	doesNotRunIt // the test is not among its tests
)

// text says it in words; quote is for names.
func (a apart) text(quote func(string) string) string {
	const most = 3 // ranges
	var names []string
	for _, r := range a.ranges[:min(len(a.ranges), most)] {
		name := quote(r[0])
		if r[0] != r[1] {
			name += " to " + quote(r[1])
		}
		names = append(names, name)
	}
	s := strings.Join(names, ", ")
	if rest := len(a.ranges) - len(names); rest > 0 {
		s += " and more"
	} else if i := strings.LastIndex(s, ", "); i >= 0 && len(names) > 1 {
		s = strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
	}
	switch a.why {
	case failsOtherwise:
		s += report.Plural(a.n, " fails otherwise", " fail otherwise")
	case failsAsExpected:
		s += report.Plural(a.n, " fails as expected", " fail as expected")
	case didNotBoot:
		s += " did not boot"
	case notTested:
		s += report.Plural(a.n, " was not tested", " were not tested")
	case skipsIt:
		s += report.Plural(a.n, " skips it", " skip it")
	case doesNotRunIt:
		s += report.Plural(a.n, " does not run it", " do not run it")
	}
	if len(a.groups) > 0 {
		var numbers []string
		for _, n := range a.groups[:min(len(a.groups), most)] {
			numbers = append(numbers, fmt.Sprint(n))
		}
		s += ", see " + strings.Join(numbers, ", ")
		if len(a.groups) > most {
			s += " and more"
		}
	}
	return s
}

// Reasons says in words what differs between the two kernels of a boundary:
// what a reader should see at once, and what may be folded. quote is for names
// and C.
func (b Boundary) Reasons(quote func(string) string) (shown, folded []string) {
	before, after := b.LastPass, b.FirstFail
	if b.LastFail != "" {
		before, after = b.LastFail, b.FirstPass
	}
	first := b.Named
	if first == 0 {
		first = len(b.Differences)
	}
	first = min(first, maxShownDifferences)
	for i, d := range b.Differences {
		text := d.Text(before, after, quote)
		if i < first {
			shown = append(shown, text)
		} else {
			folded = append(folded, text)
		}
	}
	return shown, folded
}

// Name says in words which kernels it is about; quote is for names.
func (b Boundary) Name(quote func(string) string) string {
	if b.Flavour == "" {
		return quote(b.Distro)
	}
	return quote(b.Distro) + " " + quote(b.Flavour)
}

// Text says in words where it lies; quote is for names.
func (b Boundary) Text(quote func(string) string) string {
	fails, way := "fails", ""
	if b.otherwise > 0 {
		fails, way = "fails this way", " this way"
	}
	var s string
	switch all := b.Failing + b.Passing + b.otherwise; {
	case b.FirstFail != "":
		s = fmt.Sprintf("passes up to %s, %s from %s", quote(b.LastPass), fails, quote(b.FirstFail))
	case b.LastFail != "":
		s = fmt.Sprintf("%s up to %s, passes from %s", fails, quote(b.LastFail), quote(b.FirstPass))
	case all == 1:
		s = "fails on the one kernel it was tested on"
	case b.Failing == all:
		s = fmt.Sprintf("fails on all %d", b.Failing)
	default:
		s = fmt.Sprintf("fails%s on %d of %d", way, b.Failing, all)
	}
	for _, a := range b.apart {
		s += "; " + a.text(quote)
	}
	return s
}

// boundaries finds the boundary of each distribution that has the failure. When
// a distribution has none, one for each flavour is tried: a failure of realtime
// kernels alone has its own.
func (ix *index) boundaries(states []state, g suspect) []Boundary {
	var all []Boundary
	for from := 0; from < len(ix.kernels); {
		to := from
		for to < len(ix.kernels) && ix.kernels[to].distro == ix.kernels[from].distro {
			to++
		}
		of := make([]int, 0, to-from)
		for i := from; i < to; i++ {
			of = append(of, i)
		}
		all = append(all, ix.distroBoundaries(of, states, g)...)
		from = to
	}
	return all
}

func (ix *index) distroBoundaries(of []int, states []state, g suspect) []Boundary {
	b := ix.boundary(of, states, g)
	if b.Failing == 0 {
		return nil
	}
	if b.Passing == 0 || b.FirstFail != "" || b.LastFail != "" {
		return []Boundary{b}
	}
	byFlavour := map[string][]int{}
	known := map[string]bool{}
	for _, i := range of {
		f := ix.kernels[i].version.flavour
		byFlavour[f] = append(byFlavour[f], i)
		known[f] = known[f] || states[i] != unclear
	}
	var flavours []string
	for f := range byFlavour {
		if known[f] {
			flavours = append(flavours, f)
		}
	}
	const most = 8
	if len(flavours) < 2 || len(flavours) > most {
		return []Boundary{b}
	}
	slices.Sort(flavours)
	var split []Boundary
	for _, f := range flavours {
		fb := ix.boundary(byFlavour[f], states, g)
		if fb.Failing == 0 {
			continue
		}
		if f == "" || fb.Passing > 0 && fb.FirstFail == "" && fb.LastFail == "" {
			return []Boundary{b} // no better than all in one
		}
		fb.Flavour = f
		split = append(split, fb)
	}
	return split
}

// boundary looks at kernels of ascending versions.
func (ix *index) boundary(all []int, states []state, g suspect) Boundary {
	if len(all) == 0 {
		return Boundary{}
	}
	b := Boundary{Distro: ix.kernels[all[0]].distro}
	b.apart = ix.apartOf(all, states, g)
	for _, a := range b.apart {
		if a.why == failsOtherwise {
			b.otherwise += a.n
		}
	}
	var of []int // that are known to pass or to fail
	for _, i := range all {
		if states[i] != unclear {
			of = append(of, i)
		}
	}
	turn, turns := 0, 0 // where the state changes
	for n, i := range of {
		if states[i] == fails {
			b.Failing++
		} else {
			b.Passing++
		}
		if n > 0 && states[i] != states[of[n-1]] {
			turn, turns = n, turns+1
		}
	}
	if turns != 1 {
		return b
	}
	before, after := ix.kernels[of[turn-1]], ix.kernels[of[turn]]
	// Two builds of one version, or names without one, are no boundary.
	if !before.ok || !after.ok || before.version.compareTo(after.version) == 0 {
		return b
	}
	failing := after
	if states[of[turn]] == fails {
		b.LastPass, b.FirstFail = before.version.release, after.version.release
	} else {
		b.LastFail, b.FirstPass = before.version.release, after.version.release
		failing = before
	}
	b.Differences, b.Named = differences(before.Facts, after.Facts, failing.Facts, g)
	return b
}

// apartOf finds the kernels that neither pass nor have the failure.
func (ix *index) apartOf(all []int, states []state, g suspect) []apart {
	var kinds []apart
	last := -1 // kind of the kernel before
	for _, i := range all {
		if states[i] != unclear {
			last = -1
			continue
		}
		e := ix.kernels[i]
		why := ix.whyUnclear(e, g.Group)
		k := slices.IndexFunc(kinds, func(a apart) bool { return a.why == why })
		if k < 0 {
			k = len(kinds)
			kinds = append(kinds, apart{why: why})
		}
		a := &kinds[k]
		a.n++
		for _, n := range ix.numbers[e.ID] {
			if !slices.Contains(a.groups, n) && concerns(ix.found[n-1], g.Group) {
				a.groups = append(a.groups, n)
			}
		}
		if k == last {
			a.ranges[len(a.ranges)-1][1] = e.version.release
		} else {
			a.ranges = append(a.ranges, [2]string{e.version.release, e.version.release})
		}
		// A kernel that could not be fetched ends no range of others.
		if why != notTested || last < 0 {
			last = k
		}
	}
	slices.SortFunc(kinds, func(a, b apart) int { return cmp.Compare(a.why, b.why) })
	return kinds
}

// concerns says whether one failure can be what became of another's tests: it
// is of one of them, or of the kernel as a whole.
func concerns(other Group, g *Group) bool {
	return len(other.Tests) == 0 || len(g.Tests) == 0 || slices.ContainsFunc(other.Tests, func(t string) bool {
		_, ok := slices.BinarySearch(g.Tests, t)
		return ok
	})
}

// whyUnclear says why a kernel is neither known to pass nor to have the failure.
func (ix *index) whyUnclear(e entry, g *Group) unclearWhy {
	switch {
	case e.Verdict == report.NoBoot:
		return didNotBoot
	case !e.Verdict.Tested():
		return notTested
	case e.FailedAsExpected():
		return failsAsExpected
	}
	skipped := false
	for _, t := range g.Tests[:min(len(g.Tests), maxGroupTests)] {
		if e.tests[t] == report.TestFail {
			return failsOtherwise
		}
		skipped = skipped || e.tests[t] == report.TestSkip
	}
	switch {
	case skipped:
		return skipsIt
	case e.Verdict == report.Pass:
		return doesNotRunIt
	default:
		return failsOtherwise
	}
}
