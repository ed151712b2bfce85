package shard

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/expect"
	"github.com/elastic/bpf-kernel-check/report/summary"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// A test that passes in one run and fails in the other makes the kernel fail,
// and is said to be flaky; the console of each run is kept. Of 20 coins that the
// kernel's random numbers throw in two runs, all come the same once in 2^20.
func TestRepeatFindsFlakyTests(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	p, err := guest.TestPayload(t.Context(), l.hostile, []string{"tests", "coins"}, "/", "amd64", far)
	if err != nil {
		t.Fatal(err)
	}
	r := l.runner(t, p)
	r.Repeats = 2
	r.Expect = &expect.List{Entries: []expect.Entry{{Kernels: []string{"*/*"}, Tests: []string{"TestFirst"}, Reason: "it does not fail", Where: "x:1"}}}
	k, console := l.run(t, r)
	if k.Verdict != report.Fail || k.Repeats != 2 || len(k.Flaky) == 0 || len(k.Tests) != 21 || k.Attempts != 1 {
		t.Errorf("verdict %v, %d repeats, flaky %v, %d tests, %d attempts", k.Verdict, k.Repeats, k.Flaky, len(k.Tests), k.Attempts)
	}
	failed := map[string]bool{}
	for _, x := range k.Tests {
		failed[x.Name] = x.Verdict == "fail"
	}
	for _, f := range k.Flaky {
		if f.Failed != 1 || f.Runs != 2 || !failed[f.Name] {
			t.Errorf("%+v, failed: %v", f, failed[f.Name])
		}
	}
	if len(k.StaleExpectations) != 1 || k.FailedAsExpected() {
		t.Errorf("surprises %q, forgiven %v", k.StaleExpectations, k.FailedAsExpected())
	}
	if len(k.History) != 1 || k.History[0].Console == "" {
		t.Fatalf("history %+v, want the other run", k.History)
	}
	other, err := os.ReadFile(filepath.Join(r.Out, k.History[0].Console))
	if err != nil || !strings.Contains(string(other), "=== RUN   TestCoin00") || !strings.Contains(console, "=== RUN   TestCoin00") {
		t.Errorf("the consoles of both runs are not there: %v", err)
	}
	f := readShardFile(t, r.Out)
	if f.Problem != "" || len(f.Kernels) != 1 || f.Plan.Repeat != 2 || f.Plan.Expect == "" {
		t.Errorf("the shard file: %q, %d kernels, plan %+v", f.Problem, len(f.Kernels), f.Plan)
	}
}

// slowSource has kernels whose download does not end.
type slowSource struct{}

func (slowSource) String() string                             { return "slow" }
func (slowSource) List(context.Context) ([]kernel.Ref, error) { return nil, nil }
func (slowSource) Open(ctx context.Context, _ kernel.Ref) (*kernel.Image, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestTimeIsUp(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	r := l.runner(t, l.passPayload(t))
	ctx, cancel := context.WithCancelCause(t.Context())
	r.Report = func(e Event) {
		if e.State == Done {
			cancel(&TimeUpError{Limit: time.Minute})
		}
	}
	slow := plan.Entry{Ref: kernel.Ref{Distro: "slow", Name: "1.2.3__x"}, Source: slowSource{}}
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	results, err := r.Run(ctx, plan.Plan{Entries: []plan.Entry{l.entry, slow}})
	if err != nil {
		t.Fatal(err)
	}
	const why = "the run's time, 1m0s, was up"
	if results[0].Verdict != report.Pass || results[1].Verdict != report.Missing || results[1].Cause.Title != why+" before this kernel was done" {
		t.Errorf("got %v and %v, %+v; want pass, and missing because %s", results[0].Verdict, results[1].Verdict, results[1].Cause, why)
	}
	if code := report.RunOutcome(2, results, false).ExitCode(); code != report.ExitNotTested {
		t.Errorf("exit code %d", code)
	}
	f := readShardFile(t, r.Out)
	if len(f.Kernels) != 1 || !strings.Contains(f.Problem, why+" after 1 of 2 kernels") || f.Damaged {
		t.Errorf("the shard file: %q, damaged %v, %d kernels", f.Problem, f.Damaged, len(f.Kernels))
	}
	if b, err := os.ReadFile(filepath.Join(r.Out, summary.Name)); err != nil || !strings.Contains(string(b), "[MISSING] slow/1.2.3__x  "+why) {
		t.Errorf("the summary: %v\n%s", err, b)
	}
}

func readShardFile(t *testing.T, dir string) *report.ShardFile {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "shard-*.ndjson"))
	if err != nil || len(files) != 1 {
		t.Fatalf("shard files %v, %v", files, err)
	}
	b, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	f, err := report.ReadShardFile(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
