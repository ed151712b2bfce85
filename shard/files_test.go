package shard

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

func packed(t testing.TB, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	if _, err := zw.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func piece(name string, chunk int, last bool, data []byte) wire.Record {
	return wire.Record{Type: wire.TypeFile, File: &wire.File{Name: name, Chunk: chunk, Last: last, Data: data}}
}

func kept(name string, data []byte) wire.Record {
	r := piece(name, 0, true, data)
	r.File.Packed = true
	return r
}

func TestFilesOfAGuest(t *testing.T) {
	whole := packed(t, "the log\n")
	half := len(whole) / 2
	const a = "verifier/o/a.log"
	big := bytes.Repeat([]byte{1}, wire.MaxFileChunk)
	tests := []struct {
		name    string
		records []wire.Record
		files   map[string]string
		problem string // part of one
	}{
		{"none", nil, nil, ""},
		{"one piece", []wire.Record{piece(a, 0, true, whole)}, map[string]string{a: "the log\n"}, ""},
		{"two pieces", []wire.Record{piece(a, 0, false, whole[:half]), piece(a, 1, true, whole[half:])}, map[string]string{a: "the log\n"}, ""},
		{"a piece is missing", []wire.Record{piece(a, 0, false, whole[:half]), piece(a, 2, true, whole[half:])}, nil, "piece 2 follows piece 0"},
		{"does not begin", []wire.Record{piece(a, 1, true, whole)}, nil, "piece 1 follows"},
		{"no end", []wire.Record{piece(a, 0, false, whole)}, nil, "its end is missing"},
		{"goes on", []wire.Record{piece(a, 0, true, whole), piece(a, 1, true, whole)}, nil, "goes on after its end"},
		{"no gzip", []wire.Record{piece(a, 0, true, []byte("text"))}, nil, "unpack"},
		{"empty", []wire.Record{piece(a, 0, true, nil)}, nil, "unpack"},
		{"cut gzip keeps what it has", []wire.Record{piece(a, 0, true, whole[:len(whole)-4])}, map[string]string{a: "the log\n"}, "unpack"},
		{"leads outside", []wire.Record{piece("verifier/../../a", 0, true, whole), piece("/etc/x", 0, true, whole), piece("other/x", 0, true, whole)}, nil, "names that are not allowed"},
		{"a file where a directory is", []wire.Record{piece("verifier/o", 0, true, whole), piece(a, 0, true, whole)}, map[string]string{"verifier/o": "the log\n"}, a + ": "},
		{"a piece too large", []wire.Record{piece(a, 0, true, append(big, 1))}, nil, "over the limit"},
		{"too much in all", slices.Repeat([]wire.Record{piece(a, 0, false, big)}, wire.MaxFileBytes/wire.MaxFileChunk+1), nil, "over the limit"},
		{"too many", slices.Repeat([]wire.Record{piece(a, 0, false, nil)}, wire.MaxFileRecords+1), nil, "over the limit"},
		{"negative", []wire.Record{piece(a, -1, true, whole)}, nil, "over the limit"},
		{"a collected one", []wire.Record{piece("files/tmp/a~0123456789ab", 0, true, whole)}, map[string]string{"files/tmp/a~0123456789ab": "the log\n"}, ""},
		{"a core dump", []wire.Record{kept("files/cores/a.1.core.gz", whole)}, map[string]string{"files/cores/a.1.core.gz": string(whole)}, ""},
		{"the verifier's is never kept packed", []wire.Record{kept(a, whole)}, map[string]string{a: "the log\n"}, ""},
		{"what was not collected", []wire.Record{{Type: wire.TypeFile, File: &wire.File{Name: "files/a", Note: "\x1b[31m\"/a\":\nno", Last: true, Data: whole}}}, nil, `"/a": no`},
		{"a collected one leads outside", []wire.Record{piece("files/../../a", 0, true, whole), piece("files/a/../../../b", 0, true, whole)}, nil, "names that are not allowed"},
		{"too much is collected", slices.Repeat([]wire.Record{piece("files/a", 0, false, big)}, wire.MaxCollectedBytes/wire.MaxFileChunk+1), nil, "over the limit"},
		{
			"what is collected leaves the payload's own their room",
			append(slices.Repeat([]wire.Record{piece("files/a", 0, false, nil)}, wire.MaxFileRecords), piece(a, 0, true, whole)),
			map[string]string{a: "the log\n"},
			"follows piece",
		},
		{"names that differ in case", []wire.Record{piece("files/A", 0, true, whole), piece("files/a/b", 0, true, whole)}, map[string]string{"files/A": "the log\n", "files/a/b": "the log\n"}, ""},
		{"a type without its part", []wire.Record{{Type: wire.TypeFile}, {Type: wire.TypeTest, File: &wire.File{Name: a, Last: true, Data: whole}}}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "kernel")
			names, problems := writeFiles(dir, tt.records)
			if got := filesBelow(t, dir); len(got)+len(tt.files) > 0 {
				if d := cmp.Diff(tt.files, got); d != "" {
					t.Error(d)
				}
			}
			if len(names) != len(tt.files) {
				t.Errorf("names %q", names)
			}
			all := strings.Join(problems, "\n")
			if (tt.problem == "") != (all == "") || !strings.Contains(all, tt.problem) {
				t.Errorf("problems %q, want %q", problems, tt.problem)
			}
		})
	}
}

