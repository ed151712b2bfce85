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
	if got, want := slices.Sorted(maps.Keys(sums)), []string{"amd64.zst", "arm64.zst", "build", "loader.c"}; !slices.Equal(got, want) {
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
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		b, err := Program(t.Context(), arch, Libbpf)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != machine || f.Type != elf.ET_EXEC || slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
			t.Errorf("%s: %v, %v: want a static program", arch, f.Machine, f.Type)
		}
		if len(b) > 1500<<10 {
			t.Errorf("%s: %d bytes, want 1.5 MiB at most", arch, len(b))
		}
	}
	if _, err := Program(t.Context(), "riscv64", Libbpf); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an architecture that there is not: %v", err)
	}
}
