package markdown

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// programs shows what came of each program on each kernel: kernels down and
// programs across, or the other way around where these are more. What does not
// fit is counted in a last row and column. It is folded away where all pass.
func (d *document) programs(b *strings.Builder, rows int) {
	g := analysis.NewProgramGrid(d.places)
	if len(g.Names) < 2 {
		return
	}
	name := func(i int) string { return cell(strings.TrimPrefix(g.Names[i], g.Prefix), 60) }
	kernel := func(i int) string { return word(d.places[i].Distro, cell) + " " + cell(d.places[i].Name, 60) }
	down, across, at := axis{len(d.places), kernel}, axis{len(g.Names), name}, g.Cell
	corner, in := "kernel", ", programs in "
	if across.n > down.n {
		down, across, corner = across, down, "program"
		in = " in "
		at = func(program, kernel int) *report.Result { return g.Cell(kernel, program) }
	}
	if g.Prefix != "" {
		corner += in + cell(g.Prefix, 100)
	}
	count := func(rows, columns []int) (c report.Counts) {
		for _, r := range rows {
			for _, column := range columns {
				if k := at(r, column); k != nil {
					c.Add(k)
				}
			}
		}
		return c
	}
	all, columns := down.all(), across.all()
	columns, moreColumns := pick(columns, maxColumns, func(i int) report.Counts { return count(all, []int{i}) })
	const most = 25 // rows: the failures are what a comment is for
	shown, more := pick(all, min(rows, most), func(i int) report.Counts { return count([]int{i}, across.all()) })
	total := count(all, across.all())
	folded := total.OK()
	if folded {
		fmt.Fprintf(b, "<details><summary>%s on %s</summary>\n\n", report.Count(len(g.Names), "program"), report.Count(len(d.places), "kernel"))
	}
	b.WriteString("| " + corner + " |")
	for _, i := range columns {
		b.WriteString(" " + across.name(i) + " |")
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
		line(down.name(i), []int{i})
	}
	if len(more) > 0 {
		line(fmt.Sprintf("%d more", len(more)), more)
	}
	b.WriteString("\n")
	if folded {
		b.WriteString("</details>\n\n")
	}
}

// axis is what a table has down or across.
type axis struct {
	n    int
	name func(int) string
}

func (a axis) all() []int {
	all := make([]int, a.n)
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
