package testrunner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// runExec runs testrunner exec in this process.
func runExec(ctx context.Context, t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr, report bytes.Buffer
	o := outcome{code: run(ctx, append([]string{"exec"}, args...), &stdout, &stderr, wire.NewReporter(&report), machine{now: time.Now})}
	r := parseReport(t, report.Bytes())
	o.stdout, o.stderr, o.tests, o.done = stdout.String(), stderr.String(), r.tests, r.done
	if o.code != exitUsage && (o.done == nil || o.done.Tests != len(o.tests)) {
		t.Errorf("done record %+v after %d tests", o.done, len(o.tests))
	}
	return o
}

// parseReport reads the records of a report.
func parseReport(t *testing.T, report []byte) (o outcome) {
	t.Helper()
	for line := range bytes.Lines(report) {
		var rec wire.Record
		if err := json.Unmarshal(line, &rec); err != nil {
			t.Fatalf("report line %q: %v", line, err)
		}
		switch {
		case rec.Test != nil:
			o.tests = append(o.tests, *rec.Test)
		case rec.Done != nil:
			o.done = rec.Done
		}
	}
	return o
}

// A failure that was expected excuses no test that did not run.
func TestStopsEarly(t *testing.T) {
	for _, tt := range []struct {
		framework, args string
		want            bool
	}{
		{"pytest", "-m pytest -x t", true},
		{"pytest", "-m pytest -vx", true},
		{"pytest", "--maxfail=2", true},
		{"pytest", "--maxfail 2", true},
		{"pytest", "--exitfirst", true},
		{"pytest", "-m pytest -v --junit-xml=x", false},
		{"catch2", "-a", true},
		{"catch2", "--abortx 2", true},
		{"catch2", "--abortx:2", true},
		{"catch2", "-x:1", true},
		{"catch2", "-sa", true},
		{"criterion", "-f", true},
		{"criterion", "-vf", true},
		{"criterion", "--output=xml:x -v", false},
		{"catch2", "-r junit", false},
		{"doctest", "-aa=1", true},
		{"doctest", "--abort-after=1", true},
		{"ctest", "--stop-on-failure", true},
		{"bats", "--abort", true},
		{"gtest", "-x", false},
		{"", "-x", true},
		{"", "--stop-on-failure", true},
		{"", "-m pytest t", false},
	} {
		if got := stopsEarly(tt.framework, append([]string{"prog"}, strings.Fields(tt.args)...)); got != tt.want {
			t.Errorf("%s %s: %v, want %v", tt.framework, tt.args, got, tt.want)
		}
	}
	dir := t.TempDir()
	o := runExec(t.Context(), t, "--framework", "pytest", "--junit", dir+"/*.xml", "--", "/bin/sh", "-c", `echo '<testsuite><testcase name="a"><failure/></testcase></testsuite>' > $1/x.xml; exit 1`, "pytest", dir, "-x")
	if o.done.Incomplete == "" {
		t.Errorf("%+v", o)
	}
}

