package markdown

import (
	"fmt"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// grid counts kernels by distribution and series.
type grid struct {
	distros []string // sorted
	series  []string // ascending
	cells   map[[2]string]report.Counts
	total   report.Counts
}

func newGrid(places []analysis.Place, series []string) grid {
	g := grid{series: series, cells: map[[2]string]report.Counts{}}
	for _, p := range places {
		if !slices.Contains(g.distros, p.Distro) {
			g.distros = append(g.distros, p.Distro)
		}
		c := g.cells[[2]string{p.Distro, p.Series}]
		c.Add(p.Result)
		g.cells[[2]string{p.Distro, p.Series}] = c
		g.total.Add(p.Result)
	}
	return g
}

// maxColumns is what fits a comment's width.
const maxColumns = 12

// write writes the grid: distributions down and series across, or the other way
// round where there are many series.
func (g grid) write(b *strings.Builder, rows int) {
	if len(g.distros) == 0 {
		return
	}
	down, across := g.distros, g.series
	at := func(row, column string) report.Counts { return g.cells[[2]string{row, column}] }
	corner := "distribution"
	plain := func(s string) string { return s }
	name := func(s string) string { return word(s, cell) }
	downName, acrossName := name, plain
	if len(g.series) > maxColumns && len(g.series) > len(g.distros) {
		down, across = across, down
		at = func(row, column string) report.Counts { return g.cells[[2]string{column, row}] }
		corner, downName, acrossName = "series", plain, name
	}
	columns := len(across)
	if columns > maxColumns {
		columns = maxColumns - 1
	}
	b.WriteString("| " + corner + " |")
	for _, c := range across[:columns] {
		b.WriteString(" " + acrossName(c) + " |")
	}
	if columns < len(across) {
		fmt.Fprintf(b, " %d more |", len(across)-columns)
	}
	b.WriteString("\n|:--|" + strings.Repeat(":-:|", min(len(across), columns+1)) + "\n")
	line := func(title string, rows []string) {
		b.WriteString("| " + title + " |")
		sum := func(columns []string) {
			var t report.Counts
			for _, r := range rows {
				for _, c := range columns {
					t.Plus(at(r, c))
				}
			}
			b.WriteString(" " + gridCell(t) + " |")
		}
		for i := range columns {
			sum(across[i : i+1])
		}
		if columns < len(across) {
			sum(across[columns:])
		}
		b.WriteString("\n")
	}
	shown := len(down)
	if shown > rows {
		shown = rows - 1
	}
	for i := range shown {
		line(downName(down[i]), down[i:i+1])
	}
	if shown < len(down) {
		line(fmt.Sprintf("%d more", len(down)-shown), down[shown:])
	}
	b.WriteString("\n")
	var legend []string
	if g.total.Failed > 0 {
		legend = append(legend, "❌ n/m: n of m fail")
	}
	if g.total.FailedAsExpected > 0 {
		legend = append(legend, "☑️ n/m: n of m fail as expected")
	}
	if g.total.NotTested > 0 {
		legend = append(legend, "⚠️ n/m: n of m were not tested")
	}
	if len(legend) > 0 {
		b.WriteString("<sub>" + strings.Join(legend, " · ") + "</sub>\n\n")
	}
}

// gridCell is "✅ 14", "❌ 3/14" for 3 of 14 that fail, "⚠️ 2/14" not tested.
func gridCell(t report.Counts) string {
	if t.Kernels == 0 {
		return ""
	}
	if t.Passed == t.Kernels {
		return "✅ " + report.Thousands(t.Kernels)
	}
	var s []string
	if t.Failed > 0 {
		s = append(s, fmt.Sprintf("❌ %s/%s", report.Thousands(t.Failed), report.Thousands(t.Kernels)))
	}
	if t.FailedAsExpected > 0 {
		s = append(s, fmt.Sprintf("☑️ %s/%s", report.Thousands(t.FailedAsExpected), report.Thousands(t.Kernels)))
	}
	if t.NotTested > 0 {
		s = append(s, fmt.Sprintf("⚠️ %s/%s", report.Thousands(t.NotTested), report.Thousands(t.Kernels)))
	}
	return strings.Join(s, " ")
}
