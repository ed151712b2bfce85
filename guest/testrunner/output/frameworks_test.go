package output

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

type recorded struct {
	framework, what, where string
	status                 int
	text                   string
}

var recordedTitle = regexp.MustCompile(`^(.+): (.+), (pipe|dumb terminal|terminal): (\d+)$`)

func frameworkRecords(t testing.TB) (list []recorded) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/frameworks.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		m := recordedTitle.FindStringSubmatch(f.Name)
		_, text, ok := bytes.Cut(f.Data, []byte("\n\n"))
		if m == nil || !ok || f.Data[0] != '$' {
			t.Fatalf("the file %q", f.Name)
		}
		status, _ := strconv.Atoi(m[4])
		list = append(list, recorded{m[1], m[2], m[3], status, string(bytes.TrimSuffix(text, []byte("\\\n")))})
	}
	return list
}

// Real test programs: what passes, fails, is skipped, crashes, calls exit(0) in a
// test, or has no test that its filter matches. What fails does so whatever the
// exit status, as behind a pipe in a shell.
func TestFrameworks(t *testing.T) {
	byName := map[string]string{
		"pass": wire.TestPass, "pass two": wire.TestPass, "brief pass": wire.TestPass, "compact pass": wire.TestPass, "quiet pass": wire.TestPass,
		"may fail": wire.TestPass, "skip": wire.TestSkip,
	} // the others fail
	exceptions := map[string]struct{ verdict, why string }{
		"doctest: skip":      {wire.TestFail, "it counts what the filter leaves out and what is skipped as one"},
		"Criterion: skip":    {wire.TestFail, "it does not count what was skipped"},
		"Boost.Test: skip":   {wire.TestFail, "the filter overrides disabled()"},
		"cmocka TAP: skip":   {wire.TestFail, `it prints "not ok # SKIP", which prove fails`},
		"cmocka TAP: none":   {wire.TestSkip, "a plan of nothing is a skip in TAP"},
		"libcheck TAP: none": {wire.TestSkip, "the same"},
		"Catch2: exit":       {wire.TestPass, "before version 3 nothing is printed that a summary has to follow"},
		"Boost.Test: exit":   {wire.TestPass, `"Running 1 test case..." could be anyone's`},
	}
	frameworks := map[string]bool{}
	for _, tt := range frameworkRecords(t) {
		frameworks[tt.framework] = true
		want := byName[tt.what]
		if x, ok := exceptions[tt.framework+": "+tt.what]; ok {
			want = x.verdict
		} else if want == "" {
			want = wire.TestFail
		}
		statuses := []int{tt.status}
		if tt.status != 0 {
			statuses = append(statuses, 0)
		}
		for _, status := range statuses {
			tests := parse(tt.text, 1<<20, status)
			if got := verdictOf(tests); got != want {
				t.Errorf("%s: %s, %s, exit status %d: %s, want %s:\n%s\n%q", tt.framework, tt.what, tt.where, status, got, want, tt.text, brief(tests))
			}
			if d := cmp.Diff(tests, parse(tt.text, 3, status)); d != "" {
				t.Errorf("%s: %s: the size of the pieces matters:\n%s", tt.framework, tt.what, d)
			}
		}
	}
	if len(frameworks) < 12 {
		t.Errorf("%d frameworks", len(frameworks))
	}
}

