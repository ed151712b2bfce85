package junit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// fill is how much of a kernel is written.
type fill struct {
	excerpt int  // bytes of all outputs
	passes  bool // the tests that passed, one by one
	tests   int  // that are written one by one; the worst come first
}

var fills = []fill{
	{maxJUnitExcerpt, true, 1 << 30},
	{1 << 10, true, 1 << 30},
	{1 << 10, false, 100},
	{256, false, 0},
}

// fittingSuite is a kernel's suite and its XML, of at most room bytes when
// leaving things out can make it so. reasons are those of outputs already read.
func fittingSuite(m *report.Merged, stand analysis.Standing, k *report.Result, id, room int, reasons map[string]string) (s *junitSuite, b []byte, err error) {
	for _, f := range fills {
		s = newKernelSuite(m, stand, k, id, f, reasons)
		if b, err = encodeSuite(s); err != nil || len(b) <= room {
			break
		}
	}
	return s, b, err
}

func newKernelSuite(m *report.Merged, stand analysis.Standing, k *report.Result, id int, f fill, reasons map[string]string) *junitSuite {
	distro, name := report.SplitID(k.ID)
	c := cases{
		suite: newSuite(m, k.ID, id, time.Duration(k.Phases["vm"])), class: "bpf." + junitText(m.Arch) + "." + junitText(distro) + "." + junitText(name),
		fill: f, left: f.excerpt, names: map[string]int{}, reasons: reasons, expected: map[string]report.Expected{}, flaky: map[string]report.Flaky{},
		of: k.TestPrograms(), programs: k.Programs,
	}
	for _, f := range k.Flaky {
		c.flaky[f.Name] = f
	}
	addProperties(c.suite, m, stand, k)
	for _, e := range k.Expected {
		if e.Test != "" && e.Reason != "" {
			c.expected[e.Test] = e
		}
	}
	// Failed tests first: they are written when others are not.
	tests := slices.Clone(k.Tests)
	slices.SortStableFunc(tests, report.FailedFirst)
	failed := 0
	for failed < len(tests) && report.TestVerdict(tests[failed]) == report.TestFail {
		failed++
	}
	// The kernel's own case comes before them, where the tests do not tell it all.
	explained := k.Verdict == report.Pass && len(k.Tests) > 0 && f.passes || k.Verdict == report.Fail && failed > len(c.expected) && f.tests > 0
	if !explained || k.Attempts > 1 {
		c.kernel(k, explained)
	}
	if len(k.StaleExpectations) > 0 {
		c.fail(c.one("expected failures", 0), k.StaleExpectations[0], "stale", strings.Join(k.StaleExpectations, "\n"))
	}
	c.programCases(k, tests[:failed], explained)
	for _, t := range tests {
		c.test(t)
	}
	c.finish()
	return c.suite
}

func addProperties(s *junitSuite, m *report.Merged, stand analysis.Standing, k *report.Result) {
	add := func(name, value string) {
		if value != "" {
			s.AddProperty(name, junitText(value))
		}
	}
	distro, _ := report.SplitID(k.ID)
	for _, p := range [][2]string{
		{"release", k.Release},
		{"arch", m.Arch},
		{"distro", distro},
		{"accel", k.Accel},
		{"accel-note", k.AccelNote},
		{"digest", k.Digest},
		{"boot", k.Boot},
		{"machine", k.Machine},
		{"verdict", k.Verdict.String()},
		{"console", k.Console},
	} {
		add(p[0], p[1])
	}
	if _, err := report.CommandWords(k.Reproduce); err == nil && k.Verdict != report.Pass {
		s.AddProperty("reproduce", xmlRunes(k.Reproduce)) // whole: it is to be run
	}
	if first, _ := stand.Words(); first != "" {
		add("picks", first)
	}
	if ids := stand.For[k.ID]; len(ids) > 0 {
		add("represents", report.Count(len(ids), "kernel")+": "+report.List(ids, 5, junitText))
	}
	if k.Reused != nil {
		add("reused", k.Reused.Words())
	}
	if k.Attempts > 1 {
		add("attempts", fmt.Sprint(k.Attempts))
		if k.Verdict == report.Pass {
			add("passed-on-attempt", fmt.Sprint(k.Attempts))
		}
	}
	if k.Repeats > 1 {
		add("repeats", fmt.Sprint(k.Repeats))
	}
	for i, a := range k.History[:min(len(k.History), 20)] {
		add(fmt.Sprintf("history-%d", i+1), a.Words())
	}
	for i, f := range k.Flaky[:min(len(k.Flaky), 100)] {
		add(fmt.Sprintf("flaky-%d", i+1), f.Words())
	}
	if k.FailedAsExpected() {
		add("expected", k.ExpectedWords())
	}
	for _, x := range k.Splats[:min(len(k.Splats), 10)] {
		add("allowed-splat", x.Title+" ("+x.Allowed.Reason+")")
	}
}

