package page

import (
	"slices"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// programsView is the grid of kernels by programs.
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
	g := analysis.NewProgramGrid(slices.DeleteFunc(slices.Clone(b.places), func(p analysis.Place) bool { return b.by[p.ID] != "" }))
	b.notes = append(b.notes, g.LeftOut...)
	heading := func(h analysis.ProgramHeading) programHeading {
		if h.Place == nil {
			return programHeading{Name: line(h.Program), Whole: line(g.Prefix + h.Program)}
		}
		return programHeading{line(h.Distro + " " + h.Name), line(h.ID), h.ID}
	}
	v := &b.programs
	v.Corner = sentence(g.Corner) + line(g.Prefix)
	for _, h := range g.Columns {
		v.Columns = append(v.Columns, heading(h))
	}
	for r, h := range g.Rows {
		row := programRow{programHeading: heading(h)}
		for c := range g.Columns {
			var cell *programCell
			if k := g.Cell(r, c); k.Expected {
				cell = &programCell{"expected", signs["expected"]}
			} else if k.Verdict != report.Unknown {
				cell = &programCell{k.Verdict.String(), signs[k.Verdict.String()]}
			}
			row.Cells = append(row.Cells, cell)
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
