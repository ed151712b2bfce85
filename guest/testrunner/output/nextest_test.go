package output

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What nextest prints; the output was written by hand after its documents and after
// outputs that people show.
func TestNextest(t *testing.T) {
	const start = "    Finished `test` profile [unoptimized + debuginfo] target(s) in 0.05s\n    Starting 4 tests across 1 binary (run ID: ddf007aa-59ed-4c8d-8a5a-d5d7f2508c5b, nextest profile: default)\n"
	const captured = `
--- STDOUT:              probe tests::fails ---

running 1 test
test tests::fails ... FAILED

failures:

failures:
    tests::fails

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.00s


--- STDERR:              probe tests::fails ---
thread 'tests::fails' panicked at src/main.rs:9:9:
assertion failed: why
note: run with RUST_BACKTRACE=1 environment variable to display a backtrace

`
	for name, tt := range map[string]struct {
		text   string
		status int
		want   []string
		cut    bool
	}{
		"pass": {start + "        PASS [   0.003s] probe tests::a\n        PASS [   0.003s] (2/2) probe::bin/x tests::b\n------------\n     Summary [   0.004s] 2 tests run: 2 passed, 3 skipped\n", 0, []string{"pass probe tests::a", "pass probe::bin/x tests::b"}, false},
		"fail": {
			start + "        FAIL [   0.003s] probe tests::fails\n" + captured + "        PASS [   0.003s] probe tests::ok\n------------\n     Summary [   0.004s] 2 tests run: 1 passed, 1 failed, 0 skipped\n        FAIL [   0.003s] probe tests::fails\nerror: test run failed\n", 100,
			[]string{"fail probe tests::fails: assertion failed: why", "pass probe tests::ok"},
			false,
		},
		"the exit status is lost": {
			start + "        FAIL [   0.003s] probe tests::fails\n------------\n     Summary [   0.004s] 1 test run: 0 passed, 1 failed, 0 skipped\nerror: test run failed\n", 0,
			[]string{"fail probe tests::fails: FAIL"},
			false,
		},
		"tries": {
			start + "  TRY 1 FAIL [   0.004s] (─────) probe tests::flaky\n  stdout ───\n    first\n  TRY 1 SIGSEGV [   0.004s] (─────) probe tests::bad\n       RETRY 2/2 [         ] (─────) probe tests::flaky\n  TRY 2 PASS [   0.004s] (1/2) probe tests::flaky\n  TRY 2 TIMEOUT [   1.004s] (2/2) probe tests::bad\n────────────\n     Summary [   0.013s] 2 tests run: 1 passed (1 flaky), 1 timed out, 0 skipped\n   FLAKY 2/2 [   0.004s] (1/2) probe tests::flaky\n  TRY 2 TIMEOUT [   1.004s] (2/2) probe tests::bad\nerror: test run failed\n", 100,
			[]string{"pass probe tests::flaky", "fail probe tests::bad: TIMEOUT"},
			false,
		},
		"signal, slow, skip, leak": {
			start + "        SLOW [> 60.000s] probe tests::a\n     SIGSEGV [   0.003s] probe tests::b\n        LEAK [   0.003s] probe tests::c\n        SKIP [         ] probe tests::d\n        PASS [  70.003s] probe tests::a\n     Summary [   0.004s] 3 tests run: 2 passed (1 slow, 1 leaky), 1 failed, 1 skipped\n", 100,
			[]string{"fail probe tests::b: SIGSEGV", "pass probe tests::c", "skip probe tests::d", "pass probe tests::a"},
			false,
		},
		"stopped at the first failure": {
			start + "        FAIL [   0.003s] probe tests::fails\n  Cancelling due to test failure\n     Summary [   0.004s] 1/4 tests run: 0 passed, 1 failed, 0 skipped\nerror: test run failed\n", 100,
			[]string{"fail probe tests::fails: FAIL"},
			true,
		},
		"every status": {
			start + "       SETUP [      1/1] db: ./db up\n  SETUP PASS [   0.100s] (1/1) db: ./db up\nTIMEOUT-PASS [ 240.000s] (1/9) probe a\n  TRY 1 TRMNTG [>  1.000s] (─────) probe b\n   TRY 1 TMT [  60.000s] (─────) probe b\n  TRY 2 SLOW [> 60.000s] (─────) probe b\nTRY 2 TMPASS [  60.000s] (2/9) probe b\n" +
				" FAIL + LEAK [   1.000s] (3/9) probe c\nABORT SIG 34 [   1.000s] (4/9) probe d\n   LEAK-FAIL [   1.000s] (5/9) probe e\n TRY 1 FL+LK [   1.000s] (─────) probe f\nTRY 2 SIG 34 [   1.000s] (6/9) probe f\n       XFAIL [   1.000s] (7/9) probe g\n" +
				" SLOW + LEAK [  30.000s] (8/9) probe h\n SLOW+TMPASS [ 300.000s] (9/9) probe i\n     Summary [ 400.000s] 9 tests run: 4 passed (2 slow, 1 flaky, 1 leaky), 4 failed, 1 exec failed, 0 skipped\n FAIL + LEAK [   1.000s] (3/9) probe c\nTRY 2 SIG 34 [   1.000s] (6/9) probe f\nerror: test run failed\n", 100,
			[]string{
				"pass probe a", "fail probe c: FAIL + LEAK", "fail probe d: ABORT SIG 34", "fail probe e: LEAK-FAIL", "fail probe g: XFAIL",
				"pass probe h", "pass probe i", "pass probe b", "fail probe f: SIG 34",
			},
			false,
		},
		"a script for setting up": {
			start + "  SETUP FAIL [   0.100s] (1/1) db: ./db up\n     Summary [   0.100s] 0/2 tests run: 0 passed, 0 skipped\nerror: test run failed\n", 105,
			[]string{"fail db: ./db up: FAIL"},
			true,
		},
		"no summary":  {start + "        PASS [   0.003s] probe tests::a\n", 0, []string{"pass probe tests::a", "fail prog: its output ends without a summary: exit status 0"}, true},
		"no test":     {start + "     Summary [   0.004s] 0 tests run: 0 passed, 3 skipped\n", 4, []string{"fail prog: exit status 4"}, false},
		"not seen":    {start + "        PASS [   0.003s] probe tests::a\n     Summary [   0.004s] 2 tests run: 1 passed, 1 failed, 0 skipped\n", 100, []string{"pass probe tests::a", "fail prog: its summary counts 1 failed test, and 0 of them are shown: exit status 100"}, false},
		"more failed": {start + "        FAIL [   0.003s] probe tests::a\n     Summary [   0.004s] 2 tests run: 2 failed, 0 skipped\n", 100, []string{"fail probe tests::a: FAIL", "fail prog: its summary counts 2 failed tests, and 1 of them are shown: exit status 100"}, false},
		"exit status": {start + "        PASS [   0.003s] probe tests::a\n     Summary [   0.004s] 1 test run: 1 passed, 0 skipped\n", 1, []string{"pass probe tests::a", "fail prog: exit status 1"}, false},
	} {
		got := parseGoTest(tt.text, tt.status, func(*Parser) {})
		if d := cmp.Diff(tt.want, got.tests); d != "" || got.cut != tt.cut {
			t.Errorf("%s: cut %v, want %v; (-want +got)\n%s", name, got.cut, tt.cut, d)
		}
	}
}

func FuzzNextest(f *testing.F) {
	fuzz(f, "    Starting 1 test across 1 binary (run ID: x)\n  TRY 1 FAIL [   0.004s] a b\n x\n  TRY 2 PASS [   0.004s] (1/1) a b\n     Summary [   0.013s] 1 test run: 1 passed (1 flaky), 0 skipped\n",
		"    Starting 2 tests across 1 binary (run ID: x)\n        FAIL [   0.004s] a b\nnot ok 1\n     Summary [   0.013s] 1/2 tests run: 1 failed, 0 skipped\nerror: test run failed\n")
}
