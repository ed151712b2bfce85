package page

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// index is what the page's script needs before anything is opened. Lists of
// kernels hold places in Kernels.
type index struct {
	Kernels []kernelRow `json:"kernels"` // by distribution and version
	Distros []string    `json:"distros"`
	Series  []string    `json:"series"`
	Phases  []string    `json:"phases"`
	Tests   []testRow   `json:"tests"`
	Costs   []*costRow  `json:"costs,omitempty"`
	Reasons []string    `json:"reasons"`        // of the failures, as far as they are shown
	Runs    []string    `json:"runs,omitempty"` // of the history, oldest first
}

// kernelRow is a kernel in the list.
type kernelRow struct {
	ID      string  `json:"id"`
	Distro  int     `json:"d"`
	Series  int     `json:"s"`
	Name    string  `json:"n"`
	Verdict string  `json:"v"`
	Title   string  `json:"t,omitempty"`
	Tests   [3]int  `json:"c"`           // pass, fail, skip
	Failed  []int   `json:"f,omitempty"` // places in index.Tests
	Phases  []int64 `json:"p,omitempty"` // milliseconds, as index.Phases; -1: not known
	Accel   string  `json:"a,omitempty"`
	Tries   int     `json:"r,omitempty"` // attempts, when there were several
	Newly   bool    `json:"new,omitempty"`
	Groups  []int   `json:"g,omitempty"` // numbers of the failures that it is in, from 1
	Chunk   int     `json:"k"`           // of its details; -1: they are left out
	At      int     `json:"o"`           // place in the chunk
	Console string  `json:"x,omitempty"`
	By      *int    `json:"b,omitempty"` // place in Kernels of the one that represents it, which was not booted
}

// testRow is a test over all kernels.
type testRow struct {
	Name  string `json:"n"`
	Count [3]int `json:"c"` // kernels: pass, fail, skip
}

// builder makes the data of a page.
type builder struct {
	m      *report.Merged
	o      Options
	places []analysis.Place // those that are shown
	series []string
	index  index
	packed []packed
	notes  []string // what is left out
	tests  map[string]int
	newly  map[string]bool

	programs programsView

	groups  []analysis.Group
	numbers map[string][]int // of the failures that a kernel is in

	stand analysis.Standing
	by    map[string]string // what represents a kernel that was not booted, by id
}

func newBuilder(m *report.Merged, o Options) *builder {
	b := &builder{m: m, o: o, tests: map[string]int{}, newly: map[string]bool{}, groups: analysis.Groups(m), stand: analysis.NewStanding(m), by: map[string]string{}}
	b.numbers = analysis.Numbers(b.groups)
	for _, g := range b.groups[:min(len(b.groups), maxGroups)] {
		b.index.Reasons = append(b.index.Reasons, line(g.Title))
	}
	// Represented kernels have a place in the page, and no result.
	all := report.Merged{Kernels: slices.Clone(m.Kernels)}
	for _, r := range m.Represented {
		b.by[r.ID] = r.By
		all.Kernels = append(all.Kernels, report.Result{ID: r.ID})
	}
	b.places, b.series = analysis.Places(&all)
	if n := len(b.places); n > maxKernels {
		keep := b.byNeed()[:maxKernels]
		slices.Sort(keep) // in their order
		all := b.places
		b.places = nil
		for _, i := range keep {
			b.places = append(b.places, all[i])
		}
		b.note("%d of %d kernels are not in this page; %s has them", n-maxKernels, n, report.ReportName)
	}
	if m.Change != nil {
		for _, id := range m.Change.NewlyFail {
			b.newly[id] = true
		}
	}
	b.index.Series = b.series
	b.phases()
	b.kernels()
	b.testRows()
	b.costRows()
	b.programGrid()
	b.details()
	b.consoles()
	if o.History != nil {
		b.index.Runs = o.History.names()
	}
	// The script goes through all of them; JSON would call an empty one null.
	for _, l := range []*[]string{&b.index.Distros, &b.index.Series, &b.index.Phases, &b.index.Reasons} {
		*l = append([]string{}, *l...)
	}
	b.packed = append([]packed{packJSON("index", b.index)}, b.packed...)
	return b
}

func (b *builder) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

// phaseOrder are the phases that follow one another. The VM's whole time is
// beside them.
var phaseOrder = [...]string{"fetch", "boot", "load", "test"}

const wholeVM = "vm"

// phases makes the list of phases: the known ones, the rest of the VM's time.
func (b *builder) phases() {
	for _, name := range phaseOrder {
		if slices.ContainsFunc(b.places, func(p analysis.Place) bool { _, ok := p.Phases[name]; return ok }) {
			b.index.Phases = append(b.index.Phases, name)
		}
	}
	if slices.ContainsFunc(b.places, func(p analysis.Place) bool { return p.Phases[wholeVM] > 0 }) {
		b.index.Phases = append(b.index.Phases, "other")
	}
}

func (b *builder) phasesOf(p analysis.Place) (all []int64) {
	if len(p.Phases) == 0 {
		return nil
	}
	rest, known := p.Phases[wholeVM]
	for _, name := range b.index.Phases {
		ns, ok := p.Phases[name]
		if name == "other" {
			ns, ok = max(0, rest), known
		} else if name != "fetch" {
			rest -= ns
		}
		if !ok {
			all = append(all, -1)
			continue
		}
		all = append(all, ns/int64(time.Millisecond))
	}
	return all
}

