package page

import (
	"cmp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// costRow is a BPF program over all kernels.
type costRow struct {
	Name   string   `json:"n"`
	Type   string   `json:"t,omitempty"`
	Limit  int      `json:"m"`           // the largest that a verifier of these kernels has
	Insns  []int    `json:"i"`           // by kernel, 0: not known
	Base   [][2]int `json:"b,omitempty"` // kernel, and its instructions in the base, where they moved
	Failed []int    `json:"f,omitempty"` // kernels on which it did not load
	Over   bool     `json:"x,omitempty"` // it grew by more than the run allows

	most int
}

// costRows are the BPF programs: those that moved against the base come first, then
// those with the most instructions.
func (b *builder) costRows() {
	at := map[analysis.CostKey]*costRow{}
	var rows []*costRow
	left, cut := maxCounts, 0
	for i, p := range b.places {
		limit := p.InsnLimit()
		analysis.EachCost(p.Result, func(key analysis.CostKey, c report.BPFProgram, loaded bool) {
			r := at[key]
			if r == nil {
				if left -= len(b.places); left < 0 {
					cut++
					return
				}
				r = &costRow{Name: line(key.Name), Type: c.Type, Insns: make([]int, len(b.places))}
				at[key] = r
				rows = append(rows, r)
			}
			r.Insns[i] = max(r.Insns[i], c.Insns)
			r.Limit, r.most = max(r.Limit, limit), max(r.most, c.Insns)
			if !loaded && !slices.Contains(r.Failed[max(0, len(r.Failed)-1):], i) {
				r.Failed = append(r.Failed, i)
			}
		})
	}
	kernels := map[string]int{}
	for i, p := range b.places {
		kernels[p.ID] = i
	}
	moved := map[*costRow]int{}
	if b.m.Change != nil {
		for n, c := range b.m.Change.Costs {
			r := at[analysis.CostKey{Name: c.Name, Type: c.Type}]
			if r == nil {
				continue
			}
			if _, ok := moved[r]; !ok {
				moved[r] = -len(b.m.Change.Costs) + n
			}
			r.Over = r.Over || c.TooMuch
			for _, id := range c.Kernels {
				if i, ok := kernels[id]; ok && len(r.Base) < len(b.places) {
					r.Base = append(r.Base, [2]int{i, c.Before})
				}
			}
		}
	}
	slices.SortFunc(rows, func(x, y *costRow) int {
		return cmp.Or(cmp.Compare(moved[x], moved[y]), cmp.Compare(y.most, x.most), strings.Compare(x.Name, y.Name), strings.Compare(x.Type, y.Type))
	})
	if n := len(rows); n > maxTests {
		cut += n - maxTests
		rows = rows[:maxTests]
	}
	if cut > 0 {
		b.note("%d more BPF programs are not shown over all kernels; each kernel has its own", cut)
	}
	b.index.Costs = rows
}

// costDetails are a kernel's BPF programs fit to be shown, the largest first.
func costDetails(k report.Result) []report.BPFProgram {
	const most = 1000
	all := slices.Clone(k.Costs())
	slices.SortStableFunc(all, func(a, b report.BPFProgram) int { return cmp.Compare(b.Insns, a.Insns) })
	all = all[:min(len(all), most)]
	for i, p := range all {
		all[i].Name, all[i].Program, all[i].Test = line(p.Label()), "", ""
	}
	return all
}

// costLine says what all of them cost.
func costLine(m *report.Merged) string {
	return sentence(analysis.CostLine(m.Change, analysis.Costs(m), line)) + "."
}