// Where the tests are printed one by one, each is a test, wherever it is printed.
func TestFrameworkNames(t *testing.T) {
	want := map[string][]string{
		"GoogleTest: pass":       {"pass Some.Passes", "pass Some.Prints"},
		"GoogleTest: fail":       {"pass Some.Passes", "fail Some.Fails: gtest.cc:6: Failure", "pass Many/P.Fails/0", "fail Many/P.Fails/1: gtest.cc:11: Failure"},
		"GoogleTest: skip":       {"skip Some.Skips: gtest.cc:7: Skipped"},
		"GoogleTest: none":       {"fail prog: no test ran: exit status 0"},
		"GoogleTest: crash":      {"pass Some.Passes", "fail Some.Crashes: it started and did not end: exit status 139"},
		"GoogleTest: exit":       {"pass Some.Passes", "fail Some.Exits: it started and did not end: exit status 0"},
		"GoogleTest: brief":      {"fail Some.Fails: Running main() from ./googletest/src/gtest_main.cc", "fail Many/P.Fails/1: gtest.cc:11: Failure"},
		"GoogleTest: brief pass": {"pass prog"},
		"cmocka: fail":           {"pass test_passes", "fail test_fails: [  ERROR   ] --- 0x1 != 0x2", "fail test_crashes: [  ERROR   ] --- Test failed with exception: Segmentation fault(11)"},
		"cmocka: skip":           {"skip test_skips"},
		"cmocka: exit":           {"fail test_exits: it started and did not end: exit status 0"},
		"libtest: pass":          {"pass some::panics", "pass some::passes"},
		"libtest: fail":          {"skip some::skips: no BTF", "pass some::passes", "fail some::fails: assertion `left == right` failed: why"},
		"libtest: skip":          {"skip some::skips: no BTF"},
		"libtest: none":          {"fail prog: no test ran: exit status 0"},
		"libtest: crash":         {"fail some::crashes: it started and did not end: exit status 139"},
		"libtest: exit":          {"fail some::exits: it started and did not end: exit status 0"},
		"libtest: quiet":         {"fail some::fails: assertion `left == right` failed: why"},
		"libtest: no capture":    {"pass some::passes", "fail some::fails: assertion `left == right` failed: why"},
		"libcheck TAP: fail":     {"pass core:test_passes", "fail core:test_fails: Assertion 'x == 1' failed: x == 2, 1 == 1"},
		"libcheck: fail":         {"fail prog: libcheck: 50%: Checks: 2, Failures: 1, Errors: 0: exit status 1"},
		"Catch2: fail":           {"fail prog: Catch2: test cases: 2 | 1 passed | 1 failed: exit status 1"},
		"Catch2: none":           {"fail prog: no test ran: Catch2: No tests ran; exit status 0"},
		"doctest: exit":          {"fail prog: doctest's summary is missing: exit status 0"},
		"CppUTest: skip":         {"skip prog: CppUTest: OK (3 tests, 0 ran, 0 checks, 1 ignored, 2 filtered out, 5 ms)"},
	}
	times := regexp.MustCompile(`\d+ ms`)
	for _, tt := range frameworkRecords(t) {
		name := tt.framework + ": " + tt.what
		w, ok := want[name]
		if !ok {
			continue
		}
		got := brief(parse(tt.text, 1<<20, tt.status))
		for i := range got {
			got[i] = times.ReplaceAllString(got[i], "5 ms")
		}
		// Rust's tests run side by side.
		if tt.framework == "libtest" && len(got) == len(w) && got[0] != w[0] && len(got) > 1 {
			got[0], got[1] = got[1], got[0]
		}
		if d := cmp.Diff(w, got); d != "" {
			t.Errorf("%s, %s (-want +got):\n%s", name, tt.where, d)
		}
	}
}

