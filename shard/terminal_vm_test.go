package shard

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
)

// buildC builds a static C program.
func buildC(t *testing.T, source string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(source), ".c"))
	if b, err := exec.Command("gcc", "-static", "-O1", "-Wall", "-Werror", "-o", out, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, b)
	}
	return out
}

// A payload's output is a terminal, in a VM that was booted and in one that was
// restored.
func TestTerminal(t *testing.T) {
	tests := []struct {
		name    string
		args    string
		verdict report.Verdict
		want    []string // verdict and name of each test
		console string
	}{
		{name: "is one", args: "look", verdict: report.Pass, want: []string{"pass terminal"}, console: "terminal: 011 40x120 dumb 1 /dev/pts/0\nmodes: 104755 41777\n"},
		{name: "is flushed before a fork", args: "fork", verdict: report.Pass, want: []string{"pass first", "pass second"}},
		{name: "keeps what a program that crashes has printed", args: "crash", verdict: report.Fail, want: []string{"pass first", "fail terminal: plan"}},
		{name: "outlives its program without a signal to the rest", args: "daemon", verdict: report.Pass, want: []string{"pass first"}, console: "left running"},
	}
	for _, tt := range tests {
		for _, boot := range []Boot{BootCold, BootWarm} {
			t.Run(tt.name+", "+boot.String(), func(t *testing.T) {
				t.Parallel()
				l := theLab(t)
				p, err := guest.TestPayload(t.Context(), buildC(t, "testdata/terminal.c"), []string{tt.args}, "/", "amd64", far)
				if err != nil {
					t.Fatal(err)
				}
				data := filepath.Join(t.TempDir(), "data")
				for _, err := range []error{
					os.MkdirAll(filepath.Join(data, "empty"), 0o755), os.Chmod(filepath.Join(data, "empty"), 0o777|os.ModeSticky),
					os.WriteFile(filepath.Join(data, "suid"), nil, 0o755), os.Chmod(filepath.Join(data, "suid"), 0o755|os.ModeSetuid),
					p.AddFile(data),
				} {
					if err != nil {
						t.Fatal(err)
					}
				}
				r := l.runner(t, p)
				r.Boot, r.QEMUDigest = boot, "test"
				k, console := l.run(t, r)
				var got []string
				for _, x := range k.Tests {
					got = append(got, x.Verdict+" "+x.Name)
				}
				if d := cmp.Diff(tt.want, got); d != "" || k.Verdict != tt.verdict {
					t.Errorf("verdict %v, want %v: %+v; tests (-want +got):\n%s", k.Verdict, tt.verdict, k.Cause, d)
				}
				if !strings.Contains(strings.ReplaceAll(console, "\r\n", "\n"), tt.console) || strings.Contains(console, "has a pipe for its output") {
					t.Errorf("the console lacks %q:\n%s", tt.console, console)
				}
			})
		}
	}
}

// A Go program that hangs shows its goroutines before what the kernel says of its
// processes, and none of our own processes are among those.
func TestHungGoProgram(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "real.test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, "../guest/testrunner/testdata/gotest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	for _, boot := range []Boot{BootCold, BootWarm} {
		t.Run(boot.String(), func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			p, err := guest.TestPayload(t.Context(), binary, []string{"-test.v", "-test.run", "First|Dies|Last"}, "/", "amd64", far)
			if err != nil {
				t.Fatal(err)
			}
			p.Job.Env, p.Job.TestTimeout = []string{"DIE=hang"}, 5*time.Second
			r := l.runner(t, p)
			r.Boot, r.QEMUDigest = boot, "test"
			k, console := l.run(t, r)
			if k.Verdict != report.Timeout || k.Cause == nil || k.Cause.Title != "TestDies/deep did not end within 5s" {
				t.Fatalf("%v: %+v", k.Verdict, k.Cause)
			}
			at := -1
			for _, want := range []string{"its goroutines:\ngoroutine ", "gotest.waitsForever(", "init: its processes:", "real.test -test.paniconexit0"} {
				next := strings.Index(k.Cause.Excerpt, want)
				if next < at {
					t.Errorf("%q does not stand where it should:\n%s", want, k.Cause.Excerpt)
				}
				at = next
			}
			if _, after, _ := strings.Cut(k.Cause.Excerpt, "init: its processes:"); strings.Contains(after, "testrunner") {
				t.Errorf("our own processes are shown:\n%s", after)
			}
			var got []string
			for _, x := range k.Tests {
				got = append(got, x.Verdict+" "+x.Name)
				if x.Verdict == "fail" && x.Duration < 5*time.Second {
					t.Errorf("%s ran for %v", x.Name, x.Duration)
				}
			}
			if d := cmp.Diff([]string{"pass TestFirst", "fail TestDies", "fail TestDies/deep"}, got); d != "" {
				t.Errorf("tests (-want +got):\n%s\n%s", d, console)
			}
		})
	}
}
