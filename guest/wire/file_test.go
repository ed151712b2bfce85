package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"testing"
)

func TestCheckFileName(t *testing.T) {
	for _, name := range []string{
		"verifier/a.log", "verifier/object/program.log", "verifier/a-2/b_c+d.0.log", "verifier/a/b/c.log",
		"files/tmp/a.txt", "files/coverage.out", "files/tmp/a_b~0123456789ab", "files" + strings.Repeat("/d", 12),
	} {
		if err := CheckFileName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{
		"", "verifier", "verifier/", "/verifier/a", "other/a", "verifier/../a", "verifier/./a", "verifier//a", "verifier/a/", "verifier/.hidden",
		"verifier/-rf", "verifier/a b", "verifier/a\x00", "verifier/a\n", `verifier/a\b`, "verifier/ü", "verifier/a:b", "verifier/a/b/c/d",
		"verifier/" + strings.Repeat("a", MaxFileName), "verifier/a~b",
		"files", "files/", "files/../a", "files/a/../b", "files/.hidden", "files/~a", "files/-a", "files/a\n", "files/a\x00b", "files//a", `files/a\b`,
		"files" + strings.Repeat("/d", 13), "files/" + strings.Repeat("a", MaxFileName),
	} {
		err := CheckFileName(name)
		if err == nil {
			t.Errorf("%q is allowed", name)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: the error has more than one line", name)
		}
	}
}

func FuzzSafeNameIsAllowed(f *testing.F) {
	for _, s := range []string{"", ".", "..", "a/b", "ü", "-x", "\x00", "prog"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 100 {
			s = s[:100]
		}
		if err := CheckFileName(FileRoot + "/" + SafeName(s)); err != nil {
			t.Fatal(err)
		}
		if CheckFileName(s) == nil && (!strings.HasPrefix(s, FileRoot+"/") && !strings.HasPrefix(s, CollectRoot+"/") || strings.Contains(s, "..") && strings.Contains(s, "/..")) {
			t.Fatalf("%q is allowed", s)
		}
	})
}

// sent reads a report's file records back and returns each file's content.
func sent(t *testing.T, report []byte) map[string]string {
	t.Helper()
	packed := map[string][]byte{}
	var budget FileBudget
	for line := range bytes.Lines(report) {
		if len(line) > MaxLine {
			t.Fatalf("a line of %d bytes", len(line))
		}
		var rec Record
		if err := json.Unmarshal(line, &rec); err != nil {
			t.Fatal(err)
		}
		if rec.File == nil || !budget.Take(rec.File) {
			t.Fatalf("a %q record that is over the budget or no file", rec.Type)
		}
		packed[rec.File.Name] = append(packed[rec.File.Name], rec.File.Data...)
	}
	out := map[string]string{}
	for name, b := range packed {
		zr, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(zr)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(content)
	}
	return out
}

func TestReporterSendsFiles(t *testing.T) {
	noise := make([]byte, 300<<10)
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(noise)
	files := map[string]string{"verifier/a.log": "hello\n", "verifier/empty.log": "", "verifier/many/chunks.log": string(noise)}
	var b bytes.Buffer
	r := NewReporter(&b)
	for name, content := range files {
		if err := r.File(name, content); err != nil {
			t.Fatal(err)
		}
	}
	got := sent(t, b.Bytes())
	for name, content := range files {
		if got[name] != content {
			t.Errorf("%s came with %d bytes, want %d", name, len(got[name]), len(content))
		}
	}
	if err := r.File("../a", "x"); err == nil {
		t.Error("a name that leads outside was sent")
	}
}

func TestLargeFilesAreCut(t *testing.T) {
	noise := make([]byte, 3<<20)
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(noise)
	var b bytes.Buffer
	r := NewReporter(&b)
	full := 0
	for _, n := range []string{"1", "2", "3", "4", "5"} {
		if err := r.File("verifier/"+n, "first"+string(noise)+"last"); err != nil {
			full++
		}
	}
	if err := r.Done(); err != nil || full == 0 {
		t.Errorf("%d files had no room, want some; the report: %v", full, err)
	}
	report := b.Bytes()[:bytes.LastIndexByte(b.Bytes()[:b.Len()-1], '\n')+1] // without the end
	for name, content := range sent(t, report) {
		if !strings.HasPrefix(content, "first") || !strings.HasSuffix(content, "last") || !strings.Contains(content, cut) || len(content) < 1<<20 {
			t.Errorf("%s: %d bytes, want both ends and a note between", name, len(content))
		}
	}
}

func TestCollectedName(t *testing.T) {
	long := "/" + strings.Repeat("l", 250)
	taken := func(lower string) bool { return lower == "files/tmp/readme" }
	for _, tt := range []struct{ path, want string }{
		{"/tmp/a.txt", "files/tmp/a.txt"},
		{"/tmp/../tmp//a.txt", "files/tmp/a.txt"},
		{"/../../etc/passwd", "files/etc/passwd"},
		{"/tmp/README", "files/tmp/README~"},
		{"/tmp/a\nb", "files/tmp/a_b~"},
		{"/tmp/a~b", "files/tmp/a_b~"},
		{"/tmp/..a", "files/tmp/_..a~"},
		{"/tmp/\xff", "files/tmp/_~"},
		{"/root/.cache/x", "files/root/_.cache/x~"},
		{"/coverage.out", "files/coverage.out~"},
		{"/Coverage.out", "files/Coverage.out~"},
		{"/cores/x", "files/cores/x~"},
		{"/covdata", "files/covdata~"},
		{"/coverage.out2", "files/coverage.out2"},
		{long, "files/long/" + strings.Repeat("l", 100) + "~"},
		{strings.Repeat("/d", 13), "files/long/d~"},
		{"/", "files/_~"},
	} {
		got := CollectedName(tt.path, taken)
		if got != tt.want && (!strings.HasSuffix(tt.want, "~") || len(got) != len(tt.want)+12 || !strings.HasPrefix(got, tt.want)) {
			t.Errorf("%q is collected as %s, want %s", tt.path, got, tt.want)
		}
	}
}

// Whatever a path is, the name is allowed, and another path has another one.
func FuzzCollectedName(f *testing.F) {
	f.Add("/tmp/a", "/tmp/b")
	f.Add("/tmp/a_b", "/tmp/a\nb")
	f.Add("/cores/x", "/../cores/x~")
	f.Add("/\xff\xfe/"+strings.Repeat("x/", 100), "/"+strings.Repeat("l", 300))
	f.Fuzz(func(t *testing.T, a, b string) {
		nothing := func(string) bool { return false }
		one, other := CollectedName(a, nothing), CollectedName(b, nothing)
		for _, name := range []string{one, other} {
			if err := CheckFileName(name); err != nil || !Collected(name) {
				t.Fatalf("%q: %v", name, err)
			}
			if name == CoverProfileName || strings.HasPrefix(name, CoresDir+"/") && !strings.Contains(name, "~") {
				t.Fatalf("%s is init's own", name)
			}
		}
		if one == other && path.Clean("/"+a) != path.Clean("/"+b) {
			t.Fatalf("%q and %q are both %s", a, b, one)
		}
	})
}
