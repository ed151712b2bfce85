// Package summary writes bpf-check-summary.txt, whose format is a contract: other
// tools read it.
package summary

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// Name is the summary's file name, which other tools look for.
const Name = "bpf-check-summary.txt"

// mainline is the distribution whose kernels stand newest first.
const mainline = "mainline"

// Write writes the summary in the format that other tools read: the
// date as date(1) prints it, a block for each distribution with one line for
// each kernel that was tested, and a last block with those that were not. A
// distribution's number counts what was to be tested, so a kernel in the last
// block is counted in its distribution too.
func Write(w io.Writer, m *report.Merged) error {
	kernels := m.Kernels
	var b strings.Builder
	fmt.Fprintf(&b, "BPF check run at %s\n", m.At.UTC().Format("Mon Jan _2 15:04:05 UTC 2006"))

	byDistro := map[string][]report.Result{}
	var untested []report.Result
	for _, k := range kernels {
		distro, _ := report.SplitID(k.ID)
		byDistro[distro] = append(byDistro[distro], k)
		if !k.Verdict.Tested() {
			untested = append(untested, k)
		}
	}
	for _, d := range slices.Sorted(maps.Keys(byDistro)) {
		ks := byDistro[d]
		slices.SortFunc(ks, compareKernels)
		fmt.Fprintf(&b, "\n%s (%d kernel(s) to test)\n", d, len(ks))
		for _, k := range ks {
			if !k.Verdict.Tested() {
				continue
			}
			_, name := report.SplitID(k.ID)
			fmt.Fprintf(&b, "[%s] %s\n", mark(k.Verdict), name)
		}
	}
	if len(untested) > 0 {
		slices.SortFunc(untested, compareKernels)
		fmt.Fprintf(&b, "\nnot tested (%d kernel(s))\n", len(untested))
		for _, k := range untested {
			reason := "no reason is known"
			if k.Cause != nil && k.Cause.Title != "" {
				reason = report.OneLine(k.Cause.Title, 500)
			}
			fmt.Fprintf(&b, "[%s] %s  %s\n", mark(k.Verdict), k.ID, reason)
		}
	}
	writeExpected(&b, kernels)
	writePrograms(&b, kernels)
	writeCosts(&b, m)
	writeRepresented(&b, m)
	_, err := io.WriteString(w, b.String())
	if err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return nil
}

// writeExpected adds the kernels of which a failure was expected. Their lines
// above are as they would be without: [FAIL] is that a kernel did not pass, and
// an expectation does not change what it did.
func writeExpected(b *strings.Builder, kernels []report.Result) {
	var xs []report.Result
	for _, k := range kernels {
		if len(k.StaleExpectations) > 0 || k.FailedAsExpected() {
			xs = append(xs, k)
		}
	}
	if len(xs) == 0 {
		return
	}
	slices.SortFunc(xs, compareKernels)
	fmt.Fprintf(b, "\nexpected failures (%d kernel(s))\n", len(xs))
	for _, k := range xs {
		if k.FailedAsExpected() {
			fmt.Fprintf(b, "[XFAIL] %s  %s\n", k.ID, report.OneLine(k.ExpectedWords(), 500))
		} else {
			fmt.Fprintf(b, "[STALE] %s  %s\n", k.ID, report.OneLine(strings.Join(k.StaleExpectations, "; "), 500))
		}
	}
}

// writePrograms adds the kernels on which some of several programs did not pass.
// Its mark is none that readers count.
func writePrograms(b *strings.Builder, kernels []report.Result) {
	var ks []report.Result
	for _, k := range kernels {
		if k.ProgramWords(1) != "" {
			ks = append(ks, k)
		}
	}
	if len(ks) == 0 {
		return
	}
	slices.SortFunc(ks, compareKernels)
	fmt.Fprintf(b, "\nprograms (%d kernel(s))\n", len(ks))
	for _, k := range ks {
		fmt.Fprintf(b, "[PROGRAMS] %s  %s\n", k.ID, report.OneLine(k.ProgramWords(20), 500))
	}
}

// writeCosts adds what BPF programs cost, in one line, if that is compared with a
// base or close to the verifier's limit, and those that grew by more than the run
// allows.
func writeCosts(b *strings.Builder, m *report.Merged) {
	plain := func(s string) string { return report.OneLine(s, 200) }
	costs := analysis.Costs(m)
	line := analysis.CostLine(m.Change, costs, plain)
	if line == "" || m.Change == nil && len(analysis.NearLimit(costs)) == 0 {
		return
	}
	fmt.Fprintf(b, "\nBPF programs\n[COSTS] %s\n", line)
	for _, c := range analysis.TooCostly(m) {
		fmt.Fprintf(b, "[GROWN] %s\n", analysis.ChangeWords(c.CostChange, plain))
	}
}

// writeRepresented adds the kernels that were not booted since others stand for
// them.
func writeRepresented(b *strings.Builder, m *report.Merged) {
	standing := analysis.NewStanding(m)
	if first, rest := standing.Words(); first != "" {
		fmt.Fprintf(b, "\nrepresented\n%s: %s\n", first, rest)
		for i := range m.Kernels {
			k := &m.Kernels[i]
			for _, id := range standing.For[k.ID] {
				fmt.Fprintf(b, "[REPRESENTED] %s  by %s%s\n", id, k.ID, analysis.Became(k))
			}
		}
	}
}

// mark is the word for a verdict. What was not tested and has no word of its own
// is infrastructure.
func mark(v report.Verdict) string {
	switch {
	case v == report.Pass:
		return "PASS"
	case v.Tested():
		return "FAIL"
	case v == report.NoBoot:
		return "NOBOOT"
	case v == report.Missing:
		return "MISSING"
	default:
		return "INFRA"
	}
}

func compareKernels(a, b report.Result) int {
	da, na := report.SplitID(a.ID)
	db, nb := report.SplitID(b.ID)
	if da != db || da != mainline {
		return cmp.Or(cmp.Compare(da, db), cmp.Compare(na, nb))
	}
	return cmp.Or(report.CompareVersions(nb, na), cmp.Compare(na, nb))
}
