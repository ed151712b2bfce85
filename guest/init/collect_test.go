package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// What is packed comes out again, however many zeros are where.
func FuzzPack(f *testing.F) {
	f.Add(0, []byte(nil), 0)
	f.Add(1, []byte("x"), 0)
	f.Add(packBlock-1, []byte("x"), 3*packBlock)
	f.Add(2*packBlock, []byte(nil), 1)
	f.Fuzz(func(t *testing.T, before int, b []byte, after int) {
		if before < 0 || after < 0 || before > 8*packBlock || after > 8*packBlock {
			return
		}
		want := slices.Concat(make([]byte, before), b, make([]byte, after))
		var out bytes.Buffer
		n, err := pack(&out, bytes.NewReader(want))
		if err != nil || n != int64(len(want)) {
			t.Fatalf("%d of %d bytes, %v", n, len(want), err)
		}
		zr, err := gzip.NewReader(&out)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(zr); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes come out of %d, %v", len(got), len(want), err)
		}
	})
}

func TestPackKeepsToItsLimit(t *testing.T) {
	in := bytes.Repeat([]byte("0123456789"), 100_000)
	var out bytes.Buffer
	if _, err := pack(&limitWriter{w: &out, left: 1000}, bytes.NewReader(in)); !errors.Is(err, errNoRoom) || out.Len() > 1000 {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
}

// collected runs a collector to its end.
func collected(t *testing.T, job wire.Job, left int) (files map[string]string, notes []string) {
	t.Helper()
	out := make(chan packed)
	c := collector{out: out, left: left, raw: wire.MaxFilesSize, taken: map[string]string{}}
	go c.run(job)
	files = map[string]string{}
	for p := range out {
		if p.note != "" {
			notes = append(notes, p.note)
			continue
		}
		if err := wire.CheckFileName(p.name); err != nil {
			t.Error(err)
		}
		zr, err := gzip.NewReader(bytes.NewReader(p.data))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(zr)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := files[p.name]; twice {
			t.Errorf("%s comes twice", p.name)
		}
		files[p.name] = string(b)
	}
	return files, notes
}

func TestCollector(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{"a.txt": "a", "sub/b.txt": "b", "sub/c\nd": "c", "large": strings.Repeat("\x01\x02", 100)} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(at(name)), 0o755), os.WriteFile(at(name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	// One after the other, none of which may hang, or lead to what it names.
	for _, err := range []error{
		unix.Mkfifo(at("fifo"), 0o600), os.Symlink(at("a.txt"), at("link")), os.Symlink(dir, at("sub/loop")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root := wire.CollectRoot + dir
	tests := []struct {
		name     string
		patterns []string
		left     int
		files    []string // their names' ends
		notes    []string // parts of them
	}{
		{"a file", []string{"/a.txt"}, 1000, []string{"/a.txt"}, nil},
		{"two patterns for one", []string{"/*.txt", "/a.*"}, 1000, []string{"/a.txt"}, nil},
		{"a directory", []string{"/sub"}, 1000, []string{"/sub/b.txt", "/sub/c_d~"}, nil},
		{"a name like one that was changed", []string{"/sub/c*", "/sub/c?d"}, 1000, []string{"/sub/c_d~"}, nil},
		{"nothing", []string{"/none*", "/a.txt/x"}, 1000, nil, []string{`/none*" matches nothing`, `/a.txt/x" matches nothing`}},
		{"no files", []string{"/fifo", "/link"}, 1000, nil, []string{`/fifo" is no regular file`, `/link" is no regular file`}},
		{"through a link", []string{"/sub/loop/a.txt"}, 1000, []string{"/sub/loop/a.txt"}, nil},
		{"what fits", []string{"/large", "/a.txt"}, 30, []string{"/a.txt"}, []string{`/large", 200 bytes: there is no room for it`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var job wire.Job
			for _, p := range tt.patterns {
				job.Collect = append(job.Collect, dir+p)
			}
			files, notes := collected(t, job, tt.left)
			var names []string
			for _, name := range slices.Sorted(maps.Keys(files)) {
				name = strings.TrimPrefix(name, root)
				if at := strings.IndexByte(name, '~'); at >= 0 {
					name = name[:at+1]
				}
				names = append(names, name)
			}
			if d := cmp.Diff(tt.files, names); d != "" {
				t.Error(d)
			}
			if len(notes) != len(tt.notes) {
				t.Errorf("notes %q", notes)
			}
			for i, want := range tt.notes {
				if i < len(notes) && !strings.Contains(notes[i], want) {
					t.Errorf("note %q, want %s", notes[i], want)
				}
			}
		})
	}
}

// The kernel's own files come when they are named, and only then.
func TestCollectorLeavesTheKernelsFiles(t *testing.T) {
	// A link in the way stands for a mount elsewhere, which takes root.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/proc", link); err != nil {
		t.Fatal(err)
	}
	files, notes := collected(t, wire.Job{Collect: []string{"/proc/self/comm", "/*/version", "/pro[c]", filepath.Dir(link) + "/*/version"}}, 1000)
	if len(files) != 1 || files["files/proc/self/comm"] == "" || len(notes) > 0 {
		t.Errorf("files %q, notes %q", files, notes)
	}
}

func TestCollectorCountsAndTells(t *testing.T) {
	dir := t.TempDir()
	for i := range wire.MaxCollected + 10 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, notes := collected(t, wire.Job{Collect: []string{dir}}, 1<<20)
	if len(files) != wire.MaxCollected || len(notes) != 1 || !strings.Contains(notes[0], `more than 1000 files: "`+dir+`/1000"`) {
		t.Errorf("%d files, notes %q", len(files), notes)
	}
	var patterns []string
	for i := range 200 {
		patterns = append(patterns, fmt.Sprintf("/none/%d", i))
	}
	_, notes = collected(t, wire.Job{Collect: patterns, Cover: "/none/c.out"}, 1<<20)
	if len(notes) != wire.MaxCollectedNotes+1 || notes[len(notes)-1] != "and 151 more were not collected" || !strings.HasPrefix(notes[0], "coverage: the payload wrote no profile: ") {
		t.Errorf("%d notes, the last %q", len(notes), notes[len(notes)-1])
	}
}

// What init writes by itself counts as other files do, and a file that a payload
// puts where init's core dumps are does init no harm.
func TestCollectorOfCores(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, size := range map[string]int64{"a.1.core.gz": 2, "b.2.core.gz": 100 << 30, "c.3.core.gz.size": 99 << 20, "d.4.core.gz.part": 1, "e f": 1} {
		if err := errors.Join(os.WriteFile(at(name), nil, 0o600), os.Truncate(at(name), size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(unix.Mkfifo(at("fifo"), 0o600), os.Symlink("/dev/zero", at("zero"))); err != nil {
		t.Fatal(err)
	}
	run := func(files int) (got []packed) {
		out := make(chan packed)
		go func() {
			defer close(out)
			c := collector{out: out, left: 1000, raw: wire.MaxFilesSize, taken: map[string]string{}, files: files}
			c.each(below(dir), c.core)
		}()
		for p := range out {
			got = append(got, p)
		}
		return got
	}
	got := run(0)
	want := []string{
		"", `core dump b.2.core.gz, 107374182400 bytes compressed: there is no room for it`, `core dump c.3.core.gz: there is no room for its 99 MiB`,
		`core dump d.4.core.gz.part: its end is missing`, `core dump "e f": init did not write it`, `core dump "fifo": init did not write it`, `core dump "zero": too many levels of symbolic links`,
	}
	if len(got) != len(want) || got[0].name != "files/cores/a.1.core.gz" || len(got[0].data) != 2 {
		t.Fatalf("%+v", got)
	}
	for i, p := range got {
		if !strings.HasPrefix(p.note, want[i]) {
			t.Errorf("note %q, want %q", p.note, want[i])
		}
	}
	if got := run(wire.MaxCollected); len(got) != 1 || !strings.HasPrefix(got[0].note, "there are more than 1000 files") {
		t.Errorf("%+v", got)
	}
}

// The core dumps of a VM together keep to the limit; what is only told of does not
// count.
func TestRoomForCores(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		size int64
		want int
	}{
		{"a", 1 << 20, wire.MaxCollectedBytes - 1<<20},
		{"b" + largeCore, 1 << 40, wire.MaxCollectedBytes - 1<<20},
		{"c" + partialCore, 2 << 20, wire.MaxCollectedBytes - 3<<20},
		{"d", 1 << 40, 0},
	} {
		if err := errors.Join(os.WriteFile(filepath.Join(dir, tt.name), nil, 0o600), os.Truncate(filepath.Join(dir, tt.name), tt.size)); err != nil {
			t.Fatal(err)
		}
		if got := roomForCores(dir); got != tt.want {
			t.Errorf("with %s there are %d bytes, want %d", tt.name, got, tt.want)
		}
	}
}

// Coverage data counts, too.
func TestCollectorCountsEachFile(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := make(chan packed, 100)
	c := collector{out: out, left: 1 << 20, raw: wire.MaxFilesSize, taken: map[string]string{}, files: wire.MaxCollected - 10}
	c.each(below(dir), func(p string) error { return c.file(p, wire.CoverDataDir+"/"+filepath.Base(p)) })
	if len(out) != 11 || c.files != wire.MaxCollected {
		t.Errorf("%d files and notes, %d files counted", len(out), c.files)
	}
}