func filesBelow(t testing.TB, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, rerr := os.ReadFile(p)
			if rerr != nil {
				t.Fatal(rerr)
			}
			rel, _ := filepath.Rel(dir, p)
			got[filepath.ToSlash(rel)] = string(b)
		}
		return nil
	})
	return got
}

// A few kilobytes that unpack to gigabytes fill no disk.
func TestBombsAreCut(t *testing.T) {
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range wire.MaxFileSize>>20 + 4 {
		if _, err := zw.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	var records []wire.Record
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		for i, rest := 0, b.Bytes(); len(rest) > 0; i++ {
			n := min(len(rest), wire.MaxFileChunk)
			records = append(records, piece("verifier/"+name, i, n == len(rest), rest[:n]))
			rest = rest[n:]
		}
	}
	dir := t.TempDir()
	_, problems := writeFiles(dir, records)
	total := int64(0)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		info, err := os.Stat(filepath.Join(dir, "verifier", name))
		if err != nil {
			continue
		}
		if info.Size() > wire.MaxFileSize {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
		total += info.Size()
	}
	if total > wire.MaxFilesSize || len(problems) != 6 {
		t.Errorf("%d bytes in all, problems %q", total, problems)
	}
}

// Nothing of an earlier run stays, and no link leads out of the results.
func TestFilesReplaceThoseOfAnEarlierRun(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "verifier", "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "verifier", "o")); err != nil {
		t.Fatal(err)
	}
	names, problems := writeFiles(dir, []wire.Record{piece("verifier/o/a.log", 0, true, packed(t, "x"))})
	if len(problems) > 0 || len(names) != 1 || len(filesBelow(t, outside)) > 0 {
		t.Errorf("names %q, problems %q, outside %v", names, problems, filesBelow(t, outside))
	}
	if d := cmp.Diff(map[string]string{"verifier/o/a.log": "x"}, filesBelow(t, dir)); d != "" {
		t.Error(d)
	}
}

func FuzzGather(f *testing.F) {
	f.Add("verifier/a", 0, true, packed(f, "x"), "verifier/a", 1, true, []byte("y"))
	f.Add("files/a/b/c/d/e~0", 0, true, packed(f, "x"), "files/A", 0, true, packed(f, "y"))
	f.Add("verifier/../a", 0, false, []byte{}, "", -1, true, []byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, n1 string, c1 int, l1 bool, d1 []byte, n2 string, c2 int, l2 bool, d2 []byte) {
		records := []wire.Record{piece(n1, c1, l1, d1), piece(n2, c2, l2, d2)}
		files, _ := gather(records)
		for _, file := range files {
			if err := wire.CheckFileName(file.name); err != nil {
				t.Fatal(err)
			}
		}
		parent := t.TempDir()
		dir := filepath.Join(parent, "kernel")
		names, _ := writeFiles(dir, records)
		below := filesBelow(t, parent)
		if len(below) != len(names) && len(below) > len(files) {
			t.Fatalf("names %q, files %v", names, below)
		}
		for name := range below {
			if !strings.HasPrefix(name, "kernel/verifier/") && !strings.HasPrefix(name, "kernel/files/") {
				t.Fatalf("%q is written", name)
			}
		}
	})
}

// Of several runs of a kernel, the files of the one that decided are where a
// result's files have to be, and the others' are gone.
func TestFilesOfRepeats(t *testing.T) {
	r := &run{Runner: &Runner{Config: Config{Out: t.TempDir()}}}
	var runs []report.Result
	for i, v := range []report.Verdict{report.Pass, report.Fail, report.Pass} {
		k := report.Result{ID: "debian/6.1", Verdict: v, Attempts: 1, Console: repeatPath("results/debian/6.1.txt", i+1)}
		if v == report.Fail {
			k.Cause = &report.Cause{Title: "x failed"}
		}
		r.keepFiles(&k, []wire.Record{piece("files/tmp/a", 0, true, packed(t, fmt.Sprint("of run ", i+1)))})
		if err := os.WriteFile(filepath.Join(r.Out, k.Console), []byte("console"), 0o600); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, k)
	}
	k := combine(runs)
	r.nameConsoles(&k, runs)
	if err := k.Check(); err != nil || len(k.Problems) > 0 {
		t.Errorf("%v, problems %q", err, k.Problems)
	}
	want := map[string]string{"6.1.txt": "console", "6.1.repeat-1.txt": "console", "6.1.repeat-3.txt": "console", "6.1/files/tmp/a": "of run 2"}
	if d := cmp.Diff(want, filesBelow(t, filepath.Join(r.Out, "results", "debian"))); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"results/debian/6.1/files/tmp/a"}, k.Files); d != "" {
		t.Error(d)
	}
}