// Summaries of further frameworks, by the sources of each.
func TestSummaries(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"Catch2 3, pass", "Randomness seeded to: 123\n===\nAll tests passed (3 assertions in 2 test cases)\n\n", "pass"},
		{"Catch2 3, fail", "Randomness seeded to: 123\n===\ntest cases:  3 |  1 passed | 2 failed\nassertions: 3 | 1 passed | 2 failed\n", "fail"},
		{"Catch2 3, all skipped", "Randomness seeded to: 123\n===\ntest cases: 2 | 2 skipped\nassertions: - none -\n", "skip"},
		{"Catch2 3, one skipped", "Randomness seeded to: 123\n===\ntest cases: 2 | 1 passed | 1 skipped\n", "pass"},
		{"Catch2 3, none", "Randomness seeded to: 123\nNo test cases matched 'x'\n===\nNo tests ran\n\n", "fail"},
		{"Catch2 3, exit", "Randomness seeded to: 123\n", "fail"},
		{"Catch2, compact", "Passed all 3 test cases with 7 assertions.\n", "pass"},
		{"Catch2, compact, fail", "Failed both 2 test cases, failed both 2 assertions.\n", "fail"},
		{"Catch2, its summary without a newline", "test cases: 2 | 1 passed | 1 failedassertions: 2 | 1 passed | 1 failed\n", "fail"},
		{"doctest, twice, cut", "[doctest] doctest version is \"2.4.9\"\n[doctest] test cases: 1 | 1 passed | 0 failed | 0 skipped\n[doctest] Status: SUCCESS!\n[doctest] doctest version is \"2.4.9\"\n", "fail"},
		{"doctest, cut, then whole", "[doctest] doctest version is \"2.4.9\"\n[doctest] doctest version is \"2.4.9\"\n[doctest] test cases: 1 | 1 passed | 0 failed | 0 skipped\n", "fail"},
		{"CppUnit", ".\n\nOK (2 tests)\n", "pass"},
		{"CppUnit, one", "OK (1 test)\n", "pass"},
		{"CppUnit, none", "OK (0 tests)\n", "fail"},
		{"CppUnit, fail", "!!!FAILURES!!!\nTest Results:\nRun:  2   Failures: 1   Errors: 0\n", "fail"},
		{"Unity", "a.c:3:test_a:PASS\n\n-----------------------\n1 Tests 0 Failures 0 Ignored \nOK\n", "pass"},
		{"Unity, fail", "-----------------------\n2 Tests 1 Failures 0 Ignored \nFAILED\n", "fail"},
		{"Unity, none", "-----------------------\n0 Tests 0 Failures 0 Ignored \nOK\n", "fail"},
		{"Unity, all ignored", "-----------------------\n2 Tests 0 Failures 2 Ignored \nOK\n", "skip"},
		{"acutest", "Test a... [ OK ]\nSUCCESS: All unit tests have passed.\n", "pass"},
		{"acutest, fail", "FAILED: 1 of 3 unit tests has failed.\n", "fail"},
		{"greatest", "Total: 3 tests (30 ticks, 0.000 sec), 4 assertions\nPass: 3, fail: 0, skip: 0.\n", "pass"},
		{"greatest, fail", "Pass: 2, fail: 1, skip: 0.\n", "fail"},
		{"greatest, all skipped", "Pass: 0, fail: 0, skip: 2.\n", "skip"},
		{"greatest, none", "Pass: 0, fail: 0, skip: 0.\n", "fail"},
		{"munit", "3 of 3 (100%) tests successful, 0 (0%) test skipped.\n", "pass"},
		{"munit, fail", "2 of 3 (67%) tests successful, 0 (0%) test skipped.\n", "fail"},
		{"CTest", "100% tests passed, 0 tests failed out of 3\n", "pass"},
		{"CTest, fail", "67% tests passed, 1 tests failed out of 3\n", "fail"},
		{"CTest, none", "No tests were found!!!\n", "fail"},
		{"nextest", "     Summary [   0.004s] 2 tests run: 2 passed (1 slow), 3 skipped\n", "pass"},
		{"nextest, fail", "     Summary [   0.004s] 2 tests run: 1 passed, 1 failed, 3 skipped\nerror: test run failed\n", "fail"},
		{"nextest, none", "     Summary [   0.004s] 0 tests run: 0 passed, 3 skipped\n", "fail"},
		{"Zig", "All 3 tests passed.\n", "pass"},
		{"Zig, fail", "1 passed; 0 skipped; 1 failed.\n", "fail"},
		{"Zig, all skipped", "0 passed; 2 skipped; 0 failed.\n", "skip"},
		{"unittest, none in 3.12", "----\nRan 0 tests in 0.000s\n\nNO TESTS RAN\n", "fail"},
		{"unittest, errors", "Ran 2 tests in 0.000s\n\nFAILED (errors=1)\n", "fail"},
		{"unittest, some skipped", "Ran 2 tests in 0.000s\n\nOK (skipped=1)\n", "pass"},
		{"pytest, quiet, none", "no tests ran in 0.01s\n", "fail"},
		{"pytest, errors", "=================== 1 error in 0.05s ===================\n", "fail"},
		{"busted", "●●\n2 successes / 0 failures / 0 errors / 0 pending : 0.001 seconds\n", "pass"},
		{"busted, fail", "1 success / 1 failure / 0 errors / 0 pending : 0.001 seconds\n", "fail"},
		{"busted, none", "0 successes / 0 failures / 0 errors / 0 pending : 0.001 seconds\n", "fail"},
		{"kvm-unit-tests", "PASS: a\nSUMMARY: 3 tests\n", "pass"},
		{"kvm-unit-tests, fail", "FAIL: a\nSUMMARY: 3 tests, 1 unexpected failures\n", "fail"},
		{"LTP", "tst_test.c:1558: TINFO: Timeout per run is 0h 05m 00s\nopen01.c:59: TPASS: sticky bit is set as expected\n\nSummary:\npassed   1\nfailed   0\nbroken   0\nskipped  0\nwarnings 0\n", "pass"},
		{"LTP, TFAIL", "open01.c:59: TFAIL: sticky bit is cleared unexpectedly\n", "fail"},
		{"LTP, TBROK", "tst_tmpdir.c:100: TBROK: mkdir failed: EROFS (30)\n", "fail"},
		{"LTP, in shell", "cpuset01 1 TFAIL: wrong\n", "fail"},
		{"LTP, old", "open01      1  TFAIL  :  open01.c:108: wrong\n", "fail"},
		{"LTP, skipped", "bpf_prog01.c:1: TCONF: CONFIG_BPF is not set\n\nSummary:\npassed   0\nfailed   0\nbroken   0\nskipped  1\nwarnings 0\n", "skip"},
		{"Ginkgo, none", "=== RUN   TestSuite\nRunning Suite: S\nRan 0 of 5 Specs in 0.000 seconds\nSUCCESS! -- 0 Passed | 0 Failed | 0 Pending | 5 Skipped\n--- PASS: TestSuite (0.00s)\nPASS\n", "fail"},
		{"Ginkgo", "=== RUN   TestSuite\nRan 1 of 5 Specs in 0.000 seconds\n--- PASS: TestSuite (0.00s)\nPASS\n", "pass"},
		{"kselftest_harness of 5.4", "[==========] Running 2 tests from 1 test cases.\n[ RUN      ] global.a\n[       OK ] global.a\n[ RUN      ] global.b\n[       OK ] global.b\n[==========] 2 / 2 tests passed.\n[  PASSED  ]\n", "pass"},
		{"kselftest_harness of 5.4, fail", "[==========] Running 1 tests from 1 test cases.\n[ RUN      ] global.a\na.c:3:global.a:Expected 1 (1) == 2 (2)\nglobal.a: Test failed at step #1\n[     FAIL ] global.a\n[==========] 0 / 1 tests passed.\n[  FAILED  ]\n", "fail"},
		{"GoogleTest 1.8, none", "[==========] Running 0 tests from 0 test cases.\n[==========] 0 tests from 0 test cases ran. (0 ms total)\n[  PASSED  ] 0 tests.\n", "fail"},
		{"GoogleTest, a suite's set-up", "[==========] Running 1 test from 1 test suite.\n[----------] 1 test from A\n[  FAILED  ] A: SetUpTestSuite or TearDownTestSuite\n[==========] 1 test from 1 test suite ran. (0 ms total)\n[  PASSED  ] 0 tests.\n", "fail"},
		{"GoogleTest, the summary alone", "[==========] 2 tests from 1 test suite ran. (5 ms total)\n[  PASSED  ] 1 test.\n[  FAILED  ] 1 test, listed below:\n", "fail"},
		{"GoogleTest in GoogleTest", "[==========] Running 1 test from 1 test suite.\n[ RUN      ] A.b\n[==========] Running 1 test from 1 test suite.\n[ RUN      ] C.d\n[  FAILED  ] C.d (0 ms)\n[==========] 1 test from 1 test suite ran. (0 ms total)\n[  PASSED  ] 0 tests.\n[  FAILED  ] 1 test, listed below:\n[  FAILED  ] C.d\n[       OK ] A.b (0 ms)\n[==========] 1 test from 1 test suite ran. (0 ms total)\n[  PASSED  ] 1 test.\n", "pass"},
		{"GoogleTest, cut", "[==========] Running 2 tests from 1 test suite.\n[ RUN      ] A.b\n[       OK ] A.b (0 ms)\n", "fail"},
		{"GoogleTest, two programs, one cut", "[==========] Running 1 test from 1 test suite.\n[ RUN      ] A.b\n[       OK ] A.b (0 ms)\n[==========] 1 test from 1 test suite ran. (0 ms total)\n[  PASSED  ] 1 test.\n[==========] Running 1 test from 1 test suite.\n", "fail"},
		{"cmocka 2", "[==========] group: Running 1 test(s).\n[ RUN      ] a\n[       OK ] a\n[==========] group: 1 test(s) run.\n[  PASSED  ] 1 test(s).\n", "pass"},
		{"libtest, cut", "\nrunning 2 tests\ntest a ... ok\n", "fail"},
		{"libtest, cut at once", "\nrunning 2 tests\n", "fail"},
		{"libtest, two programs, one cut", "\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\n\nrunning 1 test\n", "fail"},
		{"libtest, the summary alone", "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n", "fail"},
		{"libtest, Rust 1.63", "\nrunning 1 test\ntest a ... FAILED\n\nfailures:\n\n---- a stdout ----\nthread 'a' panicked at 'why', src/lib.rs:3:5\n\n\nfailures:\n    a\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n", "fail"},
		{"libtest, no capture and no newline", "\nrunning 2 tests\ntest a ... text without an endok\ntest b ... ok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n", "pass"},
		{"libtest, no capture and no newline, a failure", "\nrunning 1 test\ntest a ... textFAILED\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n", "fail"},
		{"libtest, documentation", "\nrunning 1 test\ntest src/lib.rs - f (line 3) ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n", "pass"},

		{"TAP, then Catch2", "1..1\nok 1\ntest cases: 2 | 1 passed | 1 failed\n", "fail"},
		{"TAP, then GoogleTest", "1..1\nok 1\n[  FAILED  ] A.b (0 ms)\n", "fail"},
		{"TAP, then libtest", "1..1\nok 1\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n", "fail"},
		{"GoogleTest, then TAP", "[==========] 1 test from 1 test suite ran. (0 ms total)\n[  PASSED  ] 1 test.\nnot ok 1\n", "fail"},
		{"a go test prints others", "=== RUN   TestA\n[  FAILED  ] A.b (0 ms)\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\ntest cases: 2 | 1 passed | 1 failed\nNo tests ran\nx.c:1: TFAIL: y\n--- PASS: TestA (0.00s)\nPASS\n", "pass"},
		{"GoogleTest prints others", "[==========] Running 1 test from 1 test suite.\n[ RUN      ] A.b\nnot ok 1\ntest cases: 2 | 1 passed | 1 failed\n[       OK ] A.b (0 ms)\n[==========] 1 test from 1 test suite ran. (0 ms total)\n", "pass"},

		{"GoogleTest, then a Go program that is cut", "[==========] Running 1 test from 1 test suite.\n[ RUN      ] A.b\n[       OK ] A.b (0 ms)\n[==========] 1 test from 1 test suite ran. (0 ms total)\n[  PASSED  ] 1 test.\n=== RUN   TestA\npanic: x\n", "fail"},
		{"GoogleTest, then a Go program", "[==========] Running 1 test from 1 test suite.\n[ RUN      ] A.b\n[       OK ] A.b (0 ms)\n[==========] 1 test from 1 test suite ran. (0 ms total)\n[  PASSED  ] 1 test.\n=== RUN   TestA\nnot ok 1\n--- PASS: TestA (0.00s)\nPASS\n", "pass"},
		{"TAP, then GoogleTest that is cut", "1..1\nok 1\n[==========] Running 1 test from 1 test suite.\n[ RUN      ] A.b\n", "fail"},
		{"Go, then TAP that is cut", "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\nTAP version 13\n1..2\nok 1\n", "fail"},
		{"Go, then libtest that is cut", "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n\nrunning 1 test\n", "fail"},
		{"libtest, then Go test -json that is cut", "\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\n{\"Action\":\"start\",\"Package\":\"p\"}\n", "fail"},
		{"test_progs, then TAP that is cut", "#1 a:OK\nSummary: 1/0 PASSED, 0 SKIPPED, 0 FAILED\nTAP version 13\n1..1\n", "fail"},
		{"Go test -json, then Go that is cut", "{\"Action\":\"run\",\"Test\":\"TestA\"}\n{\"Action\":\"pass\",\"Test\":\"TestA\"}\n{\"Action\":\"pass\"}\n=== RUN   TestB\n", "fail"},
		{"pytest, cut", "===== test session starts =====\ncollected 2 items\n\nt.py .", "fail"},
		{"pytest 9, subtests", "===== test session starts =====\n===== 1 passed, 2 subtests passed in 0.01s =====\n", "pass"},
		{"pytest 9, a subtest fails", "===== test session starts =====\n===== 1 failed, 1 passed, 1 subtests passed in 0.01s =====\n", "fail"},

		{"words", "running 3 tests\ntest one ... fine\nsummary: 1 failed\nlog: test result: FAILED. 1 passed; 1 failed\n2 failures\n# [  FAILED  ] A.b (0 ms)\nRunning 0 test cases...\nthe summary says test cases: 2 | 1 failed\nx.c:1: TINFO: TFAIL is next\nFailures: 1\n3 tests failed\nTests: 1 failed\n[  OK  ] started\n[FAILED] to start\ntests 0 0 0 0 0\n", "pass"},
		{"words at the beginning", "running 3 tests\n", "pass"},
	}
	for _, tt := range tests {
		for _, size := range []int{1 << 20, 1} {
			got := parse(tt.text, size, 0)
			if v := verdictOf(got); v != tt.want {
				t.Errorf("%s: %s, want %s: %q", tt.name, v, tt.want, brief(got))
			}
		}
		got := parse(strings.ReplaceAll(tt.text, "\n", "\r\n"), 1<<20, 0)
		if v := verdictOf(got); v != tt.want {
			t.Errorf("%s, with CRLF: %s, want %s: %q", tt.name, v, tt.want, brief(got))
		}
		if tt.want != wire.TestFail {
			if v := verdictOf(parse(tt.text, 1<<20, 1)); v != wire.TestFail {
				t.Errorf("%s, exit status 1: %s", tt.name, v)
			}
		}
	}
}

