package page

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// view is what the template writes: what is read without the script, and the
// data for it.
type view struct {
	Policy    string
	CSS, JS   template.HTML // of this package, as the policy names them
	Title     string
	Headline  string
	Standing  string // what was booted, as a title; "": every kernel
	NotBooted string // and what was not
	Picks     string // how picks did in a full run
	State     string // pass, fail, missing: how the headline is marked
	Sign      string
	Meta      []meta
	Refusals  []string
	Counts    []countView
	Change    []namedList
	Groups    []groupView
	MoreGroup int
	Grid      gridView
	Programs  programsView
	History   *historyView
	Notes     []string
	Packed    []template.HTML
	HasTests  bool
	Costs     string // one line; "": no BPF program is known
	Retried   []string
}

type namedList struct {
	Name  string
	Items []string
}

// meta is one fact about the run.
type meta struct{ Name, Value, Link string }

type countView struct {
	Verdict, Sign, Word string
	N                   int
}

type groupView struct {
	N          int // of the failure, from 1, which the grid and the list of kernels refer to
	Hue        int
	Verdict    string
	Sign       string
	Words      string
	New        string
	Title      string
	Boundaries []boundaryView
	Further    []string // what else differs where it begins or ends
	Common     string
	Example    string
	Excerpt    string
	Tests      []string
	Kernels    []string
	More       int
	Stands     string // for how many kernels that were not booted; "": none
}

type boundaryView struct {
	Text    string
	Reasons []string
	Find    string // what Bisect is for
	Bisect  string // a command; "": there is none
}

// gridView has the series across, or where there are many the distributions.
type gridView struct {
	Corner  string
	Columns []string
	Rows    []gridRow
}

type gridRow struct {
	Name  string
	Cells []gridCell
}

type gridCell struct {
	D, S    int
	N       int // kernels, booted or not; 0: none
	Label   string
	Verdict string // the worst
	Sign    string
	Text    string
	Groups  []groupMark
	Tiles   []tile
	More    int
}

// groupMark refers to a failure.
type groupMark struct{ N, Hue int }

// hue is which of the colours a failure has beside its number.
func hue(n int) int { return (n - 1) % 6 }

type tile struct {
	K             int // place in the index
	Verdict, Sign string
	Mark          *groupMark // of its first failure; nil: none
}

// Signs and words of verdicts; a sign is never alone in what assistive
// technology reads.
var signs = map[string]string{
	"pass": "✓", "expected": "≈", "fail": "✗", "stale": "≠", "crash": "!", "timeout": "◔",
	"no-boot": "⊘", "infra": "?", "missing": "–", "unknown": "?", represented: "□",
}

// words follow a number of kernels.
var words = map[string]string{
	"pass": "pass", "expected": "fail as expected", "fail": "fail", "stale": "other than expected", "crash": "crashed", "timeout": "timed out",
	"no-boot": "did not boot", "infra": "could not be tested", "missing": "not reported",
	represented: "represented, not booted",
}

// worst first.
var severity = []string{"crash", "fail", "stale", "timeout", "no-boot", "infra", "missing", "expected", "pass", represented}

// represented is what a kernel is that was not booted, since another stands for it.
const represented = "represented"

func (b *builder) standing(k *report.Result) string {
	if b.by[k.ID] != "" {
		return represented
	}
	return standing(k)
}

// standing is a kernel's verdict, or what it means for the whole where that is
// another: a failure that was expected, an expectation that does not hold.
func standing(k *report.Result) string {
	switch {
	case len(k.StaleExpectations) > 0:
		return "stale"
	case k.Verdict != report.Pass && k.OK():
		return "expected"
	}
	return k.Verdict.String()
}

