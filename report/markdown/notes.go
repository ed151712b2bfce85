package markdown

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
)

// apart counts what is neither a failure nor worth an entry.
func (d *document) apart(b *strings.Builder, x detail) {
	var lines []string
	for _, again := range []struct {
		words string
		meant func(report.Result) bool
	}{
		{"**Flaky:** %s passed, but not at the first attempt: %s", func(k report.Result) bool {
			return k.Verdict == report.Pass && k.Attempts > 1 && !slices.ContainsFunc(k.History, report.Attempt.EmulatorFailed)
		}},
		{"**Tried again:** %s did not get a result at the first attempt: %s", func(k report.Result) bool {
			return k.Verdict != report.Pass && k.Attempts > 1 && (len(k.History) == 0 || len(k.Retried()) > 0)
		}},
		{"**The emulator failed once** with %s, which ran again on another CPU: %s", func(k report.Result) bool { return slices.ContainsFunc(k.History, report.Attempt.EmulatorFailed) }},
	} {
		if n, names := d.some(x, again.meant); n > 0 {
			lines = append(lines, fmt.Sprintf(again.words, report.Count(n, "kernel"), names))
		}
	}
	if n := d.outcome.FailedAsExpected; n > 0 {
		lines = append(lines, fmt.Sprintf("**Expected failures:** %s %s as expected: %s", report.Count(n, "kernel"), report.Plural(n, "fails", "fail"), d.expected(x)))
	}
	if s := d.flakyTests(x); s != "" {
		lines = append(lines, s)
	}
	if s := d.skipped(x); s != "" {
		lines = append(lines, s)
	}
	lines = append(lines, d.splats(x)...)
	lines = append(lines, d.noted(x)...)
	if c := d.m.Change; c != nil {
		if len(c.Fixed) > 0 {
			lines = append(lines, "**Fixed:** "+report.List(c.Fixed, min(20, x.kernels), func(s string) string { return code(s, 160) }))
		}
		if len(c.New) > 0 {
			lines = append(lines, "**New in the list:** "+report.Count(len(c.New), "kernel"))
		}
		if len(c.Gone) > 0 {
			lines = append(lines, "**Gone from the list:** "+report.Count(len(c.Gone), "kernel"))
		}
	}
	if len(lines) > 0 {
		b.WriteString("#### Besides\n\n- " + strings.Join(lines, "\n- ") + "\n\n")
	}
	if x.passes && d.outcome.Passed > 0 {
		var ids []string
		for _, e := range d.places {
			if e.Verdict == report.Pass && e.OK() {
				ids = append(ids, e.ID)
			}
		}
		fmt.Fprintf(b, "<details><summary>%s %s</summary>\n\n%s</details>\n\n", report.Count(len(ids), "kernel"), report.Plural(len(ids), "passes", "pass"), d.kernelList(ids, 2000))
	}
}

// some counts the kernels that are meant, and names a few.
func (d *document) some(x detail, meant func(report.Result) bool) (int, string) {
	var ids []string
	for _, e := range d.places {
		if meant(*e.Result) {
			ids = append(ids, e.ID)
		}
	}
	return len(ids), report.List(ids, min(10, x.kernels), func(s string) string { return code(s, 160) })
}

// expected names the kernels that fail as expected, with the reasons.
func (d *document) expected(x detail) string {
	reasons := map[string]int{}
	var order []string
	for _, e := range d.places {
		if e.FailedAsExpected() {
			w := e.ExpectedWords()
			if reasons[w]++; reasons[w] == 1 {
				order = append(order, w)
			}
		}
	}
	why := report.List(order, min(10, x.kernels), func(s string) string {
		return code(s, 300) + " on " + report.Count(reasons[s], "kernel")
	})
	_, names := d.some(x, func(k report.Result) bool { return k.FailedAsExpected() })
	return why + "; " + names
}