// LTP's exit status of a test that was skipped counts where the output says so.
func TestLTPSkip(t *testing.T) {
	for text, want := range map[string]string{
		"a.c:1: TCONF: no\n":                       wire.TestSkip,
		"a.c:1: TCONF: no\na.c:2: TPASS: yes\n":    wire.TestFail,
		"a.c:1: TCONF: no\na.c:2: TBROK: broken\n": wire.TestFail,
		"words\n": wire.TestFail,
	} {
		if got := verdictOf(parse(text, 1<<20, 32)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// What failed in one kind of output is not excused where failures of another are
// expected.
func TestSummaryBesideFailures(t *testing.T) {
	got := brief(parse(joined("1..1", "not ok 1 - known", "test cases: 2 | 1 passed | 1 failed"), 1<<20, 0))
	if d := cmp.Diff([]string{"fail known: test cases: 2 | 1 passed | 1 failed", "fail prog: Catch2: test cases: 2 | 1 passed | 1 failed"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Each failure that a summary counts is one, and a test that another one took the
// place of can hide more.
func TestNotExcused(t *testing.T) {
	for text, want := range map[string]outcome{
		"\nrunning 2 tests\ntest a ... x\nok\nFAILED\ntest b ... FAILED\n\ntest result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n": {[]string{
			"pass a", "fail b", "fail prog: test result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
		}, false},
		"[ RUN      ] A.b\n[ RUN      ] A.b\n[       OK ] A.b (0 ms)\n[==========] 1 test from 1 test suite ran. (0 ms total)\n": {[]string{
			"fail A.b: it started and did not end: another began", "pass A.b#01",
		}, true},
		"=== RUN   TestA\n=== PAUSE TestA\n=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n": {[]string{
			"fail TestA: it was started again before it ended", "pass TestA#01",
		}, true},
	} {
		got := parseGoTest(text, 0, func(*Parser) {})
		if d := cmp.Diff(want.tests, got.tests); d != "" || got.cut != want.cut {
			t.Errorf("cut short: %v, want %v; tests (-want +got):\n%s", got.cut, want.cut, d)
		}
	}
}

func FuzzFrameworks(f *testing.F) {
	var seeds []string
	for _, r := range frameworkRecords(f) {
		seeds = append(seeds, r.text)
	}
	fuzz(f, append(seeds,
		"[==========] Running 1 test from 1 test suite.\n[ RUN      ] A.b\n[==========] Running 1 test from 1 test suite.\nx[       OK ] A.b (0 ms)\n",
		"\nrunning 1 test\ntest a ... x\nok\n\nfailures:\n\n---- a stdout ----\nx\n", "open01      1  TFAIL  :  open01.c:108: wrong\n", "2 of 3 (67%) tests successful, 0 (0%) test skipped.\n",
		"1 success / 1 failure / 0 errors / 0 pending : 0.001 seconds\n", "== 1 failed, 2 passed in 1s ==\n", "Ran 0 of 5 Specs in 0.000 seconds\n")...)
}

// FuzzSummary holds that whatever a line is, a summary counts nothing below zero.
func FuzzSummary(f *testing.F) {
	replacer := strings.NewReplacer("{ran}", "3", "{passed}", "2", "{failed}", "1", "{skipped}", "0", "{}", "7", "{*}", " x", "{word}", "w", "{items}", "3 | 2 passed")
	for _, fw := range frameworks {
		for _, text := range append(append([]string{}, fw.end...), fw.fail...) {
			line := replacer.Replace(text)
			if p := (&pattern{text: text}); p.match(line) == nil {
				f.Errorf("%q does not match %q", text, line)
			}
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := summaries{}
		s.line([]byte(text), false)
		for _, seen := range s {
			for name, n := range seen.counts {
				if n < 0 {
					t.Errorf("%s: %d", name, n)
				}
			}
		}
		_ = s.told()
	})
}
