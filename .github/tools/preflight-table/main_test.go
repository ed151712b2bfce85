package main

import (
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
)

// All shards' results count.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	for shard, id := range []string{"debian/6.1", "debian/6.12"} {
		w, err := report.CreateShardFile(dir, report.Plan{Tool: "x", List: "x", Algorithm: "rendezvous", Shard: shard + 1, Shards: 2, Attempt: 1, Arch: "amd64", Kernels: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Kernel(report.Result{ID: id, Verdict: report.Pass}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(true); err != nil {
			t.Fatal(err)
		}
	}
	kernels, err := read(dir)
	if err != nil || len(kernels) != 2 {
		t.Errorf("%+v, %v", kernels, err)
	}
}

// What the verifier refuses is nothing that was said.
func TestWrong(t *testing.T) {
	x := table{programs: 30, all: counts{yesRight: 2, yesWrong: 1, noRight: 1, verifier: 20, unknown: 6}}
	if s := x.String(); !strings.Contains(s, " 25.00 % was wrong") {
		t.Error(s)
	}
}
