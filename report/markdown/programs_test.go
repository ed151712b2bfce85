package markdown

import (
	"fmt"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

func TestPrograms(t *testing.T) {
	for _, size := range []struct{ kernels, programs int }{{12, 6}, {5, 20}, {30, 20}} {
		md := markdown(t, reporttest.Programs(size.kernels, size.programs), sampleOptions())
		checkMarkdown(t, md)
		reporttest.Golden(t, fmt.Sprintf("programs-%dx%d.md", size.kernels, size.programs), md)
	}
}

// The programs of a result that is good are there, and folded.
func TestProgramsGreen(t *testing.T) {
	m := reporttest.Programs(8, 5)
	m.Verdict = report.Pass
	m.Kernels = m.Kernels[:1]
	md := markdown(t, m, sampleOptions())
	checkMarkdown(t, md)
	if want := "<details><summary>5 programs on 1 kernel</summary>\n\n| program in `probe/` | debian"; !strings.Contains(md, want) {
		t.Errorf("%s\nwant %q", md, want)
	}
}

// However many programs there are, the verdict and the grid come through.
func TestProgramsLarge(t *testing.T) {
	m := reporttest.Programs(500, 100)
	for i := range m.Kernels {
		for p := range m.Kernels[i].Programs {
			m.Kernels[i].Programs[p].Name = strings.Repeat("x", 150) + m.Kernels[i].Programs[p].Name
		}
	}
	md := markdown(t, m, sampleOptions())
	checkMarkdown(t, md)
	if n := report.UTF16Len(md); n > MaxComment || !strings.Contains(md, "| kernel, programs in ") || !strings.Contains(md, "89 more |") || !strings.Contains(md, "#### Failures") {
		t.Errorf("%d characters: %.3000s", n, md)
	}
}

// What the grid does not have is said.
func TestProgramsLeftOut(t *testing.T) {
	m := reporttest.Programs(150, 20)
	for i := range m.Kernels {
		for p := range m.Kernels[i].Programs {
			m.Kernels[i].Programs[p].Name = fmt.Sprintf("x%d/%d", i, p)
		}
	}
	md := markdown(t, m, sampleOptions())
	checkMarkdown(t, md)
	if want := "<sub>the grid of programs has 1000 of 3000 programs; the grid of programs has 60 of 150 kernels, those that did not pass first</sub>"; !strings.Contains(md, want) {
		t.Errorf("%.5000s\nwant %q", md, want)
	}
}
