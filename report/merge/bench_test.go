package merge

import (
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/summary"
)

// BenchmarkMerge reads, merges and reports 1,000 kernels of 256 shards with 30
// tests each, of which some fail, from files on disk. It has to stay below two
// seconds.
func BenchmarkMerge(b *testing.B) {
	s := newSet(256, 1000)
	for i, f := range s.files {
		for j := range f.lines {
			k := f.kernel(j)
			for t := range 30 {
				k.Tests = append(k.Tests, report.Test{Name: fmt.Sprintf("object.bpf.o/program_%d", t), Verdict: "pass", Duration: time.Millisecond, Insns: 1234})
			}
			k.Facts = &report.Facts{BTF: true, LSMs: []string{"capability", "bpf"}, Config: map[string]string{}, Targets: map[string]bool{}}
			for n := range 35 {
				k.Facts.Config[fmt.Sprintf("BPF_OPTION_%d", n)] = "y"
				k.Facts.Targets[fmt.Sprintf("kprobe/do_something_%d", n)] = true
			}
			if i%9 == 0 {
				f.fail(j)
				k.Cause.Excerpt = fmt.Sprintf("%0*d", 8<<10, i)
				k.Tests[7].Verdict, k.Tests[7].Output = "fail", k.Cause.Excerpt
			}
		}
	}
	dir := b.TempDir()
	if err := os.CopyFS(dir, s.fs(b)); err != nil {
		b.Fatal(err)
	}
	o := testOptions()
	o.Plan = s.plan
	for b.Loop() {
		c, err := Collect(dir)
		if err != nil {
			b.Fatal(err)
		}
		m, from := Merge(c, o)
		if m.Verdict != report.Fail || len(m.Kernels) != 1000 || len(m.Refusals) > 0 {
			b.Fatalf("%v, %d kernels, %v", m.Verdict, len(m.Kernels), m.Refusals)
		}
		out, err := os.OpenRoot(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		CopyEvidence(out, m, from)
		for _, write := range []func() error{
			out.Close,
			c.Close,
			func() error { return report.WriteReport(io.Discard, m) },
			func() error { return summary.Write(io.Discard, m) },
			func() error { return report.WriteTimings(io.Discard, report.NewTimings(m.Kernels)) },
		} {
			if err := write(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