func TestExecJUnit(t *testing.T) {
	const xml = `<testsuite tests="1"><testcase classname="c" name="a"/></testsuite>`
	manyPass := []string{"pass c.a"}
	for i := range 999 {
		manyPass = append(manyPass, fmt.Sprintf("pass c.a#%02d", i+1))
	}
	manyPass = append(manyPass, "fail prog: JUnit XML: DIR/*.xml has more than 1000 files or 64 MiB")
	for _, tt := range []struct {
		name, script string
		code         int
		want         []string
		incomplete   string
	}{
		{name: "a file", script: "echo '" + xml + "' > one.xml; echo hello", want: []string{"pass c.a"}},
		{name: "two files", script: "echo '" + xml + "' | tee one.xml > two.xml", want: []string{"pass c.a", "pass c.a#01"}},
		{name: "no file", script: "echo ok", want: []string{"fail prog: JUnit XML: DIR/*.xml is not there: the program did not write it"}, incomplete: "is not there"},
		{name: "an old file", script: "echo ok", want: []string{"fail prog: JUnit XML: DIR/*.xml was there before the program started, and it did not write it"}, incomplete: "was there before"},
		{name: "an old file, written again", script: "echo '" + xml + "' > old.xml", want: []string{"pass c.a"}},
		{name: "an old file and a new one", script: "echo '" + xml + "' > one.xml", want: []string{"pass c.a"}},
		{name: "a directory", script: "mkdir one.xml", want: []string{"fail prog: JUnit XML: DIR/one.xml: it is no regular file"}, incomplete: "no regular file"},
		{name: "a pipe", script: "mkfifo one.xml", want: []string{"fail prog: JUnit XML: DIR/one.xml: it is no regular file"}, incomplete: "no regular file"},
		{name: "a link to nothing", script: "ln -s nowhere one.xml", want: []string{"fail prog: JUnit XML: DIR/one.xml: no such file or directory"}, incomplete: "no such file"},
		{name: "no end", script: "echo '<testsuite>' > one.xml", want: []string{"fail prog: JUnit XML: DIR/one.xml: it ends in the middle: the program ended before it was written, or still writes it"}, incomplete: "in the middle"},
		{name: "no end, and more than is looked at", script: "{ echo '<testsuite>'; head -c 8M /dev/zero | tr '\\0' ' '; } > one.xml", want: []string{"fail prog: JUnit XML: DIR/one.xml: it ends in the middle: the program ended before it was written, or still writes it"}, incomplete: "in the middle"},
		{name: "too many files", script: "for i in $(seq 1001); do echo '" + xml + "' > $i.xml; done", want: manyPass, incomplete: "more than 1000 files"},
		{name: "very large", script: "echo '" + xml + "' > one.xml; truncate -s 17M one.xml", want: []string{"fail prog: JUnit XML: DIR/one.xml: it has more than 16 MiB"}, incomplete: "more than 16 MiB"},
		{name: "written late", script: "(sleep 0.3; echo '<testsuite>' > one.xml; sleep 0.3; echo '<testcase name=\"a\"/></testsuite>' >> one.xml) > /dev/null 2>&1 &", want: []string{"pass a"}},
		{name: "exit status", script: "echo '" + xml + "' > one.xml; exit 3", code: 3, want: []string{"pass c.a", "fail prog: exit status 3, and its JUnit XML has no failed test"}},
		{name: "killed", script: "echo '" + xml + "' > one.xml; kill -KILL $$", code: 137, want: []string{"pass c.a", "fail prog: signal: SIGKILL, and its JUnit XML has no failed test"}, incomplete: "did not end by itself"},
	} {
		dir := t.TempDir()
		if strings.Contains(tt.name, "old") {
			if err := os.WriteFile(filepath.Join(dir, "old.xml"), []byte(xml), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		o := runExec(t.Context(), t, "--name", "prog", "--dir", dir, "--junit", filepath.Join(dir, "*.xml"), "--", "/bin/sh", "-c", tt.script)
		var got []string
		for _, x := range o.tests {
			first, _, _ := strings.Cut(x.Output, "\n")
			line := x.Verdict + " " + x.Name
			if first != "" {
				line += ": " + strings.ReplaceAll(first, dir, "DIR")
			}
			got = append(got, line)
		}
		if d := cmp.Diff(tt.want, got); d != "" || o.code != tt.code {
			t.Errorf("%s: exit status %d, (-want +got)\n%s", tt.name, o.code, d)
		}
		if !strings.Contains(o.done.Incomplete, tt.incomplete) || (tt.incomplete == "") != (o.done.Incomplete == "") {
			t.Errorf("%s: incomplete %q, want %q", tt.name, o.done.Incomplete, tt.incomplete)
		}
	}
}

func TestExec(t *testing.T) {
	tests := []struct {
		name   string
		script string
		code   int
		stdout string
		stderr string
		want   []string // verdict, name and first line
	}{
		{name: "passes", script: "echo one; echo two >&2; echo three", stdout: "one\ntwo\nthree\n", want: []string{"pass prog"}},
		{name: "fails", script: "echo why; exit 3", code: 3, stdout: "why\n", want: []string{"fail prog: exit status 3"}},
		{name: "dies of a signal", script: "echo why; kill -SEGV $$", code: 139, stdout: "why\n", stderr: "\ntestrunner: prog: signal: SIGSEGV\n", want: []string{"fail prog: signal: SIGSEGV"}},
		{name: "kills its process group", script: "kill -KILL 0", code: 137, stderr: "\ntestrunner: prog: signal: SIGKILL\n", want: []string{"fail prog: signal: SIGKILL"}},
		{name: "a forged PASS", script: "echo PASS; echo '[PASS] all'; exit 1", code: 1, stdout: "PASS\n[PASS] all\n", want: []string{"fail prog: exit status 1"}},
		{name: "TAP", script: "echo 1..2; echo ok 1 - a; echo not ok 2 - b", stdout: "1..2\nok 1 - a\nnot ok 2 - b\n", want: []string{"pass a", "fail b"}},
		{name: "a kernel selftest that skips", script: "echo 1..0 '# SKIP no BTF'; exit 4", stdout: "1..0 # SKIP no BTF\n", want: []string{"skip prog: SKIP no BTF"}},
		{name: "no tests to run", script: "echo 'testing: warning: no tests to run' >&2; echo PASS", stdout: "testing: warning: no tests to run\nPASS\n", want: []string{"fail prog: no test ran: testing: warning: no tests to run; exit status 0"}},
		{name: "has no report of its own and no input", script: `read x && exit 4; [ -z "$` + wire.ReportFDEnv + `" ] || exit 5`, want: []string{"pass prog"}},
		{name: "closes its output and goes on", script: "exec >&- 2>&-; sleep 0.1; exit 6", code: 6, want: []string{"fail prog: exit status 6"}},
	}
	goTest := []struct {
		name, script string
		want         []string
	}{
		{"tests that pass", "echo PASS", []string{"pass prog"}},
		{"tests that pass, one by one", `printf '=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n'`, []string{"pass TestA"}},
		{"the same for test2json", `printf '\026=== RUN   TestA\n\026--- PASS: TestA (0.00s)\n\026PASS\n'`, []string{"pass TestA"}},
		{"an end in the middle", "echo hello", []string{"fail prog: no PASS after the tests: the program ended before go test's code was done, by os.Exit or by a TestMain that does not call m.Run; exit status 0"}},
		{"an end after a test", `printf '=== RUN   TestA\n--- PASS: TestA (0.00s)\n'`, []string{"pass TestA", "fail prog: its output ends without PASS or FAIL: exit status 0"}},
	}
	for _, tt := range goTest {
		t.Run("go test: "+tt.name, func(t *testing.T) {
			o := runExec(t.Context(), t, "--name", "prog", "--go-test", "--", "/bin/sh", "-c", tt.script)
			var got []string
			for _, x := range o.tests {
				first, _, _ := strings.Cut(x.Output, "\n")
				if x.Verdict == wire.TestPass {
					first = ""
				}
				got = append(got, strings.TrimSuffix(x.Verdict+" "+x.Name+": "+first, ": "))
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("tests (-want +got):\n%s", d)
			}
		})
	}
	t.Setenv(wire.ReportFDEnv, "77")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := runExec(t.Context(), t, "--name", "prog", "--", "/bin/sh", "-c", tt.script)
			if o.code != tt.code || o.stdout != tt.stdout || o.stderr != tt.stderr {
				t.Errorf("exit status %d, stdout %q, stderr %q; want %d, %q, %q", o.code, o.stdout, o.stderr, tt.code, tt.stdout, tt.stderr)
			}
			var got []string
			for _, x := range o.tests {
				line := x.Verdict + " " + x.Name
				if first, _, _ := strings.Cut(x.Output, "\n"); first != "" && x.Verdict != wire.TestPass {
					line += ": " + first
				}
				got = append(got, line)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("tests (-want +got):\n%s", d)
			}
		})
	}
}

