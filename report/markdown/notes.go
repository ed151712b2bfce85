package markdown

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
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
	named := min(10, x.kernels)
	reasons := tally(d.m.Kernels, func(k *report.Result) []string {
		if !k.FailedAsExpected() {
			return nil
		}
		return []string{k.ExpectedWords()}
	})
	if n := d.outcome.FailedAsExpected; n > 0 {
		_, names := d.some(x, func(k report.Result) bool { return k.FailedAsExpected() })
		lines = append(lines, fmt.Sprintf("**Expected failures:** %s %s as expected: %s; %s", report.Count(n, "kernel"), report.Plural(n, "fails", "fail"), reasons.list(named, 300), names))
	}
	if s := d.flakyTests(x); s != "" {
		lines = append(lines, s)
	}
	skipped := tally(d.m.Kernels, func(k *report.Result) (names []string) {
		for _, t := range k.Tests {
			if t.Verdict == report.TestSkip {
				names = append(names, t.Name)
			}
		}
		return names
	})
	if n := len(skipped); n > 0 {
		lines = append(lines, fmt.Sprintf("**Skipped:** %s: %s", report.Count(n, "test"), skipped.list(named, 100)))
	}
	// Entries of the list that allowed nothing on any kernel come with the splats.
	splats := tally(d.m.Kernels, func(k *report.Result) (all []string) {
		for _, s := range k.Splats {
			reason := code(s.Allowed.Reason, 200)
			if s.Allowed.Link != "" {
				reason += ", " + code(s.Allowed.Link, 200)
			}
			all = append(all, code(s.Title, 200)+"\x00"+reason)
		}
		return all
	})
	lines = splats.lines(lines, named, "**Allowed splats:** and %s more", func(text string, on string) string {
		title, reason, _ := strings.Cut(text, "\x00")
		return "**Allowed splat:** " + title + " on " + on + ": " + reason
	})
	for i, e := range d.m.Unused {
		if i == named {
			lines = append(lines, "**Allows nothing any more:** and "+report.Thousands(len(d.m.Unused)-i)+" more")
			break
		}
		lines = append(lines, "**Allows nothing any more:** the entry "+code(e.Words(), 300))
	}
	noted := tally(d.m.Kernels, func(k *report.Result) []string {
		noted := append(slices.Clone(k.Problems), k.LeftBehind()...)
		for _, m := range k.Modules {
			noted = append(noted, "module "+m)
		}
		return noted
	})
	lines = noted.lines(lines, named, "**Noted:** and %s more", func(text string, on string) string {
		return "**Noted** on " + on + ": " + code(text, 300)
	})
	if d.m.NotCompared != "" {
		lines = append(lines, "**Not compared:** "+code(d.m.NotCompared, 300))
	}
	if s := analysis.CostLine(d.m.Change, d.bpf, func(s string) string { return code(s, 160) }); s != "" && x.kernels > 1 {
		lines = append(lines, "**Costs:** "+s)
	}
	if s := analysis.PicksWords(d.m.Picks, func(s string) string { return code(s, 160) }); s != "" {
		lines = append(lines, "**Picks:** "+s)
	}
	if c := d.m.Coverage; c != nil {
		lines = append(lines, "**Coverage:** "+c.Words(named, func(s string) string { return code(s, 160) }))
	}
	if len(d.m.Gone) > 0 {
		lines = append(lines, "**Gone:** "+report.Count(len(d.m.Gone), "kernel")+" that a mirror lists and no longer has: "+report.List(d.m.Gone, min(20, x.kernels), func(s string) string { return code(s, 160) }))
	}
	if c := d.m.Change; c != nil {
		if len(c.Fixed) > 0 {
			lines = append(lines, "**Fixed:** "+report.List(c.Fixed, min(20, x.kernels), func(s string) string { return code(s, 160) }))
		}
	}
	for _, l := range analysis.ListChanges(d.m.Change) {
		words := "**" + l.Name + ":** " + report.Count(len(l.IDs), "kernel")
		if x.kernels > 1 {
			words += ": " + report.List(l.IDs, min(20, x.kernels), func(s string) string { return code(s, 160) })
		}
		lines = append(lines, words)
	}
	if s := analysis.EarlierWords(d.m); s != "" && x.kernels > 1 {
		lines = append(lines, "**In earlier runs:** "+s)
	}
	if len(lines) > 0 {
		b.WriteString("#### Besides\n\n- " + strings.Join(lines, "\n- ") + "\n\n")
	}
	d.represented(b, x)
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

// represented says by which kernels others are represented.
func (d *document) represented(b *strings.Builder, x detail) {
	if x.lines == 0 || d.stand.All == 0 {
		return
	}
	named := func(id string) string { return code(id, 160) }
	var lines []string
	for _, p := range d.places {
		if ids := d.stand.For[p.ID]; len(ids) > 0 {
			lines = append(lines, named(p.ID)+analysis.Became(p.Result)+" represents "+report.List(ids, min(20, x.kernels), named))
		}
	}
	if n := len(lines) - x.kernels; n > 0 {
		lines = append(lines[:x.kernels], report.Count(n, "more kernel")+" represent others")
	}
	fmt.Fprintf(b, "<details><summary>%s %s represented, not booted</summary>\n\n- %s\n\n</details>\n\n",
		report.Count(len(d.m.Represented), "kernel"), report.Plural(len(d.m.Represented), "is", "are"), strings.Join(lines, "\n- "))
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

// counted is a text and on how many kernels it is.
type counted struct {
	text    string
	kernels int
}

type tallied []counted

// tally counts on how many kernels each text is, those on most first.
func tally(kernels []report.Result, of func(*report.Result) []string) (all tallied) {
	at := map[string]int{}
	for i := range kernels {
		texts := slices.Clone(of(&kernels[i]))
		slices.Sort(texts)
		for _, t := range slices.Compact(texts) {
			n, ok := at[t]
			if !ok {
				n = len(all)
				at[t] = n
				all = append(all, counted{text: t})
			}
			all[n].kernels++
		}
	}
	slices.SortFunc(all, func(a, b counted) int {
		return cmp.Or(cmp.Compare(b.kernels, a.kernels), cmp.Compare(a.text, b.text))
	})
	return all
}

// list names the first of them in one line, each of at most some bytes.
func (all tallied) list(most, limit int) string {
	var words []string
	for _, c := range all {
		words = append(words, code(c.text, limit)+" on "+report.Count(c.kernels, "kernel"))
	}
	return report.List(words, most, func(s string) string { return s })
}

// lines adds a line for each of the first, and one with the number of the rest.
func (all tallied) lines(lines []string, most int, rest string, words func(text, on string) string) []string {
	for i, c := range all {
		if i == most {
			return append(lines, fmt.Sprintf(rest, report.Thousands(len(all)-i)))
		}
		lines = append(lines, words(c.text, report.Count(c.kernels, "kernel")))
	}
	return lines
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

var hexSHA = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

func (d *document) sha(sha string) string {
	if !hexSHA.MatchString(sha) {
		return code(sha, 64)
	}
	short := "`" + sha[:min(len(sha), 10)] + "`"
	if d.o.Commit == nil {
		return short
	}
	return link(short, d.o.Commit(sha))
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
	parts = append(parts, analysis.Ran(m.Kernels)...)
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
