package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestSetAside(t *testing.T) {
	dir := t.TempDir()
	now := Plan{Schema: Schema, Tool: "t", List: "sha256:1", Algorithm: "rendezvous", Shard: 2, Shards: 3, RunID: "7", Attempt: 2, HeadSHA: "a", Arch: "amd64"}
	write := func(name, s string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shard := func(change func(*Plan)) {
		t.Helper()
		p := now
		change(&p)
		w, err := CreateShardFile(dir, p)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(true); err != nil {
			t.Fatal(err)
		}
	}
	// Of this run: another shard, and an earlier attempt.
	shard(func(p *Plan) { p.Shard = 1 })
	shard(func(p *Plan) { p.Attempt = 1 })
	// Of others, each in one thing.
	shard(func(p *Plan) { p.Shards, p.Shard = 4, 4 })
	shard(func(p *Plan) { p.Attempt, p.List = 11, "sha256:2" })
	shard(func(p *Plan) { p.Attempt, p.Algorithm = 12, "lpt" })
	shard(func(p *Plan) { p.Attempt, p.RunID = 13, "8" })
	shard(func(p *Plan) { p.Attempt, p.HeadSHA = 14, "b" })
	shard(func(p *Plan) { p.Attempt, p.Arch = 15, "arm64" })
	other := now
	other.Schema = Schema + 1
	b, err := json.Marshal(Record{Type: "plan", Plan: &other})
	if err != nil {
		t.Fatal(err)
	}
	write("shard-003-of-003.attempt-16.ndjson", string(b)+"\n")
	// None of this program's, or not to be understood.
	write("shard-003-of-003.attempt-17.ndjson", "")
	write("shard-003-of-003.attempt-18.ndjson", `{"type":"plan","plan":{"schema":1}}`) // no line
	write("shard-003-of-003.attempt-19.ndjson", `{"type":"end","end":{}}`+"\n")
	write("shard-notes.ndjson", `{"type":"plan","plan":{"schema":1}}`+"\n")

	moved, err := SetAside(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"shard-002-of-003.attempt-11.ndjson", "shard-002-of-003.attempt-12.ndjson", "shard-002-of-003.attempt-13.ndjson",
		"shard-002-of-003.attempt-14.ndjson", "shard-002-of-003.attempt-15.ndjson", "shard-003-of-003.attempt-16.ndjson",
		"shard-004-of-004.attempt-2.ndjson",
	}
	if !slices.Equal(moved, want) {
		t.Errorf("moved %q, want %q", moved, want)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	if err != nil || len(left) != 6 {
		t.Errorf("left %q, %v", left, err)
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.ndjson.old"))
	if err != nil || len(old) != len(want) {
		t.Errorf("aside %q, %v", old, err)
	}
}
