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
	f.Add(bytes.Replace(b.Bytes(), []byte(`"kernels":`), []byte(`"earlier": {"kernels": [{"id": "a/1", "verdict": "pass", "attempts": 1}], "represented": [{"id": "a/2", "by": "a/1"}]}, "kernels":`), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := report.ReadReport(bytes.NewReader(b))
		if err != nil {
			return
		}
		whole := m.Whole()
		if err := whole.Check(); err != nil {
			t.Errorf("the whole is none: %v", err)
		}
		c := analysis.NewChange(whole, m, 20)
		if len(c.New)+len(c.Gone)+len(c.NewlyFail)+len(c.Rebuilt)+len(c.FirstTested) > 0 {
			t.Errorf("changed against itself: %+v", c)
		}
		left := map[string]bool{}
		for _, k := range whole.Kernels {
			left[k.ID] = true
		}
		for _, r := range whole.Represented {
			left[r.ID] = true
		}
		next := &report.Merged{Verdict: report.Missing, Earlier: report.Keep(whole, left)}
		if err := next.Check(); err != nil {
			t.Errorf("what is kept is no report: %v", err)
		}
		if got := next.Whole(); len(got.Kernels) != len(whole.Kernels) || len(got.Represented) != len(whole.Represented) {
			t.Errorf("%d kernels and %d represented are kept of %d and %d", len(got.Kernels), len(got.Represented), len(whole.Kernels), len(whole.Represented))
		}
	})
}
