package analysis

import (
	"fmt"
	"slices"

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

	// Bisect is the command that boots some of the kernels between these two of
	// which nothing is known, to find the one that made the difference; "" where
	// there are none, or the results do not tell it.
	Bisect string

	// Kernels that neither pass nor fail this way, by why, and those of them that are
	// between the two. Where there are two, represented kernels count only there.
	unclear, between [len(unclearWords)]int
}

// Why a kernel neither passes nor has the failure: the place in unclearWords.
const (
	failsOtherwise = iota
	failsAsExpected
	didNotBoot
	notTested
	skipsIt
	doesNotRunIt
	isRepresented
)

// unclearWords follow a number of kernels: one, and several.
var unclearWords = [...][2]string{
	failsOtherwise:  {"fails otherwise", "fail otherwise"},
	failsAsExpected: {"fails as expected", "fail as expected"},
	didNotBoot:      {"did not boot", "did not boot"},
	notTested:       {"was not tested", "were not tested"},
	skipsIt:         {"skips it", "skip it"},
	doesNotRunIt:    {"does not run it", "do not run it"},
	isRepresented:   {"is represented, not booted", "are represented, not booted"},
}

// found says whether there is a place where the failure begins or ends.
func (b Boundary) found() bool { return b.FirstFail != "" || b.LastFail != "" }

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
	for _, d := range b.Differences {
		shown = append(shown, d.Text(before, after, quote))
	}
	return shown[:first:first], shown[first:]
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
	if b.unclear[failsOtherwise] > 0 {
		fails, way = "fails this way", " this way"
	}
	var s string
	switch all := b.Failing + b.Passing + b.unclear[failsOtherwise]; {
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
	for why, n := range b.unclear {
		words := report.Plural(n, unclearWords[why][0], unclearWords[why][1])
		switch between := b.between[why]; {
		case n == 0:
		case between == 0:
			s += fmt.Sprintf("; %d %s", n, words)
		case between == n:
			s += fmt.Sprintf("; %d between %s", n, words)
		default:
			s += fmt.Sprintf("; %d %s, %d of them between", n, words, between)
		}
	}
	return s
}

// BisectWords introduce Bisect: "To find the kernel that broke it:".
func (b Boundary) BisectWords() string {
	if b.FirstPass != "" {
		return "To find the kernel that fixed it:"
	}
	return "To find the kernel that broke it:"
}

// boundaries finds the boundary of each distribution that has the failure. When
// a distribution has none, one for each flavour is tried: a failure of realtime
// kernels alone has its own.
func (ix *index) boundaries(states []state, g suspect) []Boundary {
	all := make([]int, len(ix.kernels))
	for i := range all {
		all[i] = i
	}
	var found []Boundary
	for _, of := range ix.split(all, func(e entry) string { return e.distro }) {
		b := ix.boundary(of, states, g)
		if b.Failing > 0 && b.Passing > 0 && !b.found() {
			if flavours := ix.flavours(of, states, g); flavours != nil {
				found = append(found, flavours...)
				continue
			}
		}
		if b.Failing > 0 {
			found = append(found, b)
		}
	}
	return found
}

// split parts kernels by what they have in common, in its order.
func (ix *index) split(of []int, key func(entry) string) [][]int {
	parts := map[string][]int{}
	var keys []string
	for _, i := range of {
		k := key(ix.kernels[i])
		if parts[k] == nil {
			keys = append(keys, k)
		}
		parts[k] = append(parts[k], i)
	}
	slices.Sort(keys)
	var all [][]int
	for _, k := range keys {
		all = append(all, parts[k])
	}
	return all
}

// flavours are the boundaries of a distribution's flavours that have the failure;
// nil where they say no more than one for all kernels does.
func (ix *index) flavours(of []int, states []state, g suspect) []Boundary {
	const most = 8
	var found []Boundary
	known := 0
	for _, part := range ix.split(of, func(e entry) string { return e.version.flavour }) {
		b := ix.boundary(part, states, g)
		b.Flavour = ix.kernels[part[0]].version.flavour
		if b.Failing+b.Passing > 0 {
			known++
		}
		if b.Failing == 0 {
			continue
		}
		if b.Flavour == "" || b.Passing > 0 && !b.found() {
			return nil
		}
		found = append(found, b)
	}
	if known < 2 || known > most {
		return nil
	}
	return found
}

// boundary looks at kernels of ascending versions.
func (ix *index) boundary(all []int, states []state, g suspect) Boundary {
	b := Boundary{Distro: ix.kernels[all[0]].distro}
	flavours := map[string]bool{}
	for _, i := range all {
		flavours[ix.kernels[i].version.flavour] = true
	}
	var represented []entry
	for _, e := range ix.represented {
		if e.distro == b.Distro && flavours[e.version.flavour] {
			represented = append(represented, e)
		}
	}
	b.unclear[isRepresented] = len(represented)
	last, turn, turns := -1, [2]int{}, 0 // the kernel before, and where the state changes
	for _, i := range all {
		switch states[i] {
		case unclear:
			b.unclear[ix.whyUnclear(ix.kernels[i], g.Group)]++
			continue
		case fails:
			b.Failing++
		case passes:
			b.Passing++
		}
		if last >= 0 && states[i] != states[last] {
			turn, turns = [2]int{last, i}, turns+1
		}
		last = i
	}
	before, after := ix.kernels[turn[0]], ix.kernels[turn[1]]
	// Two builds of one version, or names without one, are no boundary.
	if turns != 1 || !before.ok || !after.ok || before.version.compareTo(after.version) == 0 {
		return b
	}
	failsAfter := states[turn[1]] == fails
	if failsAfter {
		b.LastPass, b.FirstFail = before.version.release, after.version.release
	} else {
		b.LastFail, b.FirstPass = before.version.release, after.version.release
	}
	b.Differences, b.Named = differences(before.Facts, after.Facts, failsAfter, g)
	between := func(e entry) bool {
		return before.version.compareTo(e.version) < 0 && e.version.compareTo(after.version) < 0
	}
	represented = slices.DeleteFunc(represented, func(e entry) bool { return !between(e) })
	b.unclear[isRepresented], b.between[isRepresented] = len(represented), len(represented)
	others := represented
	for _, i := range all {
		if e := ix.kernels[i]; between(e) {
			others = append(others, e)
			b.between[ix.whyUnclear(e, g.Group)]++ // what passes or fails is on either side
		}
	}
	b.bisect(before, after, failsAfter, others)
	return b
}

// bisect makes the command that finds the kernel that made the difference, if others
// between the two of a boundary were not tested. The command bisect knows passes and
// failures of whole kernels of one flavour, so there is none where one between the
// two fails in another way.
func (b *Boundary) bisect(before, after entry, failsAfter bool, others []entry) {
	good, bad := after, before
	if failsAfter {
		good, bad = before, after
	}
	clear, untested := good.Verdict == report.Pass && good.OK() && before.version.flavour == after.version.flavour, false
	for _, e := range others {
		switch {
		case e.version.flavour != before.version.flavour:
		case !e.Verdict.Tested():
			untested = true
		case e.Verdict != report.Pass:
			clear = false
		}
	}
	if clear && untested {
		b.Bisect = report.BisectCommand(good.Result, bad.Result)
	}
}

// whyUnclear says why a kernel is neither known to pass nor to have the failure.
func (ix *index) whyUnclear(e entry, g *Group) int {
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
