package guest

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// The committed loaders are what SHA256SUMS says was built from the committed
// sources: after a change of either, go generate builds and records them anew.
func TestLibbpf(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("libbpf/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if sum, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && line[0] != '#' {
			sums[name] = sum
		}
	}
	if got, want := slices.Sorted(maps.Keys(sums)), []string{"amd64.zst", "arm64.zst", "build", "loader.c", "ppc64le.zst", "riscv64.zst", "s390x.zst"}; !slices.Equal(got, want) {
		t.Errorf("SHA256SUMS has %q, want %q", got, want)
	}
	for name, want := range sums {
		b, err := os.ReadFile("libbpf/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != want {
			t.Errorf("%s is not what SHA256SUMS records: run go generate ./guest", name)
		}
	}
	for _, arch := range goarch.Names() {
		b, err := Program(t.Context(), arch, Libbpf)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if goarch.OfELF(f.Machine, f.Data).Name != arch || f.Type != elf.ET_EXEC || slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
			t.Errorf("%s: %v, %v: want a static program", arch, f.Machine, f.Type)
		}
		if len(b) > 1600<<10 {
			t.Errorf("%s: %d bytes, want 1.6 MB at most", arch, len(b))
		}
	}
	if _, err := Program(t.Context(), "mips", Libbpf); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an architecture that there is not: %v", err)
	}
}
