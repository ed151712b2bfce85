package merge

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
	"github.com/elastic/bpf-kernel-check/report/junit"
	"github.com/elastic/bpf-kernel-check/report/markdown"
)

// Each row is a result and what it comes to. Every output is held to it.
func TestOutcome(t *testing.T) {
	passed, failed := report.Result{Verdict: report.Pass}, report.Result{Verdict: report.Fail}
	expected := report.Result{Verdict: report.Crash, Expected: []report.Expected{{Verdict: report.Crash, Reason: "known"}}}
	stale := func(k report.Result) report.Result {
		k.StaleExpectations = []string{"it was expected to fail, and passed"}
		return k
	}
	// What is expected of a test forgives no crash.
	crashed := report.Result{Verdict: report.Crash, Expected: []report.Expected{{Test: "A", Reason: "known"}}}
	refused := []report.Refusal{{Reason: "shard 2 of 2 left no shard file"}}
	of := func(v report.Verdict) report.Result { return report.Result{Verdict: v} }

	for _, tt := range []struct {
		name     string
		kernels  []report.Result
		refusals []report.Refusal
		said     report.Verdict // by report.json; Unknown: as it should
		verdict  report.Verdict
		exit     int
		counts   report.Counts
	}{
		{"all pass", []report.Result{passed, passed}, nil, 0, report.Pass, 0, report.Counts{Kernels: 2, Passed: 2}},
		{"one fails", []report.Result{passed, failed}, nil, 0, report.Fail, 1, report.Counts{Kernels: 2, Passed: 1, Failed: 1}},
		{"a crash", []report.Result{of(report.Crash)}, nil, 0, report.Fail, 1, report.Counts{Kernels: 1, Failed: 1}},
		{"a timeout", []report.Result{of(report.Timeout)}, nil, 0, report.Fail, 1, report.Counts{Kernels: 1, Failed: 1}},
		{"infrastructure", []report.Result{passed, of(report.Infra)}, nil, 0, report.Missing, 3, report.Counts{Kernels: 2, Passed: 1, NotTested: 1}},
		{"it does not boot", []report.Result{of(report.NoBoot)}, nil, 0, report.Missing, 3, report.Counts{Kernels: 1, NotTested: 1}},
		{"it was not reported", []report.Result{of(report.Missing)}, nil, 0, report.Missing, 3, report.Counts{Kernels: 1, NotTested: 1}},
		{"a failure outweighs what was not tested", []report.Result{of(report.Infra), failed}, nil, 0, report.Fail, 1, report.Counts{Kernels: 2, Failed: 1, NotTested: 1}},
		{"no verdict", []report.Result{passed, of(report.Unknown)}, nil, 0, report.Missing, 3, report.Counts{Kernels: 2, Passed: 1, NotTested: 1}},
		{"no kernel", nil, nil, 0, report.Missing, 3, report.Counts{}},
		{"fails as expected", []report.Result{passed, expected}, nil, 0, report.Pass, 0, report.Counts{Kernels: 2, Passed: 1, FailedAsExpected: 1}},
		{"all fail as expected", []report.Result{expected}, nil, 0, report.Pass, 0, report.Counts{Kernels: 1, FailedAsExpected: 1}},
		{"crashes where a test was to fail", []report.Result{crashed}, nil, 0, report.Fail, 1, report.Counts{Kernels: 1, Failed: 1}},
		{"passes where a failure was expected", []report.Result{stale(passed)}, nil, 0, report.Fail, 1, report.Counts{Kernels: 1, Failed: 1, Stale: 1}},
		{"fails as expected, another entry is stale", []report.Result{stale(expected)}, nil, 0, report.Fail, 1, report.Counts{Kernels: 1, Failed: 1, Stale: 1}},
		{"not tested, and an entry is stale", []report.Result{stale(of(report.Infra))}, nil, 0, report.Fail, 1, report.Counts{Kernels: 1, Failed: 1, Stale: 1}},
		{"all pass, and a shard is missing", []report.Result{passed}, refused, 0, report.Missing, 3, report.Counts{Kernels: 1, Passed: 1}},
		{"fails as expected, and a shard is missing", []report.Result{expected}, refused, 0, report.Missing, 3, report.Counts{Kernels: 1, FailedAsExpected: 1}},
		{"one fails, and a shard is missing", []report.Result{failed}, refused, 0, report.Fail, 1, report.Counts{Kernels: 1, Failed: 1}},

		{"it says pass, a kernel failed", []report.Result{passed, failed}, nil, report.Pass, report.Fail, 1, report.Counts{Kernels: 2, Passed: 1, Failed: 1}},
		{"it says pass, a kernel was not tested", []report.Result{of(report.NoBoot)}, nil, report.Pass, report.Missing, 3, report.Counts{Kernels: 1, NotTested: 1}},
		{"it says pass, with refusals", []report.Result{passed}, refused, report.Pass, report.Missing, 3, report.Counts{Kernels: 1, Passed: 1}},
		{"it says pass, without kernels", nil, nil, report.Pass, report.Missing, 3, report.Counts{}},
		{"it says fail, all kernels passed", []report.Result{passed}, nil, report.Fail, report.Fail, 1, report.Counts{Kernels: 1, Passed: 1}},
		{"it says missing, all kernels passed", []report.Result{passed}, nil, report.Missing, report.Missing, 3, report.Counts{Kernels: 1, Passed: 1}},
		{"it says missing, a kernel failed", []report.Result{failed}, nil, report.Missing, report.Fail, 1, report.Counts{Kernels: 1, Failed: 1}},
		{"it says crash, all kernels passed", []report.Result{passed}, nil, report.Crash, report.Missing, 3, report.Counts{Kernels: 1, Passed: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &report.Merged{Verdict: tt.said, Refusals: tt.refusals}
			for i, k := range tt.kernels {
				k.ID = fmt.Sprintf("debian/6.1.%d__x", i)
				m.Kernels = append(m.Kernels, k)
			}
			if tt.said == report.Unknown {
				m.Verdict = tt.verdict
				o := report.RunOutcome(len(m.Kernels), m.Kernels, len(m.Kernels) == 0 || len(m.Refusals) > 0)
				if want := (report.Outcome{Verdict: tt.verdict, Counts: tt.counts}); o != want || o.ExitCode() != tt.exit {
					t.Errorf("the run: %+v, exit code %d; want %+v, %d", o, o.ExitCode(), want, tt.exit)
				}
			}
			if o, want := m.Outcome(), (report.Outcome{Verdict: tt.verdict, Counts: tt.counts}); o != want || o.ExitCode() != tt.exit {
				t.Errorf("%+v, exit code %d; want %+v, %d", o, o.ExitCode(), want, tt.exit)
			}

			// What is written of it.
			sign := map[report.Verdict]string{report.Pass: "✅", report.Fail: "❌", report.Missing: "⚠️"}[tt.verdict]
			for name, write := range map[string]func(*strings.Builder) error{
				"comment": func(b *strings.Builder) error { return markdown.Write(b, m, markdown.Options{}) },
				"summary": func(b *strings.Builder) error { return markdown.WriteJobSummary(b, m, markdown.Options{}) },
			} {
				var b strings.Builder
				if err := write(&b); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(b.String(), "### "+sign+" ") {
					t.Errorf("the %s does not begin with %s:\n%s", name, sign, b.String())
				}
			}
			if n := len(analysis.Annotations(m)); (n == 0) != (tt.verdict == report.Pass) {
				t.Errorf("%d annotations", n)
			}
			if incomplete := strings.Contains(analysis.Headline(m), "incomplete"); incomplete != (len(m.Refusals) > 0) {
				t.Errorf("the headline is %q", analysis.Headline(m))
			}
			var b strings.Builder
			if err := junit.Write(&b, m); err != nil {
				t.Fatal(err)
			}
			var suites struct {
				Tests    int `xml:"tests,attr"`
				Errors   int `xml:"errors,attr"`
				Failures int `xml:"failures,attr"`
			}
			if err := xml.Unmarshal([]byte(b.String()), &suites); err != nil {
				t.Fatal(err)
			}
			if suites.Tests == 0 || (suites.Errors+suites.Failures == 0) != (tt.verdict == report.Pass) {
				t.Errorf("JUnit has %+v:\n%s", suites, b.String())
			}
		})
	}
}
