// Package analysis says what a merged result means: which failures are the same
// one, on which kernel releases each begins and ends, what the failing kernels
// have in common, and what has changed against a base.
//
// It reads a [report.Merged] and changes nothing in it. It knows neither how
// results are merged nor how a report is written.
package analysis

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// Group is one failure with all kernels that have it.
type Group struct {
	Verdict  report.Verdict // of its kernels
	Title    string         // why, in one line as one of the kernels said it
	Tests    []string       // that fail, sorted; none: it is about the kernel as a whole, or Programs
	Programs []string       // that it is about, sorted, where payloads have several
	Kernels  []string       // ids, by distribution and version
	Newly    int            // of Kernels, those that passed in the base
	More     int            // kernels that were not booted, and that Kernels represent
	Example  string         // id of the kernel that Title and Excerpt are of
	Excerpt  string         // of its console, or its test's output, as it came
	Console  string         // of Example, or of its program; "": there is none
	Key      string         // the same for the same failure in another result

	// Of the first maxAnalysed groups only.
	Boundaries []Boundary // by distribution
	Common     []Trait    // what all its kernels have and none of those that pass
	Unlike     int        // kernels that pass and are known to lack all of Common
}

const (
	maxAnalysed    = 300  // groups whose boundaries are looked for
	maxFailedTests = 1000 // of a kernel that are looked at one by one
)

// Groups returns what went wrong: one entry for each signature, so that the
// same verifier message, oops or assertion on many kernels is one. Every kernel
// that did not pass stands in at least one group, and in more than one when its
// tests fail for different reasons. Failures come first, then what was not
// tested; those that are new against the base before the others; larger ones
// before smaller ones.
func Groups(m *report.Merged) []Group {
	return newIndex(m).groups()
}

// Numbers are the places, from 1, of the groups that each kernel is in, by id
// and ascending.
func Numbers(groups []Group) map[string][]int {
	numbers := map[string][]int{}
	for i, g := range groups {
		for _, id := range g.Kernels {
			numbers[id] = append(numbers[id], i+1)
		}
	}
	return numbers
}

// Text says in a few words what a group is: "12 kernels fail TestX". quote is for
// names, which a guest chose.
func (g Group) Text(quote func(string) string) string {
	s := g.text(quote)
	if len(g.Programs) == 0 {
		return s
	}
	word := " with "
	if g.Verdict == report.Missing {
		word = " for "
	}
	s += word + quote(g.Programs[0])
	switch rest := g.Programs[1:]; len(rest) {
	case 0:
		return s
	case 1:
		return s + " and " + quote(rest[0])
	default:
		return s + " and " + report.Count(len(rest), "more program")
	}
}

func (g Group) text(quote func(string) string) string {
	n := len(g.Kernels)
	kernels := report.Count(n, "kernel") + " "
	switch g.Verdict {
	case report.Pass:
		return kernels + report.Plural(n, "does not fail as expected", "do not fail as expected")
	case report.Crash:
		return kernels + report.Plural(n, "crashes", "crash")
	case report.Timeout:
		return kernels + report.Plural(n, "does not end in time", "do not end in time")
	case report.NoBoot:
		return kernels + report.Plural(n, "does not boot", "do not boot")
	case report.Missing:
		return kernels + report.Plural(n, "was not reported", "were not reported")
	case report.Fail:
	default:
		return kernels + "could not be tested"
	}
	s := kernels + report.Plural(n, "fails", "fail")
	switch len(g.Tests) {
	case 0:
		return s
	case 1:
		return s + " " + quote(g.Tests[0])
	case 2:
		return s + " " + quote(g.Tests[0]) + " and " + quote(g.Tests[1])
	default:
		return s + " " + quote(g.Tests[0]) + " and " + report.Count(len(g.Tests)-1, "more test")
	}
}

// index is a result, made ready to be asked.
type index struct {
	m           *report.Merged
	kernels     []entry // by distribution and version
	represented []entry // that were not booted; they have no result
	at          map[string]int
	newly       map[string]bool
	seen        map[string]reason // by test output
	facts       []map[fact]string // by kernel; nil: not looked at yet, or none
}

