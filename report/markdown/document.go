package markdown

import (
	"fmt"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// document is a result on its way to Markdown.
type document struct {
	m       *report.Merged
	o       Options
	groups  []analysis.Group // failures, then what was not tested
	places  []analysis.Place
	at      map[string]analysis.Place // by id
	series  []string
	outcome report.Outcome
	bpf     []analysis.Cost
	stand   analysis.Standing

	byProgram analysis.ProgramGrid
}

func newDocument(m *report.Merged, o Options) *document {
	d := &document{m: m, o: o, groups: analysis.Groups(m), at: map[string]analysis.Place{}, outcome: m.Outcome(), bpf: analysis.Costs(m), stand: analysis.NewStanding(m)}
	d.places, d.series = analysis.Places(m)
	for _, p := range d.places {
		d.at[p.ID] = p
	}
	d.byProgram = analysis.NewProgramGrid(d.places)
	return d
}

func (d *document) render(x detail) string {
	var b strings.Builder
	b.WriteString(d.verdictLine() + "\n\n")
	if first, rest := d.stand.Words(); first != "" {
		fmt.Fprintf(&b, "**%s:** %s\n\n", first, rest)
	}
	d.refusals(&b, x)
	d.grid(&b, x.rows)
	d.programs(&b, x.rows)
	d.costs(&b, x)
	d.failures(&b, x)
	d.apart(&b, x)
	d.footer(&b)
	return b.String()
}

func (d *document) verdictLine() string {
	mark := "⚠️"
	switch d.outcome.Verdict {
	case report.Pass:
		mark = "✅"
	case report.Fail:
		mark = "❌"
	}
	return "### " + mark + " " + analysis.Headline(d.m)
}

func (d *document) refusals(b *strings.Builder, x detail) {
	n := len(d.m.Refusals)
	if n == 0 {
		return
	}
	fmt.Fprintf(b, "> [!WARNING]\n> **The result is incomplete**, so this is no pass:\n")
	for _, r := range d.m.Refusals[:min(n, x.refusals)] {
		fmt.Fprintf(b, "> - %s\n", code(r.Reason, 300))
	}
	if n > x.refusals {
		fmt.Fprintf(b, "> - and %s more\n", report.Thousands(n-x.refusals))
	}
	b.WriteString("\n")
}

func (d *document) failures(b *strings.Builder, x detail) {
	untested := false
	for i, g := range d.groups {
		if !g.Verdict.Tested() && !untested {
			untested = true
			b.WriteString("#### Not tested\n\n")
		} else if i == 0 {
			b.WriteString("#### Failures\n\n")
		}
		if i < x.full {
			d.group(b, i+1, g, x)
			continue
		}
		if i == x.full && i > 0 {
			b.WriteString("\n")
		}
		if i < x.full+x.counted {
			fmt.Fprintf(b, "- **%d.** %s: %s\n", i+1, g.Text(func(s string) string { return code(s, 60) }), code(g.Title, 140))
			continue
		}
		kernels := map[string]bool{}
		for _, g := range d.groups[i:] {
			for _, k := range g.Kernels {
				kernels[k] = true
			}
		}
		rest := report.Count(len(d.groups)-i, "more failure") + " on " + report.Count(len(kernels), "kernel")
		fmt.Fprintf(b, "- and %s\n", link(rest, d.o.RunURL))
		break
	}
	if len(d.groups) > x.full {
		b.WriteString("\n")
	}
}

// group writes one entry in full.
func (d *document) group(b *strings.Builder, n int, g analysis.Group, x detail) {
	quote := func(s string) string { return code(s, 120) }
	fmt.Fprintf(b, "**%d. %s**", n, g.Text(quote))
	if len(g.Kernels) == 1 {
		b.WriteString(": " + code(g.Kernels[0], 200))
	}
	if g.Newly > 0 {
		if g.Newly == len(g.Kernels) {
			b.WriteString(" (new)")
		} else {
			fmt.Fprintf(b, " (%s of them new)", report.Thousands(g.Newly))
		}
	}
	fmt.Fprintf(b, "%s<br>\n%s\n", g.MoreWords(), code(g.Title, 300))
	if g.Verdict.Tested() {
		d.where(b, g)
	}
	d.more(b, g, x)
}

// more writes what is folded away.
func (d *document) more(b *strings.Builder, g analysis.Group, x detail) {
	var folded strings.Builder
	var what []string
	if text := shorten(g.Excerpt, x.lines, x.width); x.lines > 0 && strings.TrimSpace(text) != "" {
		what = append(what, "excerpt")
		if len(g.Kernels) > 1 {
			fmt.Fprintf(&folded, "On %s:\n\n", code(g.Example, 200))
		}
		folded.WriteString(fence("text", text) + "\n")
	}
	if why := furtherReasons(g); len(why) > 0 {
		what = append(what, "further differences")
		folded.WriteString("Further differences:\n\n- " + strings.Join(why, "\n- ") + "\n\n")
	}
	if len(g.Tests) > 2 {
		what = append(what, "tests")
		folded.WriteString("Tests: " + report.List(g.Tests, 2*x.kernels, func(s string) string { return code(s, 120) }) + "\n\n")
	}
	if len(g.Kernels) > 1 {
		what = append(what, "kernels")
		folded.WriteString(d.kernelList(g.Kernels, x.kernels))
	}
	example := *d.at[g.Example].Result
	if g.Console != "" {
		what = append(what, "console")
		folded.WriteString("Console: " + code(g.Console, 300) + "\n\n")
	}
	if c := command(example); c != "" && g.Verdict != report.Missing {
		what = append(what, "how to reproduce")
		folded.WriteString("To reproduce:\n\n" + fence("sh", c) + "\n")
	}
	for _, bd := range g.Boundaries[:min(len(g.Boundaries), maxBisects)] {
		if g.Verdict.Tested() && bd.Bisect != "" && x.lines > 0 {
			what = append(what, "how to find the kernel that changed it")
			fmt.Fprintf(&folded, "%s\n\n%s\n", bd.BisectWords(), fence("sh", bd.Bisect))
		}
	}
	if what = slices.Compact(what); len(what) > 0 {
		fmt.Fprintf(b, "<details><summary>%s</summary>\n\n%s</details>\n\n", strings.Join(what, ", "), folded.String())
	} else {
		b.WriteString("\n")
	}
}

// maxBisects is how many commands to bisect a group has.
const maxBisects = 5

// furtherReasons are the differences that a group's boundaries fold.
func furtherReasons(g analysis.Group) []string {
	var all []string
	for _, b := range g.Boundaries {
		_, folded := b.Reasons(func(s string) string { return code(s, 200) })
		all = append(all, folded...)
	}
	const most = 20
	return all[:min(len(all), most)]
}

// where writes on which kernels a failure is, and what these have in common.
func (d *document) where(b *strings.Builder, g analysis.Group) {
	quote := func(s string) string { return code(s, 120) }
	const most = 30 // distributions
	for i, bd := range g.Boundaries {
		if i == most {
			fmt.Fprintf(b, "- and on %s\n", report.Count(len(g.Boundaries)-i, "more distribution"))
			break
		}
		name := word(bd.Distro, code)
		if bd.Flavour != "" {
			name += " " + quote(bd.Flavour)
		}
		fmt.Fprintf(b, "- %s: %s\n", name, bd.Text(quote))
		shown, _ := bd.Reasons(func(s string) string { return code(s, 200) })
		for _, why := range shown {
			fmt.Fprintf(b, "  - %s\n", why)
		}
	}
	if len(g.Common) > 0 {
		var words []string
		for _, t := range g.Common {
			words = append(words, t.Words(quote))
		}
		unlike := report.Plural(g.Unlike, "the one that passes", "the "+report.Thousands(g.Unlike)+" that pass")
		if len(g.Kernels) == 1 {
			fmt.Fprintf(b, "- unlike %s: %s\n", unlike, strings.Join(words, ", "))
		} else {
			fmt.Fprintf(b, "- common to all %s, unlike %s: %s\n", report.Thousands(len(g.Kernels)), unlike, strings.Join(words, ", "))
		}
	}
	b.WriteString("\n")
}

// kernelList names kernels by distribution, at most a number of them in all.
func (d *document) kernelList(ids []string, most int) string {
	var b strings.Builder
	for from := 0; from < len(ids); {
		distro := d.at[ids[from]].Distro
		to := from
		var names []string
		for to < len(ids) {
			p := d.at[ids[to]]
			if p.Distro != distro {
				break
			}
			names = append(names, p.Name)
			to++
		}
		if most <= 0 {
			fmt.Fprintf(&b, "and %s more\n\n", report.Thousands(len(ids)-from))
			break
		}
		fmt.Fprintf(&b, "%s: %s\n\n", word(distro, code), report.List(names, most, func(s string) string { return code(s, 160) }))
		most -= len(names)
		from = to
	}
	return b.String()
}

// command is what opens a shell in a kernel. It is for people to paste, so a
// result's own word for it is not enough.
func command(k report.Result) string {
	if _, err := report.CommandWords(k.Reproduce); err != nil {
		return ""
	}
	return k.Reproduce
}
