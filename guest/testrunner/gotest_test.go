package testrunner

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// goTestBinary is testdata/gotest, built.
func goTestBinary(t *testing.T) string {
	t.Helper()
	path, err := buildGoTest()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildGoTest = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gotest")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "real.test")
	cmd := exec.Command("go", "test", "-c", "-o", path, "./testdata/gotest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
})

var built string // directory of what was built; "": nothing was

// verdicts are "verdict name" of each test, sorted.
func verdicts(tests []wire.Test) []string {
	var s []string
	for _, x := range tests {
		s = append(s, x.Verdict+" "+x.Name)
	}
	slices.Sort(s)
	return s
}

// However a Go program ends, what it reports is what ran, and it says so when
// tests can be missing.
func TestGoTestBinary(t *testing.T) {
	tests := []struct {
		name string
		run  string // -test.run, and more arguments
		env  []string
		want []string
		cut  bool
		says string // in the output of the first failure
	}{
		{name: "passes", run: "First|Last", want: []string{"pass TestFirst", "pass TestLast"}},
		{name: "fails", run: "First|Dies|Last", env: []string{"DIE=fail"}, want: []string{"fail TestDies", "pass TestFirst", "pass TestLast"}, says: "it is wrong"},
		{name: "fails fast", run: "First|Dies|Last -test.failfast", env: []string{"DIE=fail"}, want: []string{"fail TestDies", "pass TestFirst"}, cut: true},
		{name: "skips", run: "Dies|Last", env: []string{"DIE=skip"}, want: []string{"pass TestLast", "skip TestDies"}},
		{name: "twice", run: "First|Last -test.count 2", want: []string{"pass TestFirst", "pass TestFirst#01", "pass TestLast", "pass TestLast#01"}},
		{name: "on two numbers of processors", run: "First -test.cpu 1,2", want: []string{"pass TestFirst", "pass TestFirst#01"}},
		{name: "shuffled", run: "First|Last -test.shuffle 7", want: []string{"pass TestFirst", "pass TestLast"}},
		{name: "runs its tests twice", run: "First", env: []string{"MAIN=twice"}, want: []string{"pass TestFirst", "pass TestFirst#01"}},
		{name: "nothing to run", run: "Nothing", want: []string{"fail real.test"}, says: "no test ran"},
		{name: "lists", run: "First -test.list .", want: []string{"fail real.test"}, cut: true, says: "no PASS"},

		{name: "log.Fatal", run: "Dies|Last", env: []string{"DIE=fatal"}, want: []string{"fail TestDies"}, cut: true, says: "no such map"},
		{name: "a nil pointer", run: "Dies|Last", env: []string{"DIE=nil"}, want: []string{"fail TestDies"}, cut: true, says: "panic: runtime error: invalid memory address"},
		{name: "os.Exit(3)", run: "Dies|Last", env: []string{"DIE=exit 3"}, want: []string{"fail TestDies"}, cut: true, says: "exit status 3"},
		{name: "os.Exit(0)", run: "Dies|Last", env: []string{"DIE=exit 0"}, want: []string{"fail TestDies"}, cut: true, says: "unexpected call to os.Exit(0)"},
		{name: "exit_group(0)", run: "Dies|Last", env: []string{"DIE=exit_group 0"}, want: []string{"fail TestDies"}, cut: true, says: "exit status 0"},
		{name: "SIGKILL", run: "Dies|Last", env: []string{"DIE=kill"}, want: []string{"fail TestDies"}, cut: true, says: "SIGKILL"},
		{name: "a panic elsewhere", run: "Dies|Last", env: []string{"DIE=goroutine"}, want: []string{"fail TestDies"}, cut: true, says: "panic: elsewhere"},
		{name: "concurrent map writes", run: "Dies|Last", env: []string{"DIE=maps"}, want: []string{"fail TestDies"}, cut: true, says: "fatal error: concurrent map"},
		{name: "a deadlock", run: "Dies|Last", env: []string{"DIE=deadlock"}, want: []string{"fail TestDies"}, cut: true, says: "fatal error: all goroutines are asleep"},
		{name: "Goexit", run: "Dies|Last", env: []string{"DIE=goexit"}, want: []string{"fail TestDies"}, cut: true, says: "runtime.Goexit"},
		{name: "its time-out", run: "Dies|Last -test.timeout 100ms", env: []string{"DIE=hang"}, want: []string{"fail TestDies", "fail TestDies/deep"}, cut: true, says: "panic: test timed out after 100ms"},
		{name: "FailNow in a clean-up", run: "Dies|Last", env: []string{"DIE=cleanup"}, want: []string{"fail TestDies", "pass TestLast"}},
		{name: "a panic in a clean-up", run: "Dies|Last", env: []string{"DIE=cleanup panics"}, want: []string{"fail TestDies"}, cut: true, says: "panic: cleaning up"},
		{name: "a panic in a subtest", run: "Dies|Last", env: []string{"DIE=subtest"}, want: []string{"fail TestDies", "fail TestDies/b", "pass TestDies/a"}, cut: true},
		{name: "log.Fatal in TestMain", run: "First", env: []string{"MAIN=fatal"}, want: []string{"fail real.test"}, cut: true, says: "no bpffs"},
		{name: "os.Exit(0) in TestMain, which says PASS", run: "First", env: []string{"MAIN=exit"}, want: []string{"fail real.test"}, cut: true, says: "no PASS"},
		{name: "Goexit in TestMain", run: "First", env: []string{"MAIN=goexit"}, want: []string{"fail real.test"}, cut: true},
		{name: "Goexit in TestMain after a failure", run: "Dies", env: []string{"MAIN=goexit after", "DIE=fail"}, want: []string{"fail TestDies"}, cut: true},
		{name: "a panic in TestMain after a failure", run: "Dies", env: []string{"MAIN=panic after", "DIE=fail"}, want: []string{"fail TestDies"}, cut: true},

		{name: "a child that passes", run: "Self|Last", env: []string{"SELF=pass"}, want: []string{"pass TestLast", "pass TestSelf"}},
		{name: "a child that fails", run: "Self|Last", env: []string{"SELF=fail"}, want: []string{"pass TestLast", "pass TestSelf"}},
		{name: "a child that panics", run: "Self|Last", env: []string{"SELF=nil"}, want: []string{"pass TestLast", "pass TestSelf"}},
		{name: "a child that is killed", run: "Self|Last", env: []string{"SELF=kill"}, want: []string{"pass TestLast", "pass TestSelf"}},
		{name: "a child that exits", run: "Self|Last", env: []string{"SELF=exit 3"}, want: []string{"pass TestLast", "pass TestSelf"}},
		{name: "a child whose clean-up fails", run: "Self|Last", env: []string{"SELF=cleanup"}, want: []string{"pass TestLast", "pass TestSelf"}},
		{name: "a child in its place", run: "Self|Last", env: []string{"SELF=pass", "EXECVE=1"}, want: []string{"pass TestLast", "pass TestSelf"}},
		{name: "a child that passes, and its parent fails", run: "Self|Last", env: []string{"SELF=pass", "PARENT=fails"}, want: []string{"fail TestSelf", "pass TestLast"}, says: "the parent minds"},
		{name: "a child that passes, and its parent dies", run: "Self|Last", env: []string{"SELF=pass", "PARENT=dies"}, want: []string{"fail TestSelf"}, cut: true, says: "exit status 1"},
		{name: "a child that fails, and its parent dies", run: "Self|Last", env: []string{"SELF=fail", "PARENT=dies"}, want: []string{"fail TestSelf"}, cut: true},

		{name: "an example", run: "Example", want: []string{"fail Example_bad", "pass Example_good"}, says: "got:\nthis\nwant:\nthat"},
		{name: "benchmarks", run: "XXX -test.bench . -test.benchtime 1x", want: []string{"fail BenchmarkBad", "fail BenchmarkBad/fails", "pass BenchmarkBad/logs", "pass BenchmarkBad/passes", "pass BenchmarkGood", "skip BenchmarkBad/skips"}, says: "too slow"},
		{name: "a fuzz target's seeds", run: "Fuzz", want: []string{"fail FuzzSeeds", "fail FuzzSeeds/seed#1", "pass FuzzSeeds/seed#0"}, says: "seed b"},
		{name: "what looks like results", run: "Prints", want: []string{"pass TestPrints"}},
		{name: "a message of one of several", run: "Parallel", want: []string{"fail TestParallel", "fail TestParallel/p0", "pass TestParallel/p1", "pass TestParallel/p2"}, says: "of p0"},
		{name: "attributes", run: "Attributes", want: []string{"pass TestAttributes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, kv := range tt.env {
				k, v, _ := strings.Cut(kv, "=")
				t.Setenv(k, v)
			}
			args := append([]string{"--go-test", "--", goTestBinary(t), "-test.paniconexit0", "-test.v=test2json", "-test.run"}, strings.Fields(tt.run)...)
			o := runExec(t.Context(), t, args...)
			if d := cmp.Diff(tt.want, verdicts(o.tests)); d != "" || (o.done.Incomplete != "") != tt.cut {
				t.Errorf("incomplete: %q; tests (-want +got):\n%s\n%s", o.done.Incomplete, d, o.stdout)
			}
			said := ""
			for _, x := range o.tests {
				if x.Verdict == wire.TestFail && said == "" {
					said = x.Output
				}
			}
			if !strings.Contains(said, tt.says) {
				t.Errorf("the failure says\n%s\nwant %q", said, tt.says)
			}
		})
	}
}

