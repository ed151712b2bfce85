package page

import (
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// programsView has kernels down and programs across, or the other way around
// where these are more.
type programsView struct {
	Corner  string
	Columns []programHeading
	Rows    []programRow
}

type programRow struct {
	programHeading
	Cells []*programCell // nil: there is no such program
}

type programHeading struct {
	Name, Whole string
	Kernel      string // its id; "": it is a program's
}

type programCell struct{ Verdict, Sign string }

// programGrid makes the grid of programs, where a result has several.
func (b *builder) programGrid() {
	kernels := make([]int, len(b.places))
	for i := range kernels {
		kernels[i] = i
	}
	g := analysis.NewProgramGrid(b.places)
	if len(g.Names) < 2 {
		return
	}
	if most := max(1, maxCells/len(g.Names)); len(kernels) > most {
		b.note("the grid of programs has %d of %d kernels, those that did not pass first", most, len(kernels))
		kernels = b.byNeed()[:most]
		slices.Sort(kernels)
	}
	v := &b.programs
	var programs, of []programHeading
	for _, name := range g.Names {
		programs = append(programs, programHeading{Name: line(strings.TrimPrefix(name, g.Prefix)), Whole: line(name)})
	}
	for _, i := range kernels {
		p := b.places[i]
		of = append(of, programHeading{line(p.Distro + " " + p.Name), line(p.ID), p.ID})
	}
	cells := map[string]*programCell{} // one for each verdict
	cell := func(kernel, program int) *programCell {
		k := g.Cell(kernels[kernel], program)
		if k == nil {
			return nil
		}
		verdict := standing(k)
		if cells[verdict] == nil {
			cells[verdict] = &programCell{verdict, signs[verdict]}
		}
		return cells[verdict]
	}
	v.Corner, v.Columns = "Kernel", programs
	rows, in := of, ", programs in "
	if len(programs) > len(of) {
		v.Corner, v.Columns, rows, in = "Program", of, programs, " in "
	}
	if g.Prefix != "" {
		v.Corner += in + line(g.Prefix)
	}
	for r, heading := range rows {
		row := programRow{programHeading: heading}
		for c := range v.Columns {
			if len(programs) > len(of) {
				row.Cells = append(row.Cells, cell(c, r))
			} else {
				row.Cells = append(row.Cells, cell(r, c))
			}
		}
		v.Rows = append(v.Rows, row)
	}
}

// programDetail is a program as a kernel's details show it.
type programDetail struct {
	Name    string   `json:"n"`
	Verdict string   `json:"v"`
	Title   string   `json:"t,omitempty"`
	Tests   int      `json:"c"`
	Time    int64    `json:"ms,omitempty"`
	Left    []string `json:"l,omitempty"`
	Console string   `json:"x,omitempty"`
}

func programDetails(programs []report.Program) (all []programDetail) {
	for _, p := range programs {
		d := programDetail{Name: line(p.Name), Verdict: p.Verdict.String(), Tests: p.Tests, Time: int64(p.Duration / time.Millisecond), Left: firstLines(p.Left, 20), Console: p.Console}
		if p.Cause != nil {
			d.Title = line(p.Cause.Title)
		}
		all = append(all, d)
	}
	return all
}
