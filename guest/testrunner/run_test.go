package testrunner

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMain has the test's own binary pass for the tracer, when it is called by
// its name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "EventsTrace" {
		os.Exit(fakeTracer(os.Args))
	}
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// outcome is what one run of testrunner left.
type outcome struct {
	code   int
	stdout string
	stderr string
	tests  []wire.Test
	phases []string
	done   *wire.Done
	paused map[time.Duration]int // how often for so long
}

func (o outcome) verdicts() map[string]string {
	v := map[string]string{}
	for _, t := range o.tests {
		v[t.Name] = t.Verdict
	}
	return v
}

func (o outcome) failed() []string {
	var names []string
	for _, t := range o.tests {
		if t.Verdict == wire.TestFail {
			names = append(names, t.Name)
		}
	}
	return names
}

func (o outcome) output(name string) string {
	for _, t := range o.tests {
		if t.Name == name {
			return t.Output
		}
	}
	return ""
}

// testRun runs testrunner in this process on a machine that stands still and
// has the facts of the captured one.
func testRun(t *testing.T, args ...string) outcome {
	t.Helper()
	return outcomeOf(t, func(stdout, stderr io.Writer, rep *wire.Reporter, m machine) int {
		return run(context.Background(), args, stdout, stderr, rep, m)
	})
}

func outcomeOf(t *testing.T, program func(stdout, stderr io.Writer, rep *wire.Reporter, m machine) int) outcome {
	t.Helper()
	var stdout, stderr, report bytes.Buffer
	paused := map[time.Duration]int{}
	m := machine{
		now: func() time.Time { return time.Unix(0, 0) },
		facts: func(string) check.Facts {
			f := capturedFacts(t)
			f.Overlayfs = true
			return f
		},
		pause: func(ctx context.Context, d time.Duration, first <-chan struct{}, more ...<-chan struct{}) bool {
			paused[d]++
			return pause(ctx, d, first, more...)
		},
	}
	o := outcome{paused: paused, code: program(&stdout, &stderr, wire.NewReporter(&report), m)}
	o.stdout, o.stderr = stdout.String(), stderr.String()
	for line := range bytes.Lines(report.Bytes()) {
		var rec wire.Record
		if err := json.Unmarshal(line, &rec); err != nil {
			t.Fatalf("report line %q: %v", line, err)
		}
		switch rec.Type {
		case wire.TypeTest:
			o.tests = append(o.tests, *rec.Test)
		case wire.TypePhase:
			o.phases = append(o.phases, rec.Phase.Name)
		case wire.TypeDone:
			o.done = rec.Done
		}
	}
	checkConsistent(t, o)
	return o
}

// checkConsistent holds what is true of every run: what was printed, what was
// reported and the exit status say the same.
func checkConsistent(t *testing.T, o outcome) {
	t.Helper()
	if o.code == exitUsage || len(o.tests) == 0 { // --help, --list
		return
	}
	if o.done == nil || o.done.Tests != len(o.tests) {
		t.Errorf("done record %+v after %d tests", o.done, len(o.tests))
	}
	word := map[string]string{wire.TestPass: "PASS", wire.TestFail: "FAIL", wire.TestSkip: "SKIP"}
	for _, test := range o.tests {
		for _, line := range []string{"=== RUN   " + test.Name + "\n", "--- " + word[test.Verdict] + ": " + test.Name + " ("} {
			if strings.Count("\n"+o.stdout, "\n"+line) != 1 {
				t.Errorf("%q is not exactly once in the output", line)
			}
		}
		if test.Verdict != wire.TestPass && test.Output == "" {
			t.Errorf("%s: %s without a reason", test.Name, test.Verdict)
		}
	}
	if len(o.failed()) > 0 && o.code == exitPass {
		t.Errorf("exit status 0 with failed tests %v", o.failed())
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got); go test -update accepts it:\n%s", path, d)
	}
}

// failures is the output without the tests that passed.
func failures(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "=== RUN") && !strings.HasPrefix(line, "--- PASS") {
			b.WriteString(line)
		}
	}
	return b.String()
}
