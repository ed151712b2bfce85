package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/index"
)

// An index with kernels that cannot be read says so, once, and what it says of no
// kernel is booted.
func TestPickWithDamagedIndex(t *testing.T) {
	dir := t.TempDir()
	kernels := filepath.Join(dir, "kernels", "debian")
	if err := os.MkdirAll(kernels, 0o755); err != nil {
		t.Fatal(err)
	}
	const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	var facts []*index.Facts
	for _, name := range []string{"6.1.0-1-amd64__x", "6.1.0-2-amd64__x"} {
		if err := os.WriteFile(filepath.Join(kernels, name+".tar"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		facts = append(facts, &index.Facts{Head: index.Head{ID: "debian/" + name, Digest: empty, Arch: "amd64"}, Symbols: strings.Repeat("do_exit T\n", 100)})
	}
	var b bytes.Buffer
	err := index.Write(&b, func() (f *index.Facts, err error) {
		if len(facts) == 0 {
			return nil, io.EOF
		}
		f, facts = facts[0], facts[1:]
		return f, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Bytes()[20] ^= 0x10 // in the first kernel, which the second is read by
	x := filepath.Join(dir, "x.bki")
	if err := os.WriteFile(x, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	args := []string{"plan", "--kernels", filepath.Dir(kernels), "--arch", "amd64", "--objects", "../../shard/preflight/testdata/filelife.bpf.o", "--pick", "kinds", "--index", x, "--shards", "1", "--out", filepath.Join(dir, "plan.json")}
	if code := run(t.Context(), args, nil, &stdout, &stderr, os.Getenv); code != report.ExitPass {
		t.Errorf("exit code %d", code)
	}
	if !strings.HasPrefix(stdout.String(), "2 kernels to boot: none represents another") {
		t.Errorf("stdout:\n%s", &stdout)
	}
	if said := stderr.String(); strings.Count(said, `warning: --index: index "`+x+`" is damaged (debian/6.1.0-`) != 1 || !strings.Contains(said, "\nnote: 2 kernels are booted, since their kinds are not known\n") || strings.Contains(said, "not in the index") {
		t.Errorf("stderr:\n%s", said)
	}
}
