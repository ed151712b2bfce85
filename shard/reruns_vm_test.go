package shard

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
)

// Failed tests run again in a VM of their own, and what comes of that counts.
func TestRerunsInVMs(t *testing.T) {
	if testing.Short() {
		t.Skip("boots VMs")
	}
	binary := filepath.Join(t.TempDir(), "flaky.test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, "./testdata/flaky")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	both := []report.Flaky{{Name: "TestFlaky/sub", Failed: 1, Runs: 2}, {Name: "TestFlaky", Failed: 1, Runs: 2}}
	for _, tt := range []struct {
		name, mode string
		reruns     int
		ok         bool
		verdict    report.Verdict
		cause      string
		flaky      []report.Flaky
		history    []report.Verdict
	}{
		{name: "none", verdict: report.Fail, cause: "TestFlaky/sub: flaky_test.go:23: the first run"},
		{name: "passes again", reruns: 2, verdict: report.Fail, cause: "flaky: TestFlaky/sub and 1 more failed, and passed when run again", flaky: both, history: []report.Verdict{report.Pass}},
		{name: "passes again, which is ok", reruns: 2, ok: true, verdict: report.Pass, flaky: both, history: []report.Verdict{report.Pass}},
		{name: "fails again", mode: "fail", reruns: 2, ok: true, verdict: report.Fail, cause: "TestFlaky/sub: flaky_test.go:23: the first run", history: []report.Verdict{report.Fail, report.Fail}},
		{name: "is skipped", mode: "skip", reruns: 1, ok: true, verdict: report.Fail, cause: "TestFlaky/sub: flaky_test.go:23: the first run", flaky: both[1:], history: []report.Verdict{report.Pass}},
		{name: "crashes", mode: "crash", reruns: 2, ok: true, verdict: report.Crash, cause: "when its failed tests ran again: Kernel panic - not syncing: sysrq triggered crash", history: []report.Verdict{report.Crash}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			p, err := guest.TestPayload(t.Context(), binary, nil, "/", "amd64", far)
			if err != nil {
				t.Fatal(err)
			}
			p.Job.Env = []string{"MODE=" + tt.mode}
			r := l.runner(t, p)
			r.Reruns, r.FlakyOK = tt.reruns, tt.ok
			k, console := l.run(t, r)
			if k.Verdict != tt.verdict || (k.Cause == nil) != (tt.cause == "") || k.Cause != nil && !strings.HasPrefix(k.Cause.Title, tt.cause) {
				t.Errorf("%v, %+v; want %v, %q", k.Verdict, k.Cause, tt.verdict, tt.cause)
			}
			if d := cmp.Diff(tt.flaky, k.Flaky); d != "" {
				t.Errorf("flaky: %s", d)
			}
			if k.FlakyOK != (tt.verdict == report.Pass) || !strings.Contains(console, "=== RUN   TestPasses") {
				t.Errorf("flaky is ok: %v; the console of the first VM is not the kernel's", k.FlakyOK)
			}
			var history []report.Verdict
			for i, a := range k.History {
				history = append(history, a.Verdict)
				other, err := os.ReadFile(filepath.Join(r.Out, a.Console))
				if err != nil || a.Rerun != i+1 || strings.Contains(string(other), "=== RUN   TestPasses") || a.Verdict != report.Crash && !strings.Contains(string(other), "=== RUN   TestFlaky/sub") {
					t.Errorf("%+v: %v: the console is not of its failed tests alone", a, err)
				}
			}
			if !slices.Equal(history, tt.history) {
				t.Errorf("history %v, want %v", history, tt.history)
			}
			f := readShardFile(t, r.Out)
			if f.Problem != "" || len(f.Kernels) != 1 || f.Kernels[0].Verdict != tt.verdict || len(f.Kernels[0].Tests) != len(k.Tests) {
				t.Errorf("the shard file: %q, %+v", f.Problem, f.Kernels)
			}
		})
	}
}

// Programs of Rust and of GoogleTest run their failed tests again, too. Each knows a
// rerun by its arguments.
func TestRerunsOfOtherFrameworks(t *testing.T) {
	if testing.Short() {
		t.Skip("boots VMs")
	}
	for _, tt := range []struct {
		name, source, text string
		build              []string
		want               []string
		flaky              string
	}{
		{
			name: "libtest", source: "flaky.rs", build: []string{"rustc", "--test", "-C", "target-feature=+crt-static"},
			text:  "mod some {\n#[test] fn passes() { assert!(!std::env::args().any(|a| a == \"--exact\")); }\n#[test] fn fails() { assert!(std::env::args().any(|a| a == \"--exact\"), \"the first run\"); }\n}\n",
			flaky: "some::fails", want: []string{"pass some::fails", "pass some::passes"},
		},
		{
			name: "GoogleTest", source: "flaky.cc", build: []string{"g++", "-static", "-std=c++14", "-lgtest", "-lgtest_main", "-lpthread"},
			text:  "#include <gtest/gtest.h>\nTEST(Some, Passes) { EXPECT_EQ(testing::GTEST_FLAG(filter), \"*\"); }\nTEST(Some, Fails) { EXPECT_NE(testing::GTEST_FLAG(filter), \"*\") << \"the first run\"; }\n",
			flaky: "Some.Fails", want: []string{"pass Some.Fails", "pass Some.Passes"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			source, program := filepath.Join(dir, tt.source), filepath.Join(dir, "flaky")
			if err := os.WriteFile(source, []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := exec.LookPath(tt.build[0]); err != nil {
				t.Skipf("this machine has no %s", tt.build[0])
			}
			if tt.name == "GoogleTest" {
				if err := exec.Command("g++", "-fsyntax-only", "-include", "gtest/gtest.h", "-x", "c++", "/dev/null").Run(); err != nil {
					t.Skip("this machine has no gtest/gtest.h")
				}
			}
			args := append([]string{"-o", program, source}, tt.build[1:]...)
			if b, err := exec.Command(tt.build[0], args...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, b)
			}
			l := theLab(t)
			for _, xml := range []bool{false, tt.name == "GoogleTest"} {
				p, err := guest.TestPayload(t.Context(), program, nil, "/", "amd64", far)
				if err != nil {
					t.Fatal(err)
				}
				if xml {
					if err := p.JUnit("gtest", nil, "/"); err != nil {
						t.Fatal(err)
					}
				}
				r := l.runner(t, p)
				r.Reruns, r.FlakyOK = 1, true
				k, _ := l.run(t, r)
				var tests []string
				for _, x := range k.Tests {
					tests = append(tests, x.Verdict+" "+x.Name)
				}
				slices.Sort(tests)
				if d := cmp.Diff(tt.want, tests); d != "" || k.Verdict != report.Pass {
					t.Errorf("%v, %+v: %s", k.Verdict, k.Cause, d)
				}
				if d := cmp.Diff([]report.Flaky{{Name: tt.flaky, Failed: 1, Runs: 2}}, k.Flaky); d != "" {
					t.Error(d)
				}
			}
		})
	}
}