// What is left running holds the output open, and silent or not, nobody waits
// for it; but nothing that the program itself wrote is lost.
func TestExecDoesNotWaitForOrphans(t *testing.T) {
	for _, orphan := range []string{"sleep 60", "yes"} {
		start := time.Now()
		o := runExec(t.Context(), t, "--", "/bin/sh", "-c", "("+orphan+") & pid=$!; (sleep 5; kill -9 $pid) >/dev/null 2>&1 & head -c 300000 /dev/zero; echo; echo the last line $pid")
		if took := time.Since(start); took > 10*time.Second || o.code != 0 {
			t.Errorf("%s: exit status %d after %v", orphan, o.code, took)
		}
		if !strings.Contains(o.stdout, "the last line") || strings.Count(o.stdout, "\x00") != 300000 {
			t.Errorf("%s: output of %d bytes lacks some of the program's", orphan, len(o.stdout))
		}
	}
}

func TestExecEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if o := runExec(ctx, t, "--", "/bin/sleep", "60"); o.code != 137 || len(o.failed()) != 1 {
		t.Errorf("exit status %d, tests %v", o.code, o.tests)
	}
}

func TestExecOfWhatCannotRun(t *testing.T) {
	o := runExec(t.Context(), t, "--", os.DevNull)
	if o.code != exitNotStarted || len(o.tests) != 1 || o.tests[0].Verdict != wire.TestFail || !strings.HasPrefix(o.tests[0].Output, "start /dev/null: ") {
		t.Errorf("exit status %d, tests %+v", o.code, o.tests)
	}
	for _, args := range [][]string{{}, {"--"}, {"--name"}, {"--bogus", "x"}} {
		if o := runExec(t.Context(), t, args...); o.code != exitUsage || strings.Count(o.stderr, "\n") != 1 {
			t.Errorf("%q: exit status %d, stderr %q", args, o.code, o.stderr)
		}
	}
}

