package screen

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

// screenOf is what a run of these kernels prints.
func screenOf(kernels []report.Result) string {
	var b strings.Builder
	p := New(&b, Options{Dir: "out", Total: len(kernels)})
	for _, k := range kernels {
		p.Result(&k, 3*time.Second)
	}
	p.End(report.RunOutcome(len(kernels), kernels, false), kernels)
	return b.String()
}

// failing is a kernel on which tests fail, each with that many lines.
func failing(id string, lines int, tests ...string) report.Result {
	k := report.Result{ID: id, Verdict: report.Fail, Attempts: 1, Console: "results/" + id + ".txt"}
	for _, name := range tests {
		k.Tests = append(k.Tests, report.Test{Name: name, Verdict: "fail", Duration: time.Second, Output: "rejected: invalid mem access of " + name + "\n" + strings.Repeat("a line of the verifier's log\n", lines)})
	}
	k.Cause = &report.Cause{Title: tests[0] + ": rejected: invalid mem access", Excerpt: k.Tests[0].Output}
	return k
}

func TestScreenIsBounded(t *testing.T) {
	kernel := func(i int) string { return fmt.Sprintf("debian/6.%d.%d-cloud-amd64__1", i/10, i%10) }
	objects := make([]string, 216)
	for i := range objects {
		objects[i] = fmt.Sprintf("o/prog%03d", i)
	}
	var one, many, various, notes []report.Result
	for i := range 4 {
		one = append(one, failing(kernel(i), 70, "TestRing"))
	}
	for i := range 2 {
		many = append(many, failing(kernel(i), 60, objects...))
	}
	for i := range 1000 {
		various = append(various, failing(kernel(i), 60, fmt.Sprintf("Test%c%c", 'A'+i%26, 'A'+i/26%26), "TestB"))
		k := report.Result{ID: kernel(i), Verdict: report.Pass, Attempts: 1}
		for j := range 100 {
			k.Modules = append(k.Modules, fmt.Sprintf("overlay%d: not found", j))
			k.Problems = append(k.Problems, fmt.Sprintf("file %d was cut", j))
		}
		notes = append(notes, k)
	}
	for _, tt := range []struct {
		name    string
		kernels []report.Result
		most    int // lines beside one for each kernel
	}{
		{"one cause on four kernels", one, 20},
		{"216 objects on two kernels", many, 60},
		{"a thousand kernels, 700 causes", various, maxDetails + 110},
		{"a thousand kernels with notes", notes, 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := screenOf(tt.kernels)
			if dir := os.Getenv("SCREENS"); dir != "" {
				if err := os.WriteFile(dir+"/"+strings.ReplaceAll(tt.name, " ", "-")+".txt", []byte(s), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if n := strings.Count(s, "\n") - len(tt.kernels); n > tt.most {
				t.Errorf("%d lines beside the kernels', want at most %d:\n%.6000s", n, tt.most, s)
			}
			for _, k := range tt.kernels {
				word := map[report.Verdict]string{report.Pass: "PASS", report.Fail: "FAIL"}[k.Verdict]
				if n := strings.Count(s, "["+word+"] "+k.ID+"  "); n != 1 {
					t.Fatalf("%d lines of %s", n, k.ID)
				}
			}
		})
	}
	s := screenOf(one)
	for _, want := range []string{
		"[FAIL] " + kernel(0) + "  3.0s\n       TestRing: rejected: invalid mem access\n       --- FAIL: TestRing (1.0s)\n       | rejected: invalid mem access of TestRing\n",
		"[FAIL] " + kernel(3) + "  3.0s, as on " + kernel(0) + "\n",
		"\n1 failure on 4 kernels:\n  1. 4 kernels fail TestRing: rejected: invalid mem access of TestRing\n",
		"out/results/" + kernel(0) + ".txt",
	} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in\n%s", want, s)
		}
	}
	if n := strings.Count(s, "| rejected"); n != 1 {
		t.Errorf("the cause stands %d times:\n%s", n, s)
	}
	if s := screenOf(many); !strings.Contains(s, "more failures of 213 tests; all is in out/results/ and out/report.json") {
		t.Errorf("nothing says where the rest is:\n%s", s)
	}
}