// entry is a kernel with what its name says.
type entry struct {
	*report.Result
	distro  string
	version version
	ok      bool              // it has a version
	tests   map[string]string // verdicts by name
	program string            // that it is about; "": the whole kernel, see parts

	of func(test string) (int, string) // its program, as Result.TestPrograms finds it
}

func newEntry(k *report.Result) entry {
	distro, name := report.SplitID(k.ID)
	v, ok := parseVersion(name)
	return entry{Result: k, distro: distro, version: v, ok: ok}
}

func newIndex(m *report.Merged) *index {
	ix := &index{m: m, at: map[string]int{}, newly: map[string]bool{}, seen: map[string]reason{}}
	for i := range m.Kernels {
		k := &m.Kernels[i]
		e := newEntry(k)
		e.tests, e.of = make(map[string]string, len(k.Tests)), k.TestPrograms()
		for _, t := range k.Tests {
			if e.tests[t.Name] != report.TestFail { // of two with one name the worse counts
				e.tests[t.Name] = report.TestVerdict(t)
			}
		}
		ix.kernels = append(ix.kernels, e)
	}
	for _, r := range m.Represented {
		ix.represented = append(ix.represented, newEntry(&report.Result{ID: r.ID}))
	}
	ix.facts = make([]map[fact]string, len(ix.kernels))
	slices.SortStableFunc(ix.kernels, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.distro, b.distro), compareOK(a.ok, b.ok), a.version.compareTo(b.version), cmp.Compare(a.ID, b.ID))
	})
	for i, e := range ix.kernels {
		ix.at[e.ID] = i
	}
	if m.Change != nil {
		for _, id := range m.Change.NewlyFail {
			ix.newly[id] = true
		}
	}
	return ix
}

