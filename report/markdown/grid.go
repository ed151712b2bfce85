package markdown

import (
	"fmt"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// maxColumns is what fits a comment's width.
const maxColumns = 12

// grid counts kernels by distribution and series.
func (d *document) grid(b *strings.Builder, rows int) {
	g := analysis.NewGrid(d.places, d.series, maxColumns)
	down, across := g.Rows, g.Columns
	if len(d.places) == 0 {
		return
	}
	plain := func(s string) string { return s }
	downName, acrossName := func(s string) string { return word(s, cell) }, plain
	if g.Corner == "series" {
		downName, acrossName = plain, downName
	}
	columns := len(across)
	if columns > maxColumns {
		columns = maxColumns - 1
	}
	b.WriteString("| " + g.Corner + " |")
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
			more := 0
			for _, r := range rows {
				for _, c := range columns {
					for _, i := range g.Cell(r, c) {
						t.Add(d.places[i].Result)
						more += len(d.stand.For[d.places[i].ID])
					}
				}
			}
			b.WriteString(" " + gridCell(t))
			if more > 0 {
				b.WriteString(" (+" + report.Thousands(more) + ")")
			}
			b.WriteString(" |")
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
	if d.outcome.Failed > 0 {
		legend = append(legend, "❌ n/m: n of m fail")
	}
	if d.outcome.FailedAsExpected > 0 {
		legend = append(legend, "☑️ n/m: n of m fail as expected")
	}
	if d.outcome.NotTested > 0 {
		legend = append(legend, "⚠️ n/m: n of m were not tested")
	}
	if d.stand.All > 0 {
		legend = append(legend, "(+n): n more are represented, not booted")
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