// cases fills a suite.
type cases struct {
	suite *junitSuite
	class string
	fill
	reasons map[string]string // by a test's output
	left    int               // bytes of outputs that may follow
	names   map[string]int
	cut     int                            // outputs that are not whole
	omitted struct{ pass, fail, skip int } // tests that are not written

	expected map[string]report.Expected // by test
	flaky    map[string]report.Flaky    // the same

	programs []report.Program
	of       func(test string) (program int, name string) // as Result.TestPrograms
}

// in is a case in the class of a program, which ends with its name: CI systems
// show a class for each. -1: in the kernel's.
func (c *cases) in(program int, name string, took time.Duration) junitCase {
	tc := c.one(name, took)
	if program >= 0 {
		// Where a dot stands, Jenkins begins another package.
		tc.Classname += "." + junitText(strings.ReplaceAll(c.programs[program].Name, ".", "_"))
	}
	return tc
}

func (c *cases) ofTest(t report.Test) junitCase {
	program, _ := c.of(t.Name)
	return c.in(program, t.Name, t.Duration)
}

// programCases are those of programs that did not pass, where neither their tests
// nor the kernel's own case tell it. explained: there is none of the kernel's.
func (c *cases) programCases(k *report.Result, failed []report.Test, explained bool) {
	asExpected := ""
	if k.FailedAsExpected() {
		asExpected = "expected failure: " + k.ExpectedWords()
	}
	told := map[int]bool{}
	for _, t := range failed {
		i, _ := c.of(t.Name)
		told[i] = true
	}
	for i, p := range k.Programs {
		switch {
		case p.Verdict == report.Pass, p.Verdict == report.Fail && told[i],
			!explained && k.Cause != nil && (strings.HasPrefix(k.Cause.Title, p.Name+": ") || p.Cause != nil && p.Verdict == k.Verdict && p.Cause.Title == k.Cause.Title):
			continue
		case len(c.suite.Cases) >= c.tests:
			c.omitted.fail++
			continue
		}
		tc := c.in(i, p.Name, p.Duration)
		title, excerpt := "no reason is known", ""
		if p.Cause != nil {
			title, excerpt = p.Cause.Title, p.Cause.Excerpt
		}
		switch {
		case asExpected != "":
			tc.Testcase.Skipped = &junit.Result{Message: junitText(asExpected)}
			c.suite.add(tc)
		case p.Verdict == report.Fail:
			c.fail(tc, title, p.Verdict.String(), excerpt)
		default:
			tc.Error = &junit.Result{Message: junitText(p.Verdict.String() + ": " + title), Type: p.Verdict.String(), Data: c.output(excerpt)}
			c.suite.add(tc)
		}
	}
}

func (c *cases) one(name string, took time.Duration) junitCase {
	name = junitText(name)
	if name == "" {
		name = "(no name)"
	}
	// Of tests with one name GitLab shows the first only.
	c.names[name]++
	if n := c.names[name]; n > 1 {
		name = fmt.Sprintf("%s #%d", name, n)
	}
	return junitCase{Testcase: junit.Testcase{Classname: c.class, Name: name, Time: junitTime(took)}}
}

func (c *cases) fail(tc junitCase, message, kind, output string) {
	tc.Failure = &junit.Result{Message: junitText(message), Type: kind, Data: c.output(output)}
	c.suite.add(tc)
}

// output is text as far as there is room for it.
func (c *cases) output(text string) string {
	if strings.TrimSpace(text) == "" {
		return ""
	}
	if len(text) > c.left || c.left < 100 {
		c.cut++
	}
	if c.left < 100 {
		return ""
	}
	out := junitLines(text, c.left)
	c.left -= len(out)
	return out
}

