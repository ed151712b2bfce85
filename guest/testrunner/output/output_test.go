package output

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
		_, _ = p.Write(b[:n])
		b = b[n:]
	}
	p.Finish(fmt.Sprintf("exit status %d", status), status, time.Second)
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

func joined(s ...string) string { return strings.Join(s, "\n") + "\n" }

func sample(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFormats(t *testing.T) {
	kselftest := joined("TAP version 13", "1..2", "# timeout set to 45", "# selftests: bpf: test_lru_map",
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
		{name: "claims", text: joined("PASS", "ok  all 1 passed", "[PASS] everything"), status: 1, want: []string{"fail prog: exit status 1"}},
		{name: "go test -v", text: sample(t, "gov.txt"), status: 1, want: []string{
			"pass TestPass", "fail TestSub", "fail TestSub/bad_one: s_test.go:4: wrong", "skip TestSub/skipped: s_test.go:4: no BTF",
			"pass TestSub/deep", "pass TestSub/deep/er", "pass TestSub/ok", "skip TestSkip: s_test.go:5: needs 6.1",
			"pass TestPanic", "pass TestSlow", "pass TestExit", "pass Example",
		}},
		{name: "go test -v=test2json", text: sample(t, "govtest2json.txt"), status: 1, want: []string{
			"pass TestPass", "fail TestSub/bad_one: s_test.go:4: wrong", "skip TestSub/skipped: s_test.go:4: no BTF",
			"pass TestSub/deep/er", "pass TestSub/deep", "pass TestSub/ok", "fail TestSub", "skip TestSkip: s_test.go:5: needs 6.1",
			"pass TestPanic", "pass TestSlow", "pass TestExit", "pass Example",
		}},
		{name: "go test without -v", text: sample(t, "goquiet.txt"), status: 1, want: []string{"fail TestSub", "fail TestSub/bad_one: s_test.go:4: wrong"}},
		{name: "go panic", text: sample(t, "gopanic.txt"), status: 2, want: []string{
			"pass TestPass", "fail TestPanic", "fail TestPanic/inner: panic: assignment to entry in nil map [recovered, repanicked]",
		}},
		{name: "go timeout", text: sample(t, "gotimeout.txt"), status: 2, want: []string{
			"pass TestPass", "fail TestSlow: it started and did not end: panic: test timed out after 1s; exit status 2",
		}},
		{name: "go exits in a test", text: sample(t, "goexit.txt"), want: []string{
			"pass TestPass", "fail TestExit: it started and did not end: exit status 0",
		}},
		{name: "go cut after a test", text: joined("=== RUN   TestA", "--- PASS: TestA (0.00s)"), want: []string{
			"pass TestA", "fail prog: its output ends without PASS or FAIL: exit status 0",
		}},
		{name: "go passes, exit non-zero", text: joined("=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS", "left over"), status: 3, want: []string{
			"pass TestA", "fail prog: exit status 3",
		}},
		{name: "go fails, exit zero", text: joined("=== RUN   TestA", "--- FAIL: TestA (0.00s)", "PASS"), want: []string{"fail TestA"}},
		{name: "go says FAIL alone", text: joined("=== RUN   TestA", "--- PASS: TestA (0.00s)", "FAIL"), want: []string{
			"pass TestA", "fail prog: it says FAIL, and no test of it does: exit status 0",
		}},
		{name: "go pass after fail", text: joined("=== RUN   TestA", "--- FAIL: TestA (0.00s)", "=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS"), want: []string{
			"fail TestA", "pass TestA#01",
		}},
		{name: "go pass without a start", text: joined("=== RUN   TestA", "--- PASS: TestB (0.00s)", "PASS"), want: []string{
			"fail TestA: it started and did not end: exit status 0",
		}},
		{name: "go marks in a log", text: joined("\x16=== RUN   TestA", "--- FAIL: TestA (0.00s)", "log\x16--- PASS: TestA (0.01s)", "\x16PASS"), want: []string{"pass TestA"}},
		{name: "go forged mark", text: joined("=== RUN   TestA", "\x16=== RUN   TestB", "\x16--- PASS: TestB (0.01s)", "--- FAIL: TestA (0.00s)", "FAIL"), want: []string{
			"fail TestA: === RUN   TestB",
		}},
		{name: "go result behind a long line", text: joined("=== RUN   TestA", strings.Repeat("x", 3*maxLine)+"--- PASS: TestA (0.50s)", "PASS"), want: []string{"pass TestA"}},

		{name: "go result behind one in a log", text: joined("\x16=== RUN   TestA", "--- FAIL: TestA (0.00s)log\x16--- PASS: TestA (0.01s)", "\x16PASS"), want: []string{"pass TestA"}},
		{name: "go pauses a benchmark with processors", text: joined("=== RUN   BenchmarkX", "=== PAUSE BenchmarkX-2", "PASS"), want: []string{"pass BenchmarkX"}},
		{name: "TAP, then JSON of another program", text: joined("1..1", "ok 1 a", `{"Action":"start","Service":"x"}`), want: []string{"pass a"}},
		{name: "KTAP, a number beyond the plan", text: joined("KTAP version 1", "1..1", "ok 2 a"), want: []string{"pass a", "fail prog: plan: test number 2 is beyond the plan: exit status 0"}},

		{name: "go without tests", text: joined(noTests, "PASS"), want: []string{"fail prog: no test ran: testing: warning: no tests to run; exit status 0"}},
		{name: "go without tests, -v=test2json", text: joined("log"+noTests, "\x16PASS"), want: []string{"fail prog: no test ran: testing: warning: no tests to run; exit status 0"}},
		{name: "go with a child without tests", text: joined("=== RUN   TestA", noTests, "PASS", "--- PASS: TestA (0.00s)", "PASS"), want: []string{"pass TestA"}},
		{name: "go without -v, marked", text: joined("\x16--- FAIL: TestA (0.00s)", "    a_test.go:1: no", "\x16FAIL"), want: []string{"fail TestA: a_test.go:1: no"}},
		{name: "go marks forged in a test", text: joined("=== RUN   TestA", "\x16--- PASS: TestA (0.00s)", "--- FAIL: TestA (0.00s)", "FAIL"), want: []string{"fail TestA: --- PASS: TestA (0.00s)"}},
		{name: "go benchmarks", text: sample(t, "gobench.txt"), want: []string{
			"skip TestA/sub: x_test.go:3: no", "pass TestA", "pass TestPlain", "pass TestDies/deep", "pass TestDies", "pass BenchmarkX", "pass BenchmarkY",
		}},
		{name: "go exits in a benchmark", text: joined("\x16=== RUN   BenchmarkX", "BenchmarkX"), want: []string{"fail BenchmarkX: it started and did not end: exit status 0"}},

		{name: "go test -json", text: sample(t, "gojson.txt"), status: 1, want: []string{
			"skip TestA/sub: x_test.go:3: no", "fail TestA: partial    x_test.go:3: hi", "pass TestPlain", "pass TestDies/deep", "pass TestDies",
		}},
		{name: "go test -json, exit zero", text: joined(`{"Action":"run","Test":"TestA"}`, `{"Action":"fail","Test":"TestA"}`), want: []string{
			"fail TestA",
		}},
		{name: "go test -json, a panic", text: sample(t, "gojsonpanic.txt"), want: []string{
			"fail TestA/sub", "fail TestA: partial    x_test.go:3: hi",
		}},
		// A test that calls os.Exit(0) passes, says test2json, and then says
		// nothing of its package.
		{name: "go test -json, exits in a test", text: joined(`{"Action":"start"}`, `{"Action":"run","Test":"TestA"}`, `{"Action":"pass","Test":"TestA"}`), want: []string{
			"pass TestA", "fail prog: its output ends before its result: exit status 0",
		}},
		{name: "go test -json, a test does not end", text: joined(`{"Action":"start","Package":"p"}`, `{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"output","Package":"p","Test":"TestA","Output":"last words"}`, `{"Action":"pass","Package":"p"}`), want: []string{
			"fail TestA: it started and did not end: exit status 0",
		}},
		{name: "go test -json, started again", text: joined(`{"Action":"run","Test":"TestA"}`, `{"Action":"run","Test":"TestA"}`, `{"Action":"pass","Test":"TestA"}`, `{"Action":"pass"}`), want: []string{
			"pass TestA",
		}},
		{name: "go test -json, the package fails", text: joined(`{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"pass","Package":"p","Test":"TestA"}`, `{"Action":"output","Package":"p","Output":"testing: race detected\n"}`, `{"Action":"fail","Package":"p"}`, `{"Action":"pass","Package":"p"}`), want: []string{
			"pass TestA", "fail p: it failed, and no test of it did: exit status 0",
		}},
		{name: "go test -json, two packages", text: joined(`{"Action":"start","Package":"p"}`, `{"Action":"start","Package":"q"}`, `{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"run","Package":"q","Test":"TestA"}`,
			`{"Action":"pass","Package":"p","Test":"TestA"}`, `{"Action":"fail","Package":"q","Test":"TestA"}`, `{"Action":"pass","Package":"p"}`, `{"Action":"skip","Package":"r"}`), want: []string{"pass TestA", "fail q.TestA"}},
		{name: "go test -json, a package is cut short", text: joined(`{"Action":"start","Package":"p"}`, `{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"pass","Package":"p","Test":"TestA"}`, `{"Action":"pass","Package":"p"}`, `{"Action":"start","Package":"q"}`), want: []string{
			"pass TestA", "fail q: its output ends before its result: exit status 0",
		}},
		{name: "go test -json, no build", text: joined(`{"ImportPath":"p [p.test]","Action":"build-output","Output":"# p\n"}`, `{"ImportPath":"p [p.test]","Action":"build-fail"}`, `{"Action":"start","Package":"p"}`, `{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`), want: []string{
			"fail build of p [p.test]: it failed, and no test of it did: exit status 0", "fail p: it failed, and no test of it did: exit status 0",
		}},
		{name: "go test -json, a build with words", text: joined(`{"ImportPath":"p","Action":"build-output","Output":"note\n"}`, `{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"pass","Package":"p","Test":"TestA"}`, `{"Action":"pass","Package":"p"}`), want: []string{"pass TestA"}},
		{name: "go test -json without tests", text: joined(`{"Action":"start"}`, `{"Action":"output","Output":"`+noTests+`\n"}`, `{"Action":"output","Output":"PASS\n"}`, `{"Action":"pass"}`), want: []string{"fail prog: no test ran: exit status 0"}},
		{name: "go test -json without -v", text: joined(`{"Action":"start"}`, `{"Action":"output","Output":"PASS\n"}`, `{"Action":"pass"}`), want: []string{"pass prog"}},
		{name: "go test -json without PASS", text: joined(`{"Action":"start"}`, `{"Action":"pass"}`), want: []string{"fail prog: no test ran, and it does not say PASS: exit status 0"}},
		{name: "go test -json, benchmarks", text: joined(`{"Action":"run","Test":"BenchmarkX"}`, `{"Action":"output","Test":"BenchmarkX","Output":"BenchmarkX-2 1 1 ns/op\n"}`, `{"Action":"pass"}`), want: []string{"pass BenchmarkX"}},
		{name: "go test -json, exits in a benchmark", text: joined(`{"Action":"run","Test":"BenchmarkX"}`, `not ok 1 - x`), want: []string{
			"fail x: not ok 1 - x", "fail BenchmarkX: it started and did not end: exit status 0",
		}},
		{name: "go test, then others, with benchmarks", text: joined("\x16=== RUN   BenchmarkX", "not ok 1 - x", "\x16PASS"), want: []string{"fail x: not ok 1 - x", "pass BenchmarkX"}},
		{name: "go test -json, all that is not known", text: joined(`{"Action":"run","Test":"TestA"}`, `{"Action":"dance","Package":"new"}`, `{"Action":7}`, `{"Action":"fail"`, `[1]`, `text`, `{"Action":"output","Test":"TestA","Output":"not ok 1 - x\n"}`, `not ok 1 - raw text of the test`,
			`{"Action":"pass","Test":"TestA","Elapsed":"long","New":[{}]}`, `{"Action":"pass"}`), want: []string{"pass TestA"}},
		{name: "go test -json, a run of nothing", text: joined(`{"Action":"run","Package":"p"}`, `{"Action":"run","Package":"p","Test":"TestA"}`, `{"Action":"pass","Package":"p","Test":"TestA"}`, `{"Action":"pass","Package":"p"}`), want: []string{"pass TestA"}},
		{name: "JSON of another program", text: joined(`{"Action":"start","Service":"x"}`, `{"Action":"fail","Reason":"y"}`, `{"action":"fail"}`, `{}`), want: []string{"pass prog"}},

		{name: "TAP, then go test", text: joined("1..1", "ok 1 - a", "=== RUN   TestA", "--- FAIL: TestA (0.0s)"), want: []string{"pass a", "fail TestA"}},
		{name: "TAP, then marked go test", text: joined("1..1", "ok 1 - a", "\x16--- FAIL: TestA (0.0s)"), want: []string{"pass a", "fail TestA: --- FAIL: TestA (0.0s)"}},
		{name: "TAP, then JSON", text: joined("1..1", "ok 1 - a", `{"Action":"fail"}`), want: []string{"pass a", `fail prog: {"Action":"fail"}`}},
		{name: "TAP, then test_progs", text: joined("1..1", "ok 1 - a", "#3/1 b/c:FAIL"), want: []string{"pass a", "fail b/c: #3/1 b/c:FAIL"}},
		{name: "TAP, then FAIL", text: joined("1..1", "ok 1 - a", "FAIL", " "), want: []string{"pass a", "fail prog: its last line says FAIL: exit status 0"}},
		{name: "TAP, and words", text: joined("1..1", "FAIL", "#1: FAIL", "--- FAIL: TestA", " --- FAIL: TestA (0.00s)", "# --- FAIL: TestA (0.00s)", "    --- FAIL: TestA/b (0.00s)", `{"Action":"fail"} {`, "log: not ok 1", `{"Action":"fail","Why":1}`, "ok 1 - a"), want: []string{"pass a"}},
		{name: "test_progs, then TAP", text: joined("#1 a:OK", "not ok 3", "not ok 4 # TODO", "Summary: 1/0 PASSED, 0 SKIPPED, 0 FAILED"), want: []string{"pass a", "fail 3: not ok 3"}},
		{name: "go test, then others", text: joined("=== RUN   TestA", "--- PASS: TestA (0.00s)", "not ok 3 - x", "#1 y:FAIL", "PASS"), want: []string{"fail x: not ok 3 - x", "fail y: #1 y:FAIL", "pass TestA"}},
		{name: "go test prints others", text: joined("=== RUN   TestA", "=== RUN   TestA/b", "not ok 3 - x", "#1 y:FAIL", "--- PASS: TestA/b (0.00s)", `{"Action":"fail"}`, "--- PASS: TestA (0.00s)", "PASS"), want: []string{"pass TestA/b", "pass TestA"}},
		{name: "go test prints others while it is paused", text: joined("=== RUN   TestA", "=== PAUSE TestA", "not ok 3 - x", "=== CONT  TestA", "--- PASS: TestA (0.00s)", "PASS"), want: []string{"pass TestA"}},
		{name: "go test -v=test2json, then plain", text: joined("\x16=== RUN   TestA", "\x16--- PASS: TestA (0.00s)", "--- FAIL: TestB (0.00s)", "\x16PASS"), want: []string{"fail TestB: --- FAIL: TestB (0.00s)", "pass TestA"}},
		{name: "go test -json, then plain", text: joined(`{"Action":"run","Test":"TestA"}`, `{"Action":"pass","Test":"TestA"}`, "--- FAIL: TestB (0.00s)", `{"Action":"pass"}`), want: []string{"pass TestA", "fail TestB: --- FAIL: TestB (0.00s)"}},
		{name: "FAIL alone", text: joined("words", "FAIL"), want: []string{"fail prog: its last line says FAIL: exit status 0"}},
		{name: "FAIL among words", text: joined("FAIL", "words"), want: []string{"pass prog"}},

		{name: "TAP 12", text: joined("1..4", "ok 1", "not ok 2 - second", "# got 5", "ok 3 # skipped no BTF", "not ok 4 - later # TODO not yet"), status: 1, want: []string{
			"pass 1", "fail second: # got 5", "skip 3: SKIP no BTF", "skip later: TODO not yet",
		}},
		{name: "TAP 13, plan at the end", text: joined("TAP version 13", "ok - unnumbered", "ok 2 - with \\# in it", "1..2"), want: []string{"pass unnumbered", "pass with # in it"}},
		{name: "TAP yaml", text: joined("TAP version 14", "1..1", "not ok 1 - x", "  ---", "  message: wrong", "  ..."), want: []string{"fail x: wrong"}},
		{name: "TAP yaml of two", text: joined("TAP version 14", "1..2", "not ok 1 - x", "  ---", "  severity: fail", "  message: 'first'", "  ...", "not ok 2 - y", "  ---", "  message: second", "  ..."), want: []string{"fail x: first", "fail y: second"}},
		{name: "TAP 14 subtests", text: joined("TAP version 14", "# Subtest: a", "    # Subtest: b", "        ok 1 - c", "        1..1", "    ok 1 - b", "    not ok 2 - d", "    1..2", "not ok 1 - a", "1..1"), status: 1, want: []string{
			"pass a/b/c", "pass a/b", "fail a/d", "fail a",
		}},
		{name: "TAP subtests without a name before", text: joined("TAP version 14", "1..1", "    ok 1 - c", "    not ok 2 - d", "    1..2", "not ok 1 - a"), status: 1, want: []string{
			"pass a/c", "fail a/d", "fail a",
		}},
		{name: "TAP too few", text: joined("1..3", "ok 1 a", "ok 2 b"), want: []string{"pass a", "pass b", "fail prog: plan: 3 tests were planned, and 2 ran: exit status 0"}},
		{name: "TAP too many", text: joined("1..1", "ok 1 a", "ok 2 b"), want: []string{"pass a", "pass b", "fail prog: plan: 1 test was planned, and 2 ran: exit status 0"}},
		{name: "TAP number twice", text: joined("1..2", "ok 1 a", "ok 1 b"), want: []string{"pass a", "pass b", "fail prog: plan: test number 1 stands where 2 should: exit status 0"}},
		{name: "TAP without a plan", text: joined("TAP version 13", "ok 1 a"), want: []string{"pass a", "fail prog: plan: no plan, and 1 test: the output was cut short: exit status 0"}},
		{name: "TAP nothing of its plan", text: joined("1..1"), want: []string{"fail prog: plan: 1 test was planned, and 0 ran: exit status 0"}},
		{name: "TAP bail out", text: joined("1..9", "ok 1 a", "Bail out! no bpffs"), want: []string{"pass a", "fail prog: Bail out! no bpffs"}},
		{name: "TAP skip all", text: joined("1..0 # SKIP no BTF"), want: []string{"skip prog: SKIP no BTF"}},
		{name: "TAP plans nothing", text: joined("1..0"), want: []string{"skip prog: it planned no tests (1..0)"}},
		{name: "TAP plans nothing, twice", text: joined("1..0", "1..0 # skipped: x"), want: []string{"fail prog: plan: it has more than one plan: exit status 0"}},
		{name: "TAP plans nothing and runs one", text: joined("1..0", "ok 1 a"), want: []string{"pass a", "fail prog: plan: 0 tests were planned, and 1 ran: exit status 0"}},
		{name: "TAP plans nothing and fails", text: joined("1..0"), status: 1, want: []string{"skip prog: it planned no tests (1..0)", "fail prog#01: exit status 1"}},
		{name: "TAP without a head", text: joined("a.c:3: expected 1", "not ok 1 - a", "1..1"), status: 1, want: []string{"fail a: a.c:3: expected 1"}},
		{name: "kselftest harness", text: joined("TAP version 13", "1..3", "# Starting 3 tests from 1 test cases.", "#  RUN           global.a ...", "#            OK  global.a", "ok 1 global.a",
			"#  RUN           global.b ...", "# b.c:12:b:Expected 1 (1) == 2 (2)", "# b: Test terminated by assertion", "#          FAIL  global.b", "not ok 2 global.b",
			"#  RUN           global.c ...", "# c: Test terminated by assertion", "#          FAIL  global.c", "not ok 3 global.c", "# FAILED: 1 / 3 tests passed."), status: 1, want: []string{
			"pass global.a", "fail global.b: # b.c:12:b:Expected 1 (1) == 2 (2)", "fail global.c: # c: Test terminated by assertion",
		}},
		{name: "TAP not ok skip", text: joined("1..1", "not ok 1 a # SKIP x"), want: []string{"fail a: SKIP x"}},
		{name: "TAP passes, exit non-zero", text: joined("1..1", "ok 1 a"), status: 9, want: []string{"pass a", "fail prog: exit status 9"}},
		{name: "TAP subtests cut short", text: joined("TAP version 14", "1..1", "# Subtest: a", "    1..2", "    ok 1 - x"), want: []string{
			"pass a/x", "fail a/plan: 2 tests were planned, and 1 ran", "fail a/end: these subtests' own result is missing: exit status 0",
			"fail prog: plan: 1 test was planned, and 0 ran: exit status 0",
		}},
		{name: "KTAP", text: joined("KTAP version 1", "1..1", "  KTAP version 1", "  # Subtest: example", "  1..3", "    KTAP version 1", "    # Subtest: deep", "    1..1",
			"    ok 1 test_a", "  ok 1 deep", "  # test_b: EXPECTATION FAILED at lib/b.c:3", "  not ok 2 test_b", "  ok 3 test_c # SKIP no hardware", "not ok 1 example"), status: 1, want: []string{
			"pass example/deep/test_a", "pass example/deep", "fail example/test_b: # test_b: EXPECTATION FAILED at lib/b.c:3", "skip example/test_c: SKIP no hardware", "fail example",
		}},
		{name: "kernel selftests", text: kselftest, want: []string{
			"pass selftests: bpf: test_lru_map/lru.one", "fail selftests: bpf: test_lru_map/lru.two: # # lru.c:12:two: expected 1 got 2",
			"fail selftests: bpf: test_lru_map: exit=1", "skip selftests: bpf: test_sock: SKIP no cgroup",
		}},
		{name: "KTAP timeout, expected failure", text: joined("KTAP version 1", "1..2", "not ok 1 a # TIMEOUT 45 seconds", "ok 2 b # XFAIL known"), want: []string{
			"fail a: TIMEOUT 45 seconds", "skip b: XFAIL known",
		}},

		{name: "TAP without numbers", text: joined("ok - a", "not ok - b"), want: []string{"pass a", "fail b", "fail prog: plan: no plan, and 2 tests: the output was cut short: exit status 0"}},
		{name: "TAP of one word each", text: joined("ok", "not ok"), want: []string{"pass 1", "fail 2", "fail prog: plan: no plan, and 2 tests: the output was cut short: exit status 0"}},
		{name: "TAP bails out first", text: joined("Bail out! no bpffs"), want: []string{"fail prog: Bail out! no bpffs"}},
		{name: "TAP without plan and version", text: joined("ok 1", "ok 2"), want: []string{"pass 1", "pass 2", "fail prog: plan: no plan, and 2 tests: the output was cut short: exit status 0"}},
		{name: "TAP known by its end", text: joined("loading", "ok first", "# why", "ok second", "1..2"), want: []string{"pass first", "pass second"}},
		{name: "TAP known by its end, a failure", text: joined("ok first", "x.c:3: no", "not ok, second", "1..2"), want: []string{"pass first", "fail , second: x.c:3: no"}},
		{name: "words that begin with ok", text: joined("ok, starting", "ok then", "ok", "not ok, again"), want: []string{"pass prog"}},
		{name: "coloured TAP", text: joined("\x1b[1m1..2\x1b[0m", "\x1b[32mok 1 - a\x1b[0m", "\x1b]0;title\x07\x1b[1;31mnot ok 2\x1b[0m - b", "\x1b(B# \x1b[mwhy"), want: []string{"pass a", "fail b: # why"}},
		{name: "TAP, a hash in a name", text: joined("1..2", "ok 1 - issue #12 works", "not ok 2 - a # b # TODO c"), want: []string{"pass issue #12 works", "fail a: b # TODO c"}},
		{name: "kselftest skips", text: joined("TAP version 13", "1..0 # SKIP no BTF"), status: 4, want: []string{"skip prog: SKIP no BTF"}},
		{name: "kselftest skips its only test", text: joined("TAP version 13", "1..1", "ok 1 # SKIP no root"), status: 4, want: []string{"skip 1: SKIP no root"}},
		{name: "kselftest skips, and has passed", text: joined("TAP version 13", "1..2", "ok 1 a", "ok 2 # SKIP no root"), status: 4, want: []string{"pass a", "skip 2: SKIP no root", "fail prog: exit status 4"}},
		{name: "status 4 of others", text: joined("SKIP: no root"), status: 4, want: []string{"fail prog: exit status 4"}},
		{name: "kselftest harness skips, 6.1", text: joined("TAP version 13", "1..2", "# Starting 2 tests from 1 test cases.", "#  RUN           global.a ...", "#      SKIP      no root", "#            OK  global.a", "ok 1 # SKIP no root",
			"#  RUN           fix.var.b ...", "#      SKIP      no BTF", "#            OK  fix.var.b", "ok 2 # SKIP no BTF", "# PASSED: 2 / 2 tests passed."), want: []string{"skip global.a: SKIP no root", "skip fix.var.b: SKIP no BTF"}},
		{name: "kselftest harness skips, 6.1, in a runner", text: joined("TAP version 13", "1..1", "# selftests: x: y", "# TAP version 13", "# 1..2", "# #  RUN           global.a ...", "# #      SKIP      no root", "# #            OK  global.a", "# ok 1 # SKIP no root",
			"# #  RUN           global.b ...", "# #            OK  global.b", "# ok 2 global.b", "ok 1 selftests: x: y"), want: []string{"skip selftests: x: y/global.a: SKIP no root", "pass selftests: x: y/global.b", "pass selftests: x: y"}},
		{name: "libcheck", text: joined("ok 1 - x.c:Core:test_pass: Passed", "not ok 2 - src/x.c:Core:test_fail: Assertion '1 == 2' failed: 1 == 1, 2 == 2", "not ok 3 - x.c:Core:test_crash: (after this point) Received signal 11 (Segmentation fault)", "1..3"), status: 2, want: []string{
			"pass Core:test_pass", "fail Core:test_fail: Assertion '1 == 2' failed: 1 == 1, 2 == 2", "fail Core:test_crash: (after this point) Received signal 11 (Segmentation fault)",
		}},
		{name: "names like libcheck's", text: joined("1..2", "ok 1 - a.c:b: c", "ok 2 - http: x:y: z"), want: []string{"pass a.c:b: c", "pass http: x:y: z"}},
		{name: "KUnit of 5.10", text: joined("    # Subtest: s", "    1..2", "    # a: EXPECTATION FAILED at lib/a.c:3", "    not ok 1 - a", "    ok 2 - b", "not ok 1 - s", "    # Subtest: t", "    1..1", "    ok 1 - c", "ok 1 - t"), want: []string{
			"fail s/a: # a: EXPECTATION FAILED at lib/a.c:3", "pass s/b", "fail s", "pass t/c", "pass t",
		}},
		{name: "KUnit of 5.5", text: joined("\t# Subtest: s", "\t1..1", "\tok 1 - a", "ok 1 - s"), want: []string{"pass s/a", "pass s"}},
		{name: "KUnit of 5.10, cut short", text: joined("    # Subtest: s", "    1..1", "    ok 1 - a"), want: []string{"pass s/a", "fail s/end: these subtests' own result is missing: exit status 0", "fail prog: plan: no plan, and 0 tests: the output was cut short: exit status 0"}},
		{name: "KTAP of two suites", text: joined("KTAP version 1", "1..1", "    KTAP version 1", "    # Subtest: s", "    1..1", "    ok 1 a", "ok 1 s", "KTAP version 1", "1..2", "    KTAP version 1", "    # Subtest: t", "    1..1", "    ok 1 a", "ok 1 t"), want: []string{
			"pass s/a", "pass s", "pass t/a", "pass t", "fail prog: plan: 2 tests were planned, and 1 ran: exit status 0",
		}},
		{name: "KTAP, the first of two cut short", text: joined("KTAP version 1", "1..2", "ok 1 s", "KTAP version 1", "1..1", "ok 1 t"), want: []string{"pass s", "fail prog: plan: 2 tests were planned, and 1 ran", "pass t"}},

		{name: "test_progs", text: joined("#1       align:OK", "test_sub:PASS:open 0 nsec", "test_sub:FAIL:attach unexpected error: -22", "#2/1     atomics/add:FAIL", "#2/2     atomics/sub:OK",
			"#2       atomics:FAIL", "#3       arena:SKIP", "#4 multi:OK (SKIP: 1/2)", "",
			"All error logs:", "test_sub:FAIL:attach unexpected error: -22", "#2/1     atomics/add:FAIL", "#2       atomics:FAIL", "Summary: 2/1 PASSED, 1 SKIPPED, 1 FAILED"), status: 1, want: []string{
			"pass align", "fail atomics/add: test_sub:FAIL:attach unexpected error: -22", "pass atomics/sub", "fail atomics", "skip arena", "pass multi",
		}},
		{name: "test_progs, a failure first", text: joined("libbpf: words", "test_foo:FAIL:open unexpected error: -2", "#1 foo:FAIL", "", "All error logs:", "#1 foo:FAIL", "Summary: 0/0 PASSED, 0 SKIPPED, 1 FAILED"), status: 1, want: []string{
			"fail foo: test_foo:FAIL:open unexpected error: -2",
		}},
		{name: "test_progs without tests", text: joined("Summary: 0/0 PASSED, 0 SKIPPED, 0 FAILED"), want: []string{"fail prog: no test ran: exit status 0"}},
		{name: "test_progs without names", text: joined("Summary: 2/5 PASSED, 0 SKIPPED, 0 FAILED"), want: []string{"pass prog"}},
		{name: "test_progs, logs after the summary", text: joined("#1 a:OK", "Summary: 1/0 PASSED, 0 SKIPPED, 0 FAILED", "All error logs:", "#2 b:FAIL"), want: []string{
			"pass a", "fail prog: its output ends without a summary: exit status 0",
		}},
		{name: "a summary of another program", text: joined("Summary: 3 PASSED, 1 FAILED", "Summary: 1/2 PASSED, words", "Summary: 1/x PASSED"), want: []string{"pass prog"}},
		{name: "test_progs without a summary", text: joined("#1 align:OK"), want: []string{"pass align", "fail prog: its output ends without a summary: exit status 0"}},
		{name: "test_progs with a summary of more", text: joined("#1 align:OK", "All error logs:", "#2 x:FAIL", "Summary: 1/0 PASSED, 0 SKIPPED, 1 FAILED"), want: []string{
			"pass align", "fail prog: its summary counts 1 failed test, and none was seen: exit status 0",
		}},
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
	tests := parse(joined("=== RUN   TestA", "=== PAUSE TestA", "=== RUN   TestB", "=== PAUSE TestB", "=== CONT  TestA", "=== CONT  TestB", "of b", "=== NAME  TestA", "of a", "--- FAIL: TestB (1.50s)", "--- FAIL: TestA (0.25s)", "    a.go:1: later", "FAIL"), 64, 1)
	want := []Test{
		{Name: "TestB", Verdict: wire.TestFail, Duration: 1500 * time.Millisecond, Output: "of b"},
		{Name: "TestA", Verdict: wire.TestFail, Duration: 250 * time.Millisecond, Output: "of a\n    a.go:1: later"},
	}
	if d := cmp.Diff(want, tests); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A cause that is not the first line is shown first, and nothing is lost.
func TestCauseFirst(t *testing.T) {
	for text, want := range map[string]string{
		joined("libbpf: words", "test_foo:FAIL:open -2", "#1 foo:FAIL"):                        "test_foo:FAIL:open -2\nlibbpf: words\ntest_foo:FAIL:open -2",
		joined("test_foo:FAIL:open -2", "words", "#1 foo:FAIL"):                                "test_foo:FAIL:open -2\nwords",
		joined("1..2", "not ok 1 a", "# its own", "#  RUN  g.b ...", "# of b", "not ok 2 g.b"): "# its own",
		joined(`{"Action":"run","Test":"T"}`, `{"Action":"output","Test":"T","Output":"=== RUN   T\n"}`, `{"Action":"output","Test":"T","Output":"words\n"}`, `{"Action":"output","Test":"T","Output":"--- FAIL: T (0.00s)\n"}`, `{"Action":"fail","Test":"T"}`): "words",
		joined("1..1", "# Starting", "#  RUN  g.b ...", "# b: Test terminated by assertion", "#   FAIL  g.b", "not ok 1 g.b"): "# b: Test terminated by assertion\n" +
			"# Starting\n#  RUN  g.b ...\n# b: Test terminated by assertion\n#   FAIL  g.b",
	} {
		if d := cmp.Diff(want, parse(text, 64, 1)[0].Output); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

// go test -json beyond what is kept: still counted, and who does not end has
// failed.
func TestJSONBounds(t *testing.T) {
	var b bytes.Buffer
	for i := range MaxTests + 500 {
		b.WriteString(fmt.Sprintf(`{"Action":"run","Package":"p%d","Test":"T%d"}`+"\n", i%2000, i))
		if i != MaxTests+7 {
			b.WriteString(fmt.Sprintf(`{"Action":"pass","Package":"p%d","Test":"T%d"}`+"\n", i%2000, i))
		}
	}
	for i := range 2000 {
		b.WriteString(fmt.Sprintf(`{"Action":"pass","Package":"p%d"}`+"\n", i))
	}
	var failed []string
	for _, x := range parse(b.String(), 1<<16, 0) {
		if x.Verdict == wire.TestFail {
			failed = append(failed, x.Name+": "+x.Output)
		}
	}
	if d := cmp.Diff([]string{"prog: 1 test more started and did not end: exit status 0"}, failed); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Failures told in another kind of output have a limit of their own.
func TestStrayBounds(t *testing.T) {
	if got := parse(joined("1..1", "ok 1")+strings.Repeat("#1 a:FAIL\n", 5000), 1<<16, 0); len(got) != 1+maxStray {
		t.Errorf("%d records", len(got))
	}
}

// Whatever is printed, the number of records and their sizes stay bounded, and
// a failure among those that are only counted is one.
func TestBounds(t *testing.T) {
	var b bytes.Buffer
	for i := range MaxTests + 500 {
		b.WriteString(fmt.Sprintf("=== RUN   Test%d\n%s\n--- FAIL: Test%d (0.00s)\n", i, strings.Repeat("y", maxLate+100), i))
	}
	tests := parse(b.String()+"FAIL\n", 1<<16, 0)
	total := 0
	for _, x := range tests {
		total += len(x.Output)
	}
	if len(tests) != MaxTests+500 || total > maxReported+maxOther+(MaxTests+500)*maxLate {
		t.Errorf("%d records, %d bytes", len(tests), total)
	}
	if last := tests[len(tests)-1]; last.Verdict != wire.TestFail || last.Name != fmt.Sprintf("Test%d", MaxTests+499) {
		t.Errorf("the last record: %+v", last)
	}
}

// Beyond MaxTests passes are counted, and failures keep their names.
func TestManyTAP(t *testing.T) {
	const n = 30_000
	var b bytes.Buffer
	b.WriteString(fmt.Sprintf("1..%d\n", n))
	for i := 1; i <= n; i++ {
		if i%1000 == 500 {
			b.WriteString("not ")
		}
		b.WriteString(fmt.Sprintf("ok %d - t%d\n", i, i))
	}
	failed := map[string]bool{}
	tests := parse(b.String(), 1<<16, 1)
	for _, x := range tests {
		if x.Verdict == wire.TestFail {
			failed[x.Name] = true
		}
	}
	if len(failed) != n/1000 || !failed["t500"] || !failed["t29500"] {
		t.Errorf("failed: %v", failed)
	}
	if last := tests[len(tests)-1]; last.Verdict != wire.TestPass || !strings.Contains(last.Output, "9990 passed") {
		t.Errorf("the last record: %+v", last)
	}
}

// Failures have a limit too; beyond it they are counted, and the sum fails.
func TestManyFailures(t *testing.T) {
	n := MaxRecords + 1000
	tests := parse(fmt.Sprintf("1..%d\n", n)+strings.Repeat("not ok\n", n), 1<<16, 0)
	if last := tests[len(tests)-1]; len(tests) > MaxRecords || last.Verdict != wire.TestFail || !strings.Contains(last.Output, "1100 failed") {
		t.Errorf("%d records, the last %+v", len(tests), last)
	}
}

// invariants hold of every output.
func invariants(t *testing.T, b []byte, status int) {
	got := parse(string(b), 1<<20, status)
	if d := cmp.Diff(got, parse(string(b), 3, status)); d != "" {
		t.Errorf("the size of the pieces matters:\n%s", d)
	}
	failed, skipped, names := 0, 0, map[string]bool{}
	for _, x := range got {
		switch x.Verdict {
		case wire.TestFail:
			failed++
		case wire.TestSkip:
			skipped++
		}
		if x.Name == "" || len(x.Name) > wire.MaxName || strings.ContainsAny(x.Name, "\n\x1b\x00") || len(x.Output) > maxOther || x.Duration < 0 {
			t.Errorf("bad record %+v", x)
		}
		if names[x.Name] {
			t.Errorf("%q stands twice", x.Name)
		}
		names[x.Name] = true
	}
	// kselftest and LTP have a status for a program whose tests were all skipped.
	all := (status == skipStatus || status == 32) && skipped == len(got)
	if len(got) == 0 || status != 0 && failed == 0 && !all {
		t.Errorf("exit status %d and %d records, %d failed", status, len(got), failed)
	}
	// Whatever a Go program printed, a test that starts then and does not end fails,
	// and tests can be missing.
	p := New("prog", func(Test) {})
	_, _ = p.Write(b)
	_, _ = p.Write([]byte("\n"))
	if _, ok := p.format.(*goTest); ok {
		for _, last := range []string{"=== RUN   TestZ\n", "\x16=== RUN   TestZ\n"} {
			failed := false
			p := New("prog", func(x Test) { failed = failed || x.Verdict == wire.TestFail })
			p.ExpectGoTest(last[0] == mark, true)
			_, _ = p.Write([]byte(string(b) + "\n" + last))
			if cut := p.Finish("exit status 0", 0, time.Second); !failed || cut == "" || strings.Contains(cut, "\n") {
				t.Errorf("%q at the end, failed: %v, cut short: %q", last, failed, cut)
			}
		}
	}
	// Nothing that was printed before hides a failure.
	for _, last := range []string{"--- FAIL: TestZ (0.00s)", "not ok 7 - z", "#7 z:FAIL", "not ok - z", "[  FAILED  ] Z.z (0 ms)", "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out", `{"Action":"fail","Test":"TestZ"}`, "FAIL"} {
		if !slices.ContainsFunc(parse(string(b)+"\n"+last, 1<<20, 0), func(x Test) bool { return x.Verdict == wire.TestFail }) {
			t.Errorf("%q at the end, and nothing failed", last)
		}
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
	fuzz(f, append(seeds,
		"=== RUN   TestA\n=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n--- PASS: TestA (0.00s)\nPASS\n",
		"\x16=== RUN   TestA\n\x16=== RUN   TestA\n\x16--- PASS: TestA (0.00s)\n\x16PASS\n",
		"=== RUN   TestA\n\x16=== RUN   TestB\n\x16--- PASS: TestB (0.00s)\n\x16PASS\n--- PASS: TestA (0.00s)\nPASS\n\x16=== RUN   TestC\n",
		"\x16=== RUN   BenchmarkA\n\x16=== RUN   BenchmarkA/b\n\x16--- FAIL: BenchmarkA/b-2\n\x16--- FAIL: BenchmarkA\n\x16FAIL\n",
		"=== RUN   TestA\npanic: x\nFAIL\tp\t0.1s\n=== RUN   TestB\n--- PASS: TestB (0.00s)\nPASS\nok  \tq\t0.1s\n",
	)...)
}

func FuzzGoJSON(f *testing.F) {
	fuzz(f, sample(f, "gojson.txt"), sample(f, "gojsonpanic.txt"),
		`{"Action":"start","Package":"p"}`+"\n"+`{"Action":"output","Package":"p","Output":"PASS\n"}`+"\n"+`{"Action":"pass","Package":"p","Elapsed":0.1}`+"\n",
		`{"ImportPath":"p","Action":"build-fail"}`+"\n"+`{"Action":"run","Test":"BenchmarkX"}`+"\n"+`{"Action":"skip","Package":"q"}`+"\nnot ok 1\n")
}

// FuzzMixed has programs that print more than one kind.
func FuzzMixed(f *testing.F) {
	fuzz(f, "1..1\nok 1 - a\n=== RUN   TestA\n--- FAIL: TestA (0.0s)\n", "#1 a:OK\nnot ok 3\nSummary: 1/0 PASSED, 0 SKIPPED, 0 FAILED\nFAIL\n",
		"=== RUN   TestA\n#1 y:FAIL\n--- PASS: TestA (0.00s)\nnot ok 3 - x\nPASS\n", noTests+"\nPASS\n", "\x16=== RUN   BenchmarkX\n\x16=== NAME  \n"+`{"Action":"fail"}`+"\n\x16PASS\n")
}

func FuzzTAP(f *testing.F) {
	fuzz(f, "TAP version 14\n# Subtest: a\n    # Subtest: b\n        ok 1 - c\n        1..1\n    ok 1 - b\nok 1 - a # TODO x\n1..1\n",
		"KTAP version 1\n1..1\n  KTAP version 1\n  # Subtest: e\n  1..2\n  ok 1 a\n  not ok 2 b # SKIP\nnot ok 1 e\n",
		"TAP version 13\n1..1\n# TAP version 13\n# 1..1\n# not ok 1 x\nnot ok 1 y # exit=1\n", "1..0 # SKIP no\nBail out! x\n", "ok 1\nok 1\n  ok 2\n ok 3\n",
		"ok, a\nok b\nnot\nok c\n1..3 todo 2\n", "ok\nok\n", "    # Subtest: s\n    1..1\n\tok 1 - a\nok 1 - s\n", "TAP version 13\npragma +strict\n1..2 # SKIP x\nok 1 - x.c:b:c: d\n  ---\n  a: b\nok 2\n",
		"KTAP version 1\n1..1\n\x1b[31mok 1 a # TIMEOUT\x1b[0m\nKTAP version 1\n", "TAP version 13\n# RUN a.b ...\nok 1 # SKIP x\n1..1\n",
		"TAP version 13\n1..1\n#  RUN           global.b ...\n# b: Test terminated by assertion\n#          FAIL  global.b\nnot ok 1 global.b\n", "1..0\n")
}

func FuzzTestProgs(f *testing.F) {
	fuzz(f, "#1 a:OK\n#2/1 b/c:FAIL\n#2 b:FAIL (SKIP: 1/2)\nAll error logs:\n#2 b:FAIL\nSummary: 1/1 PASSED, 0 SKIPPED, 1 FAILED\n",
		"test_foo:FAIL:open unexpected error: -2\n#1 foo:FAIL\nSummary: 0/0 PASSED, 0 SKIPPED, 1 FAILED\n", "Summary: 0/0 PASSED, 0 SKIPPED, 0 FAILED\n")
}
