package output

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"
)

// framework is a way to print tests of which the summary alone is read: it tells
// that a test failed, or that none ran, where the exit status does not. Patterns
// are of whole lines that nothing else prints; see summaryCounts.match.
type framework struct {
	name  string
	begin []string // the program's first words; the summary has to follow
	end   []string // a summary, or a line of it
	fail  []string // a failure, whatever is counted
	none  []string // no test ran
	pass  []string // a test that passed, without a count
	skips []string // one that was skipped

	// loose: lines of end that mean nothing without a line of begin before.
	loose bool
	// fewer: what was run and did not pass has failed.
	fewer bool
	// apart: what was skipped is not among those that ran.
	apart bool
	// nested: it prints from within a test of another kind.
	nested bool
	// skip is the exit status of a program whose tests were all skipped; 0: none.
	skip int
}

var frameworks = []framework{
	{
		name:  "Catch2",
		begin: []string{"Randomness seeded to: {}"},
		end: []string{
			"All tests passed ({*} in {ran} test case{*})", "test cases: {bars}",
			"Passed {*}{passed} test case{*} with {*} assertion{*}.", "Passed {*}{passed} test case{*} (no assertions).",
		},
		fail: []string{"Failed {*}{failed} test case{*}, failed {*} assertion{*}."},
		none: []string{"No tests ran", "No tests ran."},
	},
	{
		name:  "doctest",
		begin: []string{`[doctest] doctest version is "{*}"`},
		end:   []string{"[doctest] test cases: {ran} | {passed} passed | {failed} failed{*}"}, // "skipped" counts what the filter leaves out, too
		fail:  []string{"[doctest] Status: FAILURE!"},
	},
	{
		name:  "libcheck",
		begin: []string{"Running suite(s): {*}"},
		end:   []string{"{}%: Checks: {ran}, Failures: {failed}, Errors: {failed}"},
	},
	{
		name: "Criterion",
		end:  []string{"[====] Synthesis: Tested: {ran} | Passing: {passed} | Failing: {failed} | Crashing: {failed}{*}"},
	},
	{
		name: "Boost.Test",
		end:  []string{"*** No errors detected"},
		fail: []string{"*** {failed} failure{*} detected{*}", "*** Errors were detected in the test {*}", "*** The test {*} was aborted; see standard output for details"},
		none: []string{"Test setup error: no test cases matching filter{*}", "*** The test {*} was skipped; see standard output for details"},
	},
	{
		name:  "CUnit",
		begin: []string{"CUnit - A unit testing framework for C - Version {*}"},
		end:   []string{"tests {} {ran} {passed} {failed} {}"},
		loose: true,
	},
	{
		name:  "CppUTest",
		end:   []string{"OK ({} tests, {ran} ran, {} checks, {skipped} ignored, {} filtered out, {} ms)"},
		fail:  []string{"Errors ({failed} failures, {} tests, {ran} ran, {*} ms)"},
		none:  []string{"Errors (ran nothing, {} tests, {*} ms)"},
		apart: true,
	},
	{
		name: "CppUnit",
		end:  []string{"OK ({ran} tests)", "OK ({ran} test)", "Run: {ran} Failures: {failed} Errors: {failed}", "Run: {ran} Failure total: {failed} Failures: {} Errors: {}"},
		fail: []string{"!!!FAILURES!!!"},
	},
	{
		name: "Unity",
		end:  []string{"{ran} Tests {failed} Failures {skipped} Ignored"},
	},
	{
		name: "acutest",
		end:  []string{"SUCCESS: All unit tests have passed."},
		fail: []string{"FAILED: {failed} of {ran} unit test{*} failed."},
	},
	{
		name: "greatest",
		end:  []string{"Pass: {passed}, fail: {failed}, skip: {skipped}."},
	},
	{
		name:  "munit",
		end:   []string{"{passed} of {ran} ({}%) tests successful, {skipped} ({}%) test skipped."},
		fewer: true,
	},
	{
		name: "CTest",
		end:  []string{"{}% tests passed, {failed} tests failed out of {ran}", "{}% tests passed, {failed} test failed out of {ran}"},
		none: []string{"No tests were found!!!"},
	},
	{
		name: "nextest",
		end: []string{
			"Summary [{*}s] {ran} test{*} run: {passed} passed{*}, {failed} failed{*}, {} skipped",
			"Summary [{*}s] {ran} test{*} run: {failed} failed{*}, {} skipped",
			"Summary [{*}s] {ran} test{*} run: {passed} passed{*}, {} skipped",
		},
		none:  []string{"error: no tests to run"},
		fail:  []string{"error: test run failed"},
		fewer: true,
	},
	{
		name: "Zig's",
		end:  []string{"All {passed} tests passed.", "{passed} passed; {skipped} skipped; {failed} failed."},
	},
	{
		name: "unittest",
		end:  []string{"Ran {ran} tests in {*}s", "Ran {ran} test in {*}s", "OK (skipped={skipped})", "OK (skipped={skipped}, {*})"},
		fail: []string{"FAILED (failures={failed}{*})", "FAILED (errors={failed}{*})", "FAILED (skipped={skipped}, unexpected successes={failed}{*})", "FAILED (unexpected successes={failed}{*})"},
		none: []string{"NO TESTS RAN", "NO TESTS RAN (skipped={skipped})"},
	},
	{
		name:  "pytest",
		begin: []string{"={*}= test session starts ={*}="},
		end:   []string{"={*}= {list} in {*}s{*} ={*}="},
		none:  []string{"={*}= no tests ran in {*}s{*} ={*}=", "no tests ran in {*}s"},
	},
	{
		name: "busted",
		end:  []string{"{passed} success{*} / {failed} failure{*} / {failed} error{*} / {skipped} pending : {*} seconds"},
	},
	{
		name: "bats",
		end:  []string{"{ran} test, {failed} failure{*}", "{ran} tests, {failed} failure{*}"},
	},
	{
		name: "kvm-unit-tests",
		end:  []string{"SUMMARY: {ran} tests", "SUMMARY: {ran} tests, {failed} unexpected failures{*}", "SUMMARY: {ran} tests, {skipped} skipped", "SUMMARY: {ran} tests, {} expected failures{*}"},
	},
	{
		name:  "LTP",
		pass:  []string{"{word}.c:{}: TPASS: {*}", "{word} {} TPASS: {*}", "{word} {} TPASS : {*}"},
		fail:  []string{"{word}.c:{}: TFAIL: {*}", "{word}.c:{}: TBROK: {*}", "{word} {} TFAIL: {*}", "{word} {} TBROK: {*}", "{word} {} TFAIL : {*}", "{word} {} TBROK : {*}"},
		skips: []string{"{word}.c:{}: TCONF: {*}", "{word} {} TCONF: {*}", "{word} {} TCONF : {*}"},
		skip:  32,
	},
	{
		name:   "Ginkgo",
		end:    []string{"Ran {ran} of {} Specs in {*} seconds"},
		nested: true,
	},
}

