package reporttest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
)

// Programs is a result of n kernels with a number of programs, at least 5, of
// three tests each. The kernels from 6.12 on fail a test of the second and third
// program alike; one crashes in the fourth, which leaves the fifth without a
// result; one fails the second as expected; one does not boot. The first program
// leaves something behind.
func Programs(n, programs int) *report.Merged {
	m := Green()
	m.Verdict, m.Change, m.Kernels = report.Fail, nil, nil
	like := Green().Kernels[0]
	for i := range n {
		series := []string{"5.10", "5.15", "6.1", "6.12"}[i*4/n]
		k := like
		k.ID = fmt.Sprintf("%s/%s.0-%d-cloud-amd64", []string{"debian", "ubuntu"}[i%2], series, i)
		k.Console, k.Tests, k.Phases, k.TestsOnly = "results/"+k.ID+".txt", nil, map[string]int64{"vm": 9e9}, true
		for p := range programs {
			k.Programs = append(k.Programs, report.Program{Name: fmt.Sprintf("probe/pkg%02d", p), Verdict: report.Pass, Tests: 3, Duration: time.Duration(p+1) * time.Second})
			for t := range 3 {
				k.Tests = append(k.Tests, report.Test{Name: fmt.Sprintf("probe/pkg%02d/Test%c", p, 'A'+t), Verdict: report.TestPass, Duration: time.Second / 2})
			}
		}
		k.Programs[0].Left = []string{"pin /sys/fs/bpf/probe"}
		ends := func(p int, v report.Verdict, title, excerpt string) {
			k.Programs[p].Verdict, k.Programs[p].Cause = v, &report.Cause{Title: title, Excerpt: excerpt}
			if k.Verdict != report.Crash {
				k.Verdict, k.Cause = v, &report.Cause{Title: k.Programs[p].Name + ": " + title, Excerpt: excerpt}
			}
		}
		fails := func(p int) {
			t := &k.Tests[3*p+1]
			t.Verdict, t.Output = report.TestFail, "    maps_test.go:62: create map: invalid argument\n"
			k.Programs[p].TestsOnly = true
			ends(p, report.Fail, "TestB: maps_test.go:62: create map: invalid argument", t.Output)
		}
		switch {
		case i == n-1:
			ends(3, report.Crash, "BUG: kernel NULL pointer dereference, address: 0000000000000010", "RIP: 0010:do_probe+0x1f/0x50\n")
			ends(4, report.Missing, "the kernel crashed in probe/pkg03", "")
			k.TestsOnly = false
			k.Tests = slices.DeleteFunc(k.Tests, func(t report.Test) bool {
				return strings.HasPrefix(t.Name, "probe/pkg03/") || strings.HasPrefix(t.Name, "probe/pkg04/")
			})
			fails(1)
		case series == "6.12":
			fails(1)
			fails(2)
		case i == 1:
			fails(1)
			k.Expected = []report.Expected{{Test: "probe/pkg01/TestB", Reason: "no such map before 5.15"}}
		case i == 2:
			k.Verdict, k.Cause, k.Tests, k.TestsOnly = report.NoBoot, &report.Cause{Title: "no sign of init"}, nil, false
			for p := range k.Programs {
				k.Programs[p] = report.Program{Name: k.Programs[p].Name, Verdict: report.NoBoot, Cause: k.Cause}
			}
		}
		m.Kernels = append(m.Kernels, k)
	}
	slices.SortFunc(m.Kernels, func(a, b report.Result) int { return strings.Compare(a.ID, b.ID) })
	return m
}
