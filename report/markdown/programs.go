package markdown

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// programs shows what came of each program on each kernel. What does not fit is
// counted in a last row and column. It is folded away where all pass.
func (d *document) programs(b *strings.Builder, most int) {
	g := d.byProgram
	if len(g.Rows) == 0 {
		return
	}
	count := func(rows, columns []int) (c report.Counts) {
		for _, r := range rows {
			for _, column := range columns {
				g.Cell(r, column).AddTo(&c)
			}
		}
		return c
	}
	const maxRows = 25 // the failures are what a comment is for
	rows, columns := upTo(len(g.Rows)), upTo(len(g.Columns))
	total := count(rows, columns)
	shown, more := pick(rows, min(most, maxRows), func(i int) report.Counts { return count([]int{i}, columns) })
	columns, moreColumns := pick(columns, maxColumns, func(i int) report.Counts { return count(rows, []int{i}) })
	folded := total.OK()
	if folded {
		programs, kernels := len(g.Columns), len(g.Rows)
		if g.Rows[0].Place == nil {
			programs, kernels = kernels, programs
		}
		fmt.Fprintf(b, "<details><summary>%s on %s</summary>\n\n", report.Count(programs, "program"), report.Count(kernels, "kernel"))
	}
	b.WriteString("| " + g.Corner)
	if g.Prefix != "" {
		b.WriteString(cell(g.Prefix, 100))
	}
	b.WriteString(" |")
	for _, i := range columns {
		b.WriteString(" " + headingCell(g.Columns[i]) + " |")
	}
	if len(moreColumns) > 0 {
		fmt.Fprintf(b, " %d more |", len(moreColumns))
	}
	b.WriteString("\n|:--|" + strings.Repeat(":-:|", len(columns)+min(1, len(moreColumns))) + "\n")
	line := func(title string, rows []int) {
		b.WriteString("| " + title + " |")
		for _, i := range columns {
			b.WriteString(" " + programCell(count(rows, []int{i})) + " |")
		}
		if len(moreColumns) > 0 {
			b.WriteString(" " + gridCell(count(rows, moreColumns)) + " |")
		}
		b.WriteString("\n")
	}
	for _, i := range shown {
		line(headingCell(g.Rows[i]), []int{i})
	}
	if len(more) > 0 {
		line(fmt.Sprintf("%d more", len(more)), more)
	}
	b.WriteString("\n")
	if len(g.LeftOut) > 0 {
		b.WriteString("<sub>" + strings.Join(g.LeftOut, "; ") + "</sub>\n\n")
	}
	if folded {
		b.WriteString("</details>\n\n")
	}
}

func headingCell(h analysis.ProgramHeading) string {
	if h.Place == nil {
		return cell(h.Program, 60)
	}
	return word(h.Distro, cell) + " " + cell(h.Name, 60)
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// pick takes as many as there is room for, one less where others are left: those
// with the most failures, then the least tested, in their order.
func pick(all []int, room int, count func(int) report.Counts) (shown, rest []int) {
	if len(all) <= room {
		return all, nil
	}
	counts := make(map[int]report.Counts, len(all))
	for _, i := range all {
		counts[i] = count(i)
	}
	byNeed := slices.Clone(all)
	slices.SortStableFunc(byNeed, func(i, j int) int {
		a, b := counts[i], counts[j]
		return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(b.NotTested, a.NotTested), cmp.Compare(b.FailedAsExpected, a.FailedAsExpected))
	})
	shown, rest = byNeed[:room-1], byNeed[room-1:]
	slices.Sort(shown)
	return shown, rest
}

// programCell is the sign alone where one program on one kernel is counted.
func programCell(t report.Counts) string {
	s := gridCell(t)
	if t.Kernels == 1 {
		s, _, _ = strings.Cut(s, " ")
	}
	return s
}
