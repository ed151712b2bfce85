package main

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
)

// shardIn writes a shard file with one kernel's result.
func shardIn(t *testing.T, dir string, attempt int, k report.Result) string {
	t.Helper()
	p := report.Plan{Tool: "x", List: "sha256:0", Algorithm: "x", Shard: 1, Shards: 1, Attempt: attempt, Arch: "amd64", Kernels: []string{k.ID}}
	w, err := report.CreateShardFile(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Kernel(k); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, p.ShardFileName())
}

// Results are found in an artifact that nobody has unpacked, and of several
// attempts the latest counts.
func TestRecall(t *testing.T) {
	const id = "debian/6.1"
	kernel := func(digest string) report.Result {
		return report.Result{ID: id, Digest: digest, Verdict: report.Fail, Attempts: 1, Cause: &report.Cause{Title: "x"}}
	}
	dir := t.TempDir()
	shardIn(t, dir, 1, kernel("sha256:1"))
	b, err := os.ReadFile(shardIn(t, t.TempDir(), 2, kernel("sha256:2")))
	if err != nil {
		t.Fatal(err)
	}
	artifact := filepath.Join(dir, "artifact.zip")
	f, err := os.Create(artifact)
	if err != nil {
		t.Fatal(err)
	}
	zw := zip.NewWriter(f)
	for _, name := range []string{"a/shard.ndjson", "results/debian/forged.ndjson"} {
		w, err := zw.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()

	alone := t.TempDir()
	shardIn(t, alone, 1, kernel("sha256:1"))
	for where, want := range map[string]string{alone: "sha256:1", artifact: "sha256:2", dir: "sha256:2"} {
		var errs bytes.Buffer
		c := &command{stderr: &errs}
		for _, id := range []string{"", id} {
			k, err := c.recall([]string{where}, id)
			if err != nil || k.Digest != want || errs.Len() > 0 {
				t.Errorf("%s: %+v, %v, %q", where, k, err, errs.String())
			}
		}
	}
}
