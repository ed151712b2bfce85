package shard

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/loader/libbpf"
	"github.com/elastic/bpf-kernel-check/report"
)

// The loader on libbpf loads and attaches what only it can, and says why it does
// not: guest/loader/libbpf's own tests, in series of kernels.
func TestLibbpf(t *testing.T) {
	for _, series := range []string{"5.10", "6.1", "6.12", "7.2"} {
		t.Run(series, func(t *testing.T) {
			l := theLab(t)
			program := filepath.Join(t.TempDir(), "libbpf.test")
			cmd := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", program, "../guest/loader/libbpf")
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			p, err := guest.TestPayload(t.Context(), program, []string{"-test.v", "-test.run=^TestKernel"}, "/", "amd64", far)
			if err != nil {
				t.Fatal(err)
			}
			b, err := guest.Program(t.Context(), "amd64", guest.Libbpf)
			if err != nil {
				t.Fatal(err)
			}
			p.Files = append(p.Files, guest.File{Path: libbpf.Path, Mode: 0o755, Data: b})
			objects, err := filepath.Glob("../guest/loader/libbpf/testdata/*.bpf.o")
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range append(objects, objectPaths(t)...) {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				p.Files = append(p.Files, guest.File{Path: "/objects/" + filepath.Base(path), Mode: 0o644, Data: b})
			}
			k, console := l.run(t, l.runner(t, p), seriesKernel(t, series))
			if k.Verdict != report.Pass || len(k.Tests) == 0 {
				t.Errorf("%v, %d tests\n%s", k.Verdict, len(k.Tests), console)
			}
		})
	}
}