// A second cause is not hidden by the first one, which is known.
func TestScreenOfASecondCause(t *testing.T) {
	a, b, c := failing("d/6.1.1", 1, "A"), failing("d/6.1.2", 1, "A", "B"), failing("d/6.1.3", 1, "B")
	s := screenOf([]report.Result{a, b, c})
	for _, want := range []string{
		"--- FAIL: A (1.0s), as on d/6.1.1\n       --- FAIL: B (1.0s)\n       | rejected: invalid mem access of B",
		"[FAIL] d/6.1.3  3.0s, as on d/6.1.2\n",
	} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in\n%s", want, s)
		}
	}
}

// Kernels that stand aside, each as what it is.
func TestScreenOfOthers(t *testing.T) {
	expected := failing("d/6.1.1", 50, "A")
	expected.TestsOnly, expected.Expected = true, []report.Expected{{Test: "A", Reason: "known"}}
	stale := report.Result{ID: "d/6.1.2", Verdict: report.Pass, StaleExpectations: []string{"x.yml:1: A was expected to fail, and passed"}}
	gone := report.Result{ID: "d/6.1.3", Verdict: report.Infra, Cause: &report.Cause{Title: "fetch the package: 404 Not Found"}, Attempts: 2}
	lost := report.Result{ID: "d/6.1.4", Verdict: report.Infra, StaleExpectations: []string{"x.yml:9: the verdict crash was expected until 2020-01-01"}, Cause: &report.Cause{Title: "x"}}
	s := screenOf([]report.Result{expected, stale, gone, lost})
	for _, want := range []string{
		"[XFAIL] d/6.1.1  3.0s\n       expected: A: known\n", "[STALE] d/6.1.2  3.0s\n       not as expected: x.yml:1: A was expected to fail, and passed\n",
		"[INFRA] d/6.1.3  3.0s on attempt 2\n       fetch the package: 404 Not Found\n", "[STALE] d/6.1.4",
		"\n0 passed, 2 failed, 1 not tested, 1 failed as expected in ",
	} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in\n%s", want, s)
		}
	}
	if strings.Contains(s, "--- FAIL") {
		t.Errorf("an expected failure is told as one:\n%s", s)
	}
}

// A kernel's line says which programs failed, and what they left is a note.
func TestScreenPrograms(t *testing.T) {
	reporttest.Golden(t, "programs.txt", timeless(screenOf(reporttest.Programs(12, 6).Kernels)))
}

func timeless(s string) string {
	return regexp.MustCompile(` in [0-9.]+s;`).ReplaceAllString(s, " in 0.0s;")
}

// What was not booted is said before the numbers of what was, of a run and of a
// merge, and of a shard's kernels alone.
func TestScreenOfPicks(t *testing.T) {
	m := reporttest.Picked()
	var b strings.Builder
	p := New(&b, Options{Dir: "out", Represented: m.Represented})
	p.Merged(m, 3, []string{"artifacts"}, nil)
	p.End(report.RunOutcome(1, m.Kernels[:1], false), m.Kernels[:1])
	for _, want := range []string{
		"22 booted, standing for 29 of 34 kernels:\n  7 are represented by a kernel of their kind,",
		", standing for 3 more kernels: rejected",
		"; 1 between is represented, not booted\n     To find the kernel that broke it:\n       bpf-kernel-check bisect --kernels gs://bucket --good ",
		"Last full run: 1 of 19 kinds was mixed;",
		"1 booted, standing for 3 kernels:\n  2 are represented",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if n := strings.Count(b.String(), "[PASS]"); n != 0 {
		t.Errorf("%d marks of a pass", n)
	}
}
