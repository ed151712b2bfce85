package shard

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// A go test -c binary runs unchanged, and its tests show by name.
func TestGoTestBinary(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "sample.test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, "./testdata/gotest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "file.txt"), []byte("from outside"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		args    string
		env     []string
		verdict report.Verdict
		cause   string
		want    []string // verdict and name; the first line of what a failure says
	}{
		{name: "passes", args: "-test.v -test.skip Subtests/fails", verdict: report.Pass, want: []string{
			"pass TestExits", "pass TestSubtests/passes", "skip TestSubtests/is_skipped", "pass TestSubtests",
			"pass TestPrintsWithoutNewline", "pass TestFile", "pass TestPanic", "pass TestLast",
		}},
		{name: "fails", args: "-test.v=test2json -test.run Subtests", verdict: report.Fail, cause: "TestSubtests/fails: ", want: []string{
			"pass TestSubtests/passes", "fail TestSubtests/fails: want 1, got 2", "skip TestSubtests/is_skipped", "fail TestSubtests",
		}},
		{name: "panics", args: "-test.v -test.run Panic|Last", env: []string{"PANIC=1"}, verdict: report.Fail, cause: "TestPanic: panic: boom", want: []string{
			"fail TestPanic: panic: boom [recovered, repanicked]",
		}},
		{name: "ends in the middle, and says that it passed", args: "-test.v=test2json -test.run Exits|Last", env: []string{"EXIT=test"}, verdict: report.Fail, cause: "TestExits#01: panic: unexpected call to os.Exit(0) during test", want: []string{
			"pass TestExits", "fail TestExits#01: panic: unexpected call to os.Exit(0) during test [recovered, repanicked]",
		}},
		{name: "has a TestMain that runs no test", args: "-test.v", env: []string{"EXIT=main"}, verdict: report.Fail, cause: "sample.test: no PASS after the tests", want: []string{
			"fail sample.test: no PASS after the tests: the program ended before go test's code was done, by os.Exit or by a TestMain that does not call m.Run; exit status 0",
		}},
		{name: "without -test.v", args: "-test.run Last", verdict: report.Pass, want: []string{"pass TestLast"}},
		{name: "without -test.v, all skipped", args: "-test.run Last", env: []string{"SKIP=1"}, verdict: report.Fail, cause: "no test passed: the only one was skipped", want: []string{"skip TestLast"}},
		{name: "quiet", args: "-test.v=false -test.run Last", verdict: report.Pass, want: []string{"pass sample.test"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			p, err := guest.TestPayload(t.Context(), binary, strings.Fields(tt.args), "/src", "amd64", far)
			if err != nil {
				t.Fatal(err)
			}
			p.Job.Env = append(tt.env, "WANT=from outside")
			if err := p.AddFile(data + ":/src/data"); err != nil {
				t.Fatal(err)
			}
			k, _ := l.run(t, l.runner(t, p))
			if k.Verdict != tt.verdict {
				t.Errorf("verdict %v, want %v", k.Verdict, tt.verdict)
			}
			if tt.cause != "" && (k.Cause == nil || !strings.HasPrefix(k.Cause.Title, tt.cause)) {
				t.Errorf("cause %+v, want %q", k.Cause, tt.cause)
			}
			var got []string
			for _, x := range k.Tests {
				line := x.Verdict + " " + x.Name
				if x.Verdict == wire.TestFail && x.Output != "" {
					first := firstLine(x.Output)
					if _, said, ok := strings.Cut(first, "_test.go:"); ok {
						_, first, _ = strings.Cut(said, ": ")
					}
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

func firstLine(s string) string {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}
