package report

import (
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
)

// Each row is a result and what it comes to. Every output is held to it.
func TestOutcome(t *testing.T) {
	passed, failed := Kernel{Verdict: Pass}, Kernel{Verdict: Fail}
	expected := Kernel{Verdict: Crash, Expected: []Expected{{Verdict: Crash, Reason: "known"}}}
	stale := func(k Kernel) Kernel {
		k.Surprises = []string{"it was expected to fail, and passed"}
		return k
	}
	// What is expected of a test forgives no crash.
	crashed := Kernel{Verdict: Crash, Expected: []Expected{{Test: "A", Reason: "known"}}}
	refused := []Refusal{{Reason: "shard 2 of 2 left no shard file"}}
	of := func(v Verdict) Kernel { return Kernel{Verdict: v} }

	for _, tt := range []struct {
		name     string
		kernels  []Kernel
		refusals []Refusal
		said     Verdict // by report.json; Unknown: as it should
		verdict  Verdict
		exit     int
		counts   Counts
	}{
		{"all pass", []Kernel{passed, passed}, nil, 0, Pass, 0, Counts{Kernels: 2, Passed: 2}},
		{"one fails", []Kernel{passed, failed}, nil, 0, Fail, 1, Counts{Kernels: 2, Passed: 1, Failed: 1}},
		{"a crash", []Kernel{of(Crash)}, nil, 0, Fail, 1, Counts{Kernels: 1, Failed: 1}},
		{"a timeout", []Kernel{of(Timeout)}, nil, 0, Fail, 1, Counts{Kernels: 1, Failed: 1}},
		{"infrastructure", []Kernel{passed, of(Infra)}, nil, 0, Missing, 3, Counts{Kernels: 2, Passed: 1, NotTested: 1}},
		{"it does not boot", []Kernel{of(NoBoot)}, nil, 0, Missing, 3, Counts{Kernels: 1, NotTested: 1}},
		{"it was not reported", []Kernel{of(Missing)}, nil, 0, Missing, 3, Counts{Kernels: 1, NotTested: 1}},
		{"a failure outweighs what was not tested", []Kernel{of(Infra), failed}, nil, 0, Fail, 1, Counts{Kernels: 2, Failed: 1, NotTested: 1}},
		{"no kernel", nil, nil, 0, Missing, 3, Counts{}},
		{"fails as expected", []Kernel{passed, expected}, nil, 0, Pass, 0, Counts{Kernels: 2, Passed: 1, FailedAsExpected: 1}},
		{"all fail as expected", []Kernel{expected}, nil, 0, Pass, 0, Counts{Kernels: 1, FailedAsExpected: 1}},
		{"crashes where a test was to fail", []Kernel{crashed}, nil, 0, Fail, 1, Counts{Kernels: 1, Failed: 1}},
		{"passes where a failure was expected", []Kernel{stale(passed)}, nil, 0, Fail, 1, Counts{Kernels: 1, Failed: 1, Stale: 1}},
		{"fails as expected, another entry is stale", []Kernel{stale(expected)}, nil, 0, Fail, 1, Counts{Kernels: 1, Failed: 1, Stale: 1}},
		{"not tested, and an entry is stale", []Kernel{stale(of(Infra))}, nil, 0, Fail, 1, Counts{Kernels: 1, Failed: 1, Stale: 1}},
		{"all pass, and a shard is missing", []Kernel{passed}, refused, 0, Missing, 3, Counts{Kernels: 1, Passed: 1}},
		{"fails as expected, and a shard is missing", []Kernel{expected}, refused, 0, Missing, 3, Counts{Kernels: 1, FailedAsExpected: 1}},
		{"one fails, and a shard is missing", []Kernel{failed}, refused, 0, Fail, 1, Counts{Kernels: 1, Failed: 1}},

		{"it says pass, a kernel failed", []Kernel{passed, failed}, nil, Pass, Fail, 1, Counts{Kernels: 2, Passed: 1, Failed: 1}},
		{"it says pass, a kernel was not tested", []Kernel{of(NoBoot)}, nil, Pass, Missing, 3, Counts{Kernels: 1, NotTested: 1}},
		{"it says pass, with refusals", []Kernel{passed}, refused, Pass, Missing, 3, Counts{Kernels: 1, Passed: 1}},
		{"it says pass, without kernels", nil, nil, Pass, Missing, 3, Counts{}},
		{"it says fail, all kernels passed", []Kernel{passed}, nil, Fail, Fail, 1, Counts{Kernels: 1, Passed: 1}},
		{"it says missing, all kernels passed", []Kernel{passed}, nil, Missing, Missing, 3, Counts{Kernels: 1, Passed: 1}},
		{"it says missing, a kernel failed", []Kernel{failed}, nil, Missing, Fail, 1, Counts{Kernels: 1, Failed: 1}},
		{"it says crash, all kernels passed", []Kernel{passed}, nil, Crash, Missing, 3, Counts{Kernels: 1, Passed: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &Merged{Verdict: tt.said, Refusals: tt.refusals}
			for i, k := range tt.kernels {
				k.ID = fmt.Sprintf("debian/6.1.%d__x", i)
				m.Kernels = append(m.Kernels, k)
			}
			if tt.said == Unknown {
				m.Verdict = tt.verdict
				o := RunOutcome(len(m.Kernels), m.Kernels, len(m.Kernels) == 0 || len(m.Refusals) > 0)
				if want := (Outcome{tt.verdict, tt.counts}); o != want || o.ExitCode() != tt.exit {
					t.Errorf("the run: %+v, exit code %d; want %+v, %d", o, o.ExitCode(), want, tt.exit)
				}
			}
			if o, want := m.Outcome(), (Outcome{tt.verdict, tt.counts}); o != want || o.ExitCode() != tt.exit {
				t.Errorf("%+v, exit code %d; want %+v, %d", o, o.ExitCode(), want, tt.exit)
			}

			// What is written of it.
			sign := map[Verdict]string{Pass: "✅", Fail: "❌", Missing: "⚠️"}[tt.verdict]
			for name, write := range map[string]func(*strings.Builder) error{
				"comment": func(b *strings.Builder) error { return WriteMarkdown(b, m, MarkdownOptions{}) },
				"summary": func(b *strings.Builder) error { return WriteJobSummary(b, m, MarkdownOptions{}) },
			} {
				var b strings.Builder
				if err := write(&b); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(b.String(), "### "+sign+" ") {
					t.Errorf("the %s does not begin with %s:\n%s", name, sign, b.String())
				}
			}
			if n := len(Annotations(m)); (n == 0) != (tt.verdict == Pass) {
				t.Errorf("%d annotations", n)
			}
			if incomplete := strings.Contains(Headline(m), "incomplete"); incomplete != (len(m.Refusals) > 0) {
				t.Errorf("the headline is %q", Headline(m))
			}
			var b strings.Builder
			if err := WriteJUnit(&b, m); err != nil {
				t.Fatal(err)
			}
			var suites struct {
				Errors   int `xml:"errors,attr"`
				Failures int `xml:"failures,attr"`
			}
			if err := xml.Unmarshal([]byte(b.String()), &suites); err != nil {
				t.Fatal(err)
			}
			if (suites.Errors+suites.Failures == 0) != (tt.verdict == Pass) {
				t.Errorf("JUnit has %+v:\n%s", suites, b.String())
			}
		})
	}
}

