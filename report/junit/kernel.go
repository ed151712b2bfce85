package junit

import (
	"fmt"
	"strings"
	"time"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"github.com/elastic/bpf-kernel-check/report"
)

// fill is how much of a kernel is written.
type fill struct {
	excerpt int  // bytes of all outputs
	passes  bool // the tests that passed, one by one
	tests   int  // that are written one by one; the worst come first
}

var fills = []fill{
	{maxJUnitExcerpt, true, 1 << 30},
	{8 << 10, true, 1 << 30},
	{1 << 10, true, 1 << 30},
	{1 << 10, false, 1 << 30},
	{1 << 10, false, 100},
	{512, false, 5},
	{256, false, 0},
}

// kernel is a kernel's suite and its XML, of at most room bytes when
// leaving things out can make it so.
func (j *junitWriter) kernel(k *report.Result, id, room int) (s *junitSuite, b []byte, err error) {
	for i, f := range fills {
		// Names and markup alone take some 90 bytes for a test.
		if i < len(fills)-1 && (f.passes && len(k.Tests)*90 > room) {
			continue
		}
		s = j.suite(k, id, f)
		if b, err = encodeSuite(s); err != nil || len(b) <= room {
			return s, b, err
		}
	}
	return s, b, nil
}

func (j *junitWriter) suite(k *report.Result, id int, f fill) *junitSuite {
	m := j.m
	distro, name := report.SplitID(k.ID)
	s := &junitSuite{}
	s.Testsuite.Name, s.ID = junitText(k.ID), id
	s.Testsuite.Time = junitTime(time.Duration(k.Phases["vm"]))
	if !m.At.IsZero() {
		s.SetTimestamp(m.At.UTC())
	}
	for _, p := range []struct{ name, value string }{
		{"release", k.Release}, {"arch", m.Arch}, {"distro", distro}, {"accel", k.Accel}, {"accel-note", k.AccelNote}, {"digest", k.Digest},
		{"boot", k.Boot}, {"machine", k.Machine}, {"verdict", k.Verdict.String()}, {"console", k.Console},
	} {
		if p.value != "" {
			s.AddProperty(p.name, junitText(p.value))
		}
	}
	if _, err := report.CommandWords(k.Reproduce); err == nil && k.Verdict != report.Pass {
		s.AddProperty("reproduce", xmlRunes(k.Reproduce)) // whole: it is to be run
	}
	if k.Reused != nil {
		s.AddProperty("reused", junitText(k.Reused.Words()))
	}
	if k.Attempts > 1 {
		s.AddProperty("attempts", fmt.Sprint(k.Attempts))
		if k.Verdict == report.Pass {
			s.AddProperty("passed-on-attempt", fmt.Sprint(k.Attempts))
		}
	}
	if k.Repeats > 1 {
		s.AddProperty("repeats", fmt.Sprint(k.Repeats))
	}
	for i, a := range k.History[:min(len(k.History), 20)] {
		s.AddProperty(fmt.Sprintf("history-%d", i+1), junitText(a.Words()))
	}
	for i, fl := range k.Flaky[:min(len(k.Flaky), 100)] {
		s.AddProperty(fmt.Sprintf("flaky-%d", i+1), junitText(fl.Words()))
	}
	if k.FailedAsExpected() {
		s.AddProperty("expected", junitText(k.ExpectedWords()))
	}
	for _, x := range k.Splats[:min(len(k.Splats), 10)] {
		s.AddProperty("allowed-splat", junitText(report.OneLine(x.Title+" ("+x.Allowed.Reason+")", 500)))
	}
	class := "bpf." + junitText(m.Arch) + "." + junitText(distro) + "." + junitText(name)
	c := cases{suite: s, class: class, fill: f, left: f.excerpt, names: map[string]int{}, reason: j.reason, expected: map[string]report.Expected{}}

	for _, e := range k.Expected {
		if e.Test != "" && e.Reason != "" {
			c.expected[e.Test] = e
		}
	}

	// The kernel's own case comes first, where the tests do not tell it all.
	failed := 0
	for _, t := range k.Tests {
		if report.TestVerdict(t) == report.TestFail {
			failed++
		}
	}
	explained := k.Verdict == report.Pass && len(k.Tests) > 0 && f.passes || k.Verdict == report.Fail && failed > len(c.expected) && f.tests > 0
	if !explained || k.Attempts > 1 {
		c.kernel(k, explained)
	}
	if len(k.StaleExpectations) > 0 {
		c.stale(k)
	}
	for _, t := range k.Tests {
		if report.TestVerdict(t) == report.TestFail {
			c.test(t)
		}
	}
	for _, t := range k.Tests {
		if report.TestVerdict(t) != report.TestFail {
			c.test(t)
		}
	}
	c.finish()
	return s
}

