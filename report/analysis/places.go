package analysis

import (
	"cmp"
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
)

// Place is where a kernel stands in an overview.
type Place struct {
	*report.Result
	Distro string
	Name   string // the release where no other kernel of Distro has it, else all of the id's name
	Series string // the mainline release that it is of: "5.10"; "other" when its name says none
}

// Places are the kernels of a result by distribution and ascending version, and
// the series, ascending, "other" last.
func Places(m *report.Merged) (places []Place, series []string) {
	ix := newIndex(m)
	releases := map[string]int{}
	for _, e := range ix.kernels {
		releases[e.distro+"/"+e.version.release]++
		if s := e.version.series; !slices.Contains(series, s) {
			series = append(series, s)
		}
	}
	slices.SortFunc(series, func(a, b string) int {
		return cmp.Or(compareOK(a != noSeries, b != noSeries), report.CompareVersions(a, b))
	})
	for _, e := range ix.kernels {
		_, name := report.SplitID(e.ID)
		if releases[e.distro+"/"+e.version.release] == 1 {
			name = e.version.release
		}
		places = append(places, Place{Result: e.Result, Distro: e.distro, Name: name, Series: e.version.series})
	}
	return places, series
}

// Grid is an overview of kernels by distribution and series.
type Grid struct {
	Corner        string // what the rows are: distribution or series
	Rows, Columns []string

	turned bool
	cells  map[[2]string][]int
}

// NewGrid has the series across, or where they are more than there is room for,
// and more than the distributions, those.
func NewGrid(places []Place, series []string, room int) Grid {
	g := Grid{Corner: "distribution", Columns: series, cells: map[[2]string][]int{}}
	for i, p := range places {
		if !slices.Contains(g.Rows, p.Distro) {
			g.Rows = append(g.Rows, p.Distro)
		}
		at := [2]string{p.Distro, p.Series}
		g.cells[at] = append(g.cells[at], i)
	}
	if len(series) > room && len(series) > len(g.Rows) {
		g.turned, g.Corner, g.Rows, g.Columns = true, "series", series, g.Rows
	}
	return g
}

// Cell has the indices of its kernels in the places.
func (g Grid) Cell(row, column string) []int {
	if g.turned {
		row, column = column, row
	}
	return g.cells[[2]string{row, column}]
}
