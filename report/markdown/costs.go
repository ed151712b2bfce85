package markdown

import (
	"fmt"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// maxCosts is how many BPF programs are named that cost more or less than before, or
// nearly too much.
const maxCosts = 5

// costs shows the BPF programs that cost more or less than in the base, and those
// close to the verifier's limit. Where there are none, apart has one line.
func (d *document) costs(b *strings.Builder, x detail) {
	moved := analysis.CostsByProgram(d.m.Change)
	near := analysis.NearLimit(d.bpf)
	if len(moved) == 0 && len(near) == 0 {
		return
	}
	b.WriteString("#### What BPF programs cost\n\n")
	if len(d.m.Change.TooCostly()) > 0 {
		fmt.Fprintf(b, "❌ %s, which fails the run.\n\n", analysis.TooCostlyWords(d.m))
	}
	most := min(maxCosts, x.rows)
	if len(moved) > 0 {
		b.WriteString("| BPF program | on | instructions in the base | now | change | of the limit |\n|:--|:--|--:|--:|--:|--:|\n")
	}
	for i, c := range moved {
		if i == most {
			fmt.Fprintf(b, "\nand %s that moved.\n", report.Count(len(moved)-i, "more program"))
			break
		}
		mark := ""
		if c.TooMuch {
			mark = "❌ "
		}
		on := analysis.On(c.Kernels, func(s string) string { return cell(s, 120) }) + c.Elsewhere()
		if c.Against != "" {
			on += "; the base has " + cell(c.Against, 120)
		}
		fmt.Fprintf(b, "| %s%s | %s | %s | %s | %s | %d %% |\n", mark, cell(c.Name, 120), on, report.Thousands(c.Before), report.Thousands(c.After), c.GrowthWords(), 100*c.After/max(1, c.Limit))
	}
	if len(moved) > 0 {
		b.WriteString("\n")
	}
	for i, c := range near {
		if i == most {
			fmt.Fprintf(b, "- and %s close to the limit\n", report.Count(len(near)-i, "more program"))
			break
		}
		fmt.Fprintf(b, "- ⚠️ close to the limit: %s\n", c.Words(func(s string) string { return code(s, 120) }))
	}
	if len(near) > 0 {
		b.WriteString("\n")
	}
}
