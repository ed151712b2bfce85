package testrunner

import (
	"bytes"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// A streamed program's output is its own, byte by byte, and each stream apart;
// its status is kept, and its tests have names.
func TestExecStreamed(t *testing.T) {
	long := strings.Repeat("x", 3*maxHeldLine)
	for _, tt := range []struct {
		name, script   string
		code           int
		stdout, stderr string
		want           []string
	}{
		{name: "passes", script: `printf 'a\0b'; echo c >&2`, stdout: "a\x00b", stderr: "c\n", want: []string{"pass prog"}},
		{name: "has no terminal", script: `[ -t 1 ] || echo none`, stdout: "none\n", want: []string{"pass prog"}},
		{name: "dies of a signal", script: "echo why; kill -SEGV $$", code: 139, stdout: "why\n", want: []string{"fail prog: signal: SIGSEGV"}},
		{name: "skips by its status", script: "echo 1..0 '# SKIP no BTF'; exit 4", code: 4, stdout: "1..0 # SKIP no BTF\n", want: []string{"skip prog: SKIP no BTF"}},
		{name: "runs no test", script: "echo 'testing: warning: no tests to run' >&2; echo PASS", stdout: "PASS\n", stderr: "testing: warning: no tests to run\n", want: []string{"skip prog: no test ran"}},
		{name: "says that a test failed", script: "echo 1..2; echo ok 1 - a; echo not ok 2 - b", stdout: "1..2\nok 1 - a\nnot ok 2 - b\n", want: []string{"pass a", "fail b"}},
		{name: "lines of both", script: "printf '1..1\nok 1'; echo between >&2; echo ' - a'", stdout: "1..1\nok 1 - a\n", stderr: "between\n", want: []string{"pass a"}},
		{name: "a long line", script: "printf %196608s x | tr ' ' x | head -c 196608", stdout: long, want: []string{"pass prog"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := runExec(t.Context(), t, "--stream", "--name", "prog", "--", "/bin/sh", "-c", tt.script)
			if got.code != tt.code || got.stdout != tt.stdout || got.stderr != tt.stderr {
				t.Errorf("exit status %d, stdout %.100q, stderr %q", got.code, got.stdout, got.stderr)
			}
			var tests []string
			for _, r := range got.tests {
				first, _, _ := strings.Cut(r.Output, "\n")
				if r.Verdict == wire.TestPass { // the other stream's lines may come any time
					first = ""
				}
				tests = append(tests, strings.TrimSuffix(r.Verdict+" "+r.Name+": "+first, ": "))
			}
			if strings.Join(tests, "|") != strings.Join(tt.want, "|") {
				t.Errorf("tests %q", tests)
			}
		})
	}
}

// A Go test binary that does not come to its PASS has not passed, streamed or not.
func TestExecStreamedGoTest(t *testing.T) {
	got := runExec(t.Context(), t, "--stream", "--go-test", "--name", "prog", "--", "/bin/sh", "-c", "echo hello")
	if got.code != 0 || len(got.tests) != 1 || got.tests[0].Verdict != wire.TestFail || got.done.Incomplete == "" {
		t.Errorf("%+v", got)
	}
}

func TestWholeLines(t *testing.T) {
	var b bytes.Buffer
	all := &wholeLines{to: &b}
	one, two := &lineOf{all: all}, &lineOf{all: all}
	for _, w := range []struct {
		to   *lineOf
		text string
	}{{one, "a"}, {two, "1\n2"}, {one, "b\nc"}, {two, "3"}} {
		if n, err := w.to.Write([]byte(w.text)); n != len(w.text) || err != nil {
			t.Fatal(n, err)
		}
	}
	one.flush()
	two.flush()
	if b.String() != "1\nab\nc23" {
		t.Errorf("%q", b.String())
	}
}
