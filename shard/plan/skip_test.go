package plan

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
)

func kernelDir(t *testing.T, names ...string) kernel.Source {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if err := tw.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name+".tar")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return listSources(t, dir, ". newest:1 oldest:1\n")[0]
}

// listSources are the sources of a list file in a directory.
func listSources(t *testing.T, dir, lines string) []kernel.Source {
	t.Helper()
	list := filepath.Join(dir, "list.txt")
	if err := os.WriteFile(list, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	cache, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	srcs, err := source.ParseAll([]string{"@" + list}, cache)
	if err != nil {
		t.Fatal(err)
	}
	return srcs
}

// What cannot be tested is told, and does not count as the oldest or newest.
func TestSelectSkips(t *testing.T) {
	src := kernelDir(t, "rhel/4.18.0-305.el8.x86_64__a", "rhel/5.7.19__a", "rhel/5.8-rc1__a", "rhel/5.8.0__a", "rhel/5.9.0-1.x86_64__a", "rhel/5.14.0-1.x86_64__a",
		"rhel/5.10.0-1.x86_64__a", "rhel/6.1.0-1.aarch64__a", "mainline/v4.9", "mainline/v5.13.4", "odd/no-version")
	p, err := Select(t.Context(), []kernel.Source{src}, Filter{Arch: "amd64", MinRelease: "5.8"})
	if err != nil {
		t.Fatal(err)
	}
	// Without an architecture in its name 5.8.0 is a group of its own.
	if d := cmp.Diff([]string{"mainline/mainline-v5.13.4", "odd/no-version", "rhel/5.14.0-1.x86_64__a", "rhel/5.8.0__a", "rhel/5.9.0-1.x86_64__a"}, p.IDs()); d != "" {
		t.Errorf("kept (-want +got):\n%s", d)
	}
	want := []Skipped{
		{"mainline/mainline-v4.9", SkipOld, "older than 5.8"},
		{"rhel/4.18.0-305.el8.x86_64__a", SkipOld, "older than 5.8"},
		{"rhel/5.7.19__a", SkipOld, "older than 5.8"},
		{"rhel/5.8-rc1__a", SkipOld, "older than 5.8"},
		{"rhel/6.1.0-1.aarch64__a", SkipArch, "for arm64"},
	}
	if d := cmp.Diff(want, p.Skipped); d != "" {
		t.Errorf("skipped (-want +got):\n%s", d)
	}
	all, err := New(t.Context(), []kernel.Source{src}, nil)
	if err != nil || len(all.Skipped) != 0 || !strings.Contains(strings.Join(all.IDs(), " "), "rhel/6.1.0-1.aarch64__a") {
		t.Errorf("without a filter: %q, skipped %v, %v", all.IDs(), all.Skipped, err)
	}
}

// fixedRefs is a source of kernels that must not be opened.
type fixedRefs []kernel.Ref

func (s fixedRefs) String() string                             { return "fixed" }
func (s fixedRefs) List(context.Context) ([]kernel.Ref, error) { return s, nil }
func (s fixedRefs) Open(_ context.Context, r kernel.Ref) (*kernel.Image, error) {
	return nil, errors.New("opened " + r.ID())
}

// By default counts what a kernel can do, and none is fetched to find out.
func TestSelectByRingBuffers(t *testing.T) {
	cache, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const old = "older than 5.8, and "
	for _, tt := range []struct {
		release string
		size    int64
		why     string // "": it is kept
	}{
		{"5.8.0", 1, ""},
		{"6.1.0-50-amd64", 0, ""},
		{"", 0, ""},
		{"4.18.0-553.el8_10.x86_64", 1, ""},
		{"4.18.0-305.el8.aarch64", 1, ""},
		{"4.18.0-553.rt7.342.el8_10.x86_64", 1, ""},
		{"4.18.0-240.22.1.el8_3.x86_64", 1, old + "not known to have BPF ring buffers"},
		{"4.18.0-25-generic", 1, old + "not known to have BPF ring buffers"},
		{"5.4.17-2136.el8uek.x86_64", 1, old + "not known to have BPF ring buffers"},
		{"3.10.0-1160.el7.x86_64", 1, old + "not known to have BPF ring buffers"},
		{"5.4.0", 0, old + "whether it has BPF ring buffers cannot be told: opened d/k"},
	} {
		refs := fixedRefs{{Distro: "d", Name: "k", Release: tt.release, Size: tt.size}}
		p, err := Select(t.Context(), []kernel.Source{refs}, Filter{MinRelease: DefaultMinRelease, Cache: cache})
		got := ""
		if len(p.Skipped) == 1 {
			got = p.Skipped[0].Why
		}
		if got != tt.why || (err == nil) != (tt.why == "") || len(p.Entries)+len(p.Skipped) != 1 {
			t.Errorf("%s: %q, %v; want %q", tt.release, got, err, tt.why)
		}
	}
	for s, ok := range map[string]bool{"": true, "ringbuf": true, "4.14": true, "ringbuffer": false, "5": false} {
		if err := CheckMinRelease(s); (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestSelectThatSkipsEverything(t *testing.T) {
	src := kernelDir(t, "rhel/4.18.0-305.el8.x86_64__a", "rhel/6.1.0-1.aarch64__a")
	p, err := Select(t.Context(), []kernel.Source{src}, Filter{Arch: "amd64", MinRelease: "5.8"})
	if !IsUsage(err) || !strings.Contains(err.Error(), "1 are too old (see --min-release) and 1 are for another architecture") || len(p.Skipped) != 2 {
		t.Errorf("error %v, skipped %v", err, p.Skipped)
	}
}

// goneSource is a source whose server has lost some kernels.
type goneSource struct {
	kernel.Source
	gone  []string
	local *bool
}

func (s goneSource) Gone(_ context.Context, refs []kernel.Ref, local bool) map[string]bool {
	gone := map[string]bool{}
	for _, r := range refs {
		if slices.Contains(s.gone, r.ID()) {
			gone[r.Digest] = true
		}
	}
	*s.local = local
	return gone
}

func (s goneSource) Pick(refs []kernel.Ref) []kernel.Ref { return s.Source.(source.Picker).Pick(refs) }

// What is gone is told, is in no plan, and does not count as the oldest or
// newest either.
func TestSelectLeavesOutWhatIsGone(t *testing.T) {
	var local bool
	src := goneSource{kernelDir(t, "debian/6.1.1__a", "debian/6.1.2__a", "debian/6.1.3__a", "debian/6.1.4__a"), []string{"debian/6.1.1__a", "debian/6.1.4__a"}, &local}
	p, err := Select(t.Context(), []kernel.Source{src}, Filter{})
	if err != nil || !local {
		t.Fatal(err, local)
	}
	if d := cmp.Diff([]string{"debian/6.1.2__a", "debian/6.1.3__a"}, p.IDs()); d != "" {
		t.Errorf("kept (-want +got):\n%s", d)
	}
	const why = "listed, and the server no longer has it"
	if d := cmp.Diff([]Skipped{{"debian/6.1.1__a", SkipGone, why}, {"debian/6.1.4__a", SkipGone, why}}, p.Skipped); d != "" {
		t.Errorf("skipped (-want +got):\n%s", d)
	}
	// A plan is for machines that have another cache than this one.
	if p, err := Select(t.Context(), []kernel.Source{src}, Filter{Probe: ProbeForOthers}); err != nil || local || len(p.Gone()) != 2 {
		t.Error(p.Gone(), err, local)
	}
	// Shards that are computed without a plan could be told different things.
	if p, err := Select(t.Context(), []kernel.Source{src}, Filter{Probe: ProbeNever}); err != nil || !slices.Equal(p.IDs(), src.gone) {
		t.Errorf("%q, %v", p.IDs(), err)
	}
	// Another source that has it serves.
	other := kernelDir(t, "debian/6.1.1__a")
	if p, err := Select(t.Context(), []kernel.Source{src, other}, Filter{}); err != nil || len(p.Entries) != 3 || p.CountSkipped(SkipGone) != 1 {
		t.Errorf("%q, skipped %v, %v", p.IDs(), p.Skipped, err)
	}
	// So it does when the plan has been made, although the first one lists it.
	p, err = Select(t.Context(), []kernel.Source{src, other}, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	f := p.File("", p.Partition(Rendezvous, 1))
	if d := cmp.Diff([]string{"debian/6.1.4__a"}, f.Gone); d != "" {
		t.Errorf("plan.json's gone (-want +got):\n%s", d)
	}
	again, err := Pinned(t.Context(), f, []kernel.Source{src, other}, nil)
	if err != nil || len(again[0].Entries) != 3 || again[0].Entries[0].Source.String() != other.String() {
		t.Errorf("%v, %v", again, err)
	}
	// A plan stays as it is: a kernel that is gone since then fails, and is seen.
	pinned, err := Pinned(t.Context(), Plan{Entries: mustList(t, src)}.File("", []Plan{{Entries: mustList(t, src)}}), []kernel.Source{src}, nil)
	if err != nil || len(pinned[0].Entries) != 4 {
		t.Errorf("%v, %v", pinned, err)
	}
	// A source that has lost all that is wanted of it is as one that is empty.
	p, err = Select(t.Context(), []kernel.Source{src, other}, Filter{Globs: []string{"6.1.[14]*"}})
	if !IsUsage(err) || !strings.Contains(err.Error(), "no longer has any of the kernels that are wanted of it (2)") || len(p.Skipped) != 1 {
		t.Errorf("error %v, skipped %v", err, p.Skipped)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := Select(ctx, []kernel.Source{src}, Filter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %q, %v", p.IDs(), err)
	}
}

func mustList(t *testing.T, src kernel.Source) (list []Entry) {
	t.Helper()
	refs, err := src.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range refs {
		list = append(list, Entry{Ref: r, Source: src})
	}
	return list
}

func TestCheckMinRelease(t *testing.T) {
	for s, ok := range map[string]bool{"": true, "5.8": true, "6.12": true, "6": false, "6.1.187": false, "6.12-rc1": false, "v5.8": false, "5x8": false, "new": false, "5.8\n": false} {
		if err := CheckMinRelease(s); (err == nil) != ok || err != nil && !IsUsage(err) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
