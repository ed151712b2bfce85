package junit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

// Each test is in the class of its program, and each program that did not pass has
// a case that says so, once.
func TestJUnitPrograms(t *testing.T) {
	m := reporttest.Programs(12, 6)
	p := parse(t, junitXML(t, m))
	got := map[string]string{}
	for _, s := range p.Suites {
		for _, c := range s.Cases {
			at := s.Name + " " + strings.TrimPrefix(c.Class, "bpf.amd64."+strings.Replace(s.Name, "/", ".", 1)) + " " + c.Name
			switch {
			case c.Failure != nil:
				got[at] = "failure"
			case c.Error != nil:
				got[at] = c.Error.Message
			case c.Skipped != nil:
				got[at] = "skipped"
			}
		}
	}
	if d := cmp.Diff(map[string]string{
		"debian/5.10.0-2-cloud-amd64  kernel":                         "no-boot: no sign of init",
		"debian/6.12.0-10-cloud-amd64 .probe/pkg01 probe/pkg01/TestB": "failure",
		"debian/6.12.0-10-cloud-amd64 .probe/pkg02 probe/pkg02/TestB": "failure",
		"ubuntu/5.10.0-1-cloud-amd64  kernel":                         "skipped",
		"ubuntu/5.10.0-1-cloud-amd64 .probe/pkg01 probe/pkg01/TestB":  "skipped",
		"ubuntu/6.12.0-9-cloud-amd64 .probe/pkg01 probe/pkg01/TestB":  "failure",
		"ubuntu/6.12.0-9-cloud-amd64 .probe/pkg02 probe/pkg02/TestB":  "failure",
		"ubuntu/6.12.0-11-cloud-amd64  kernel":                        "crash: probe/pkg03: BUG: kernel NULL pointer dereference, address: 0000000000000010",
		"ubuntu/6.12.0-11-cloud-amd64 .probe/pkg01 probe/pkg01/TestB": "failure",
		"ubuntu/6.12.0-11-cloud-amd64 .probe/pkg04 probe/pkg04":       "missing: the kernel crashed in probe/pkg03",
	}, got); d != "" {
		t.Error(d)
	}
}

// No program's failure is green, whatever else there is.
func TestJUnitProgramWithoutTests(t *testing.T) {
	cause := &report.Cause{Title: "the payload: exit status 1"}
	for _, v := range []report.Verdict{report.Fail, report.Crash, report.Timeout, report.Missing, report.Infra} {
		k := report.Result{
			ID: "debian/1", Verdict: report.Fail, Cause: &report.Cause{Title: "a.x: a.x/T: no"}, TestsOnly: true,
			Tests:    []report.Test{{Name: "a.x/T", Verdict: report.TestFail, Output: "no"}},
			Programs: []report.Program{{Name: "a.x", Verdict: report.Fail, Cause: &report.Cause{Title: "T: no"}}, {Name: "b", Verdict: v, Cause: cause}},
		}
		p := parse(t, junitXML(t, &report.Merged{Verdict: report.Fail, Arch: "amd64", Kernels: []report.Result{k}}))
		var got []string
		for _, c := range p.Suites[0].Cases {
			got = append(got, fmt.Sprintf("%s %s %v", c.Class, c.Name, c.Failure != nil || c.Error != nil))
		}
		if d := cmp.Diff([]string{"bpf.amd64.debian.1.b b true", "bpf.amd64.debian.1.a_x a.x/T true"}, got); d != "" {
			t.Errorf("%v: %s", v, d)
		}
	}
}

// Hundreds of kernels with a hundred programs each fit.
func TestJUnitProgramsLarge(t *testing.T) {
	b := junitXML(t, reporttest.Programs(500, 100))
	if p := parse(t, b); len(b) > maxJUnit+1<<20 || len(p.Suites) != 500 {
		t.Errorf("%d bytes, %d suites", len(b), len(p.Suites))
	}
}
