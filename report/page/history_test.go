package page

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

func writeReport(t *testing.T, path string, m *report.Merged) {
	t.Helper()
	var b bytes.Buffer
	if err := report.WriteReport(&b, m); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// small is a result of three kernels, whose tests' verdicts are given as "pf",
// one letter each.
func small(at time.Time, run string, tests ...string) *report.Merged {
	m := &report.Merged{Schema: report.MergedSchema, Tool: "v1", At: at, Verdict: report.Pass, List: "sha256:0", Arch: "amd64", Algorithm: "single", Shards: 1, RunID: run, Attempt: 1}
	for i, s := range tests {
		k := report.Result{ID: fmt.Sprintf("debian/6.%d", i), Verdict: report.Pass, Attempts: 1, Phases: map[string]int64{"vm": 2e9}}
		for j, c := range s {
			t := report.Test{Name: fmt.Sprintf("t%d", j), Verdict: map[rune]string{'p': "pass", 'f': "fail", 's': "skip"}[c], Output: "a long text"}
			k.Tests = append(k.Tests, t)
			if c == 'f' {
				k.Verdict, k.Cause, m.Verdict = report.Fail, &report.Cause{Title: t.Name + " failed", Excerpt: "excerpt"}, report.Fail
			}
		}
		m.Kernels = append(m.Kernels, k)
	}
	return m
}

func TestHistory(t *testing.T) {
	dir := t.TempDir()
	day := func(n int) time.Time { return time.Date(2026, 11, n, 2, 0, 0, 0, time.UTC) }
	// Test t1 breaks once, t0 of the first kernel comes and goes.
	for n, tests := range [][]string{{"pp", "pp"}, {"fp", "pp"}, {"pp", "pf"}, {"fs", "pf"}} {
		writeReport(t, filepath.Join(dir, fmt.Sprintf("%02d", n), "report.json"), Slim(small(day(n+1), fmt.Sprint(n), tests...)))
	}
	arm := small(day(3), "arm", "ff")
	arm.Arch = "arm64"
	writeReport(t, filepath.Join(dir, "arm.json"), arm)
	writeReport(t, filepath.Join(dir, "later.json"), small(day(20), "later", "ff"))
	for name, text := range map[string]string{
		"foreign.json": `{"name": "other"}`, "old.json": `{"schema": 0}`, "cut.json": `{"schema": 1, "kernels": [`, "timings.json": "{}", "readme.txt": "no",
		"evil.json": `{"schema":1,"tool":"x","at":"2026-11-02T00:00:00Z","verdict":"pass","list_digest":"","arch":"amd64","algorithm":"","shards":1,"attempt":1,"kernels":[{"id":"../../etc/passwd","verdict":"pass","attempts":1}]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	h := ReadHistory(dir, func(s string) { warnings = append(warnings, s) })
	all := strings.Join(warnings, "\n")
	for _, name := range []string{"foreign.json", "old.json", "cut.json", "evil.json"} {
		if !strings.Contains(all, name+" is skipped: ") {
			t.Errorf("no warning of %s: %s", name, all)
		}
	}
	if len(warnings) != 4 {
		t.Errorf("%d warnings: %s", len(warnings), all)
	}
	now := small(day(5), "now", "pp", "pf")
	w := h.with(now)
	if len(w.runs) != 5 {
		t.Fatalf("%d runs", len(w.runs))
	}
	v := w.view()
	if got := v.Runs[0]; !got.Current || got.Rate != "50.0 %" || got.Time != "2.0 s" || got.Verdict != "fail" {
		t.Errorf("this run: %+v", got)
	}
	if got := v.Runs[4]; got.Rate != "100.0 %" || got.Current {
		t.Errorf("the first run: %+v", got)
	}
	if got, want := fmt.Sprint(v.Tests), "[{t0 1 4 2 5}]"; got != want {
		t.Errorf("flaky tests %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(v.Kernels), "[{debian/6.0 1 4 2 5}]"; got != want {
		t.Errorf("flaky kernels %s, want %s", got, want)
	}
	// The same run merged again is one, and without earlier runs there is none.
	if w := h.with(small(day(6), "3", "pp", "pf")); len(w.runs) != 4 {
		t.Errorf("%d runs with a run of the history", len(w.runs))
	}
	if (*History)(nil).with(now) != nil || ReadHistory(t.TempDir(), func(s string) { t.Error(s) }).with(now) != nil {
		t.Error("a history of nothing")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := &History{}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for n := range 100 {
		h.add(small(start.AddDate(0, 0, n), fmt.Sprint(n), "p"))
	}
	if len(h.runs) != MaxRuns || h.runs[0].RunID != "70" {
		t.Errorf("%d runs from %s", len(h.runs), h.runs[0].RunID)
	}
	missing := false
	if h := ReadHistory(filepath.Join(t.TempDir(), "none"), func(string) { missing = true }); !missing || len(h.runs) > 0 {
		t.Error("no warning of a directory that is not there")
	}
}

func TestSlim(t *testing.T) {
	m := small(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), "1", "pf", "pp")
	m.Kernels[0].BPF = []report.BPFProgram{{Name: "f", Type: "kprobe", Tag: "1", Insns: 7, Jited: 8}, {Name: "f", Type: "kprobe", Tag: "2", Insns: 9}}
	if d := cmp.Diff([]report.BPFProgram{{Name: "f", Type: "kprobe", Insns: 9}}, Slim(m).Kernels[0].BPF); d != "" {
		t.Error(d)
	}
	var b bytes.Buffer
	if err := report.WriteReport(&b, Slim(m)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "long text") || strings.Contains(b.String(), "excerpt") {
		t.Errorf("texts are left: %s", b.String())
	}
	if _, err := report.ReadReport(&b); err != nil {
		t.Error(err)
	}
	if m.Kernels[0].Tests[0].Output == "" {
		t.Error("the result itself was changed")
	}
}
