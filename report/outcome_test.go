package report

import "testing"

func TestRunOutcome(t *testing.T) {
	passed := []Result{{Verdict: Pass}}
	for _, tt := range []struct {
		name       string
		planned    int
		kernels    []Result
		incomplete bool
		want       Outcome
	}{
		{"a shard without kernels", 0, nil, false, Outcome{Pass, Counts{}}},
		{"a shard without kernels, cut short", 0, nil, true, Outcome{Missing, Counts{}}},
		{"no result", 2, nil, false, Outcome{Missing, Counts{Kernels: 2, NotTested: 2}}},
		{"cut short", 2, passed, true, Outcome{Missing, Counts{Kernels: 2, Passed: 1, NotTested: 1}}},
		{"all there, the file is damaged", 1, passed, true, Outcome{Missing, Counts{Kernels: 1, Passed: 1}}},
		{"one result of two", 2, passed, false, Outcome{Missing, Counts{Kernels: 2, Passed: 1, NotTested: 1}}},
		{"a failure, one is lost", 2, []Result{{Verdict: Fail}}, true, Outcome{Fail, Counts{Kernels: 2, Failed: 1, NotTested: 1}}},
		{"no verdict", 1, []Result{{}}, false, Outcome{Missing, Counts{Kernels: 1, NotTested: 1}}},
		{"a verdict of a later version", 1, []Result{{Verdict: 200}}, false, Outcome{Missing, Counts{Kernels: 1, NotTested: 1}}},
	} {
		if got := RunOutcome(tt.planned, tt.kernels, tt.incomplete); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}
