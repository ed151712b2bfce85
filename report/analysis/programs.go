package analysis

import (
	"fmt"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// ProgramGrid is an overview of kernels by program: kernels down and programs
// across, or the other way around where these are more.
type ProgramGrid struct {
	Corner        string // what the rows are; it ends with "in " if there is a Prefix
	Prefix        string // the directory that all programs' names begin with, slash included; "": none
	Rows, Columns []ProgramHeading
	LeftOut       []string // what the grid does not have, one line each

	turned bool
	cells  [][]ProgramCell // by kernel, then by program
}

// ProgramCell is what came of a program on a kernel. Of the zero value nothing
// is known: the kernel has no such program.
type ProgramCell struct {
	Verdict  report.Verdict
	Expected bool // it failed as expected
}

// ProgramHeading is a kernel or a program.
type ProgramHeading struct {
	*Place         // nil: it is a program
	Program string // its name without Prefix
}

// maxGridCells bounds a grid of programs.
const maxGridCells = 60_000

// NewProgramGrid has at most report.MaxPrograms programs, and of the places as many
// as there is room for. It has no rows where there are not several programs.
func NewProgramGrid(places []Place) ProgramGrid {
	g := ProgramGrid{Corner: "kernel"}
	all := map[string]bool{}
	for _, p := range places {
		for i := range p.Programs {
			all[p.Programs[i].Name] = true
		}
	}
	if n := len(all); n > report.MaxPrograms {
		g.LeftOut = append(g.LeftOut, fmt.Sprintf("the grid of programs has %d of %d programs", report.MaxPrograms, n))
	}
	if most := maxGridCells / max(1, min(len(all), report.MaxPrograms)); len(all) > 1 && len(places) > most {
		g.LeftOut = append(g.LeftOut, fmt.Sprintf("the grid of programs has %d of %d kernels, those that did not pass first", most, len(places)))
		places = firstOf(places, most)
	}
	at := map[string]int{}
	var names []string
	for i := range places {
		p := &places[i]
		row := make([]ProgramCell, len(names))
		results := p.ByProgram()
		for i := range results {
			name := p.Programs[i].Name
			n, ok := at[name]
			if !ok && len(names) == report.MaxPrograms {
				continue
			}
			if !ok {
				n = len(names)
				at[name] = n
				names, row = append(names, name), append(row, ProgramCell{})
			}
			row[n] = ProgramCell{results[i].Verdict, results[i].FailedAsExpected()}
		}
		g.cells, g.Rows = append(g.cells, row), append(g.Rows, ProgramHeading{Place: p})
	}
	if len(names) < 2 {
		return ProgramGrid{}
	}
	first, last := slices.Min(names), slices.Max(names)
	n := 0
	for n < min(len(first), len(last)) && first[n] == last[n] {
		n++
	}
	g.Prefix = first[:strings.LastIndexByte(first[:n], '/')+1]
	for _, name := range names {
		g.Columns = append(g.Columns, ProgramHeading{Program: strings.TrimPrefix(name, g.Prefix)})
	}
	in := ", programs in "
	if g.turned = len(g.Columns) > len(g.Rows); g.turned {
		g.Rows, g.Columns, g.Corner, in = g.Columns, g.Rows, "program", " in "
	}
	if g.Prefix != "" {
		g.Corner += in
	}
	return g
}

// firstOf are n of the places in their order, those that did not pass before others.
func firstOf(places []Place, n int) (first []Place) {
	passed := func(p Place) bool { return p.Verdict == report.Pass && len(p.StaleExpectations) == 0 }
	bad := 0
	for _, p := range places {
		if !passed(p) {
			bad++
		}
	}
	bad = min(bad, n)
	room := map[bool]int{false: bad, true: n - bad} // by whether it passed
	for _, p := range places {
		if ok := passed(p); room[ok] > 0 {
			room[ok]--
			first = append(first, p)
		}
	}
	return first
}

// Cell is what came of a program on a kernel.
func (g ProgramGrid) Cell(row, column int) ProgramCell {
	if g.turned {
		row, column = column, row
	}
	if programs := g.cells[row]; column < len(programs) {
		return programs[column]
	}
	return ProgramCell{}
}

// AddTo counts a cell as report.Counts does a kernel.
func (c ProgramCell) AddTo(t *report.Counts) {
	switch {
	case c.Verdict == report.Unknown:
		return
	case c.Verdict == report.Pass:
		t.Passed++
	case c.Expected:
		t.FailedAsExpected++
	case c.Verdict.Tested():
		t.Failed++
	default:
		t.NotTested++
	}
	t.Kernels++
}