// flakyTests names the tests that passed in some repeats and failed in others.
func (d *document) flakyTests(x detail) string {
	var words []string
	for _, e := range d.places {
		for _, f := range e.Flaky {
			words = append(words, fmt.Sprintf("%s\x00%d of %d runs\x00%s", f.Name, f.Failed, f.Runs, e.ID))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return "**Flaky tests:** " + report.List(words, min(20, x.kernels), func(s string) string {
		p := strings.Split(s, "\x00")
		return code(p[0], 100) + " failed in " + p[len(p)-2] + " on " + code(p[len(p)-1], 160)
	})
}

// skipped says which tests were skipped on how many kernels.
func (d *document) skipped(x detail) string {
	on := map[string]int{}
	for _, k := range d.m.Kernels {
		for _, t := range k.Tests {
			if t.Verdict == report.TestSkip {
				on[t.Name]++
			}
		}
	}
	if len(on) == 0 {
		return ""
	}
	names := make([]string, 0, len(on))
	for n := range on {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int {
		if on[a] != on[b] {
			return on[b] - on[a]
		}
		return strings.Compare(a, b)
	})
	return fmt.Sprintf("**Skipped:** %s: %s", report.Count(len(names), "test"), report.List(names, min(10, x.kernels), func(s string) string {
		return code(s, 100) + " on " + report.Count(on[s], "kernel")
	}))
}

var hexSHA = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

func (d *document) sha(sha string) string {
	if !hexSHA.MatchString(sha) {
		return code(sha, 64)
	}
	short := "`" + sha[:min(len(sha), 10)] + "`"
	if d.o.Commit == nil {
		return short
	}
	if page := d.o.Commit(sha); page != "" {
		return link(short, page)
	}
	return short
}

func (d *document) footer(b *strings.Builder) {
	m := d.m
	var parts []string
	if all := link("all kernels, tests and consoles: report.html", d.o.PageURL); all[0] == '[' {
		parts = append(parts, all)
	}
	if m.HeadSHA != "" {
		parts = append(parts, "commit "+d.sha(m.HeadSHA))
	}
	if m.Change != nil && m.Change.BaseSHA != "" {
		parts = append(parts, "base "+d.sha(m.Change.BaseSHA))
	}
	run := ""
	switch {
	case m.RunID != "":
		run = "run " + code(m.RunID, 60)
	case d.o.RunURL != "":
		run = "run"
	}
	if run != "" {
		run = link(run, d.o.RunURL)
		if m.Attempt > 0 {
			run += fmt.Sprintf(", attempt %d", m.Attempt)
		}
		parts = append(parts, run)
	}
	if m.Shards > 0 {
		parts = append(parts, report.Count(m.Shards, "shard"))
	}
	accels := map[string]int{}
	for _, k := range m.Kernels {
		if k.Accel != "" {
			accels[k.Accel]++
		}
	}
	for _, a := range []string{"kvm", "tcg"} {
		if n := accels[a]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s on %s", report.Thousands(n), strings.ToUpper(a)))
		}
		delete(accels, a)
	}
	parts = append(parts, boots(m.Kernels)...)
	if len(accels) > 0 {
		parts = append(parts, report.Count(len(accels), "other accelerator"))
	}
	if m.Arch != "" {
		parts = append(parts, word(m.Arch, code))
	}
	if t := m.VMTime(); t > 0 {
		parts = append(parts, fmt.Sprintf("%.1f kernel-minutes", t.Minutes()))
	}
	if m.Tool != "" {
		parts = append(parts, "bpf-kernel-check "+code(m.Tool, 60))
	}
	if !m.At.IsZero() {
		parts = append(parts, m.At.UTC().Format(time.DateTime)+" UTC")
	}
	if len(parts) > 0 {
		b.WriteString("<sub>" + strings.Join(parts, " · ") + "</sub>\n")
	}
}

// boots says how many VMs were restored, and how many were booted because that
// did not work.
func boots(kernels []report.Result) []string {
	warm, after := 0, 0
	for _, k := range kernels {
		switch {
		case k.Reused != nil:
		case k.Boot == "warm":
			warm++
		case strings.HasPrefix(k.Boot, "cold after "):
			after++
		}
	}
	var parts []string
	if s := reusedWords(kernels); s != "" {
		parts = append(parts, s)
	}
	if warm > 0 {
		parts = append(parts, report.Thousands(warm)+" booted warm")
	}
	if after > 0 {
		parts = append(parts, report.Thousands(after)+" cold, since their saved VMs could not be used")
	}
	return parts
}

// noted is what kernels' results have to say beside their verdicts, such as
// expected failures that did not come where that is only said.
func (d *document) noted(x detail) (lines []string) {
	var texts []string
	kernels := map[string]int{}
	for _, k := range d.m.Kernels {
		for _, p := range slices.Compact(slices.Sorted(slices.Values(k.Problems))) {
			if kernels[p] == 0 {
				texts = append(texts, p)
			}
			kernels[p]++
		}
	}
	slices.SortStableFunc(texts, func(a, b string) int {
		return cmp.Or(cmp.Compare(kernels[b], kernels[a]), cmp.Compare(a, b))
	})
	most := min(10, x.kernels)
	for i, t := range texts {
		if i == most {
			lines = append(lines, "**Noted:** and "+report.Thousands(len(texts)-most)+" more")
			break
		}
		lines = append(lines, fmt.Sprintf("**Noted** on %s: %s", report.Count(kernels[t], "kernel"), code(t, 300)))
	}
	return lines
}

// splats says which splats were allowed on how many kernels, and which entries
// are of no use any more.
func (d *document) splats(x detail) (lines []string) {
	type allowed struct {
		title, reason, link string
		kernels             int
	}
	var all []*allowed
	on := map[string]*allowed{}
	for _, k := range d.m.Kernels {
		seen := map[string]bool{}
		for _, s := range k.Splats {
			key := s.Title + "\x00" + s.Allowed.Reason
			if seen[key] {
				continue
			}
			seen[key] = true
			if on[key] == nil {
				on[key] = &allowed{title: s.Title, reason: s.Allowed.Reason, link: s.Allowed.Link}
				all = append(all, on[key])
			}
			on[key].kernels++
		}
	}
	slices.SortStableFunc(all, func(a, b *allowed) int {
		return cmp.Or(cmp.Compare(b.kernels, a.kernels), cmp.Compare(a.title, b.title))
	})
	most := min(10, x.kernels)
	for i, a := range all {
		if i == most {
			lines = append(lines, "**Allowed splats:** and "+report.Count(len(all)-most, "more kind"))
			break
		}
		reason := code(a.reason, 200)
		if a.link != "" {
			reason += ", " + code(a.link, 200)
		}
		lines = append(lines, fmt.Sprintf("**Allowed splat:** %s on %s: %s", code(a.title, 200), report.Count(a.kernels, "kernel"), reason))
	}
	for i, e := range d.m.Unused {
		if i == most {
			lines = append(lines, "**Allows nothing any more:** and "+report.Thousands(len(d.m.Unused)-most)+" more")
			break
		}
		lines = append(lines, "**Allows nothing any more:** the entry "+code(e.Words(), 300))
	}
	return lines
}

// reusedWords says how many kernels were not booted; "" when all were.
func reusedWords(kernels []report.Result) string {
	n, oldest := report.ReusedOf(kernels)
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%s not booted: passed before, the oldest on %s UTC", report.Thousands(n), oldest.UTC().Format("2006-01-02 15:04"))
}