func TestRunOutcome(t *testing.T) {
	passed := []Kernel{{Verdict: Pass}}
	for _, tt := range []struct {
		name       string
		planned    int
		kernels    []Kernel
		incomplete bool
		want       Outcome
	}{
		{"a shard without kernels", 0, nil, false, Outcome{Pass, Counts{}}},
		{"a shard without kernels, cut short", 0, nil, true, Outcome{Missing, Counts{}}},
		{"no result", 2, nil, false, Outcome{Missing, Counts{Kernels: 2, NotTested: 2}}},
		{"cut short", 2, passed, true, Outcome{Missing, Counts{Kernels: 2, Passed: 1, NotTested: 1}}},
		{"all there, the file is damaged", 1, passed, true, Outcome{Missing, Counts{Kernels: 1, Passed: 1}}},
		{"one result of two", 2, passed, false, Outcome{Missing, Counts{Kernels: 2, Passed: 1, NotTested: 1}}},
		{"a failure, one is lost", 2, []Kernel{{Verdict: Fail}}, true, Outcome{Fail, Counts{Kernels: 2, Failed: 1, NotTested: 1}}},
		{"no verdict", 1, []Kernel{{}}, false, Outcome{Missing, Counts{Kernels: 1, NotTested: 1}}},
		{"a verdict of a later version", 1, []Kernel{{Verdict: 200}}, false, Outcome{Missing, Counts{Kernels: 1, NotTested: 1}}},
	} {
		if got := RunOutcome(tt.planned, tt.kernels, tt.incomplete); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
