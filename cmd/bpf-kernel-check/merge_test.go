package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/markdown"
	"github.com/elastic/bpf-kernel-check/report/merge"
	"github.com/elastic/bpf-kernel-check/report/summary"
)

// writeShard writes what one shard of a run leaves, with the program that runs
// use for it: shard DIR I/N ATTEMPT ID=VERDICT... A verdict of none leaves the
// kernel out, and the shard as a job that was cut short. The kernels of all
// shards are those in $LIST, and the program is $PROGRAM. A verdict's :NAME:N
// is a BPF program that took the verifier N instructions. A kernel's coverage profile is the file profiles/ID.
func writeShard(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: shard DIR I/N ATTEMPT ID=VERDICT...")
	}
	p := report.Plan{Tool: "v1", List: listDigest(ts.Getenv("LIST")), Algorithm: "rendezvous", RunID: cmp.Or(ts.Getenv("GITHUB_RUN_ID"), "77"), HeadSHA: "0123456789abcdef", Arch: "amd64", Program: ts.Getenv("PROGRAM")}
	_, err := fmt.Sscanf(args[1], "%d/%d", &p.Shard, &p.Shards)
	ts.Check(err)
	p.Attempt, err = strconv.Atoi(args[2])
	ts.Check(err)
	var kernels []report.Result
	complete := true
	for _, a := range args[3:] {
		id, verdict, _ := strings.Cut(a, "=")
		p.Kernels = append(p.Kernels, id)
		verdict, cost, _ := strings.Cut(verdict, ":")
		if verdict == "none" {
			complete = false
			continue
		}
		k := report.Result{ID: id, Digest: "sha256:" + id, Accel: "tcg", Attempts: 1, Console: "results/" + id + ".txt", Phases: map[string]int64{"vm": int64(3 * time.Second)}}
		k.Reproduce = report.Command("--kernels", "kernels", "--test", "./probe.test -test.v", "--env", "TOKEN", id)
		if name, n, ok := strings.Cut(cost, ":"); ok {
			insns, err := strconv.Atoi(n)
			ts.Check(err)
			k.BPF = []report.BPFProgram{{Name: name, Type: "kprobe", Tag: fmt.Sprintf("%016x", insns), Insns: insns}}
		}
		k.Verdict, err = report.ParseVerdict(verdict)
		ts.Check(err)
		if k.Verdict != report.Pass {
			k.Cause = &report.Cause{Title: "::error::FileCreate: \x1b[31mno event", Excerpt: "x"}
		}
		if b, err := os.ReadFile(ts.MkAbs("profiles/" + id)); err == nil {
			k.Files = []string{"results/" + id + "/files/coverage.out"}
			file := filepath.Join(ts.MkAbs(args[0]), filepath.FromSlash(k.Files[0]))
			ts.Check(errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, b, 0o644)))
		}
		kernels = append(kernels, k)
		console := filepath.Join(ts.MkAbs(args[0]), filepath.FromSlash(k.Console))
		ts.Check(os.MkdirAll(filepath.Dir(console), 0o755))
		ts.Check(os.WriteFile(console, []byte("console of "+id+", attempt "+args[2]+"\n"), 0o644))
	}
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o755))
	w, err := report.CreateShardFile(ts.MkAbs(args[0]), p)
	ts.Check(err)
	for _, k := range kernels {
		ts.Check(w.Kernel(k))
	}
	ts.Check(w.Close(complete))
}

func list(ids string) []report.PlanKernel {
	var l []report.PlanKernel
	for _, id := range slices.Sorted(slices.Values(strings.Fields(ids))) {
		l = append(l, report.PlanKernel{ID: id, Digest: "sha256:" + id})
	}
	return l
}

func listDigest(ids string) string { return report.ListDigest(list(ids)) }

// writePlan writes the plan of $LIST: plan FILE ID,ID ID,ID, a list for each
// shard.
func writePlan(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: plan FILE ID,ID...")
	}
	p := &report.PlanFile{Tool: "v1", List: listDigest(ts.Getenv("LIST")), Algorithm: "rendezvous", Arch: "amd64", Kernels: list(ts.Getenv("LIST"))}
	for i, ids := range args[1:] {
		p.Shards = append(p.Shards, report.PlanShard{Shard: i + 1, Kernels: strings.Split(ids, ",")})
	}
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(report.WritePlanFile(f, p))
	ts.Check(f.Close())
}

// A report that cannot be written costs no other.
func TestOutputsAreWrittenAsFarAsPossible(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, report.ReportName), 0o755); err != nil {
		t.Fatal(err)
	}
	m, _ := merge.Merge(&merge.Collected{}, merge.Options{At: time.Unix(0, 0)})
	names, err := writeOutputs(dir, m, markdown.Options{}, nil)
	if err == nil || !strings.Contains(err.Error(), "write report.json: ") {
		t.Errorf("error %v", err)
	}
	for _, name := range []string{summary.Name, report.TimingsName} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil || !slices.Contains(names, name) {
			t.Errorf("%s: %v, written %v", name, err, names)
		}
	}
}