// summaryCounts is what a summary counts.
type summaryCounts struct {
	ran, passed, failed, skipped int

	hasRan, hasAny bool // ran, or any of them, was counted
}

func (c *summaryCounts) add(d summaryCounts) {
	c.ran += d.ran
	c.passed += d.passed
	c.failed += d.failed
	c.skipped += d.skipped
	c.hasRan = c.hasRan || d.hasRan
	c.hasAny = c.hasAny || d.hasAny
}

func (c *summaryCounts) set(name string, n int) {
	switch name {
	case "ran":
		c.ran += n
		c.hasRan = true
	case "passed":
		c.passed += n
	case "failed":
		c.failed += n
	case "skipped":
		c.skipped += n
	default:
		return
	}
	c.hasAny = true
}

// match holds a text against a pattern and takes its numbers. In a pattern a blank
// stands for one blank or more, {ran}, {passed}, {failed} and {skipped} for numbers
// that count, {} for another number, {word} for what has no blank, {*} for anything,
// {bars} for what is like "3 | 2 passed | 1 failed", {list} for what is like
// "2 passed, 1 failed".
func (c *summaryCounts) match(pattern, text string) bool {
	found := summaryCounts{}
	if !found.matchRest(pattern, text) {
		return false
	}
	c.add(found)
	return true
}

func (c *summaryCounts) matchRest(pattern, text string) bool {
	for pattern != "" {
		switch pattern[0] {
		case ' ':
			rest := strings.TrimLeft(text, " \t")
			if len(rest) == len(text) {
				return false
			}
			pattern, text = pattern[1:], rest
			continue
		case '{':
		default:
			if text == "" || text[0] != pattern[0] {
				return false
			}
			pattern, text = pattern[1:], text[1:]
			continue
		}
		name, rest, _ := strings.Cut(pattern[1:], "}")
		pattern = rest
		switch name {
		case "*", "word":
			if rest == "" && name == "*" {
				return true
			}
			for i := 0; i <= len(text); i++ {
				d := *c
				if d.matchRest(rest, text[i:]) {
					*c = d
					return true
				}
				if name == "word" && i < len(text) && (text[i] == ' ' || text[i] == '\t') {
					return false
				}
			}
			return false
		case "bars":
			return c.bars(text)
		case "list":
			at := strings.LastIndex(text, " in ")
			if at < 0 || !c.list(text[:at]) {
				return false
			}
			text = text[at:]
		default:
			number := text[:len(text)-len(strings.TrimLeft(text, "0123456789"))]
			n, err := strconv.Atoi(number)
			if !digits(number) || err != nil {
				return false
			}
			c.set(name, n)
			text = text[len(number):]
		}
	}
	return text == ""
}

// bars reads "3 | 1 passed | 1 failed | 1 failed as expected".
func (c *summaryCounts) bars(text string) bool {
	for i, part := range strings.Split(text, "|") {
		number, word, _ := strings.Cut(strings.TrimSpace(part), " ")
		n, err := strconv.Atoi(number)
		if !digits(number) || err != nil {
			return false
		}
		switch word = strings.TrimSpace(word); {
		case i == 0:
			if word != "" {
				return false
			}
			word = "ran"
		case word == "failed as expected":
			word = "passed"
		}
		c.set(word, n)
	}
	return true
}

