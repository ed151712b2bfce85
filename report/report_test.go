package report

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestVerdictText(t *testing.T) {
	for v := Pass; v <= Missing; v++ {
		b, err := v.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Verdict
		if err := got.UnmarshalText(b); err != nil || got != v {
			t.Errorf("%v became %v, %v", v, got, err)
		}
	}
	if b, err := Unknown.MarshalText(); err == nil {
		t.Errorf("unknown is written as %q", b)
	}
	var v Verdict
	for _, bad := range []string{"", "unknown", "PASS", "ok"} {
		if err := v.UnmarshalText([]byte(bad)); err == nil || v != Unknown {
			t.Errorf("%q is read as %v", bad, v)
		}
	}
}

func TestShardFile(t *testing.T) {
	dir := t.TempDir()
	plan := Plan{Tool: "t", List: "sha256:0", Algorithm: "single", Shard: 1, Shards: 1, Attempt: 1, Arch: "amd64", Kernels: []string{"a/1", "a/2"}}
	w, err := CreateShardFile(dir, plan)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "shard-001-of-001.attempt-1.ndjson")
	lines := func() []map[string]any {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var all []map[string]any
		r := bufio.NewReader(f)
		for {
			b, err := r.ReadBytes('\n')
			if err != nil {
				return all
			}
			var m map[string]any
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
	}
	if n := len(lines()); n != 1 {
		t.Fatalf("%d lines after the start, want the plan", n)
	}
	if err := w.Kernel(Result{ID: "a/1", Verdict: Pass, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	if n := len(lines()); n != 2 {
		t.Errorf("%d lines after a result: it must be on disk at once", n)
	}
	if err := w.Kernel(Result{ID: "a/1", Verdict: Pass}); err == nil {
		t.Error("a second result of the same kernel was taken")
	}
	if err := w.Kernel(Result{ID: "b/1", Verdict: Pass}); err == nil {
		t.Error("a kernel outside the plan was taken")
	}
	if err := w.Kernel(Result{ID: "a/2"}); err == nil {
		t.Error("a result without a verdict was taken")
	}
	if err := w.Kernel(Result{ID: "a/2", Verdict: Pass, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	got := lines()
	if last := got[len(got)-1]; last["type"] != "end" {
		t.Errorf("the last record is %v", last)
	}
	if schema := got[0]["plan"].(map[string]any)["schema"]; schema != float64(Schema) {
		t.Errorf("schema %v", schema)
	}
}