// kernel is the case of the kernel as a whole. explained: its tests tell what
// is wrong, and this is about its attempts alone.
func (c *cases) kernel(k *report.Result, explained bool) {
	tc := c.one("kernel", time.Duration(k.Phases["vm"]))
	title, excerpt := "no reason is known", ""
	if k.Cause != nil {
		title, excerpt = k.Cause.Title, k.Cause.Excerpt
	}
	switch {
	case k.Verdict == report.Pass || explained:
	case k.FailedAsExpected():
		tc.Testcase.Skipped = &junit.Result{Message: junitText("expected failure: " + k.ExpectedWords() + "; " + k.Verdict.String() + ": " + title)}
	case k.Verdict == report.Fail:
		tc.Failure = &junit.Result{Message: junitText(title), Type: k.Verdict.String(), Data: c.output(excerpt)}
	default: // crash, timeout and whatever was not tested; a verdict that is not known as well
		tc.Error = &junit.Result{Message: junitText(k.Verdict.String() + ": " + title), Type: k.Verdict.String(), Data: c.output(excerpt)}
	}
	earlier := k.Retried()
	if k.Repeats <= 1 {
		earlier = k.History
	}
	const most = 10
	for n := 1; n < k.Attempts && n <= most; n++ {
		again := junitRerun{Type: report.Infra.String(), Message: fmt.Sprintf("attempt %d of %d gave no result", n, k.Attempts)}
		if n <= len(earlier) {
			a := earlier[n-1]
			again.Type = a.Verdict.String()
			if a.Verdict.Tested() {
				again.Message = fmt.Sprintf("attempt %d of %d", n, k.Attempts)
			}
			again.Message += junitText(": " + a.Words())
		}
		if console, ok := strings.CutSuffix(k.Console, ".txt"); ok {
			again.Message += junitText("; its console: " + console + fmt.Sprintf(".attempt-%d.txt", n))
		}
		if tc.Error == nil && tc.Failure == nil {
			tc.FlakyErrors = append(tc.FlakyErrors, again)
		} else {
			tc.RerunErrors = append(tc.RerunErrors, again)
		}
	}
	c.suite.add(tc)
}

func (c *cases) test(t report.Test) {
	v := report.TestVerdict(t)
	expected, isExpected := c.expected[t.Name]
	left := v == report.TestPass && !c.passes || len(c.suite.Cases) >= c.tests
	switch {
	case left && v == report.TestPass:
		c.omitted.pass++
	case left && v == report.TestFail && !isExpected:
		c.omitted.fail++
	case left:
		c.omitted.skip++
	case v == report.TestFail && !isExpected:
		why, ok := c.reasons[t.Output]
		if !ok {
			why = analysis.TestReason(t.Output)
			c.reasons[t.Output] = why
		}
		c.fail(c.ofTest(t), why, "failed", t.Output)
	default:
		tc := c.ofTest(t)
		if f, ok := c.flaky[t.Name]; ok && v == report.TestPass {
			tc.FlakyFailures = []junitRerun{{Type: "failed", Message: junitText(f.Words())}}
		}
		switch v {
		case report.TestFail: // as expected
			words := "expected failure: " + expected.Reason
			if expected.Link != "" {
				words += " (" + expected.Link + ")"
			}
			tc.Testcase.Skipped = &junit.Result{Message: junitText(words)}
		case report.TestSkip:
			line, _, _ := strings.Cut(strings.TrimSpace(t.Output), "\n")
			tc.Testcase.Skipped = &junit.Result{Message: junitText(line)}
		}
		c.suite.add(tc)
	}
}

// finish says what was left out. Failures among it keep the suite from being
// green.
func (c *cases) finish() {
	var words []string
	o := c.omitted
	if n := o.pass + o.fail + o.skip; n > 0 {
		words = append(words, fmt.Sprintf("%d tests are left out, the file would be too large: %d passed, %d failed, %d were skipped", n, o.pass, o.fail, o.skip))
	}
	if c.cut > 0 {
		words = append(words, report.Count(c.cut, "output")+" cut")
	}
	if o.fail > 0 {
		c.fail(c.one("further tests", 0), fmt.Sprintf("%d more tests failed", o.fail), "failed", "")
	}
	if len(words) > 0 {
		c.suite.SystemOut = &junit.Output{Data: "bpf-kernel-check: " + strings.Join(words, "; ")}
	}
}
