package analysis

import (
	"slices"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

func TestHeadline(t *testing.T) {
	for want, m := range map[string]*report.Merged{
		"4 kernels newly fail, 1 fixed, 12 of 25 pass, 1 fails as expected, 1 not as expected, 3 not tested, 1 other kernel is not known to pass":                           reporttest.Sample(),
		"4 kernels newly fail, 1 fixed, 12 of 25 pass, 1 fails as expected, 1 not as expected, 3 not tested, 1 other kernel is not known to pass, the result is incomplete": reporttest.Refused(),
		"all 12 kernels pass, 1 other kernel is not known to pass": reporttest.Green(),
		"no kernel was tested":                                          {},
		"the one kernel passes":                                         {Verdict: report.Pass, Kernels: []report.Result{{ID: "a/1", Verdict: report.Pass}}},
		"1 of 2 kernels fails, 1 passes":                                {Verdict: report.Fail, Kernels: []report.Result{{ID: "a/1", Verdict: report.Pass}, {ID: "a/2", Verdict: report.Fail}}},
		"1 of 2 kernels passes, 1 not tested":                           {Verdict: report.Missing, Kernels: []report.Result{{ID: "a/1", Verdict: report.Pass}, {ID: "a/2", Verdict: report.Missing}}},
		"no kernel newly fails, 0 of 1 pass":                            {Verdict: report.Fail, Change: &report.Change{}, Kernels: []report.Result{{ID: "a/2", Verdict: report.Crash}}},
		"1 new kernel fails, 0 of 1 pass":                               {Verdict: report.Fail, Change: &report.Change{New: []string{"a/2"}}, Kernels: []report.Result{{ID: "a/2", Verdict: report.Crash}}},
		"1 kernel fixed, the one kernel passes":                         {Verdict: report.Pass, Change: &report.Change{Fixed: []string{"a/1"}}, Kernels: []report.Result{{ID: "a/1", Verdict: report.Pass}}},
		"advisory, checks stay green: 0 of 1 kernel pass, 1 not tested": {Verdict: report.Missing, Advisory: true, Kernels: []report.Result{{ID: "a/2", Verdict: report.Missing}}},
		"all 2 kernels pass":                                            {Verdict: report.Pass, Advisory: true, Kernels: []report.Result{{ID: "a/1", Verdict: report.Pass}, {ID: "a/2", Verdict: report.Pass}}},
	} {
		if got := Headline(m); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAnnotations(t *testing.T) {
	a := Annotations(reporttest.Refused())
	if len(a) != 9 || a[0].Title != "the result is incomplete" || !strings.Contains(a[0].Message, "shard 3 of 3 is missing") {
		t.Errorf("%d: %+v", len(a), a)
	}
	if want := (Annotation{"1. 3 kernels fail trace/on_unlink", "rejected: R1 type=scalar expected=fp, pkt, pkt_meta (permission denied)\namazonlinux2: passes up to 5.10.50-44.132.amzn2.x86_64, fails from 5.10.59-52.142.amzn2.x86_64"}); a[1] != want {
		t.Errorf("%+v, want %+v", a[1], want)
	}
	// Of a kernel that was not tested it is not known where a failure begins.
	if i := slices.IndexFunc(a, func(a Annotation) bool { return strings.HasSuffix(a.Title, "could not be tested") }); i < 0 || strings.Contains(a[i].Message, "fails") {
		t.Errorf("not tested: %d: %+v", i, a)
	}
	a = Annotations(reporttest.Synthetic(1000, 256, 30))
	if len(a) != MaxAnnotations || a[9].Title != "21 more kinds of failures" {
		t.Errorf("%d: %+v", len(a), a)
	}
	for _, s := range reporttest.HostileTexts {
		for _, a := range Annotations(reporttest.Hostile(s)) {
			if len(a.Title) > 200 || len(a.Message) > 2000 || strings.ContainsAny(a.Title, "\n\r\x1b") || strings.ContainsAny(a.Message, "\r\x1b\x00") {
				t.Errorf("%q", a)
			}
		}
	}
}