// Of real outputs, with and without marks, we and go tool test2json read the same
// results.
func TestAsTest2JSON(t *testing.T) {
	path, err := exec.Command("go", "tool", "-n", "test2json").Output()
	if err != nil {
		t.Fatal(err)
	}
	test2json := strings.TrimSpace(string(path))
	for name, tt := range map[string]struct {
		run string
		env string
		// test2json does not look behind text without a newline where lines have
		// no mark, and tells of a panic's test only with go test's help.
		more string // the flag of -test.v, or its beginning, with which we read more; "": with none
	}{
		"pass and fail": {run: "First|Dies|Last", env: "DIE=fail"},
		"skip":          {run: "Dies", env: "DIE=skip"},
		"names":         {run: "Names", more: "-test.v=true"},
		"parallel":      {run: "Parallel"},
		"attributes":    {run: "Attributes"},
		"fuzz":          {run: "Fuzz"},
		"examples":      {run: "Example"},
		"twice":         {run: "First -test.count 3"},
		"panic":         {run: "First|Dies", env: "DIE=nil", more: "-test.v"},
		"subtest":       {run: "First|Dies", env: "DIE=subtest", more: "-test.v"},
		"exit":          {run: "First|Dies", env: "DIE=exit 3"},
		"all but some":  {run: "First|Names|Parallel|Attributes|Fuzz|Example|Last", more: "-test.v=true"},
	} {
		for _, verbose := range []string{"-test.v=test2json", "-test.v=true"} {
			t.Run(name+" "+verbose, func(t *testing.T) {
				k, v, _ := strings.Cut(tt.env, "=")
				if k != "" {
					t.Setenv(k, v)
				}
				args := append([]string{"--go-test", "--", goTestBinary(t), "-test.paniconexit0", verbose, "-test.run"}, strings.Fields(tt.run)...)
				o := runExec(t.Context(), t, args...)
				var ours []string
				for _, x := range o.tests {
					// What is printed by one name twice is told apart, and what never
					// ended is a failure.
					name, _, _ := strings.Cut(x.Name, "#0")
					if !strings.Contains(x.Output, "did not end") && x.Name != "real.test" {
						ours = append(ours, x.Verdict+" "+name)
					}
				}
				if len(ours) == 0 {
					t.Fatalf("no test was read:\n%s", o.stdout)
				}
				cmd := exec.Command(test2json)
				cmd.Stdin = strings.NewReader(o.stdout)
				cmd.Stderr = os.Stderr
				b, err := cmd.Output()
				if err != nil {
					t.Fatal(err)
				}
				theirs := []string{}
				for line := range bytes.Lines(b) {
					var e struct{ Action, Test string }
					if err := json.Unmarshal(line, &e); err != nil {
						t.Fatal(err)
					}
					if name, _, _ := strings.Cut(e.Test, "#0"); name != "" && slices.Contains([]string{wire.TestPass, wire.TestFail, wire.TestSkip}, e.Action) {
						theirs = append(theirs, e.Action+" "+name)
					}
				}
				slices.Sort(ours)
				slices.Sort(theirs)
				if tt.more != "" && strings.HasPrefix(verbose, tt.more) {
					if len(ours) <= len(theirs) {
						t.Errorf("we read %q, and it %q", ours, theirs)
					}
					ours = slices.DeleteFunc(ours, func(s string) bool { return !slices.Contains(theirs, s) })
				}
				if d := cmp.Diff(theirs, ours); d != "" {
					t.Errorf("(-theirs +ours):\n%s\n%s", d, o.stdout)
				}
			})
		}
	}
}