// Whatever failures were expected, a report in which tests can be missing says so.
func TestExecSaysThatTestsCanBeMissing(t *testing.T) {
	const failed = `printf '\026=== RUN   TestA\n\026--- FAIL: TestA (0.00s)\n\026FAIL\n'; exit 1`
	for _, tt := range []struct {
		name   string
		args   []string // of testrunner exec
		script string
		more   []string // arguments of the program
		env    string
		cut    string
	}{
		{name: "a failure, and all ran", args: []string{"--go-test"}, script: failed},
		{name: "log.Fatal in a test", args: []string{"--go-test"}, script: `printf '\026=== RUN   TestA\n'; echo why; exit 1`, cut: "its output ends without PASS or FAIL: exit status 1"},
		{name: "the same without --go-test", script: `printf '\026=== RUN   TestA\n'; echo why; exit 1`, cut: "its output ends without PASS or FAIL: exit status 1"},
		{name: "log.Fatal in TestMain", args: []string{"--go-test"}, script: `echo why; exit 1`, cut: "it ended without PASS or FAIL: exit status 1"},
		{name: "killed", args: []string{"--go-test"}, script: `printf '\026=== RUN   TestA\n'; kill -KILL $$`, cut: "its output ends without PASS or FAIL: signal: SIGKILL"},
		{name: "another exit status than go test's", args: []string{"--go-test"}, script: strings.Replace(failed, "exit 1", "exit 2", 1), cut: "exit status 2, where go test's code ends with 1 when tests fail"},
		{name: "the race detector's", args: []string{"--go-test"}, script: strings.Replace(failed, "exit 1", "exit 66", 1)},
		{name: "fails fast", args: []string{"--go-test"}, script: failed, more: []string{"-test.failfast"}, cut: "it was told to stop at the first failure"},
		{name: "does not fail fast", args: []string{"--go-test"}, script: failed, more: []string{"-test.failfast=false"}},
		{name: "does not fail fast, in other words", script: failed, more: []string{"--no-fail-fast"}},
		{name: "fails fast, in other words", script: failed, more: []string{"--no-fail-fast=false"}, cut: "it was told to stop at the first failure"},
		{name: "fails fast, with nothing that fails", args: []string{"--go-test"}, script: "printf '\\026PASS\\n'", more: []string{"-test.v=test2json", "-test.failfast=true"}},
		{name: "another framework's", script: failed, more: []string{"--ginkgo.fail-fast"}, cut: "it was told to stop at the first failure"},
		{name: "by the environment", script: failed, env: "1", cut: "it was told to stop at the first failure"},
		{name: "not by the environment", script: failed, env: "0"},
		{name: "a program without tests of its own", script: "exit 3"},
		{name: "TAP, cut short", script: "printf '1..3\\nnot ok 1 - a\\nok 2 - b\\n'; exit 1", cut: "3 tests were planned, and 2 ran: exit status 1"},
		{name: "TAP, whole", script: "printf '1..2\\nnot ok 1 - a\\nok 2 - b\\n'; exit 1"},
		{name: "TAP, given up", script: "printf '1..3\\nnot ok 1 - a\\nBail out! no bpffs\\n'; exit 1", cut: "Bail out! no bpffs"},
		{name: "TAP, whole, then a signal", script: "printf '1..2\\nnot ok 1 - a\\nok 2 - b\\n'; kill -SEGV $$", cut: "it did not end by itself: signal: SIGSEGV"},
		{name: "no tests, and a signal", script: "kill -SEGV $$"},
		{name: "test_progs, cut short", script: "printf '#1 a:FAIL\\n'; exit 1", cut: "its output ends without a summary: exit status 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.env != "" {
				t.Setenv("GTEST_FAIL_FAST", tt.env)
			}
			args := append(tt.args, "--name", "prog", "--", "/bin/sh", "-c", tt.script, "sh")
			o := runExec(t.Context(), t, append(args, tt.more...)...)
			if o.done.Incomplete != tt.cut {
				t.Errorf("incomplete: %q, want %q; tests %v", o.done.Incomplete, tt.cut, o.tests)
			}
		})
	}
}

// A program's output is a terminal, its standard input is not.
func TestExecOnATerminal(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "fork.c")
	// As tools/testing/selftests/clone3 does: what a pipe makes stdio keep is
	// printed by both.
	if err := os.WriteFile(source, []byte(`#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv) {
	printf("TAP version 13\n1..2\nok 1 - first\n");
	if (fork() == 0) exit(0);
	wait(0);
	if (argc > 1) abort();
	printf("ok 2 - second\n");
	return 0;
}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	fork := filepath.Join(dir, "fork")
	if b, err := exec.Command("gcc", "-o", fork, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, b)
	}
	if o := runExec(t.Context(), t, "--", fork); o.code != 0 || len(o.tests) != 2 || o.stderr != "" {
		t.Errorf("exit status %d, stderr %q, tests %+v", o.code, o.stderr, o.tests)
	}
	if o := runExec(t.Context(), t, "--", fork, "abort"); len(o.tests) == 0 || o.tests[0].Name != "first" || o.done.Incomplete == "" {
		t.Errorf("of a program that aborts: %+v, incomplete: %q", o.tests, o.done.Incomplete)
	}

	all := make([]byte, 0, 4*256)
	for range 4 {
		for b := range 256 {
			all = append(all, byte(b))
		}
	}
	binary := filepath.Join(dir, "binary")
	if err := os.WriteFile(binary, all, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ script, want string }{
		"what is a terminal":              {`for fd in 0 1 2; do [ -t $fd ] && printf $fd; done`, "12"},
		"its size":                        {"stty size <&1", "40 120\n"},
		"no CR":                           {`printf 'a\nb\n'`, "a\nb\n"},
		"no byte means anything":          {"cat " + binary, string(all)},
		"standard error in order":         {"printf 1; printf 2 >&2; printf 3", "123"},
		"no controlling terminal":         {"(: </dev/tty) 2>/dev/null || echo none", "none\n"},
		"nothing comes in":                {"cat; echo end", "end\n"},
		"in the background":               {"(trap '' TTOU; printf a) & wait; printf b", "ab"},
		"set to print CR":                 {`stty opost onlcr <&1; printf 'a\n'`, "a\r\n"},
		"hundreds of kilobytes in a line": {"head -c 500000 /dev/zero | tr '\\0' x", strings.Repeat("x", 500000)},
	} {
		t.Run(name, func(t *testing.T) {
			if o := runExec(t.Context(), t, "--", "/bin/sh", "-c", tt.script); o.code != 0 || o.stdout != tt.want || o.stderr != "" {
				t.Errorf("exit status %d, stderr %q, output of %d bytes: %.200q", o.code, o.stderr, len(o.stdout), o.stdout)
			}
		})
	}
}

// Where there are no terminals, a pipe does, and that is said.
func TestExecWithoutTerminals(t *testing.T) {
	var said error
	var out bytes.Buffer
	ptmx := filepath.Join(t.TempDir(), "ptmx")
	end := execute(t.Context(), "", []string{"/bin/sh", "-c", "(sleep 60 & ) ; [ -t 1 ] || echo a pipe"}, &out, io.Discard, ptmx, func(err error) { said = err })
	if end.code != 0 || out.String() != "a pipe\n" || said == nil || !strings.Contains(said.Error(), ptmx) {
		t.Errorf("%+v, output %q, said %v", end, &out, said)
	}
}

// BenchmarkExec is of a program that prints much.
func BenchmarkExec(b *testing.B) {
	const size = 8 << 20
	b.SetBytes(size)
	for b.Loop() {
		end := execute(b.Context(), "", []string{"/bin/sh", "-c", "yes 'a line of a test that has something to say about what it does' | head -c " + strconv.Itoa(size)}, io.Discard, io.Discard, "/dev/ptmx", func(err error) { b.Fatal(err) })
		if end.code != 0 {
			b.Fatalf("%+v", end)
		}
	}
}
