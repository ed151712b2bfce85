package report

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What the writer writes the reader reads, whatever a guest has put into it.
func TestShardFileRoundTrip(t *testing.T) {
	plan := Plan{Schema: Schema, Tool: "t", List: "sha256:0", Algorithm: "single", Shard: 1, Shards: 1, Attempt: 1, Arch: "amd64"}
	kernels := []Result{
		{
			Verdict: Pass, Attempts: 1, Accel: "kvm", Digest: "sha256:1", Tests: []Test{{Name: "a", Verdict: "pass", Duration: 5}}, Phases: map[string]int64{"vm": 7},
			Facts: &Facts{BTF: true, Targets: map[string]bool{"kprobe/x": true, "kprobe/X": false}},
		},
		{Verdict: Fail, Cause: &Cause{Title: "x"}, Tests: []Test{{Name: "clock went back", Verdict: "fail", Duration: -5 * time.Second, Insns: -1}}, Phases: map[string]int64{"test": -1}},
		{Verdict: Fail, Cause: &Cause{Title: strings.Repeat("t", 9000), Excerpt: strings.Repeat("\xff", 1<<20)}, Tests: []Test{{Name: strings.Repeat("\xff", 512), Output: strings.Repeat("é", 1<<20), Verdict: "fail"}}},
		{Verdict: Crash, Tests: []Test{{Name: "x", Verdict: "odd"}}},
		{Verdict: Timeout, Problems: make([]string, 2*maxList)},
		{Verdict: Fail, Release: "6.1\x1b[31m\n"},
		{Verdict: Fail, Cause: &Cause{Title: "x"}, Tests: repeat(MaxTests+5, Test{Name: strings.Repeat("<", 100), Verdict: "fail", Output: "<"})},
	}
	for i := range kernels {
		kernels[i].ID = fmt.Sprintf("a/%d", i)
		plan.Kernels = append(plan.Kernels, kernels[i].ID)
	}
	dir := t.TempDir()
	w, err := CreateShardFile(dir, plan)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels {
		if err := w.Kernel(k); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, plan.ShardFileName()))
	if err != nil {
		t.Fatal(err)
	}
	f, err := ReadShardFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if f.Problem != "" {
		t.Fatal(f.Problem)
	}
	if d := cmp.Diff(plan, f.Plan); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(kernels[0], f.Kernels[0]); d != "" {
		t.Error(d)
	}
	for i, k := range f.Kernels {
		if k.ID != kernels[i].ID || k.Verdict != kernels[i].Verdict || (k.Cause == nil) != (kernels[i].Cause == nil) {
			t.Errorf("kernel %d: %s, %v", i, k.ID, k.Verdict)
		}
		lost := len(k.Tests) < len(kernels[i].Tests)
		if lost != (i == 3 || i == 6) || lost && len(k.Problems) == 0 {
			t.Errorf("kernel %d: %d of %d tests, problems %v", i, len(k.Tests), len(kernels[i].Tests), k.Problems)
		}
	}
	if d := f.Kernels[1].Tests[0].Duration; d != 0 {
		t.Errorf("a negative duration became %v", d)
	}
	if n := len(f.Kernels[2].Tests[0].Output); n > maxTestOutput || n < maxTestOutput-2 {
		t.Errorf("an output of 2 MiB became %d bytes", n)
	}
}

func repeat[T any](n int, v T) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}

// The writer takes no pass that something speaks against: cutting a result must
// not make one of it.
func TestShardFileRefusesContradictions(t *testing.T) {
	plan := Plan{List: "x", Algorithm: "single", Shard: 1, Shards: 1, Attempt: 1, Kernels: []string{"a/1"}}
	w, err := CreateShardFile(t.TempDir(), plan)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(false)
	for _, k := range []Result{
		{ID: "a/1", Verdict: Pass, Cause: &Cause{Title: "x"}},
		{ID: "a/1", Verdict: Pass, Tests: []Test{{Name: "x", Verdict: "fail"}}},
		{ID: "a/1", Verdict: Pass, Tests: []Test{{Name: "x", Verdict: "unknown"}}},
		{ID: "a/1", Verdict: 99},
		{ID: "a/1", Verdict: Fail, Console: "/etc/passwd"},
	} {
		if err := w.Kernel(k); err == nil {
			t.Errorf("%+v was taken", k)
		}
	}
}

func TestShardFileLimits(t *testing.T) {
	plan, err := encodeLine(Record{Type: "plan", Plan: &Plan{Schema: Schema, List: "x", Algorithm: "rendezvous", Shard: 1, Shards: 1, Attempt: 1, Kernels: []string{"debian/6.1.000"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, rest := range map[string]string{
		"line 2 has more than 32 MiB":        strings.Repeat("x", maxLine+1) + "\n",
		"a list of 100001":                   `{"type":"kernel","kernel":{"id":"debian/6.1.000","verdict":"fail","tests":[` + strings.Repeat("{},", 100_000) + "{}]}}\n",
		"name: a text of 5000 bytes":         `{"type":"kernel","kernel":{"id":"debian/6.1.000","verdict":"fail","tests":[{"verdict":"fail","name":"` + strings.Repeat("x", 5000) + `"}]}}` + "\n",
		"release: \"xxxxx":                   `{"type":"kernel","kernel":{"id":"debian/6.1.000","verdict":"fail","release":"` + strings.Repeat("x", 300) + `"}}` + "\n",
		"a list of 10001: want at most 1000": `{"type":"kernel","kernel":{"id":"debian/6.1.000","verdict":"fail","modules_failed":[` + strings.Repeat(`"",`, 10_000) + `""]}}` + "\n",
	} {
		got, err := ReadShardFile(strings.NewReader(string(plan) + rest))
		if err != nil {
			t.Fatal(err)
		}
		if !got.Damaged || !strings.Contains(got.Problem, name) {
			t.Errorf("%s: %q", name, got.Problem)
		}
	}
	// A file of many good lines.
	lines := &lineReader{r: bufio.NewReader(newlines{}), sum: sha256.New()}
	for {
		if _, err := lines.next(); err != nil {
			if lines.total > maxShardFile+1<<20 || !strings.Contains(err.Error(), "it has more than 128 MiB") {
				t.Errorf("after %d bytes: %v", lines.total, err)
			}
			break
		}
	}
}

// newlines is a file without end.
type newlines struct{}

func (newlines) Read(p []byte) (int, error) {
	clear(p)
	p[len(p)-1] = '\n'
	return len(p), nil
}