func newView(m *report.Merged, o Options) view {
	o.History = o.History.with(m)
	b := newBuilder(m, o)
	v := view{
		Policy: policy(),
		//nolint:gosec // both are files of this package
		CSS: template.HTML("<style>" + css + "</style>"), JS: template.HTML("<script>" + js + "</script>"),
		Headline: sentence(analysis.Headline(m)),
		Meta:     metaOf(m, o), Notes: b.notes, HasTests: len(b.index.Tests) > 0,
	}
	if len(b.index.Costs) > 0 {
		v.Costs = costLine(m)
	}
	for _, p := range b.packed {
		v.Packed = append(v.Packed, p.element())
	}
	v.Standing, v.NotBooted = b.stand.Words()
	v.Picks = analysis.PicksWords(m.Picks, line)
	counts := map[string]int{represented: len(m.Represented)}
	for i := range m.Kernels {
		k := &m.Kernels[i]
		counts[standing(k)]++
		if k.Attempts > 1 && k.Verdict == report.Pass {
			v.Retried = append(v.Retried, k.ID)
		}
	}
	v.State = m.Outcome().Verdict.String()
	v.Sign = signs[v.State]
	v.Title = v.Headline + " · bpf-kernel-check"
	var refusals []string
	for _, r := range m.Refusals {
		refusals = append(refusals, r.Reason)
	}
	v.Refusals = firstLines(refusals, 50)
	for _, s := range severity {
		if n := counts[s]; n > 0 {
			v.Counts = append(v.Counts, countView{s, signs[s], words[s], n})
		}
	}
	v.Change = changeOf(m.Change)
	if n := len(m.Gone); n > 0 {
		v.Change = append(v.Change, namedList{fmt.Sprintf("Listed by a mirror that no longer has them (%d)", n), firstLines(m.Gone, 200)})
	}
	v.groups(b.groups)
	v.Grid = b.grid()
	v.Programs = b.programs
	if o.History != nil {
		v.History = o.History.view()
	}
	return v
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func metaOf(m *report.Merged, o Options) []meta {
	var all []meta
	add := func(name, value, link string) {
		if value != "" {
			all = append(all, meta{name, line(value), report.WebAddress(link)})
		}
	}
	sha := func(name, sha string) {
		page := ""
		if o.Commit != nil && sha != "" {
			page = o.Commit(sha)
		}
		add(name, sha[:min(len(sha), 12)], page)
	}
	if !m.At.IsZero() {
		add("Date", m.At.UTC().Format("2006-01-02 15:04:05")+" UTC", "")
	}
	sha("Commit", m.HeadSHA)
	if m.Change != nil {
		sha("Compared with", m.Change.BaseSHA)
	}
	add("Not compared", m.NotCompared, "")
	add("In earlier runs", analysis.EarlierWords(m), "")
	run := m.RunID
	if run != "" && m.Attempt > 1 {
		run += fmt.Sprintf(", attempt %d", m.Attempt)
	}
	if run == "" && o.RunURL != "" {
		run = "run"
	}
	add("Run", run, o.RunURL)
	add("Architecture", m.Arch, "")
	add("VMs", strings.Join(analysis.Ran(m.Kernels), ", "), "")
	if total := m.VMTime(); total > 0 {
		add("VM time", fmt.Sprintf("%.1f min", total.Minutes()), "")
	}
	if m.Shards > 0 {
		add("Shards", fmt.Sprint(m.Shards), "")
	}
	if m.Coverage != nil {
		add("Coverage", m.Coverage.Words(10, func(s string) string { return s }), "")
	}
	add("bpf-kernel-check", m.Tool, "")
	return all
}

func changeOf(c *report.Change) (all []namedList) {
	if c == nil {
		return nil
	}
	for _, l := range []namedList{{"Newly failing", c.NewlyFail}, {"Fixed", c.Fixed}} {
		if n := len(l.Items); n > 0 {
			all = append(all, namedList{fmt.Sprintf("%s (%d)", l.Name, n), firstLines(l.Items, 200)})
		}
	}
	for _, l := range analysis.ListChanges(c) {
		all = append(all, namedList{fmt.Sprintf("%s (%d)", l.Name, len(l.IDs)), firstLines(l.IDs, 200)})
	}
	return all
}

// firstLines are the first of a list of texts, and how many more there are.
func firstLines(list []string, most int) (lines []string) {
	for _, s := range list[:min(len(list), most)] {
		lines = append(lines, line(s))
	}
	if rest := len(list) - len(lines); rest > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", rest))
	}
	return lines
}

