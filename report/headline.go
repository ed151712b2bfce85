package report

import (
	"fmt"
	"strings"
	"time"
)

// count is "1 kernel", "2 kernels".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%s %ss", thousands(n), what)
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// headline is the verdict in one line, with nothing in it that a guest said:
// "3 kernels newly fail, 1 fixed, 117 of 120 pass".
func headline(m *Merged) string {
	t := m.Outcome()
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if c := m.Change; c != nil {
		newly, fixed := len(c.NewlyFail), len(c.Fixed)
		switch {
		case newly > 0 && fixed > 0:
			add("%s newly %s, %s fixed", count(newly, "kernel"), plural(newly, "fails", "fail"), thousands(fixed))
		case newly > 0:
			add("%s newly %s", count(newly, "kernel"), plural(newly, "fails", "fail"))
		case fixed > 0:
			add("%s fixed", count(fixed, "kernel"))
		case t.Failed > 0:
			add("no kernel newly fails")
		}
	}
	switch {
	case t.Kernels == 0:
		add("no kernel was tested")
	case t.Passed == t.Kernels:
		add("%s", plural(t.Kernels, "the one kernel passes", "all "+count(t.Kernels, "kernel")+" pass"))
	case m.Change == nil && t.Failed > 0:
		add("%s of %s %s, %s %s", thousands(t.Failed), count(t.Kernels, "kernel"), plural(t.Failed, "fails", "fail"), thousands(t.Passed), plural(t.Passed, "passes", "pass"))
	case m.Change == nil:
		add("%s of %s %s", thousands(t.Passed), count(t.Kernels, "kernel"), plural(t.Passed, "passes", "pass"))
	default:
		add("%s of %s %s", thousands(t.Passed), thousands(t.Kernels), plural(t.Passed, "passes", "pass"))
	}
	if t.FailedAsExpected > 0 {
		add("%s %s as expected", thousands(t.FailedAsExpected), plural(t.FailedAsExpected, "fails", "fail"))
	}
	if t.Stale > 0 {
		add("%s not as expected", thousands(t.Stale))
	}
	if t.NotTested > 0 {
		add("%s not tested", thousands(t.NotTested))
	}
	switch {
	case len(m.Refusals) > 0:
		add("the result is incomplete")
	case t.Kernels > 0 && t.OK() && m.Verdict != Pass:
		add("but the merged verdict is %s", m.Verdict)
	}
	return strings.Join(parts, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// maxStatus is the length that GitHub allows for a commit status, in characters.
const maxStatus = 140

// StatusDescription is the verdict in at most 140 characters, for a commit
// status. Nothing of it comes from a guest.
func StatusDescription(m *Merged) string {
	s := headline(m)
	if len(s) > maxStatus {
		s = s[:maxStatus-3] + "..."
	}
	return s
}

// Annotation is a short message for a job's page. Its texts hold what guests
// said: who writes it into a workflow command must escape it.
type Annotation struct {
	Title   string // one line, at most 200 bytes
	Message string // lines, at most 2,000 bytes
}

// MaxAnnotations is how many of a kind GitHub shows for a step.
const MaxAnnotations = 10

// Annotations are the most important things that went wrong, at most
// MaxAnnotations: why the result is incomplete, then the largest groups. None
// means that all is well.
func Annotations(m *Merged) []Annotation {
	var all []Annotation
	if n := len(m.Refusals); n > 0 {
		var lines []string
		for _, r := range m.Refusals[:min(n, 10)] {
			lines = append(lines, OneLine(r.Reason, 180))
		}
		if n > 10 {
			lines = append(lines, fmt.Sprintf("and %s more", thousands(n-10)))
		}
		all = append(all, Annotation{Title: "the result is incomplete", Message: strings.Join(lines, "\n")})
	}
	groups := Groups(m)
	plain := func(s string) string { return OneLine(s, 120) }
	for i, g := range groups {
		if len(all) == MaxAnnotations-1 && i < len(groups)-1 {
			rest := len(groups) - i
			all = append(all, Annotation{Title: fmt.Sprintf("%d more kinds of failures", rest), Message: "the job's summary has them all"})
			break
		}
		lines := []string{OneLine(g.Title, 300)}
		if !g.Verdict.Tested() {
			g.Boundaries = nil // nothing is known of these kernels
		}
		for _, b := range g.Boundaries[:min(len(g.Boundaries), 5)] {
			lines = append(lines, OneLine(boundaryName(b, plain)+": "+b.Text(plain), 300))
			if why, _ := b.Reasons(plain); len(why) > 0 {
				lines = append(lines, OneLine(why[0], 200))
			}
		}
		if len(g.Kernels) == 1 {
			lines = append(lines, plain(g.Kernels[0]))
		}
		all = append(all, Annotation{Title: OneLine(fmt.Sprintf("%d. %s", i+1, groupWords(g, plain)), 200), Message: strings.Join(lines, "\n")})
	}
	if len(all) == 0 && m.Outcome().Verdict != Pass {
		all = append(all, Annotation{Title: "the result is no pass", Message: headline(m)})
	}
	return all
}

func boundaryName(b Boundary, quote func(string) string) string {
	if b.Flavour == "" {
		return quote(b.Distro)
	}
	return quote(b.Distro) + " " + quote(b.Flavour)
}

// groupWords says what a group is in a few words: "12 kernels fail TestX".
func groupWords(g Group, quote func(string) string) string {
	n := len(g.Kernels)
	kernels := count(n, "kernel")
	switch g.Verdict {
	case Pass:
		return kernels + " " + plural(n, "does not fail as expected", "do not fail as expected")
	case Crash:
		return kernels + " " + plural(n, "crashes", "crash")
	case Timeout:
		return kernels + " " + plural(n, "does not end in time", "do not end in time")
	case NoBoot:
		return kernels + " " + plural(n, "does not boot", "do not boot")
	case Missing:
		return kernels + " " + plural(n, "was not reported", "were not reported")
	case Fail:
	default:
		return kernels + " could not be tested"
	}
	fail := plural(n, "fails", "fail")
	switch len(g.Tests) {
	case 0:
		return kernels + " " + fail
	case 1, 2:
		names := make([]string, len(g.Tests))
		for i, t := range g.Tests {
			names[i] = quote(t)
		}
		return kernels + " " + fail + " " + strings.Join(names, " and ")
	default:
		return fmt.Sprintf("%s %s %s and %s", kernels, fail, quote(g.Tests[0]), count(len(g.Tests)-1, "more test"))
	}
}

// kernelTime is how long all VMs together ran.
func kernelTime(m *Merged) time.Duration {
	var total time.Duration
	for _, k := range m.Kernels {
		if ns := k.Phases["vm"]; k.Reused == nil && ns > 0 && ns < int64(24*time.Hour) {
			total += time.Duration(ns)
		}
	}
	return total
}
