package screen

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
	"github.com/elastic/bpf-kernel-check/report/summary"
)

// End prints the summary of a run.
func (p *Progress) End(o report.Outcome, results []report.Result) {
	line := fmt.Sprintf("%d passed, %d failed", o.Passed, o.Failed) + restOf(o.Counts)
	if n, _ := report.ReusedOf(results); n > 0 {
		line += fmt.Sprintf(", %d of them cached", n)
	}
	if p.opts.Skipped > 0 {
		line += fmt.Sprintf(", %d skipped", p.opts.Skipped)
	}
	if d := p.downloads(); d != "" {
		fmt.Fprintf(p.out, "\n%s", d)
	}
	m := &report.Merged{Kernels: results, Represented: p.opts.Represented}
	if groups := analysis.Groups(m); onKernels(groups) > 1 { // for one kernel, all was printed above
		fmt.Fprintln(p.out)
		p.failures(groups, false)
	}
	fmt.Fprintln(p.out)
	p.standing(m)
	fmt.Fprintf(p.out, "%s in %s; summary in %s\n", line, seconds(time.Since(p.begin)), JoinPath(p.opts.Dir, summary.Name))
	for _, k := range results { // other kernels were printed above
		if k.Verdict == report.Missing && k.Cause != nil {
			fmt.Fprintf(p.out, "not tested: %s\n", report.OneLine(k.Cause.Title, 500))
			break
		}
	}
	p.lookInto(results)
}

// standing prints what was booted and what was not, if others stand for kernels.
func (p *Progress) standing(m *report.Merged) {
	if !report.PickedFor(m.Represented, m.Kernels) {
		fmt.Fprintln(p.out, report.OtherPrograms)
	} else if first, rest := analysis.NewStanding(m).Words(); first != "" {
		fmt.Fprintf(p.out, "%s:\n  %s\n", first, rest)
	}
}

// onKernels counts the kernels of all groups.
func onKernels(groups []analysis.Group) int {
	kernels := map[string]bool{}
	for _, g := range groups {
		for _, id := range g.Kernels {
			kernels[id] = true
		}
	}
	return len(kernels)
}

// failures prints each failure once with its kernels, numbered as in the reports,
// and with consoles, that of its example.
func (p *Progress) failures(groups []analysis.Group, consoles bool) {
	const most = 10 // failures
	plain := func(s string) string { return report.OneLine(s, 120) }
	fmt.Fprintf(p.out, "%s on %s:\n", report.Count(len(groups), "failure"), report.Count(onKernels(groups), "kernel"))
	for i, g := range groups {
		if i == most {
			fmt.Fprintf(p.out, "  and %d more; %s\n", len(groups)-i, p.rest())
			break
		}
		fmt.Fprintf(p.out, "  %d. %s%s: %s\n", i+1, g.Text(plain), g.MoreWords(), report.OneLine(g.Title, 300))
		if !g.Verdict.Tested() {
			g.Boundaries = nil // these kernels were not tested
		}
		for j, b := range g.Boundaries {
			if j == maxRemarks {
				fmt.Fprintf(p.out, "     and on %d more distributions\n", len(g.Boundaries)-j)
				break
			}
			fmt.Fprintf(p.out, "     %s\n", b.Name(plain)+": "+b.Text(plain))
			if b.Bisect != "" {
				fmt.Fprintf(p.out, "     %s\n       %s\n", b.BisectWords(), b.Bisect)
			}
		}
		if len(g.Boundaries) == 0 {
			fmt.Fprintf(p.out, "     %s\n", report.List(g.Kernels, 4, plain))
		}
		if consoles && g.Console != "" {
			fmt.Fprintf(p.out, "     console: %s\n", JoinPath(p.opts.Dir, report.OneLine(g.Console, 500)))
		}
	}
}

// lookInto prints debug commands for the first kernels that failed.
func (p *Progress) lookInto(results []report.Result) {
	const most = 3
	n := 0
	for _, k := range results {
		if !k.Verdict.Tested() && k.Verdict != report.NoBoot || k.Verdict == report.Pass || k.Reproduce == "" {
			continue // passed, or the kernel was not fetched
		}
		if n++; n > most {
			continue
		}
		if n == 1 {
			fmt.Fprintln(p.out, "a shell in a kernel that did not pass:")
		}
		fmt.Fprintf(p.out, "  %s\n", report.Command("--from", cmp.Or(p.opts.Dir, "."), k.ID))
	}
}

// Merged prints a merged result of a number of shard files from dirs, and the
// names of the reports that were written.
func (p *Progress) Merged(m *report.Merged, files int, dirs, names []string) {
	of := ""
	if m.RunID != "" {
		of = fmt.Sprintf(" of run %s, attempt %d,", report.OneLine(m.RunID, 200), m.Attempt)
	}
	fmt.Fprintf(p.out, "%s%s in %s\n\n", report.Count(files, "shard file"), of, report.OneLine(strings.Join(dirs, " "), 200))
	p.kernels(m)
	p.refusals(m)
	for _, e := range m.Unused {
		fmt.Fprintf(p.out, "allows nothing any more: the entry of --allow-splats %s\n\n", report.OneLine(e.Words(), 500))
	}
	p.Compared(m)
	if len(m.Gone) > 0 {
		fmt.Fprintf(p.out, "not tested, as a mirror lists them and no longer has them: %s\n\n", report.List(m.Gone, MaxListed, func(s string) string { return s }))
	}
	p.standing(m)
	o := m.Outcome()
	word, color := "FAIL", red
	switch o.Verdict {
	case report.Pass:
		word, color = "PASS", green
	case report.Missing:
		word, color = "NOT TESTED", yellow
	}
	line := fmt.Sprintf("%d of %s passed", o.Passed, report.Count(o.Kernels, "kernel"))
	if o.Failed > 0 {
		line += fmt.Sprintf(", %d failed", o.Failed)
	}
	line += restOf(o.Counts)
	if n := len(m.Refusals); n > 0 {
		line += fmt.Sprintf(", and %s why this cannot be green", report.Count(n, "reason"))
	}
	fmt.Fprintf(p.out, "%s %s\n", p.paint("["+word+"]", color), line)
	for _, n := range names {
		fmt.Fprintf(p.out, "       %s\n", JoinPath(p.opts.Dir, n))
	}
}

