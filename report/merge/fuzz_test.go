package merge

import (
	"bytes"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

func FuzzReadShardFile(f *testing.F) {
	s := newSet(2, 3)
	s.file(2).fail(0)
	f.Add(s.file(1).bytes(f))
	f.Add(s.file(2).bytes(f))
	f.Add(newProgramSet(2, "a/b").file(1).bytes(f))
	f.Add([]byte(`{"type":"plan","plan":{"schema":2}}`))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sf, err := report.ReadShardFile(bytes.NewReader(b))
		if err != nil {
			if sf != nil {
				t.Error("a file and an error")
			}
			return
		}
		if err := sf.Plan.Check(); err != nil {
			t.Error(err)
		}
		if sf.Damaged && sf.Problem == "" {
			t.Error("damaged for no reason")
		}
		if sf.Problem == "" && len(sf.Kernels) != len(sf.Plan.Kernels) {
			t.Errorf("a complete file with %d of %d results", len(sf.Kernels), len(sf.Plan.Kernels))
		}
		for i := range sf.Kernels {
			if err := sf.Kernels[i].Check(); err != nil {
				t.Error(err)
			}
		}
		m, _ := Merge(&Collected{Files: []*File{{ShardFile: sf}}}, testOptions())
		if m.Verdict == report.Pass && sf.Problem != "" {
			t.Errorf("passes with %q", sf.Problem)
		}
		var out bytes.Buffer
		if err := report.WriteReport(&out, m); err != nil {
			t.Fatal(err)
		}
		if _, err := report.ReadReport(&out); err != nil {
			t.Errorf("the report cannot be read: %v", err)
		}
		out.Reset()
		if err := report.WriteTimings(&out, report.NewTimings(m.Kernels)); err != nil {
			t.Fatal(err)
		}
		if _, err := report.ReadTimings(&out); err != nil {
			t.Errorf("the timings cannot be read: %v", err)
		}
	})
}

func FuzzReadReport(f *testing.F) {
	var b bytes.Buffer
	s := newSet(2, 3)
	s.file(1).fail(0)
	if err := report.WriteReport(&b, s.merge(f, testOptions())); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := report.ReadReport(bytes.NewReader(b)); err == nil {
			analysis.NewChange(m, m, 20)
		}
	})
}
