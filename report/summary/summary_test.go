package summary

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

func sampleKernels() []report.Result {
	k := func(id string, v report.Verdict, title string) report.Result {
		kk := report.Result{ID: id, Verdict: v}
		if title != "" {
			kk.Cause = &report.Cause{Title: title}
		}
		return kk
	}
	return []report.Result{
		k("fedora/5.8.15-301.fc33.x86_64__8a921f5b", report.Crash, "BUG"),
		k("fedora/5.11.12-300.fc34.x86_64__b52ee374", report.Pass, ""),
		k("fedora/5.14.10-300.fc35.x86_64__64d04be8", report.Timeout, "timeout"),
		k("amazonlinux2/5.10.102-99.473.amzn2.x86_64__0935484e", report.Fail, "x failed"),
		k("amazonlinux2/5.10.29-27.126.amzn2.x86_64__27df3384", report.Pass, ""),
		k("amazonlinux2/5.10.99-1.amzn2.x86_64__broken", report.Infra, "unpack:\nunexpected \x1b[31mEOF"),
		k("mainline/mainline-v5.9", report.Pass, ""),
		k("mainline/mainline-v5.13.4", report.Pass, ""),
		k("mainline/mainline-v5.13", report.Pass, ""),
		k("mainline/mainline-v5.13-rc2", report.Pass, ""),
		k("mainline/mainline-v6.1", report.NoBoot, "Kernel panic - not syncing: VFS"),
		k("zz/never", report.Missing, ""),
	}
}

func TestSummary(t *testing.T) {
	at := time.Date(2022, 3, 30, 23, 37, 2, 0, time.UTC)
	var b strings.Builder
	if err := Write(&b, &report.Merged{At: at, Kernels: sampleKernels()}); err != nil {
		t.Fatal(err)
	}
	reporttest.Golden(t, "summary.txt", b.String())

	// The order of the results changes nothing, nor does the clock's zone.
	for range 5 {
		ks := sampleKernels()
		rand.Shuffle(len(ks), func(i, j int) { ks[i], ks[j] = ks[j], ks[i] })
		var again strings.Builder
		if err := Write(&again, &report.Merged{At: at.In(time.FixedZone("x", 3600)), Kernels: ks}); err != nil {
			t.Fatal(err)
		}
		if again.String() != b.String() {
			t.Fatalf("another order gives another summary:\n%s", again.String())
		}
	}
}

func TestSummaryDate(t *testing.T) {
	var b strings.Builder
	if err := Write(&b, &report.Merged{At: time.Date(2026, 7, 4, 5, 6, 7, 0, time.UTC)}); err != nil {
		t.Fatal(err)
	}
	if want := "BPF check run at Sat Jul  4 05:06:07 UTC 2026\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

// Programs have a block of their own; a reader that counts [PASS] and [FAIL] counts
// kernels as before.
func TestSummaryPrograms(t *testing.T) {
	m := reporttest.Programs(12, 6)
	var b strings.Builder
	if err := Write(&b, &report.Merged{At: time.Date(2022, 3, 30, 23, 37, 2, 0, time.UTC), Kernels: m.Kernels}); err != nil {
		t.Fatal(err)
	}
	reporttest.Golden(t, "programs.txt", b.String())
	if n := strings.Count(b.String(), "[PASS]") + strings.Count(b.String(), "[FAIL]") + strings.Count(b.String(), "[NOBOOT]"); n != len(m.Kernels) {
		t.Errorf("%d marks for %d kernels", n, len(m.Kernels))
	}
	for i := range m.Kernels {
		for p := range m.Kernels[i].Programs {
			m.Kernels[i].Programs[p].Name = fmt.Sprint(p, "\n[PASS] debian/6.1\u202e|`"+strings.Repeat("x", 500))
		}
	}
	b.Reset()
	if err := Write(&b, &report.Merged{Kernels: m.Kernels}); err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(b.String(), "\nprograms (4 kernel(s))\n")
	n := 0
	for line := range strings.Lines(block) {
		if n++; !strings.HasPrefix(line, "[PROGRAMS] ") || strings.Contains(line, "\u202e") || len(line) > 600 {
			t.Errorf("a program's name makes the line %q", line)
		}
	}
	if n != 4 {
		t.Errorf("%d lines", n)
	}
}

// Represented kernels have a block at the end, with a mark that nobody counts.
func TestSummaryRepresented(t *testing.T) {
	var all, picked strings.Builder
	m := reporttest.Picked()
	if err := Write(&picked, m); err != nil {
		t.Fatal(err)
	}
	m.Represented, m.Picks = nil, nil
	if err := Write(&all, m); err != nil {
		t.Fatal(err)
	}
	block, ok := strings.CutPrefix(picked.String(), all.String())
	if !ok {
		t.Fatalf("more than a block at the end is other:\n%s", picked.String())
	}
	reporttest.Golden(t, "represented.txt", block)
}