// kernels prints why kernels did not pass, each cause once, and what was expected.
// A guest's words never begin a line.
func (p *Progress) kernels(m *report.Merged) {
	n := 0
	for i := range m.Kernels {
		k := &m.Kernels[i]
		if k.Verdict != report.Pass {
			for _, s := range k.StaleExpectations[:min(len(k.StaleExpectations), maxRemarks)] {
				fmt.Fprintf(p.out, "not as expected: %s  %s\n", k.ID, report.OneLine(s, 500))
			}
		}
		if !k.FailedAsExpected() || len(k.StaleExpectations) > 0 {
			continue
		}
		if n++; n <= MaxListed {
			word, color := wordOfKernel(k)
			fmt.Fprintf(p.out, "%s %s  %s (expected: %s)\n", p.paint("["+word+"]", color), k.ID, causeTitle(k), report.OneLine(k.ExpectedWords(), 500))
		}
	}
	if n > MaxListed {
		fmt.Fprintf(p.out, "and %s more that failed as expected; %s\n", report.Count(n-MaxListed, "kernel"), p.rest())
	}
	if n > 0 {
		fmt.Fprintln(p.out)
	}
	if groups := analysis.Groups(m); len(groups) > 0 {
		p.failures(groups, true)
		fmt.Fprintln(p.out)
	}
}

func (p *Progress) refusals(m *report.Merged) {
	if len(m.Refusals) == 0 {
		return
	}
	fmt.Fprintln(p.out, "not everything was tested as planned:")
	for i, f := range m.Refusals {
		if i == MaxListed {
			fmt.Fprintf(p.out, "  and %d more; all stand in %s\n", len(m.Refusals)-i, JoinPath(p.opts.Dir, report.ReportName))
			break
		}
		fmt.Fprintf(p.out, "  - %s\n", report.OneLine(f.Reason, 500))
	}
	fmt.Fprintln(p.out)
}

func (p *Progress) change(c *report.Change) {
	if c == nil {
		return
	}
	base := "the base"
	if c.BaseSHA != "" {
		base = c.BaseSHA[:min(len(c.BaseSHA), 12)]
	}
	fmt.Fprintf(p.out, "against %s: %d newly failing, %d fixed, %d new, %d gone\n", report.OneLine(base, 500), len(c.NewlyFail), len(c.Fixed), len(c.New), len(c.Gone))
	for _, id := range c.NewlyFail[:min(len(c.NewlyFail), MaxListed)] {
		fmt.Fprintf(p.out, "  newly failing: %s\n", id)
	}
	for _, l := range analysis.ListChanges(c) {
		fmt.Fprintf(p.out, "  %s: %s\n", strings.ToLower(l.Name[:1])+l.Name[1:], report.List(l.IDs, 5, func(s string) string { return report.OneLine(s, 250) }))
	}
	fmt.Fprintln(p.out)
}

// Compared prints what is other than in the base, and what BPF programs cost.
func (p *Progress) Compared(m *report.Merged) {
	p.change(m.Change)
	if m.NotCompared != "" {
		fmt.Fprintf(p.out, "%s%s\n\n", p.paint("not compared: ", yellow), report.OneLine(m.NotCompared, 500))
	}
	if s := analysis.EarlierWords(m); s != "" {
		fmt.Fprintf(p.out, "in earlier runs: %s\n\n", s)
	}
	p.costs(m)
	if s := analysis.PicksWords(m.Picks, func(s string) string { return report.OneLine(s, 200) }); s != "" {
		fmt.Fprintf(p.out, "%s\n\n", s)
	}
}

// costs prints one line, unless programs cost more or less than in the base, or nearly
// too much.
func (p *Progress) costs(m *report.Merged) {
	plain := func(s string) string { return report.OneLine(s, 200) }
	costs := analysis.Costs(m)
	line := analysis.CostLine(m.Change, costs, plain)
	if line == "" {
		return
	}
	fmt.Fprintln(p.out, line)
	moved := analysis.CostsByProgram(m.Change)
	for i, c := range moved {
		if i >= maxMoved && (!c.TooMuch || i >= MaxListed) {
			fmt.Fprintf(p.out, "  and %d more; %s\n", len(moved)-i, p.rest())
			break
		}
		mark := "  "
		if c.TooMuch {
			mark = p.paint(fmt.Sprintf("  more than %d %%: ", m.Change.MaxInsnsGrowth), red)
		}
		fmt.Fprintln(p.out, mark+analysis.ChangeWords(c.CostChange, plain)+c.Elsewhere())
	}
	near := analysis.NearLimit(costs)
	for _, c := range near[:min(len(near), maxMoved)] {
		fmt.Fprintln(p.out, "  close to the limit: "+c.Words(plain))
	}
	fmt.Fprintln(p.out)
}

// maxMoved is how many programs that moved are named.
const maxMoved = 5

// restOf counts the kernels that neither passed nor failed; "" for none.
func restOf(c report.Counts) string {
	s := ""
	if c.NotTested > 0 {
		s += fmt.Sprintf(", %d not tested", c.NotTested)
	}
	if c.FailedAsExpected > 0 {
		s += fmt.Sprintf(", %d failed as expected", c.FailedAsExpected)
	}
	return s
}