func compareOK(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// groupBuilder is a group while it is put together.
type groupBuilder struct {
	key             string
	verdict         report.Verdict
	reason          reason
	tests, programs map[string]bool
	kernels         []int // ascending
	example         int
	excerpt         string
	console         string // of the example
}

func (ix *index) groups() []Group {
	drafts := map[string]*groupBuilder{}
	var order []string
	add := func(key string, r reason, i int, of entry, test, excerpt string) {
		d := drafts[key]
		if d == nil {
			d = &groupBuilder{key: key, verdict: of.Verdict, reason: r, tests: map[string]bool{}, programs: map[string]bool{}, example: i, excerpt: excerpt, console: of.Console}
			drafts[key] = d
			order = append(order, key)
		}
		if test != "" {
			d.tests[test] = true
		} else if of.program != "" {
			d.programs[of.program] = true
		}
		if n := len(d.kernels); n == 0 || d.kernels[n-1] != i {
			d.kernels = append(d.kernels, i)
		}
		// What a reader wants to see is what has just broken.
		if ix.newly[ix.kernels[i].ID] && !ix.newly[ix.kernels[d.example].ID] {
			d.reason, d.example, d.excerpt, d.console = r, i, excerpt, of.Console
		}
	}
	for i, e := range ix.kernels {
		// What is stale is a failure of its own, beside the kernel's.
		if len(e.StaleExpectations) > 0 && (e.Verdict == report.Pass || e.failsAsExpected()) {
			r := newReason(e.StaleExpectations[0], true)
			add("stale\x00"+r.key, r, i, e, "", strings.Join(e.StaleExpectations, "\n"))
			continue
		}
		if e.OK() {
			continue
		}
		for _, of := range e.parts() {
			failures := ix.failedTests(of)
			if len(failures) == 0 {
				r := kernelReason(*of.Result)
				excerpt := ""
				if of.Cause != nil {
					excerpt = of.Cause.Excerpt
				}
				key := "kernel\x00" + of.Verdict.String() + "\x00" + r.key
				if of.Verdict == report.Timeout {
					key += "\x00" + strings.Join(failedNames(of), "\x00")
				}
				add(key, r, i, of, "", excerpt)
			}
			for _, f := range failures {
				key := "test\x00" + f.reason.key
				if !f.reason.global {
					key += "\x00" + f.name
				}
				add(key, f.reason, i, of, f.name, f.output)
			}
		}
	}
	groups := ix.merge(drafts, order)
	for i := range groups[:min(len(groups), maxAnalysed)] {
		if groups[i].Verdict != report.Pass { // what is stale is no failure of the kernel's
			ix.analyse(&groups[i])
		}
	}
	return groups
}

// failsAsExpected says whether all that is wrong with a kernel is that some of
// what was expected did not come.
func (e entry) failsAsExpected() bool {
	k := *e.Result
	k.StaleExpectations = nil
	return k.FailedAsExpected()
}

// parts are a kernel's programs that did not pass, each as if it were the kernel,
// without those that failed as expected; and the kernel itself where its verdict
// is none of theirs. A kernel without programs is itself.
func (e entry) parts() (parts []entry) {
	if len(e.Programs) == 0 {
		return []entry{e}
	}
	theirs := false
	results := e.ByProgram()
	for i := range results {
		k := &results[i]
		theirs = theirs || k.Verdict == e.Verdict
		if k.Verdict != report.Pass && !k.FailedAsExpected() {
			part := e
			part.Result, part.program = k, e.Programs[i].Name
			parts = append(parts, part)
		}
	}
	if !e.Verdict.Tested() && len(parts) == len(e.Programs) && !slices.ContainsFunc(parts, func(of entry) bool {
		return of.Verdict != e.Verdict || of.Cause == nil || of.Cause.Title != parts[0].Cause.Title
	}) {
		parts[0].program = "" // the kernel itself was not tested
		return parts[:1]
	}
	if !theirs || len(parts) == 0 {
		parts = append(parts, e)
	}
	return parts
}

// isAbout says whether a cause's title names a test: with its program or without.
func (e entry) isAbout(title, test string) bool {
	names := []string{test}
	if e.program != "" {
		title = strings.TrimPrefix(title, e.program+": ")
		names = append(names, strings.TrimPrefix(test, e.program+"/"))
	}
	return slices.ContainsFunc(names, func(name string) bool {
		return strings.HasPrefix(title, strings.TrimSuffix(report.OneLine(name, 200), "..."))
	})
}

// failure is a failed test.
type failure struct {
	name, output string
	reason       reason
}

// failedTests are the failed tests that are the reason why a kernel failed, but
// for those that only follow from others. It is empty when the kernel's cause
// is not one of its tests: after a crash nothing that they say can be believed.
func (ix *index) failedTests(e entry) []failure {
	if e.Verdict != report.Fail {
		return nil
	}
	var failed []failure
	more := 0
	ofTests := e.Cause == nil
	parents := map[string]bool{}
	for _, t := range e.Tests {
		if report.TestVerdict(t) != report.TestFail {
			continue
		}
		if e.Cause != nil && e.isAbout(e.Cause.Title, t.Name) {
			ofTests = true
		}
		if e.Expects(t.Name) {
			continue
		}
		if len(failed) == maxFailedTests {
			more++
			continue
		}
		for at := strings.LastIndexByte(t.Name, '/'); at > 0; at = strings.LastIndexByte(t.Name[:at], '/') {
			parents[t.Name[:at]] = true
		}
		failed = append(failed, failure{t.Name, t.Output, ix.reason(t.Output)})
	}
	if !ofTests {
		return nil
	}
	causes := slices.DeleteFunc(failed, func(f failure) bool { return parents[f.name] && strings.TrimSpace(f.output) == "" })
	if more > 0 {
		causes = append(causes, failure{name: "further tests", reason: reason{title: "more than " + report.Count(maxFailedTests, "test") + " failed", key: "more", global: true}})
	}
	return causes
}

func failedNames(e entry) []string {
	var names []string
	for _, t := range e.Tests {
		if report.TestVerdict(t) == report.TestFail && len(names) < 3 {
			names = append(names, t.Name)
		}
	}
	return names
}

// reason reads a test's output; many kernels print the same.
func (ix *index) reason(output string) reason {
	r, ok := ix.seen[output]
	if !ok {
		r = testReason(output)
		ix.seen[output] = r
	}
	return r
}

// merge makes one entry of tests that fail for the same reason on the very
// same kernels, and orders the groups.
func (ix *index) merge(drafts map[string]*groupBuilder, order []string) []Group {
	same := map[string]*groupBuilder{}
	var merged []*groupBuilder
	for _, key := range order {
		d := drafts[key]
		if len(d.tests) == 0 {
			merged = append(merged, d)
			continue
		}
		key := fmt.Sprint(d.reason.key, d.kernels)
		if first := same[key]; first != nil {
			maps.Copy(first.tests, d.tests)
			continue
		}
		same[key] = d
		merged = append(merged, d)
	}
	standing := NewStanding(ix.m)
	groups := make([]Group, len(merged))
	for i, d := range merged {
		g := Group{Key: d.key, Verdict: d.verdict, Title: d.reason.title, Example: ix.kernels[d.example].ID, Excerpt: d.excerpt, Console: d.console, Tests: slices.Sorted(maps.Keys(d.tests)), Programs: slices.Sorted(maps.Keys(d.programs))}
		for _, k := range d.kernels {
			g.Kernels = append(g.Kernels, ix.kernels[k].ID)
			g.More += len(standing.For[ix.kernels[k].ID])
			if ix.newly[ix.kernels[k].ID] {
				g.Newly++
			}
		}
		groups[i] = g
	}
	slices.SortStableFunc(groups, func(a, b Group) int {
		return cmp.Or(
			compareOK(a.Verdict.Tested(), b.Verdict.Tested()),
			cmp.Compare(min(1, b.Newly), min(1, a.Newly)),
			cmp.Compare(len(b.Kernels), len(a.Kernels)),
			cmp.Compare(a.Title, b.Title),
			slices.Compare(a.Tests, b.Tests),
			slices.Compare(a.Kernels, b.Kernels),
		)
	})
	return groups
}

// analyse adds what the kernels of a group have in common.
func (ix *index) analyse(g *Group) {
	state := ix.states(g)
	g.Boundaries = ix.boundaries(state, suspect{g, identifiersOf([]string{g.Title}), identifiersOf(outputLines(g.Excerpt))})
	g.Common, g.Unlike = ix.common(state, g)
}

// state is what is known about a failure on one kernel.
type state uint8

const (
	unclear state = iota // it was not tested, or failed in another way
	fails
	passes
)

// maxGroupTests bounds how many tests of a group are looked up on other kernels.
const maxGroupTests = 100

// states tells for each kernel whether it has the failure. Only what is proven
// counts as passing: all of the kernel, or one of the group's tests, with none
// of them failed. A test that was skipped proves nothing.
func (ix *index) states(g *Group) []state {
	states := make([]state, len(ix.kernels))
	for _, id := range g.Kernels {
		states[ix.at[id]] = fails
	}
	tests := g.Tests[:min(len(g.Tests), maxGroupTests)]
	for i, e := range ix.kernels {
		if states[i] == fails {
			continue
		}
		if len(g.Programs) > 0 && e.passes(g.Programs) {
			states[i] = passes
			continue
		}
		believed := e.Verdict == report.Pass || e.Verdict == report.Fail
		if len(tests) == 0 || len(e.tests) == 0 {
			if e.Verdict == report.Pass {
				states[i] = passes
			}
			continue
		}
		for _, t := range tests {
			if e.tests[t] == report.TestFail {
				states[i] = unclear
				break
			}
			if e.tests[t] == report.TestPass && (believed || e.programPassed(t)) {
				states[i] = passes
			}
		}
	}
	return states
}

// programPassed says whether a test's program passed, on a kernel that did not.
func (e entry) programPassed(test string) bool {
	i, _ := e.of(test)
	return i >= 0 && e.Programs[i].Verdict == report.Pass
}

// passes says whether all of some programs passed.
func (e entry) passes(programs []string) bool {
	left := len(programs)
	for _, p := range e.Programs {
		if _, ok := slices.BinarySearch(programs, p.Name); ok && p.Verdict == report.Pass {
			left--
		}
	}
	return left == 0
}
