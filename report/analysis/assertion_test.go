package analysis

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

// What libraries for assertions print is found among what else a test printed.
func TestReasonOfAssertions(t *testing.T) {
	b, err := os.ReadFile("testdata/assertions.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"TestTestify":          `Not equal: expected: fw.S{A:1, B:"a"} actual: fw.S{A:2, B:"a"} (of the map)`,
		"TestTestifyErr":       "Received unexpected error: load program: permission denied (load)",
		"TestTestifyTrue":      "Should be true",
		"TestTestifyLen":       `"[1]" should have 3 item(s), but has 1`,
		"TestGomega":           "Expected <int>: 1 to equal <int>: 2",
		"TestGomegaErr":        `Unexpected error: <*errors.errorString | 0xbfff6c19ca0>: boom happened {s: "boom happened"} occurred`,
		"TestGomegaEventually": "Timed out after 0.051s. Expected <int>: 1 to equal <int>: 2",
		"TestQT":               "values are not equal (the count): got int(1), want int(2)",
		"TestQTErr":            "got non-nil error",
		"TestCmp":              "fw_test.go:22: S mismatch (-want +got): - A: 1, + A: 2,",
		"TestCmp2":             `fw_test.go:23: (-want +got): - "b", + "c",`,
		"TestGinkgo":           "Maps [It] are found: the count Expected <int>: 1 to equal <int>: 2",
	}
	_, text, _ := strings.Cut(string(b), "\n")
	got := map[string]string{}
	for _, one := range strings.Split(text, "=== RUN   ")[1:] {
		name, output, _ := strings.Cut(one, "\n")
		output, _, _ = strings.Cut(output, "--- FAIL")
		for _, output := range []string{output, "2026/11/28 10:19:33 starting up\n    a_test.go:3: kernel 6.1\n" + output} {
			got[name] = TestReason(output)
			if d := cmp.Diff(want[name], got[name]); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d tests, want %d", len(got), len(want))
	}
}

func TestReasons(t *testing.T) {
	for _, tt := range []struct{ output, want string }{
		{"", "failed without a word"},
		{"2026/11/28 10:19:33 starting up\n    x_test.go:12: want 1, got 2", "x_test.go:12: want 1, got 2"},
		{"2026/11/28 10:19:33 starting up\n2026/11/28 10:19:34 cannot attach", "cannot attach"},
		{"got:\na\nb\nwant:\na\nc", "got: b, want: c"},
		{"got:\na\nwant (unordered):\na\nb", "got: nothing more, want: b"},
		{"starting\npanic: runtime error: index out of range [recovered, repanicked]\n\ngoroutine 7 [running]:", "panic: runtime error: index out of range [recovered, repanicked]"},
		{"it started and did not end: fatal error: all goroutines are asleep - deadlock!; exit status 2\nwords\nfatal error: all goroutines are asleep - deadlock!", "fatal error: all goroutines are asleep - deadlock!"},
		{"it started and did not end: exit status 1\nloading\n2026/11/28 10:19:33 no such map", "it started and did not end: exit status 1: no such map"},
		{"exit status 2\nflag provided but not defined: -test.rum\nUsage of ./probe.test:\n  -test.timeout d\n    \tpanic test binary after duration d", "exit status 2: flag provided but not defined: -test.rum"},
		{"exit status 1\nprobe: unrecognized option '--x'\nusage: probe [-f]\n  -f  fail at the first error", "exit status 1: probe: unrecognized option '--x'"},
		{"exit status 1\nUsage: probe FILE", "exit status 1: Usage: probe FILE"},
		{"it started and did not end: exit status 0", "it started and did not end: exit status 0"},
		{"it started and did not end: ended from outside by SIGTERM, as when its time is up\nSIGQUIT: quit\nPC=0x1", "it started and did not end: ended from outside by SIGTERM, as when its time is up"},
	} {
		if got := TestReason(tt.output); got != tt.want {
			t.Errorf("of %q: %q, want %q", tt.output, got, tt.want)
		}
	}
}

// The cause is of the test that says why, and on screen it is what report.md has.
func TestFailedTests(t *testing.T) {
	bad := func(name, output string) report.Test {
		return report.Test{Name: name, Verdict: report.TestFail, Output: output}
	}
	for _, tt := range []struct {
		name           string
		tests          []report.Test
		title, excerpt string
	}{
		{"none", []report.Test{{Name: "A", Verdict: report.TestPass}}, "", ""},
		{"a word", []report.Test{bad("A", "Running Suite: x\n    a_test.go:3: wrong")}, "A: a_test.go:3: wrong", "Running Suite: x\n    a_test.go:3: wrong"},
		{"no word", []report.Test{bad("A", "")}, "A failed", ""},
		{"a part of it", []report.Test{bad("A", ""), bad("A/b", "bad thing"), bad("C", "worse")}, "A/b: bad thing (and 2 more)", "bad thing"},
	} {
		if title, excerpt := FailedTests(tt.tests); title != tt.title || excerpt != tt.excerpt {
			t.Errorf("%s: %q, %q; want %q, %q", tt.name, title, excerpt, tt.title, tt.excerpt)
		}
	}
}

func FuzzTestReason(f *testing.F) {
	b, err := os.ReadFile("testdata/assertions.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, one := range strings.Split(string(b), "=== RUN   ") {
		f.Add(one)
	}
	f.Add("got:\na\nwant:\nb")
	f.Add("it started and did not end: exit status 1\nx")
	f.Fuzz(func(t *testing.T, output string) {
		got := TestReason(output)
		if got == "" || len(got) > 300 || strings.ContainsAny(got, "\n\r\x1b\x00") {
			t.Errorf("of %q: %q", output, got)
		}
	})
}