// A Go program whose time is up shows its goroutines, and how long its tests ran.
func TestExecShowsGoroutines(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want []string // what the output of the tests holds
	}{
		{name: "a Go test binary", args: []string{"--go-test", "--"}, want: []string{"it started and did not end: ended from outside", "SIGQUIT: quit", "gotest.waitsForever("}},
		{name: "one that another program runs", args: []string{"--", "/bin/sh", "-c", `"$@"; exit 1`, "sh"}, want: []string{"SIGQUIT: quit", "gotest.waitsForever("}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("DIE", "hang")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			args := append(tt.args, goTestBinary(t), "-test.paniconexit0", "-test.v=test2json", "-test.run", "Dies|Last")
			out := writerFunc(func(b []byte) {
				if bytes.Contains(b, []byte("it sleeps")) {
					cancel()
				}
			})
			var report bytes.Buffer
			// Each look at the clock is a second later.
			now := time.Unix(0, 0)
			var mu sync.Mutex
			clock := func() time.Time {
				mu.Lock()
				defer mu.Unlock()
				now = now.Add(time.Second)
				return now
			}
			code := run(ctx, append([]string{"exec"}, args...), out, io.Discard, wire.NewReporter(&report), machine{now: clock})
			o := parseReport(t, report.Bytes())
			if code != 137 || len(o.tests) != 2 || o.done.Incomplete == "" {
				t.Errorf("exit status %d, tests %+v, done %+v", code, o.tests, o.done)
			}
			all := ""
			for _, x := range o.tests {
				all += x.Output
				if x.Duration <= 0 || x.Verdict != wire.TestFail {
					t.Errorf("%s ran for %v: %s", x.Name, x.Duration, x.Verdict)
				}
			}
			for _, want := range tt.want {
				if !strings.Contains(all, want) {
					t.Errorf("the tests' output lacks %q:\n%s", want, all)
				}
			}
		})
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }
