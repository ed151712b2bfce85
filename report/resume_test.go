package report

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func resumePlan() Plan {
	return Plan{
		Schema: Schema, Tool: "v1.0.0", List: "sha256:" + strings.Repeat("a", 64), Algorithm: "single", Shard: 1, Shards: 1,
		RunID: "7", Attempt: 2, Payload: "sha256:" + strings.Repeat("b", 64), Arch: "amd64", Kernels: []string{"d/1", "d/2", "d/3"},
	}
}

// writeResults makes a shard file with results of the first n kernels.
func writeResults(t *testing.T, dir string, p Plan, n int) string {
	t.Helper()
	w, err := CreateShardFile(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range p.Kernels[:n] {
		if err := w.Kernel(Result{ID: id, Verdict: Fail, Cause: &Cause{Title: "it <failed>"}, Attempts: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(n == len(p.Kernels)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, p.ShardFileName())
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// finish does the kernels that r lacks and reads the file as merge does.
func finish(t *testing.T, r *Resumed, p Plan) []byte {
	t.Helper()
	w, err := r.Resume()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range p.Kernels[len(r.Kernels):] {
		if err := w.Kernel(Result{ID: id, Verdict: Pass, Attempts: 1, Tests: []Test{{Name: "a", Verdict: "pass"}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	b := read(t, filepath.Join(r.dir, p.ShardFileName()))
	f, err := ReadShardFile(bytes.NewReader(b))
	if err != nil || f.Problem != "" {
		t.Fatalf("%v, %+v", err, f)
	}
	if d := cmp.Diff(p.Kernels, kernelIDs(f.Kernels)); d != "" {
		t.Error(d)
	}
	return b
}

func kernelIDs(ks []Result) (ids []string) {
	for _, k := range ks {
		ids = append(ids, k.ID)
	}
	return ids
}

// A file that is cut off at any byte is gone on with, and what its whole lines
// say stays to the byte.
func TestResumeFromAnyByte(t *testing.T) {
	p := resumePlan()
	whole := read(t, writeResults(t, t.TempDir(), p, len(p.Kernels)))
	for n := range len(whole) + 1 {
		// Every byte near the end of a line, and some of each line's middle.
		if near := whole[max(0, n-2):min(n+2, len(whole))]; n%13 != 0 && !bytes.Contains(near, []byte("\n")) {
			continue
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, p.ShardFileName()), whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := FindResumed(dir, p)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		lines := bytes.Count(whole[:n], []byte("\n"))
		if lines == 0 {
			if r != nil {
				t.Fatalf("%d bytes: resumed without a plan", n)
			}
			continue
		}
		kept := whole[:bytes.LastIndexByte(whole[:n], '\n')+1]
		if r == nil || len(r.Kernels) != min(lines-1, len(p.Kernels)) || r.Finished != (n == len(whole)) {
			t.Fatalf("%d bytes: %+v", n, r)
		}
		if got := finish(t, r, p); !bytes.HasPrefix(got, kept) {
			t.Fatalf("%d bytes: what was there has changed:\n%s", n, got)
		}
	}
}

func TestResumeIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Plan)
		damage func([]byte) []byte
		want   string // "": nothing is found
	}{
		{name: "another payload", change: func(p *Plan) { p.Payload = "sha256:" + strings.Repeat("c", 64) }, want: "the payload was sha256:bbbbbbbbbbbb and is sha256:cccccccccccc"},
		{name: "another list", change: func(p *Plan) { p.List = "sha256:" + strings.Repeat("c", 64) }, want: "the list of kernels was"},
		{name: "another version", change: func(p *Plan) { p.Tool = "v1.0.1" }, want: "the version of bpf-kernel-check was v1.0.0 and is v1.0.1"},
		{name: "another architecture", change: func(p *Plan) { p.Arch = "arm64" }, want: "the architecture was amd64 and is arm64"},
		{name: "another commit", change: func(p *Plan) { p.HeadSHA = strings.Repeat("1", 40) }, want: "the commit was none and is 1111"},
		{name: "other kernels", change: func(p *Plan) { p.Kernels = p.Kernels[:2] }, want: "it has 3 kernels, and these are 2"},
		{name: "another run", change: func(p *Plan) { p.RunID = "8" }},
		{name: "torn in its middle", damage: func(b []byte) []byte {
			i := bytes.IndexByte(b, '\n') + 20
			return append(b[:i:i], b[i+30:]...)
		}, want: "line 2"},
		{name: "zeros in its middle", damage: func(b []byte) []byte {
			i := bytes.IndexByte(b, '\n')
			copy(b[i+10:i+30], make([]byte, 20))
			return b
		}, want: "line 2"},
		{name: "a result twice", damage: func(b []byte) []byte {
			lines := bytes.SplitAfter(b, []byte("\n"))
			return append(b[:len(b):len(b)], lines[1]...)
		}, want: "has a result already"},
		{name: "no shard file", damage: func([]byte) []byte { return []byte("{}\n") }, want: "no plan record"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := resumePlan()
			dir := t.TempDir()
			path := writeResults(t, dir, p, 2)
			if tt.damage != nil {
				if err := os.WriteFile(path, tt.damage(read(t, path)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			before := read(t, path)
			if tt.change != nil {
				tt.change(&p)
			}
			r, err := FindResumed(dir, p)
			switch {
			case tt.want == "" && (r != nil || err != nil):
				t.Errorf("found %+v, %v", r, err)
			case tt.want != "" && (!errors.Is(err, ErrNotResumed) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), p.ShardFileName()) || strings.Contains(err.Error(), "\n")):
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if !bytes.Equal(before, read(t, path)) {
				t.Error("the file was changed")
			}
		})
	}
}

// A job that is run again has a new attempt: it goes on where the one before was
// cut off, and does everything when that had ended.
func TestResumeAnEarlierAttempt(t *testing.T) {
	p := resumePlan()
	dir := t.TempDir()
	first := p
	first.Attempt = 1
	path := writeResults(t, dir, first, 2)
	before := read(t, path)
	r, err := FindResumed(dir, p)
	if err != nil || r == nil || len(r.Kernels) != 2 || r.Name != first.ShardFileName() {
		t.Fatalf("%+v, %v", r, err)
	}
	got := finish(t, r, p)
	_, results, _ := bytes.Cut(before, []byte("\n"))
	if !bytes.Contains(got, results) || !bytes.Contains(got, []byte(`"attempt":2`)) {
		t.Errorf("the results of attempt 1 are not in\n%s", got)
	}
	if !bytes.Equal(before, read(t, path)) {
		t.Error("the file of attempt 1 was changed")
	}

	dir = t.TempDir()
	writeResults(t, dir, first, 3)
	if r, err := FindResumed(dir, p); r != nil || err != nil {
		t.Errorf("an attempt that had ended is gone on with: %+v, %v", r, err)
	}
}

// What a full disk does not take is kept, and no torn line stands before it.
func TestShardFileOnAFullDisk(t *testing.T) {
	p := resumePlan()
	w, err := CreateShardFile(t.TempDir(), p)
	if err != nil {
		t.Fatal(err)
	}
	file := w.f
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full") // a Linux without it is none that runs VMs
	}
	defer full.Close()
	w.f = full
	for _, id := range p.Kernels[:2] {
		if err := w.Kernel(Result{ID: id, Verdict: Infra, Cause: &Cause{Title: "x"}, Attempts: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.flush(); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got %v", err)
	}
	w.f = file
	if err := w.Kernel(Result{ID: p.Kernels[2], Verdict: Infra, Cause: &Cause{Title: "x"}, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	f, err := ReadShardFile(bytes.NewReader(read(t, file.Name())))
	if err != nil || f.Problem != "" || len(f.Kernels) != 3 {
		t.Errorf("%+v, %v", f, err)
	}
}