func (v *view) groups(groups []analysis.Group) {
	v.MoreGroup = max(0, len(groups)-maxGroups)
	const kernels, tests = 500, 200
	for i, g := range groups[:min(len(groups), maxGroups)] {
		gv := groupView{
			N: i + 1, Hue: hue(i + 1), Verdict: g.Verdict.String(), Sign: signs[g.Verdict.String()], Words: line(g.Text(line)), Title: line(g.Title),
			Example: g.Example, Excerpt: report.CutMiddle(report.Text(g.Excerpt), 8<<10),
		}
		switch {
		case g.Newly == 0:
		case g.Newly == len(g.Kernels):
			gv.New = "new"
		default:
			gv.New = fmt.Sprintf("%d new", g.Newly)
		}
		gv.Stands = strings.TrimPrefix(g.MoreWords(), ", ")
		if g.Verdict.Tested() {
			for j, bd := range g.Boundaries {
				if j == 30 {
					gv.Boundaries = append(gv.Boundaries, boundaryView{Text: fmt.Sprintf("and on %d more distributions", len(g.Boundaries)-j)})
					break
				}
				shown, folded := bd.Reasons(line)
				gv.Boundaries = append(gv.Boundaries, boundaryView{line(bd.Name(line) + ": " + bd.Text(line)), shown, bd.BisectWords(), bd.Bisect})
				gv.Further = append(gv.Further, folded...)
			}
			var traits []string
			for _, t := range g.Common {
				traits = append(traits, line(t.Words(func(s string) string { return s })))
			}
			gv.Common = strings.Join(traits, ", ")
		}
		if len(g.Tests) > 1 {
			gv.Tests = firstLines(g.Tests, tests)
		}
		gv.Kernels = g.Kernels[:min(len(g.Kernels), kernels)]
		gv.More = len(g.Kernels) - len(gv.Kernels)
		v.Groups = append(v.Groups, gv)
	}
}

// maxAcross are columns that a screen of 1,440 pixels has room for.
const maxAcross = 12

// grid is distributions by series.
func (b *builder) grid() gridView {
	g := analysis.NewGrid(b.places, b.series, maxAcross)
	v := gridView{Corner: sentence(g.Corner), Columns: g.Columns}
	for _, name := range g.Rows {
		row := gridRow{Name: name}
		for _, column := range g.Columns {
			row.Cells = append(row.Cells, b.cell(g.Cell(name, column)))
		}
		v.Rows = append(v.Rows, row)
	}
	return v
}

func (b *builder) cell(kernels []int) gridCell {
	c := gridCell{N: len(kernels)}
	if c.N == 0 {
		return c
	}
	first := b.index.Kernels[kernels[0]]
	c.D, c.S = first.Distro, first.Series
	counts := map[string]int{}
	var groups []int
	for n, i := range kernels {
		v := b.standing(b.places[i].Result)
		counts[v]++
		t := tile{K: i, Verdict: v, Sign: signs[v]}
		if numbers := b.numbers[b.places[i].ID]; len(numbers) > 0 {
			groups = append(groups, numbers...)
			t.Sign, t.Mark = fmt.Sprint(numbers[0]), &groupMark{numbers[0], hue(numbers[0])}
		}
		if n < maxTiles {
			c.Tiles = append(c.Tiles, t)
		}
	}
	slices.Sort(groups)
	groups = slices.Compact(groups)
	c.More = c.N - len(c.Tiles)
	var says, short []string
	for _, v := range severity {
		n := counts[v]
		if n == 0 {
			continue
		}
		if c.Verdict == "" {
			c.Verdict, c.Sign = v, signs[v]
		}
		says = append(says, fmt.Sprintf("%d %s", n, words[v]))
		if v != "pass" && v != represented {
			short = append(short, fmt.Sprintf("%s %d", signs[v], n))
		}
	}
	c.Label = fmt.Sprintf("%s %s: %s, %s", b.index.Distros[c.D], b.series[c.S], report.Count(c.N, "kernel"), strings.Join(says, ", "))
	const most = 4 // numbers of failures
	for _, n := range groups[:min(len(groups), most)] {
		c.Groups = append(c.Groups, groupMark{n, hue(n)})
	}
	if len(groups) > 0 {
		c.Label += "; see " + strings.ReplaceAll(strings.Trim(fmt.Sprint(groups), "[]"), " ", ", ")
	}
	booted := c.N - counts[represented]
	c.Text = strings.Join(short, " ") + fmt.Sprintf(" of %d", booted)
	if len(short) == 0 {
		c.Text = fmt.Sprintf("%s %d", signs["pass"], booted)
	}
	if n := counts[represented]; n > 0 {
		c.Text += fmt.Sprintf(" (+%d)", n)
	}
	return c
}

