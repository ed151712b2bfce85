package analysis

import (
	"cmp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// byProgram makes a result of each of a kernel's programs, as if that were all of
// the kernel.
func byProgram(k *report.Result) []report.Result {
	all := make([]report.Result, len(k.Programs))
	console := k.Console
	if slices.ContainsFunc(k.Programs, func(p report.Program) bool { return p.Console != "" }) {
		console = "" // each has its own
	}
	for i, p := range k.Programs {
		all[i] = report.Result{ID: k.ID, Verdict: p.Verdict, Cause: p.Cause, Console: cmp.Or(p.Console, console)}
	}
	if len(k.NotPassed()) == 0 {
		return all
	}
	of := k.TestPrograms()
	for _, t := range k.Tests {
		if i, _ := of(t.Name); i >= 0 {
			all[i].Tests = append(all[i].Tests, t)
		}
	}
	for i := range all {
		if all[i].Verdict != report.Pass {
			all[i].Expected, all[i].TestsOnly = k.Expected, k.Programs[i].TestsOnly
		}
	}
	return all
}

// ProgramGrid is an overview of kernels by program.
type ProgramGrid struct {
	Names  []string // of programs, in the order of the first kernels that have them
	Prefix string   // the directory that all of Names begin with, slash included; "": none

	cells [][]*report.Result // by kernel, then by program
}

// NewProgramGrid has a row for each place. Without programs it has no names.
func NewProgramGrid(places []Place) ProgramGrid {
	var g ProgramGrid
	at := map[string]int{}
	for _, p := range places {
		row := make([]*report.Result, len(g.Names))
		results := byProgram(p.Result)
		for i := range results {
			name := p.Programs[i].Name
			n, ok := at[name]
			if !ok {
				n = len(g.Names)
				at[name] = n
				g.Names, row = append(g.Names, name), append(row, nil)
			}
			row[n] = &results[i]
		}
		g.cells = append(g.cells, row)
	}
	if len(g.Names) > 1 {
		first, last := slices.Min(g.Names), slices.Max(g.Names)
		n := 0
		for n < min(len(first), len(last)) && first[n] == last[n] {
			n++
		}
		g.Prefix = first[:strings.LastIndexByte(first[:n], '/')+1]
	}
	return g
}

// Cell is what came of a program on a kernel, each given by its place; nil: the
// kernel has no such program.
func (g ProgramGrid) Cell(kernel, program int) *report.Result {
	if row := g.cells[kernel]; program < len(row) {
		return row[program]
	}
	return nil
}
