package merge

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/elastic/bpf-kernel-check/report"
)

// write puts a set's files on disk.
func (s *testSet) write(t *testing.T, dir string) {
	if err := os.CopyFS(dir, s.fs(t)); err != nil {
		t.Fatal(err)
	}
}

func collect(t *testing.T, dirs ...string) *Collected {
	t.Helper()
	c, err := Collect(dirs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCollect(t *testing.T) {
	s := newSet(3, 7)
	deep := t.TempDir()
	s.write(t, filepath.Join(deep, "a", "b"))

	flat := t.TempDir() // what download-artifact makes of a single match
	one := newSet(1, 2)
	one.file(1).name = "shard.ndjson"
	one.write(t, flat)

	packed := t.TempDir()
	for _, f := range s.files {
		part := &testSet{plan: s.plan, files: []*testFile{f}}
		var b bytes.Buffer
		zw := zip.NewWriter(&b)
		if err := zw.AddFS(part.fs(t)); err != nil {
			t.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(packed, strings.ReplaceAll(f.name, "/", "-")+".zip"), b.String())
	}
	zips, err := filepath.Glob(filepath.Join(packed, "*.zip"))
	if err != nil || len(zips) != 3 {
		t.Fatal(zips, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(deep, link); err != nil {
		t.Fatal(err)
	}
	for name, dirs := range map[string][]string{
		"deep":                      {deep},
		"flat":                      {flat},
		"packed":                    {packed},
		"zip files by name":         zips,
		"the same twice":            {deep, deep + "/"},
		"one within another":        {filepath.Join(deep, "a", "b"), deep},
		"each shard by itself":      {deep + "/a/b/shard-1-1", deep + "/a/b/shard-2-1", deep + "/a/b/shard-3-1"},
		"a link given by the user":  {link},
		"a link and where it leads": {link, deep},
	} {
		t.Run(name, func(t *testing.T) {
			c := collect(t, dirs...)
			m, from := Merge(c, testOptions())
			if m.Verdict != report.Pass {
				t.Fatalf("%v %v", m.Verdict, m.Refusals)
			}
			dir := t.TempDir()
			out, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			CopyEvidence(out, m, from)
			for _, k := range m.Kernels {
				b, err := os.ReadFile(filepath.Join(dir, k.Console))
				if err != nil || string(b) != "console of "+k.ID+"\n" || len(k.Problems) > 0 {
					t.Errorf("%s: %q, %v, %v", k.ID, b, err, k.Problems)
				}
			}
		})
	}
}

func TestCollectInputErrors(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "x.txt"), "x")
	for name, want := range map[string]string{
		filepath.Join(dir, "nowhere"): "does not exist: give a directory",
		filepath.Join(dir, "x.txt"):   "is no directory",
		"":                            "does not exist",
	} {
		_, err := Collect(name)
		var input *InputError
		if !errors.As(err, &input) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// What guests leave in results cannot be taken for a shard's result, nor can
// links lead out of an artifact.
func TestCollectHostile(t *testing.T) {
	s := newSet(2, 4)
	s.file(2).fail(0)
	dir := t.TempDir()
	s.write(t, dir)
	forged := newSet(2, 4)
	better := forged.add(2, 9)
	id := s.file(2).plan.Kernels[0]
	for _, p := range []string{
		"shard-2-1/results/" + id + "/verifier/a/x.ndjson",
		"shard-2-1/results/x.ndjson",
		"other/verifier/x.ndjson",
		"other/x.txt",
	} {
		writeFile(t, filepath.Join(dir, p), string(better.bytes(t)))
	}
	outside := t.TempDir()
	writeFile(t, filepath.Join(outside, "x.ndjson"), string(better.bytes(t)))
	writeFile(t, filepath.Join(outside, "secret"), "secret")
	for link, target := range map[string]string{
		"dir-link":        outside,
		"file-link":       filepath.Join(outside, "x.ndjson"),
		"abc/link.ndjson": filepath.Join(outside, "x.ndjson"),
		"self":            dir,
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	// The console of one kernel is a link to a secret, another's directory too.
	console := filepath.Join(dir, "shard-2-1", s.file(2).kernel(0).Console)
	if err := errors.Join(os.Remove(console), os.Symlink(filepath.Join(outside, "secret"), console)); err != nil {
		t.Fatal(err)
	}
	c := collect(t, dir)
	if len(c.Files) != 2 || len(c.Problems) != 0 {
		t.Errorf("%d files, %v", len(c.Files), c.Problems)
	}
	m, from := Merge(c, testOptions())
	if m.Verdict != report.Fail || m.Attempt != 1 {
		t.Fatalf("%v of attempt %d", m.Verdict, m.Attempt)
	}
	// The output directory holds a link where the console is to go.
	outDir := t.TempDir()
	target := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(outDir, "results"), 0o755), os.Symlink(target, filepath.Join(outDir, "results", "debian"))); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenRoot(outDir)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	CopyEvidence(out, m, from)
	for _, k := range m.Kernels {
		if k.Console != "" || len(k.Problems) == 0 {
			t.Errorf("%s: console %q, problems %v", k.ID, k.Console, k.Problems)
		}
	}
	if entries, err := os.ReadDir(target); err != nil || len(entries) > 0 {
		t.Errorf("written through a link: %v, %v", entries, err)
	}
	err = fs.WalkDir(os.DirFS(outDir), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			t.Errorf("%s was written", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Merging into the directory that the results are in leaves them as they are.
func TestCopyEvidenceOntoItself(t *testing.T) {
	s := newSet(1, 2)
	s.file(1).name = "shard.ndjson"
	dir := t.TempDir()
	s.write(t, dir)
	m, from := Merge(collect(t, dir), testOptions())
	out, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := copier{out: out, left: 3} // what is larger than a copy may be stays whole
	for i := range m.Kernels {
		k := &m.Kernels[i]
		c.kernel(k, from[k.ID].evidence)
		b, err := os.ReadFile(filepath.Join(dir, k.Console))
		if err != nil || string(b) != "console of "+k.ID+"\n" || len(k.Problems) > 0 {
			t.Errorf("%s: %q, %v, %v", k.ID, b, err, k.Problems)
		}
	}
}

// Consoles of earlier attempts and files come along; those of an attempt of the
// run that does not count stay behind.
func TestCopyEvidenceOfTheAttemptThatCounts(t *testing.T) {
	s := newSet(1, 1)
	id := s.plan.Kernels[0].ID
	f := s.add(1, 2)
	f.fail(0)
	f.kernel(0).Attempts = 2
	f.kernel(0).Files = []string{"results/" + id + "/verifier/o/p.log", "results/" + id + "/verifier/o/gone.log"}
	m := s.fs(t)
	m["shard-1-2/results/"+id+".txt"] = &fstest.MapFile{Data: []byte("second")}
	m["shard-1-2/results/"+id+".attempt-1.txt"] = &fstest.MapFile{Data: []byte("retried")}
	m["shard-1-2/results/"+id+"/verifier/o/p.log"] = &fstest.MapFile{Data: []byte("log")}
	m["shard-1-2/results/"+id+"/verifier/o/unnamed.log"] = &fstest.MapFile{Data: []byte("log")}
	merged, from := Merge(collectFS(m), testOptions())
	dir := t.TempDir()
	out, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	CopyEvidence(out, merged, from)
	var got []string
	err = fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, _ := os.ReadFile(filepath.Join(dir, p))
			got = append(got, strings.TrimPrefix(p, "results/"+id)+"="+string(b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/verifier/o/p.log=log", ".attempt-1.txt=retried", ".txt=second"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	k := merged.Kernels[0]
	if len(k.Files) != 1 || len(k.Problems) != 1 || !strings.Contains(k.Problems[0], "gone.log: it is not in the artifact") {
		t.Errorf("files %v, problems %v", k.Files, k.Problems)
	}
}

func TestCopyEvidenceIsCapped(t *testing.T) {
	s := newSet(1, 2)
	m := s.fs(t)
	merged, from := Merge(collectFS(m), testOptions())
	dir := t.TempDir()
	out, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := copier{out: out, left: 30}
	for i := range merged.Kernels {
		c.kernel(&merged.Kernels[i], from[merged.Kernels[i].ID].evidence)
	}
	for i, want := range []int{26, 4} {
		k := merged.Kernels[i]
		b, err := os.ReadFile(filepath.Join(dir, k.Console))
		if err != nil || len(b) != want || (len(k.Problems) > 0) != (i == 1) {
			t.Errorf("%s: %d bytes, want %d: %v, %v", k.ID, len(b), want, err, k.Problems)
		}
	}
}

func TestCollectLimits(t *testing.T) {
	s := newSet(3, 7)
	c := &Collected{}
	w := walker{c: c, entries: 5, bytes: maxShardBytes}
	w.walk(s.fs(t), "x", false)
	if m, _ := Merge(c, testOptions()); m.Verdict == report.Pass || !strings.Contains(m.Refusals[0].Reason, "more than 1000000 files") {
		t.Errorf("too many files: %v", m.Refusals)
	}
	c = &Collected{}
	w = walker{c: c, entries: maxEntries, bytes: 3000}
	w.walk(s.fs(t), "x", false)
	if m, _ := Merge(c, testOptions()); m.Verdict == report.Pass || !strings.Contains(m.Refusals[0].Reason, "more than 512 MiB together") {
		t.Errorf("too many bytes: %v", m.Refusals)
	}
	m := s.fs(t)
	m[strings.Repeat("d/", maxWalkDepth+1)+"x.ndjson"] = &fstest.MapFile{}
	if m, _ := Merge(collectFS(m), testOptions()); m.Verdict == report.Pass || !strings.Contains(m.Refusals[0].Reason, "nested deeper") {
		t.Errorf("too deep: %v", m.Refusals)
	}
}

// A zip file that cannot be read may have been a shard's result.
func TestCollectBrokenZip(t *testing.T) {
	s := newSet(1, 2)
	m := s.fs(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, m); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "artifact.zip"), "PK\x03\x04broken")
	if m, _ := Merge(collect(t, dir), testOptions()); m.Verdict != report.Missing || !strings.Contains(m.Refusals[0].Reason, "artifact.zip: zip: not a valid zip file") {
		t.Errorf("%v %v", m.Verdict, m.Refusals)
	}
}
