package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

func TestPrefixed(t *testing.T) {
	var b bytes.Buffer
	to := &shared{w: &b}
	one, two := to.lines("a"), to.lines("b")
	for _, w := range []struct {
		to   io.Writer
		text string
	}{{one, "x\ny"}, {two, "1\n"}, {one, "z\n\n"}, {two, "end"}, {one, strings.Repeat("l", maxPrefixed)}} {
		if n, err := w.to.Write([]byte(w.text)); n != len(w.text) || err != nil {
			t.Fatal(n, err)
		}
	}
	flush(one)
	flush(two)
	want := "[a] x\n[b] 1\n[a] yz\n[a] \n[a] " + strings.Repeat("l", maxPrefixed-1) + "\n[a] l\n[b] end\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// Each kernel's program reads standard input from its start, and what nobody asks
// for is not read.
func TestSpool(t *testing.T) {
	src, in := io.Pipe()
	s, err := newSpool(src)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() {
		for _, text := range []string{"one", "two"} {
			_, _ = in.Write([]byte(text))
		}
		in.Close()
	}()
	for range 2 {
		var all []byte
		for {
			b := make([]byte, 2)
			n, err := s.ReadAt(t.Context(), b, int64(len(all)))
			all = append(all, b[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
		}
		if string(all) != "onetwo" {
			t.Errorf("%q", all)
		}
	}

	src, _ = io.Pipe() // that nobody closes
	s, err = newSpool(src)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if n, err := s.ReadAt(ctx, make([]byte, 1), 0); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(n, err)
	}
}

func TestProgramName(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"repo/.git/x", "repo/mod/go.mod", "repo/mod/pkg/x", "mod/go.mod", "mod/pkg/x", "bare/pkg/x"} {
		put(t, filepath.Join(root, name), "")
	}
	for _, tt := range []struct {
		dir, program, name string
		args               []string
		want               string
	}{
		{dir: "repo/mod/pkg", program: "/tmp/go-build1/b001/pkg.test", args: []string{"-test.timeout=10m0s", "-test.run=X"}, want: "mod/pkg/pkg.test"},
		{dir: "mod/pkg", program: "/tmp/b001/pkg.test", want: "pkg/pkg.test"},
		{dir: "bare/pkg", program: "/x/p", want: "p"},
		{dir: "repo", program: "/x/probe-203bbe5464e30b5a", want: "probe-203bbe5464e30b5a"},
		{dir: "repo", program: "/x/t", args: []string{"--gtest_filter=A.B/0"}, want: "t@gtest_filter_A.B_0~"},
		{dir: "repo", program: "/x/t", args: []string{"--token=hunter2"}, want: "t@token_"},
		{dir: "repo", program: "/x/..a b\n", want: "a_b_"},
		{dir: "repo", program: "/x/t", args: []string{"x"}, name: "suite/one", want: "suite/one"},
	} {
		e := &execution{o: &execOptions{name: tt.name}, dir: filepath.Join(root, tt.dir)}
		got, err := e.programName(tt.program, tt.args)
		if err != nil || !strings.HasPrefix(got, tt.want) || !strings.Contains(tt.want, "@") && got != tt.want || strings.Contains(got, "hunter2") {
			t.Errorf("%s %s %q: %q, %v; want %q", tt.dir, tt.program, tt.args, got, err, tt.want)
		}
	}
	a, b := nameOfArgs([]string{"a b"}), nameOfArgs([]string{"a", "b!"})
	if a == b {
		t.Errorf("other arguments have the name %s too", a)
	}
	for _, bad := range []string{"../x", "/x", "a//b", "a b", ".hidden", strings.Repeat("x", 201)} {
		e := &execution{o: &execOptions{name: bad}}
		if got, err := e.programName("/x", nil); err == nil {
			t.Errorf("--name %q: %q", bad, got)
		}
		if name := safeName(bad); safeName(name) != name || !filepath.IsLocal(name) || len(name) > maxProgramName {
			t.Errorf("%q is made %q", bad, name)
		}
	}
}

func TestExecEnvironment(t *testing.T) {
	for name, v := range map[string]string{"CARGO_PKG_NAME": "p", "CARGO_REGISTRY_TOKEN": "secret", "RUST_TEST_THREADS": "2", "ZZ_ONE": "1", "ZZ_TWO": "2", "ZZ_OTHER": "3"} {
		t.Setenv(name, v)
	}
	var warned []string
	c := &command{getenv: os.Getenv, stderr: io.Discard}
	e := &execution{command: c, o: &execOptions{}}
	e.o.payload.env = []string{"ZZ_T*", "ZZ_ONE", "K=V=W", "ZZ_NOT_SET"}
	env, err := e.environment()
	if err != nil {
		t.Fatal(err, warned)
	}
	got := " " + strings.Join(env, " ") + " "
	for _, want := range []string{"CARGO_PKG_NAME=p", "RUST_TEST_THREADS=2", "ZZ_TWO=2", "ZZ_ONE=1", "K=V=W"} {
		if !strings.Contains(got, " "+want+" ") {
			t.Errorf("no %s in %s", want, got)
		}
	}
	for _, not := range []string{"secret", "ZZ_OTHER", "ZZ_NOT_SET", "PATH=", "HOME="} {
		if strings.Contains(got, not) {
			t.Errorf("%s is in %s", not, got)
		}
	}
	e.o.payload.env = []string{"ZZ_[T"}
	if _, err := e.environment(); err == nil {
		t.Error("a broken glob")
	}
}

// The exit status is the program's, as far as that tells what came of it.
func TestExecStatus(t *testing.T) {
	result := func(v report.Verdict) report.Result {
		return report.Result{Verdict: v, Cause: &report.Cause{Title: "why"}}
	}
	for _, tt := range []struct {
		name    string
		results []report.Result
		want    int
		said    string
		more    int // kernels without a result
	}{
		{"one has no result", []report.Result{result(report.Pass)}, 125, "", 1},
		{"passed", []report.Result{result(report.Pass)}, 0, "", 0},
		{"a failure that the status hides", []report.Result{result(report.Fail)}, 1, "bpf-kernel-check: 0: fail: why", 0},
		{"crashed", []report.Result{result(report.Crash)}, 134, "crash: why (--out DIR", 0},
		{"timed out", []report.Result{result(report.Timeout)}, 124, "timeout: why", 0},
		{"not tested", []report.Result{result(report.Infra)}, 125, "infra: why", 0},
		{"not booted", []report.Result{result(report.NoBoot)}, 125, "no-boot: why", 0},
		{"not reached", []report.Result{result(report.Missing)}, 125, "missing: why", 0},
		{"of unknown verdict", []report.Result{{}}, 125, "unknown", 0},
		{"the worst counts", []report.Result{result(report.Pass), result(report.Infra), result(report.Fail), result(report.Timeout)}, 124, "why", 0},
	} {
		var b bytes.Buffer
		e := &execution{command: &command{stderr: &b}, o: &execOptions{}, results: map[string]report.Result{}, streams: map[string]*vm.Stream{}}
		for i, k := range tt.results {
			e.results[string(rune('0'+i))] = k
		}
		e.total = len(tt.results) + tt.more
		if got := e.status(); got != tt.want || !strings.Contains(b.String(), tt.said) || tt.said == "" && b.Len() > 0 {
			t.Errorf("%s: %d, want %d: %s", tt.name, got, tt.want, b.String())
		}
	}
}

func TestListing(t *testing.T) {
	for arg, want := range map[string]bool{"--gtest_list_tests": true, "-test.list=.": true, "--list": true, "--listen": false, "list": false, "-test.run=list": false} {
		if got := listing.MatchString(arg); got != want {
			t.Errorf("%s: %v", arg, got)
		}
	}
}

// Merge finds the results of a program whatever its name is, and of each call.
func TestCallDir(t *testing.T) {
	for want, call := range map[string]struct {
		program string
		n       int
	}{
		"a.test": {"a.test", 1}, "a.test,2": {"a.test", 2}, "internal,verifier,a.test": {"internal/verifier/a.test", 1},
		"results,": {"results", 1}, "results,2": {"results", 2}, "verifier,": {"verifier", 1},
	} {
		if got := callDir(call.program, call.n); got != want {
			t.Errorf("%v: %s, want %s", call, got, want)
		}
	}
}

// No call takes the place of another's results, not even if both run at the same
// time, and one without results leaves no directory.
func TestResultsDir(t *testing.T) {
	out := t.TempDir()
	var used []string
	for i := range 3 {
		e := &execution{o: &execOptions{out: out}}
		done, err := e.resultsDir("a/b")
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			done()
			continue
		}
		used = append(used, filepath.Base(e.o.run.out))
	}
	if !slices.Equal(used, []string{"a,b", "a,b,2"}) {
		t.Errorf("%q", used)
	}
}