// historyView is the history as a table, newest first, and as bars, oldest
// first.
type historyView struct {
	Runs    []runView
	Bars    []bar
	Width   int
	Tests   []flaky
	Kernels []flaky
	Summary string
}

type runView struct {
	Date, SHA, Verdict, Sign string
	Pass, All, Failed, Rest  int
	More                     int // that were not booted, and are represented
	Rate, Time               string
	Current                  bool
}

// bar is one run in the picture: what passed and how long it took, in units of
// the picture from its bottom.
type bar struct {
	X, PassY, PassH, TimeY, TimeH float64
	Label                         string
}

func (h *History) view() *historyView {
	v := &historyView{}
	const height, step = 60.0, 20.0
	longest := time.Duration(1)
	for _, r := range h.runs {
		longest = max(longest, perKernel(r))
	}
	tall := func(part float64) float64 { return math.Max(1, math.Round(height*part*10)/10) }
	for i, r := range h.runs {
		o := r.Outcome()
		passed := o.Passed + o.FailedAsExpected
		passH, timeH := tall(share(passed, o.Kernels)), tall(float64(perKernel(r))/float64(longest))
		rv := runView{
			Date: dateOf(r), SHA: line(r.HeadSHA[:min(len(r.HeadSHA), 10)]), Verdict: o.Verdict.String(), Sign: signs[o.Verdict.String()],
			Pass: passed, All: o.Kernels, Failed: o.Failed, Rest: o.Kernels - passed - o.Failed, More: len(r.Represented),
			Rate: percent(passed, o.Kernels), Time: "–", Current: i == len(h.runs)-1,
		}
		if p := perKernel(r); p > 0 {
			rv.Time = fmt.Sprintf("%.1f s", p.Seconds())
		}
		v.Bars = append(v.Bars, bar{
			X: float64(i) * step, PassY: height - passH, PassH: passH, TimeY: height - timeH, TimeH: timeH,
			Label: fmt.Sprintf("%s: %s pass, %s per kernel", rv.Date, rv.Rate, rv.Time),
		})
		v.Runs = append(v.Runs, rv)
	}
	slices.Reverse(v.Runs)
	v.Width = int(step) * len(h.runs)
	first, last := v.Runs[len(v.Runs)-1], v.Runs[0]
	v.Summary = fmt.Sprintf("%d runs from %s to %s: %s of kernels passed in the first, %s in the last", len(v.Runs), first.Date, last.Date, first.Rate, last.Rate)
	v.Tests, v.Kernels = h.flaky()
	return v
}

// perKernel is how long a VM of a run took, on average.
func perKernel(r *report.Merged) time.Duration {
	var total, n time.Duration
	for i := range r.Kernels {
		if took := r.Kernels[i].VMTime(); took > 0 {
			total += took
			n++
		}
	}
	return total / max(n, 1)
}

func share(n, of int) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// percent is rounded down, so that 100 % are all.
func percent(n, of int) string {
	return fmt.Sprintf("%.1f %%", math.Floor(1000*share(n, of))/10)
}