// cases fills a suite.
type cases struct {
	suite *junitSuite
	class string
	fill
	reason  func(output string) string
	left    int // bytes of outputs that may follow
	names   map[string]int
	omitted [3]int // tests that are not written: passed, failed, skipped
	cut     int    // outputs that are not whole

	expected map[string]report.Expected // by test
}

// stale is a failure for what was expected and did not come.
func (c *cases) stale(k *report.Result) {
	tc := c.one("expected failures", 0)
	tc.Failure = &junit.Result{Message: junitText(k.StaleExpectations[0]), Type: "stale", Data: c.output(strings.Join(k.StaleExpectations, "\n"))}
	c.suite.add(tc)
}

// expectedResult says why a failure does not count.
func expectedResult(e report.Expected) *junit.Result {
	words := "expected failure: " + e.Reason
	if e.Link != "" {
		words += " (" + e.Link + ")"
	}
	return &junit.Result{Message: junitText(words)}
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

// output is text as far as there is room for it.
func (c *cases) output(text string) string {
	if strings.TrimSpace(text) == "" {
		return ""
	}
	if c.left < 100 {
		c.cut++
		return ""
	}
	out := junitLines(text, c.left)
	if len(text) > c.left {
		c.cut++
	}
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
	const most = 10
	for n := 1; n < k.Attempts && n <= most; n++ {
		again := junitRerun{Type: report.Infra.String(), Message: fmt.Sprintf("attempt %d of %d gave no result", n, k.Attempts)}
		earlier := k.Retried()
		if k.Repeats <= 1 {
			earlier = k.History
		}
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
	written := len(c.suite.Cases)
	if v == report.TestPass && !c.passes || written >= c.tests {
		switch v {
		case report.TestPass:
			c.omitted[0]++
		case report.TestFail:
			if _, ok := c.expected[t.Name]; ok {
				c.omitted[2]++
				return
			}
			c.omitted[1]++
		default:
			c.omitted[2]++
		}
		return
	}
	tc := c.one(t.Name, t.Duration)
	switch v {
	case report.TestFail:
		if e, ok := c.expected[t.Name]; ok {
			tc.Testcase.Skipped = expectedResult(e)
			break
		}
		tc.Failure = &junit.Result{Message: junitText(c.reason(t.Output)), Type: "failed", Data: c.output(t.Output)}
	case report.TestSkip:
		tc.Testcase.Skipped = &junit.Result{Message: junitText(firstLineOf(t.Output))}
	}
	c.suite.add(tc)
}

func firstLineOf(s string) string {
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" {
			return l
		}
	}
	return ""
}

// finish says what was left out. Failures among it keep the suite from being
// green.
func (c *cases) finish() {
	var words []string
	if n := c.omitted[0] + c.omitted[1] + c.omitted[2]; n > 0 {
		words = append(words, fmt.Sprintf("%d tests are left out, the file would be too large: %d passed, %d failed, %d were skipped", n, c.omitted[0], c.omitted[1], c.omitted[2]))
	}
	if c.cut > 0 {
		words = append(words, report.Count(c.cut, "output")+" cut")
	}
	if c.omitted[1] > 0 {
		tc := c.one("further tests", 0)
		tc.Failure = &junit.Result{Message: fmt.Sprintf("%d more tests failed", c.omitted[1]), Type: "failed"}
		c.suite.add(tc)
	}
	if len(words) > 0 {
		c.suite.SystemOut = &junit.Output{Data: "bpf-kernel-check: " + strings.Join(words, "; ")}
	}
}
