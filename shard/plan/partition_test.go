package plan

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
)

// archives makes a directory source of n files that are named like archives.
func archives(t *testing.T, dir string, n int) kernel.Source {
	t.Helper()
	for i := range n {
		writeArchive(t, dir, i, "archive")
	}
	cache, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.Parse(dir, cache)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func writeArchive(t *testing.T, dir string, i int, content string) string {
	t.Helper()
	path := filepath.Join(dir, []string{"debian", "fedora"}[i%2], fmt.Sprintf("6.1.%d__x.tar.gz", i))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "%s %d", content, i), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func newPlan(t *testing.T, src kernel.Source) Plan {
	t.Helper()
	p, err := New(t.Context(), []kernel.Source{src}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What plan.json says is what every shard computes by itself, and nothing of
// the list is lost or twice in it: ReadPlanFile checks that.
func TestPlanFileHasTheShards(t *testing.T) {
	src := archives(t, t.TempDir(), 12)
	plan := newPlan(t, src)
	plan.SetCosts(report.Timings{Kernels: map[string]report.Timing{"debian/6.1.2__x": {Total: time.Minute}}})
	for _, a := range []Algorithm{Rendezvous, LPT} {
		for _, n := range []int{1, 3, 20} {
			shards := plan.Partition(a, n)
			var b bytes.Buffer
			if err := report.WritePlanFile(&b, plan.File("test", shards)); err != nil {
				t.Fatal(err)
			}
			f, err := report.ReadPlanFile(&b)
			if err != nil {
				t.Fatal(err)
			}
			pinned, err := Pinned(t.Context(), f, []kernel.Source{src}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(pinned) != n || len(shards) != n {
				t.Fatalf("%s, %d shards: %d of the plan, %d of the list", a, n, len(pinned), len(shards))
			}
			for i := range shards {
				if d := cmp.Diff(shards[i].IDs(), pinned[i].IDs()); d != "" {
					t.Errorf("%s, shard %d/%d (-list +plan):\n%s", a, i+1, n, d)
				}
				want := Part{List: plan.Digest(), Algorithm: a, Shard: i + 1, Shards: n}
				if d := cmp.Diff(want, shards[i].Shard()); d != "" {
					t.Errorf("shard's part:\n%s", d)
				}
				if d := cmp.Diff(want, pinned[i].Shard()); d != "" {
					t.Errorf("pinned shard's part:\n%s", d)
				}
				// Costs that are not known count as the list's median, not as one
				// of the shard's own.
				if load := shards[i].Load(); load != time.Duration(len(shards[i].Entries))*time.Minute {
					t.Errorf("%s, shard %d/%d: %d kernels have %v", a, i+1, n, len(shards[i].Entries), load)
				}
				for _, e := range pinned[i].Entries {
					if e.Source != src {
						t.Errorf("%s comes from %v", e.ID(), e.Source)
					}
				}
			}
		}
	}
}

// A kernel that the sources changed since the plan is not tested, and says so;
// neither is another one taken for it, nor does the list's digest change.
func TestPinnedKernelsAreThoseOfThePlan(t *testing.T) {
	dir := t.TempDir()
	src := archives(t, dir, 4)
	plan := newPlan(t, src)
	f := plan.File("test", plan.Partition(Rendezvous, 1))
	f.Schema = report.PlanSchema

	writeArchive(t, dir, 1, "other bytes")
	if err := os.Remove(writeArchive(t, dir, 2, "")); err != nil {
		t.Fatal(err)
	}
	writeArchive(t, dir, 9, "new")
	shards, err := Pinned(t.Context(), f, []kernel.Source{src}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"debian/6.1.0__x", "debian/6.1.2__x", "fedora/6.1.1__x", "fedora/6.1.3__x"}
	if d := cmp.Diff(want, shards[0].IDs()); d != "" || shards[0].Part.List != plan.Digest() {
		t.Fatalf("list %s, kernels (-want +got):\n%s", shards[0].Part.List, d)
	}
	reasons := map[string]string{
		"fedora/6.1.1__x": "kernel fedora/6.1.1__x: the plan pins sha256:[0-9a-f]{64}, and the sources now offer other bytes",
		"debian/6.1.2__x": "kernel debian/6.1.2__x: the plan pins it, and the sources do not offer it any more: plan again",
	}
	for _, e := range shards[0].Entries {
		pinned, _ := f.Kernel(e.ID())
		if e.Ref.Digest != pinned.Digest {
			t.Errorf("%s has digest %s, pinned %s", e.ID(), e.Ref.Digest, pinned.Digest)
		}
		_, err := e.Source.Open(t.Context(), e.Ref)
		if err == nil {
			t.Fatalf("%s can be opened", e.ID())
		}
		reason, bad := reasons[e.ID()]
		if pins := strings.Contains(err.Error(), "the plan pins"); pins != bad || !regexp.MustCompile("^"+reason).MatchString(err.Error()) {
			t.Errorf("%s: %v, want %q", e.ID(), err, reason)
		}
	}
}

// A source that offers nothing any more leaves every kernel untested, and does
// not end the run.
func TestPinnedKernelsThatAreAllGone(t *testing.T) {
	src := archives(t, t.TempDir(), 3)
	plan := newPlan(t, src)
	f := plan.File("test", plan.Partition(Rendezvous, 2))
	shards, err := Pinned(t.Context(), f, []kernel.Source{src}, []string{"arch/*"})
	if err != nil || len(shards[0].Entries)+len(shards[1].Entries) != 3 {
		t.Fatalf("%v, %v", shards, err)
	}
	for _, s := range shards {
		for _, e := range s.Entries {
			if _, err := e.Source.Open(t.Context(), e.Ref); err == nil {
				t.Errorf("%s can be opened", e.ID())
			}
		}
	}
}

func TestPartitionByTime(t *testing.T) {
	src := archives(t, t.TempDir(), 40)
	plan := newPlan(t, src)
	timings := report.Timings{Kernels: map[string]report.Timing{}}
	for _, id := range plan.IDs() {
		timings.Kernels[id] = report.Timing{Total: 20 * time.Second}
	}
	long := plan.IDs()[7]
	tests := []struct {
		name        string
		long        time.Duration
		target      time.Duration
		jobs, limit int
		least, most int
		met         bool
	}{
		// 40 kernels of 20 s: 800 s.
		{"one at a time", 0, 200 * time.Second, 1, 256, 4, 6, true},
		{"two at a time", 0, 200 * time.Second, 2, 256, 2, 3, true},
		{"all in one", 0, time.Hour, 1, 256, 1, 1, true},
		{"one that is longer than the target", 10 * time.Minute, 200 * time.Second, 1, 256, 3, 9, false},
		{"shorter than any kernel", 0, time.Second, 1, 256, 20, 40, false},
		{"more than may be", 0, 40 * time.Second, 1, 10, 10, 10, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.long > 0 {
				timings.Kernels[long] = report.Timing{Total: tt.long}
			} else {
				timings.Kernels[long] = report.Timing{Total: 20 * time.Second}
			}
			if known := plan.SetCosts(timings); known != 40 {
				t.Fatalf("%d of 40 costs are known", known)
			}
			shards := plan.PartitionByTime(Rendezvous, tt.target, tt.jobs, tt.limit)
			if n := len(shards); n < tt.least || n > tt.most {
				t.Errorf("%d shards, want %d to %d", n, tt.least, tt.most)
			}
			if met := Fullest(shards) <= tt.target*time.Duration(tt.jobs); met != tt.met {
				t.Errorf("the fullest of %d has %v", len(shards), Fullest(shards))
			}
		})
	}
}
