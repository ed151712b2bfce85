package shard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/btfhub"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
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

func newPlan(t *testing.T, src kernel.Source) plan.Plan {
	t.Helper()
	p, err := plan.New(t.Context(), []kernel.Source{src}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The shard file of a shard without kernels is whole: merge waits for it.
func TestEmptyShardIsASuccess(t *testing.T) {
	list := newPlan(t, archives(t, t.TempDir(), 1))
	shards := list.Partition(plan.Rendezvous, 2)
	empty := slices.IndexFunc(shards, func(s plan.Plan) bool { return len(s.Entries) == 0 })
	r := &Runner{Config: Config{Out: t.TempDir(), Arch: qemu.Arch{Name: "amd64"}}, Host: Host{Now: time.Now}}
	results, err := r.Run(context.Background(), shards[empty])
	if err != nil || len(results) != 0 || report.RunOutcome(0, results, false).ExitCode() != report.ExitPass {
		t.Fatalf("%v, %v", results, err)
	}
	b, err := os.ReadFile(filepath.Join(r.Out, fmt.Sprintf("shard-%03d-of-002.attempt-1.ndjson", empty+1)))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	var rec struct {
		Type string
		Plan report.Plan
	}
	if err := json.Unmarshal(lines[0], &rec); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(report.Plan{
		Schema: report.Schema, List: list.Digest(), Algorithm: "rendezvous", Shard: empty + 1, Shards: 2,
		Attempt: 1, Payload: r.Payload.Digest(), Content: r.Payload.ContentDigest(), Arch: "amd64", Kernels: []string{},
	}, rec.Plan); d != "" {
		t.Errorf("plan record (-want +got):\n%s", d)
	}
	if len(lines) != 2 || !bytes.Contains(lines[1], []byte(`"type":"end"`)) {
		t.Errorf("the shard file is\n%s", b)
	}
}

// With other types a run is another one, which is not resumed.
func TestContentHasTypes(t *testing.T) {
	dir, content := t.TempDir(), map[string]bool{}
	for range 2 {
		files, err := btfhub.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, types := range []*btfhub.Files{nil, files} {
			content[(&Config{BTF: types}).Record(plan.Plan{}).Content] = true
		}
		imagetest.WriteFile(t, filepath.Join(dir, "5.4.btf"), []byte("types"))
	}
	if len(content) != 3 {
		t.Errorf("%d contents of 3: %v", len(content), content)
	}
}

func TestLongestFirst(t *testing.T) {
	p := plan.Plan{Entries: []plan.Entry{{Cost: 5}, {Cost: 0}, {Cost: 9}, {Cost: 7}, {Cost: 1}}}
	// The unknown one counts as the median, 5.
	if got := longestFirst([]int{0, 1, 2, 4}, p.Costs()); !slices.Equal(got, []int{2, 0, 1, 4}) {
		t.Errorf("order %v", got)
	}
}

// Before a kernel is tested nothing of an earlier run is left of it; all else
// in the directory is not this run's.
func TestClearRemovesTheResultsOfThisRunsKernelsOnly(t *testing.T) {
	out := filepath.Join(t.TempDir(), "[out") // no pattern
	files := map[string]bool{                 // whether it stays
		"results/debian/6.1.0__x.txt":                                  false,
		"results/debian/6.1.0__x.attempt-1.txt":                        false,
		"results/debian/6.1.0__x.attempt-10.txt":                       false,
		"results/debian/6.1.0__x.repeat-2.txt":                         false,
		"results/debian/6.1.0__xy.repeat-2.txt":                        true,
		"results/debian/6.1.0__x/" + wire.FileRoot + "/a.bpf.o/p.log":  false,
		"results/debian/6.1.0__xy.txt":                                 true,
		"results/debian/6.1.0__xy/" + wire.FileRoot + "/a.bpf.o/p.log": true,
		"results/fedora/6.1.1__x/" + wire.FileRoot + "/a.bpf.o/q.log":  false,
		"results/fedora/6.1.1__x/notes":                                true,
		"results/fedora/6.1.3__x.txt":                                  true,
		"shard-001-of-001.attempt-1.ndjson":                            true,
	}
	for name := range files {
		path := filepath.Join(out, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list := newPlan(t, archives(t, t.TempDir(), 2))
	if err := (&Config{Out: out}).clear(list, []int{0, 1}); err != nil {
		t.Fatal(err)
	}
	for name, stays := range files {
		if _, err := os.Stat(filepath.Join(out, name)); (err == nil) != stays {
			t.Errorf("%s: %v, want there %v", name, err, stays)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "results/debian/6.1.0__x")); err == nil {
		t.Error("an empty directory is left")
	}
}

// A kernel here that is older by its number is asked what it has: a distribution
// may have added it.
func TestOldKernelsAreAsked(t *testing.T) {
	l := theLab(t)
	im, err := l.entry.Source.Open(t.Context(), l.entry.Ref)
	if err != nil {
		t.Fatal(err)
	}
	kernelFile, err := os.ReadFile(im.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	imagetest.WriteFile(t, filepath.Join(dir, "vendor/4.18.0-1.x86_64.tar"), imagetest.Tarball(t, imagetest.Member{Name: "boot/vmlinuz-4.18.0-1.x86_64", Data: string(kernelFile)}))
	imagetest.WriteFile(t, filepath.Join(dir, "vendor/4.18.0-2.x86_64.tar"), imagetest.Tarball(t, imagetest.Member{Name: "boot/vmlinuz-4.18.0-2.x86_64", Data: string(imagetest.Vmlinuz(t, "4.18.0-2.x86_64"))}))
	cache, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.Parse(dir, cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, again := range []bool{false, true} { // from the cache
		p, err := plan.Select(t.Context(), []kernel.Source{src}, plan.Filter{MinRelease: plan.DefaultMinRelease, Cache: cache})
		if err != nil || len(p.Entries) != 1 || p.Entries[0].Release != "4.18.0-1.x86_64" || len(p.Skipped) != 1 || !strings.Contains(p.Skipped[0].Why, "cannot be told") {
			t.Errorf("again %v: %q, %+v, %v", again, p.IDs(), p.Skipped, err)
		}
	}
}
