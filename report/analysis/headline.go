package analysis

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// Headline is the verdict in one line, with nothing in it that a guest said:
// "3 kernels newly fail, 1 fixed, 117 of 120 pass".
func Headline(m *report.Merged) string {
	t := m.Outcome()
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if c := m.Change; c != nil {
		newly, fixed, fresh := len(c.NewlyFail), len(c.Fixed), 0
		for i := range m.Kernels {
			k := &m.Kernels[i]
			if _, isNew := slices.BinarySearch(c.New, k.ID); isNew && k.Verdict.Failed() && !k.FailedAsExpected() {
				fresh++
			}
		}
		if fresh > 0 {
			add("%s %s", report.Count(fresh, "new kernel"), report.Plural(fresh, "fails", "fail"))
		}
		switch {
		case newly > 0:
			add("%s newly %s", report.Count(newly, "kernel"), report.Plural(newly, "fails", "fail"))
			if fixed > 0 {
				add("%s fixed", report.Thousands(fixed))
			}
		case fixed > 0:
			add("%s fixed", report.Count(fixed, "kernel"))
		case t.Failed > 0 && fresh == 0:
			add("no kernel newly fails")
		}
	}
	switch {
	case t.Kernels == 0:
		add("no kernel was tested")
	case t.Passed == t.Kernels:
		add("%s", report.Plural(t.Kernels, "the one kernel passes", "all "+report.Count(t.Kernels, "kernel")+" pass"))
	case m.Change == nil && t.Failed > 0:
		add("%s of %s %s, %s %s", report.Thousands(t.Failed), report.Count(t.Kernels, "kernel"), report.Plural(t.Failed, "fails", "fail"), report.Thousands(t.Passed), report.Plural(t.Passed, "passes", "pass"))
	case m.Change == nil:
		add("%s of %s %s", report.Thousands(t.Passed), report.Count(t.Kernels, "kernel"), report.Plural(t.Passed, "passes", "pass"))
	default:
		add("%s of %s %s", report.Thousands(t.Passed), report.Thousands(t.Kernels), report.Plural(t.Passed, "passes", "pass"))
	}
	if t.FailedAsExpected > 0 {
		add("%s %s as expected", report.Thousands(t.FailedAsExpected), report.Plural(t.FailedAsExpected, "fails", "fail"))
	}
	if t.Stale > 0 {
		add("%s not as expected", report.Thousands(t.Stale))
	}
	if t.NotTested > 0 {
		add("%s not tested", report.Thousands(t.NotTested))
	}
	if n := EarlierFailed(m); n > 0 {
		add("%s %s not known to pass", report.Count(n, "other kernel"), report.Plural(n, "is", "are"))
	}
	if standing := NewStanding(m); standing.All > 0 && standing.Tested > 0 {
		add("%s", standing.short(t.Counts))
	}
	costly := len(m.Change.TooCostly()) > 0
	if costly {
		add("%s", TooCostlyWords(m))
	}
	switch {
	case len(m.Refusals) > 0:
		add("the result is incomplete")
	case !costly && t.Kernels > 0 && t.OK() && m.Verdict != report.Pass:
		add("but the merged verdict is %s", m.Verdict)
	}
	line := strings.Join(parts, ", ")
	if m.Advisory && t.Verdict != report.Pass {
		line = "advisory, checks stay green: " + line
	}
	return line
}

// Annotation is a short message for a job's page. Its texts hold what guests
// said: whoever writes it into a workflow command must escape it.
type Annotation struct {
	Title   string // one line, at most 200 bytes
	Message string // lines, at most 2,000 bytes
}

// MaxAnnotations is how many of a kind GitHub shows for a step.
const MaxAnnotations = 10

// Annotations are the most important things that went wrong, at most
// MaxAnnotations: why the result is incomplete, then the largest groups. There
// are none if and only if the result is a pass.
func Annotations(m *report.Merged) []Annotation {
	var all []Annotation
	if n := len(m.Refusals); n > 0 {
		var lines []string
		for _, r := range m.Refusals[:min(n, 10)] {
			lines = append(lines, report.OneLine(r.Reason, 180))
		}
		if n > 10 {
			lines = append(lines, fmt.Sprintf("and %s more", report.Thousands(n-10)))
		}
		all = append(all, Annotation{Title: "the result is incomplete", Message: strings.Join(lines, "\n")})
	}
	plain := func(s string) string { return report.OneLine(s, 120) }
	if costly := TooCostly(m); len(costly) > 0 {
		var lines []string
		for _, c := range costly[:min(len(costly), 5)] {
			lines = append(lines, report.OneLine(ChangeWords(c.CostChange, plain), 350))
		}
		all = append(all, Annotation{Title: TooCostlyWords(m), Message: strings.Join(lines, "\n")})
	}
	groups := Groups(m)
	for i, g := range groups {
		if len(all) == MaxAnnotations-1 && i < len(groups)-1 {
			rest := len(groups) - i
			all = append(all, Annotation{Title: fmt.Sprintf("%d more kinds of failures", rest), Message: "the job's summary has them all"})
			break
		}
		lines := []string{report.OneLine(g.Title, 300)}
		if !g.Verdict.Tested() {
			g.Boundaries = nil // nothing is known of these kernels
		}
		for _, b := range g.Boundaries[:min(len(g.Boundaries), 5)] {
			lines = append(lines, report.OneLine(b.Name(plain)+": "+b.Text(plain), 300))
			if why, _ := b.Reasons(plain); len(why) > 0 {
				lines = append(lines, report.OneLine(why[0], 200))
			}
		}
		if len(g.Kernels) == 1 {
			lines = append(lines, plain(g.Kernels[0]))
		}
		all = append(all, Annotation{Title: report.OneLine(fmt.Sprintf("%d. %s", i+1, g.Text(plain)), 200), Message: strings.Join(lines, "\n")})
	}
	if len(all) == 0 && m.Outcome().Verdict != report.Pass {
		all = append(all, Annotation{Title: "the result is no pass", Message: Headline(m)})
	}
	return all
}

// Ran says on what the VMs ran, which were not booted, and how the others were.
func Ran(kernels []report.Result) (parts []string) {
	n := map[string]int{}
	for _, k := range kernels {
		switch k.Accel {
		case "":
		case "kvm", "tcg":
			n["on "+strings.ToUpper(k.Accel)]++
		default:
			n["on another accelerator"]++
		}
		switch {
		case k.Reused != nil:
		case k.Boot == "warm":
			n["booted warm"]++
		case strings.HasPrefix(k.Boot, "cold after "):
			n["cold, since their saved VMs could not be used"]++
		}
	}
	if reused, oldest := report.ReusedOf(kernels); reused > 0 {
		n["not booted: passed before, the oldest on "+oldest.UTC().Format("2006-01-02 15:04")+" UTC"] = reused
	}
	for _, what := range slices.Backward(slices.Sorted(maps.Keys(n))) { // "on ..." first
		parts = append(parts, report.Thousands(n[what])+" "+what)
	}
	return parts
}