// list reads "1 failed, 2 passed, 1 warning".
func (c *summaryCounts) list(text string) bool {
	for part := range strings.SplitSeq(text, ", ") {
		number, word, _ := strings.Cut(part, " ")
		n, err := strconv.Atoi(number)
		if !digits(number) || err != nil {
			return false
		}
		switch word = strings.TrimPrefix(word, "subtests "); word {
		case "error", "errors":
			word = "failed"
		case "xpassed":
			word = "passed"
		case "xfailed":
			word = "skipped"
		case "passed", "failed", "skipped", "deselected", "warning", "warnings", "rerun":
		default:
			return false
		}
		c.set(word, n)
	}
	c.hasAny = true
	return true
}

// maxSummary is the length of the longest line that is looked at.
const maxSummary = 200

type patternKind uint8

const (
	patternBegin patternKind = iota
	patternEnd
	patternFail
	patternNone
	patternPass
	patternSkips
)

type indexedPattern struct {
	framework int
	kind      patternKind
	pattern   string
}

// summaries are the frameworks' summaries in a program's output.
type summaries struct {
	index map[byte][]indexedPattern // by the first byte; 0: it can be any
	seen  map[int]*summarySeen      // by framework
}

type summarySeen struct {
	counts summaryCounts
	begun  bool   // and not ended
	cut    bool   // it began again
	last   string // the last line of the summary
	fail   string // the first line that tells of a failure
	none   string // or that none ran
}

func newSummaries() *summaries {
	s := &summaries{index: map[byte][]indexedPattern{}, seen: map[int]*summarySeen{}}
	for i, f := range frameworks {
		for kind, patterns := range [][]string{f.begin, f.end, f.fail, f.none, f.pass, f.skips} {
			for _, pattern := range patterns {
				p := indexedPattern{i, patternKind(kind), pattern}
				switch {
				case strings.HasPrefix(pattern, "{word}"):
					s.index[0] = append(s.index[0], p)
				case pattern[0] == '{':
					for c := byte('0'); c <= '9'; c++ {
						s.index[c] = append(s.index[c], p)
					}
				default:
					s.index[pattern[0]] = append(s.index[pattern[0]], p)
				}
			}
		}
	}
	return s
}

// line reads a line of the program's. quoted says that a test of another kind
// runs, whose text it can be.
func (s *summaries) line(text []byte, quoted bool) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || len(text) > maxSummary {
		return
	}
	for _, p := range s.index[text[0]] {
		s.look(p, text, quoted)
	}
	if bytes.Contains(text, []byte(" T")) { // LTP's
		for _, p := range s.index[0] {
			s.look(p, text, quoted)
		}
	}
}

func (s *summaries) look(p indexedPattern, text []byte, quoted bool) {
	f := &frameworks[p.framework]
	if quoted && !f.nested {
		return
	}
	seen := s.seen[p.framework]
	if f.loose && p.kind == patternEnd && seen == nil {
		return
	}
	var c summaryCounts
	if !c.match(p.pattern, string(text)) {
		return
	}
	if seen == nil {
		seen = &summarySeen{}
		s.seen[p.framework] = seen
	}
	seen.counts.add(c)
	if p.kind == patternBegin {
		seen.cut = seen.cut || seen.begun
		seen.begun = true
		return
	}
	seen.begun = false
	seen.last = string(text)
	switch p.kind {
	case patternFail:
		seen.fail = cmp.Or(seen.fail, string(text))
	case patternNone:
		seen.none = cmp.Or(seen.none, string(text))
	case patternPass:
		seen.counts.set("passed", 1)
	case patternSkips:
		seen.counts.set("skipped", 1)
	}
	if c.failed > 0 {
		seen.fail = cmp.Or(seen.fail, string(text))
	}
}

// told is what all summaries come to.
type told struct {
	fail    string // why the program has failed; empty: it has not
	cut     string // which summary is missing
	none    string // no test ran, and what says so
	nested  bool   // none is of a framework whose tests are one of another
	skipped string // what says that all tests were skipped
	status  int    // the exit status that says the same
}

func (s *summaries) told() told {
	t := told{}
	for i, f := range frameworks {
		seen := s.seen[i]
		if seen == nil {
			continue
		}
		c := seen.counts
		total := c.passed + c.failed + c.skipped
		if c.hasRan {
			if total = c.ran; f.apart {
				total += c.skipped
			}
		}
		says := f.name + ": " + seen.last
		switch {
		case seen.fail != "":
			t.fail = cmp.Or(t.fail, f.name+": "+seen.fail)
		case f.fewer && c.passed+c.skipped < c.ran:
			t.fail = cmp.Or(t.fail, says)
		case seen.begun || seen.cut:
			t.cut = cmp.Or(t.cut, f.name+"'s summary is missing")
		case seen.none != "" && total == 0, c.hasAny && total == 0:
			t.none, t.nested = cmp.Or(t.none, says), t.nested || f.nested
		case c.skipped > 0 && c.skipped >= total:
			t.skipped, t.status = cmp.Or(t.skipped, says), f.skip
		}
	}
	return t
}