func (b *builder) kernels() {
	distros := map[string]int{}
	series := map[string]int{}
	for i, s := range b.series {
		series[s] = i
	}
	b.index.Kernels = make([]kernelRow, 0, len(b.places))
	at := map[string]int{}
	for i, p := range b.places {
		at[p.ID] = i
	}
	for _, p := range b.places {
		d, ok := distros[p.Distro]
		if !ok {
			d = len(distros)
			distros[p.Distro] = d
			b.index.Distros = append(b.index.Distros, p.Distro)
		}
		row := kernelRow{
			ID: p.ID, Distro: d, Series: series[p.Series], Name: p.Name, Verdict: b.standing(p.Result),
			Phases: b.phasesOf(p), Accel: p.Accel, Newly: b.newly[p.ID], Chunk: -1,
		}
		const most = 20
		numbers := b.numbers[p.ID]
		row.Groups = numbers[:min(len(numbers), most)]
		if p.Cause != nil {
			row.Title = line(p.Cause.Title)
		}
		if by, ok := at[b.by[p.ID]]; ok {
			row.By = &by
		}
		if p.Attempts > 1 {
			row.Tries = p.Attempts
		}
		b.index.Kernels = append(b.index.Kernels, row)
	}
}

// line is a text in one line.
func line(s string) string { return report.OneLine(s, 300) }

// verdictAt is a test verdict's place in counts of three.
func verdictAt(t report.Test) int {
	return slices.Index([]string{"pass", "fail", "skip"}, report.TestVerdict(t))
}

// testRows counts tests over all kernels.
func (b *builder) testRows() {
	rows := []testRow{}
	at := map[string]int{}
	for i, p := range b.places {
		for _, t := range p.Tests {
			v := verdictAt(t)
			b.index.Kernels[i].Tests[v]++
			n, ok := at[t.Name]
			if !ok {
				n = len(rows)
				at[t.Name] = n
				rows = append(rows, testRow{Name: t.Name})
			}
			rows[n].Count[v]++
		}
	}
	slices.SortFunc(rows, func(a, b testRow) int {
		return cmp.Or(cmp.Compare(b.Count[1], a.Count[1]), strings.Compare(a.Name, b.Name))
	})
	if n := len(rows); n > maxTests {
		rows = rows[:maxTests]
		b.note("the list of tests has %d of %d, those that fail most", maxTests, n)
	}
	for i := range rows {
		b.tests[rows[i].Name] = i
	}
	b.index.Tests = rows
	for i, p := range b.places {
		for _, t := range p.Tests {
			n, ok := b.tests[t.Name]
			if k := &b.index.Kernels[i]; ok && verdictAt(t) == 1 && len(k.Failed) < maxFailed {
				k.Failed = append(k.Failed, n)
			}
		}
	}
	for i := range b.index.Tests {
		b.index.Tests[i].Name = line(b.index.Tests[i].Name)
	}
}

// byNeed are places in Kernels: those that did not pass, those that passed, and
// those that were not booted.
func (b *builder) byNeed() []int {
	var order [3][]int
	for i, p := range b.places {
		need := 0
		switch b.standing(p.Result) {
		case "pass":
			need = 1
		case represented:
			need = 2
		}
		order[need] = append(order[need], i)
	}
	return slices.Concat(order[:]...)
}

// details packs what the kernels show when they are opened, several as one: a
// run's kernels have much in common.
func (b *builder) details() {
	var chunk []json.RawMessage
	size, left, chunks, out := 0, maxDetails, 0, 0
	flush := func() {
		if len(chunk) == 0 {
			return
		}
		p := packJSON(fmt.Sprintf("d%d", chunks), chunk)
		left -= len(p.Data)
		b.packed = append(b.packed, p)
		chunk, size, chunks = nil, 0, chunks+1
	}
	for _, i := range b.byNeed() {
		if b.by[b.places[i].ID] != "" {
			continue // nothing is known of it
		}
		if left <= 0 {
			out++
			continue
		}
		j := mustJSON(b.detail(i))
		b.index.Kernels[i].Chunk, b.index.Kernels[i].At = chunks, len(chunk)
		chunk = append(chunk, j)
		if size += len(j); size >= maxChunk {
			flush()
		}
	}
	flush()
	if out > 0 {
		b.note("the details of %d kernels are not in this page, which has room for %d MiB of them; %s has them", out, maxDetails>>20, report.ReportName)
	}
}

// consoles packs the consoles, each by itself.
func (b *builder) consoles() {
	if b.o.Consoles == nil {
		return
	}
	left, out, bad := maxConsoles, 0, 0
	for _, i := range b.byNeed() {
		k := b.places[i].Result
		if k.Console == "" {
			continue
		}
		if left <= 0 {
			out++
			continue
		}
		c, err := readConsole(b.o.Consoles, k)
		if err != nil {
			bad++
			continue
		}
		p := packJSON(fmt.Sprintf("c%d", i), c)
		if len(p.Data) > left {
			out++
			continue
		}
		left -= len(p.Data)
		b.index.Kernels[i].Console = p.ID
		b.packed = append(b.packed, p)
	}
	if out > 0 {
		b.note("the consoles of %d kernels are not in this page, which has room for %d MiB of them; they stand in results/", out, maxConsoles>>20)
	}
	if bad > 0 {
		b.note("the consoles of %d kernels could not be read", bad)
	}
}
