package output

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// parse returns the tests in a text, in pieces of a size.
func parse(text string, size int, status int) []Test {
	var tests []Test
	p := New("prog", func(t Test) { tests = append(tests, t) })
	for b := []byte(text); len(b) > 0; {
		n := min(size, len(b))
		p.Write(b[:n])
		b = b[n:]
	}
	p.Finish(sprintf("exit status %d", status), status == 0, time.Second)
	return tests
}

// brief is "verdict name: first line of the output" of each test.
func brief(tests []Test) []string {
	var s []string
	for _, t := range tests {
		line := t.Verdict + " " + t.Name
		if first, _, _ := strings.Cut(strings.TrimSpace(t.Output), "\n"); first != "" && t.Verdict != wire.TestPass {
			line += ": " + strings.TrimSpace(first)
		}
		s = append(s, line)
	}
	return s
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

func sample(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFormats(t *testing.T) {
	kselftest := lines("TAP version 13", "1..2", "# timeout set to 45", "# selftests: bpf: test_lru_map",
		"# TAP version 13", "# 1..2", "# ok 1 lru.one", "# # lru.c:12:two: expected 1 got 2", "# not ok 2 lru.two",
		"# # Totals: pass:1 fail:1 xfail:0 xpass:0 skip:0 error:0", "not ok 1 selftests: bpf: test_lru_map # exit=1",
		"# selftests: bpf: test_sock", "ok 2 selftests: bpf: test_sock # SKIP no cgroup")
	tests := []struct {
		name   string
		text   string
		status int
		want   []string
	}{
		{name: "nothing", want: []string{"pass prog"}},
		{name: "nothing, failed", status: 7, want: []string{"fail prog: exit status 7"}},
		{name: "claims", text: lines("PASS", "ok  all 1 passed", "[PASS] everything"), status: 1, want: []string{"fail prog: exit status 1"}},
		{name: "go test -v", text: sample(t, "gov.txt"), status: 1, want: []string{
			"pass TestPass", "fail TestSub", "fail TestSub/bad_one: s_test.go:4: wrong", "skip TestSub/skipped: s_test.go:4: no BTF",
			"pass TestSub/deep", "pass TestSub/deep/er", "pass TestSub/ok", "skip TestSkip: s_test.go:5: needs 6.1",
			"pass TestPanic", "pass TestSlow", "pass TestExit", "pass Example"}},
		{name: "go test -v=test2json", text: sample(t, "govtest2json.txt"), status: 1, want: []string{
			"pass TestPass", "fail TestSub/bad_one: s_test.go:4: wrong", "skip TestSub/skipped: s_test.go:4: no BTF",
			"pass TestSub/deep/er", "pass TestSub/deep", "pass TestSub/ok", "fail TestSub", "skip TestSkip: s_test.go:5: needs 6.1",
			"pass TestPanic", "pass TestSlow", "pass TestExit", "pass Example"}},
		{name: "go test without -v", text: sample(t, "goquiet.txt"), status: 1, want: []string{"fail TestSub", "fail TestSub/bad_one: s_test.go:4: wrong"}},
		{name: "go panic", text: sample(t, "gopanic.txt"), status: 2, want: []string{
			"pass TestPass", "fail TestPanic", "fail TestPanic/inner: panic: assignment to entry in nil map [recovered, repanicked]"}},
		{name: "go timeout", text: sample(t, "gotimeout.txt"), status: 2, want: []string{
			"pass TestPass", "fail TestSlow: it started and did not end: panic: test timed out after 1s; exit status 2"}},
		{name: "go exits in a test", text: sample(t, "goexit.txt"), want: []string{
			"pass TestPass", "fail TestExit: it started and did not end: exit status 0"}},
		{name: "go cut after a test", text: lines("=== RUN   TestA", "--- PASS: TestA (0.00s)"), want: []string{
			"pass TestA", "fail prog: its output ends without PASS or FAIL: exit status 0"}},
		{name: "go passes, exit non-zero", text: lines("=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS", "left over"), status: 3, want: []string{
			"pass TestA", "fail prog: exit status 3"}},
		{name: "go fails, exit zero", text: lines("=== RUN   TestA", "--- FAIL: TestA (0.00s)", "PASS"), want: []string{"fail TestA"}},
		{name: "go says FAIL alone", text: lines("=== RUN   TestA", "--- PASS: TestA (0.00s)", "FAIL"), want: []string{
			"pass TestA", "fail prog: it says FAIL, and no test of it does: exit status 0"}},
		{name: "go pass after fail", text: lines("=== RUN   TestA", "--- FAIL: TestA (0.00s)", "=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS"), want: []string{
			"fail TestA", "pass TestA#01"}},
		{name: "go pass without a start", text: lines("=== RUN   TestA", "--- PASS: TestB (0.00s)", "PASS"), want: []string{
			"fail TestA: it started and did not end: exit status 0"}},
		{name: "go marks in a log", text: lines("\x16=== RUN   TestA", "--- FAIL: TestA (0.00s)", "log\x16--- PASS: TestA (0.01s)", "\x16PASS"), want: []string{"pass TestA"}},
		{name: "go forged mark", text: lines("=== RUN   TestA", "\x16=== RUN   TestB", "\x16--- PASS: TestB (0.01s)", "--- FAIL: TestA (0.00s)", "FAIL"), want: []string{
			"pass TestB", "fail TestA: it started and did not end: exit status 0"}},
		{name: "go result behind a long line", text: lines("=== RUN   TestA", strings.Repeat("x", 3*maxLine)+"--- PASS: TestA (0.50s)", "PASS"), want: []string{"pass TestA"}},

		{name: "TAP 12", text: lines("1..4", "ok 1", "not ok 2 - second", "# got 5", "ok 3 # skipped no BTF", "not ok 4 - later # TODO not yet"), status: 1, want: []string{
			"pass 1", "fail second: # got 5", "skip 3: SKIP no BTF", "skip later: TODO not yet"}},
		{name: "TAP 13, plan at the end", text: lines("TAP version 13", "ok - unnumbered", "ok 2 - with \\# in it", "1..2"), want: []string{"pass unnumbered", "pass with # in it"}},
		{name: "TAP yaml", text: lines("TAP version 14", "1..1", "not ok 1 - x", "  ---", "  message: wrong", "  ..."), want: []string{"fail x: ---"}},
		{name: "TAP 14 subtests", text: lines("TAP version 14", "# Subtest: a", "    # Subtest: b", "        ok 1 - c", "        1..1", "    ok 1 - b", "    not ok 2 - d", "    1..2", "not ok 1 - a", "1..1"), status: 1, want: []string{
			"pass a/b/c", "pass a/b", "fail a/d", "fail a"}},
		{name: "TAP subtests without a name before", text: lines("TAP version 14", "1..1", "    ok 1 - c", "    not ok 2 - d", "    1..2", "not ok 1 - a"), status: 1, want: []string{
			"pass a/c", "fail a/d", "fail a"}},
		{name: "TAP too few", text: lines("1..3", "ok 1 a", "ok 2 b"), want: []string{"pass a", "pass b", "fail prog: plan: 3 tests were planned, and 2 ran: exit status 0"}},
		{name: "TAP too many", text: lines("1..1", "ok 1 a", "ok 2 b"), want: []string{"pass a", "pass b", "fail prog: plan: 1 tests were planned, and 2 ran: exit status 0"}},
		{name: "TAP number twice", text: lines("1..2", "ok 1 a", "ok 1 b"), want: []string{"pass a", "pass b", "fail prog: plan: 1 test numbers stand twice or outside the plan: exit status 0"}},
		{name: "TAP without a plan", text: lines("TAP version 13", "ok 1 a"), want: []string{"pass a", "fail prog: plan: no plan, and 1 tests: the output was cut short: exit status 0"}},
		{name: "TAP nothing of its plan", text: lines("1..1"), want: []string{"fail prog: plan: 1 tests were planned, and 0 ran: exit status 0"}},
		{name: "TAP bail out", text: lines("1..9", "ok 1 a", "Bail out! no bpffs"), want: []string{"pass a", "fail prog: Bail out! no bpffs"}},
		{name: "TAP skip all", text: lines("1..0 # SKIP no BTF"), want: []string{"skip prog: SKIP no BTF"}},
		{name: "TAP not ok skip", text: lines("1..1", "not ok 1 a # SKIP x"), want: []string{"fail a: SKIP x"}},
		{name: "TAP passes, exit non-zero", text: lines("1..1", "ok 1 a"), status: 9, want: []string{"pass a", "fail prog: exit status 9"}},
		{name: "TAP subtests cut short", text: lines("TAP version 14", "1..1", "# Subtest: a", "    1..2", "    ok 1 - x"), want: []string{
			"pass a/x", "fail a/plan: 2 tests were planned, and 1 ran", "fail a/end: these subtests' own result is missing: exit status 0",
			"fail prog: plan: 1 tests were planned, and 0 ran: exit status 0"}},
		{name: "KTAP", text: lines("KTAP version 1", "1..1", "  KTAP version 1", "  # Subtest: example", "  1..3", "    KTAP version 1", "    # Subtest: deep", "    1..1",
			"    ok 1 test_a", "  ok 1 deep", "  # test_b: EXPECTATION FAILED at lib/b.c:3", "  not ok 2 test_b", "  ok 3 test_c # SKIP no hardware", "not ok 1 example"), status: 1, want: []string{
			"pass example/deep/test_a", "pass example/deep", "fail example/test_b: # test_b: EXPECTATION FAILED at lib/b.c:3", "skip example/test_c: SKIP no hardware", "fail example"}},
		{name: "kernel selftests", text: kselftest, want: []string{
			"pass selftests: bpf: test_lru_map/lru.one", "fail selftests: bpf: test_lru_map/lru.two: # # lru.c:12:two: expected 1 got 2",
			"fail selftests: bpf: test_lru_map: exit=1", "skip selftests: bpf: test_sock: SKIP no cgroup"}},
		{name: "KTAP timeout, expected failure", text: lines("KTAP version 1", "1..2", "not ok 1 a # TIMEOUT 45 seconds", "ok 2 b # XFAIL known"), want: []string{
			"fail a: TIMEOUT 45 seconds", "skip b: XFAIL known"}},

		{name: "test_progs", text: lines("#1       align:OK", "test_sub:PASS:open 0 nsec", "test_sub:FAIL:attach unexpected error: -22", "#2/1     atomics/add:FAIL", "#2/2     atomics/sub:OK",
			"#2       atomics:FAIL", "#3       arena:SKIP", "#4 multi:OK (SKIP: 1/2)", "",
			"All error logs:", "test_sub:FAIL:attach unexpected error: -22", "#2/1     atomics/add:FAIL", "#2       atomics:FAIL", "Summary: 2/1 PASSED, 1 SKIPPED, 1 FAILED"), status: 1, want: []string{
			"pass align", "fail atomics/add: test_sub:PASS:open 0 nsec", "pass atomics/sub", "fail atomics", "skip arena", "pass multi"}},
		{name: "test_progs without a summary", text: lines("#1 align:OK"), want: []string{"pass align", "fail prog: its output ends without a summary: exit status 0"}},
		{name: "test_progs with a summary of more", text: lines("#1 align:OK", "All error logs:", "#2 x:FAIL", "Summary: 1/0 PASSED, 0 SKIPPED, 1 FAILED"), want: []string{
			"pass align", "fail prog: its summary counts 1 failed tests, and none was seen: exit status 0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1 << 20, 7, 1} {
				if d := cmp.Diff(tt.want, brief(parse(tt.text, size, tt.status))); d != "" {
					t.Fatalf("in pieces of %d (-want +got):\n%s", size, d)
				}
			}
			// CRLF is as good.
			if d := cmp.Diff(tt.want, brief(parse(strings.ReplaceAll(tt.text, "\n", "\r\n"), 1<<20, tt.status))); d != "" {
				t.Errorf("with CRLF (-want +got):\n%s", d)
			}
		})
	}
}

func TestDurationAndOwnLines(t *testing.T) {
	tests := parse(lines("=== RUN   TestA", "=== RUN   TestB", "of b", "=== NAME  TestA", "of a", "--- FAIL: TestB (1.50s)", "--- FAIL: TestA (0.25s)", "    a.go:1: later", "FAIL"), 64, 1)
	want := []Test{
		{Name: "TestB", Verdict: wire.TestFail, Duration: 1500 * time.Millisecond, Output: "of b"},
		{Name: "TestA", Verdict: wire.TestFail, Duration: 250 * time.Millisecond, Output: "of a\n    a.go:1: later"},
	}
	if d := cmp.Diff(want, tests); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Whatever is printed, the number of records and their sizes stay bounded, and
// a failure among those that are only counted is one.
func TestBounds(t *testing.T) {
	var b bytes.Buffer
	for i := range MaxTests + 500 {
		b.WriteString(sprintf("=== RUN   Test%d\n%s\n--- FAIL: Test%d (0.00s)\n", i, strings.Repeat("y", 4000), i))
	}
	tests := parse(b.String()+"FAIL\n", 1<<16, 0)
	total := 0
	for _, x := range tests {
		total += len(x.Output)
	}
	if len(tests) != MaxTests+1 || total > maxReported+maxOther+(MaxTests+1)*maxLate {
		t.Errorf("%d records, %d bytes", len(tests), total)
	}
	if last := tests[len(tests)-1]; last.Verdict != wire.TestFail || !strings.Contains(last.Output, "500 failed") {
		t.Errorf("the last record: %+v", last)
	}
}

// invariants hold of every output.
func invariants(t *testing.T, b []byte, status int) {
	got := parse(string(b), 1<<20, status)
	if d := cmp.Diff(got, parse(string(b), 3, status)); d != "" {
		t.Errorf("the size of the pieces matters:\n%s", d)
	}
	failed, names := 0, map[string]bool{}
	for _, x := range got {
		if x.Verdict == wire.TestFail {
			failed++
		}
		if x.Name == "" || len(x.Name) > wire.MaxName || strings.ContainsAny(x.Name, "\n\x1b\x00") || len(x.Output) > maxOther || x.Duration < 0 {
			t.Errorf("bad record %+v", x)
		}
		if names[x.Name] {
			t.Errorf("%q stands twice", x.Name)
		}
		names[x.Name] = true
	}
	if len(got) == 0 || status != 0 && failed == 0 {
		t.Errorf("exit status %d and %d records, %d failed", status, len(got), failed)
	}
}

func fuzz(f *testing.F, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s), 0)
		f.Add([]byte(s), 1)
	}
	f.Fuzz(invariants)
}

func FuzzGoTest(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		f.Fatal(paths, err)
	}
	var seeds []string
	for _, p := range paths {
		seeds = append(seeds, sample(f, filepath.Base(p)))
	}
	fuzz(f, seeds...)
}

func FuzzTAP(f *testing.F) {
	fuzz(f, "TAP version 14\n# Subtest: a\n    # Subtest: b\n        ok 1 - c\n        1..1\n    ok 1 - b\nok 1 - a # TODO x\n1..1\n",
		"KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: e\n  1..2\n  ok 1 a\n  not ok 2 b # SKIP\nnot ok 1 e\n",
		"TAP version 13\n1..1\n# TAP version 13\n# 1..1\n# not ok 1 x\nnot ok 1 y # exit=1\n", "1..0 # SKIP no\nBail out! x\n", "ok 1\nok 1\n  ok 2\n ok 3\n")
}

func FuzzTestProgs(f *testing.F) {
	fuzz(f, "#1 a:OK\n#2/1 b/c:FAIL\n#2 b:FAIL (SKIP: 1/2)\nAll error logs:\n#2 b:FAIL\nSummary: 1/1 PASSED, 0 SKIPPED, 1 FAILED\n")
}
