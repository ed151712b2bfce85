package guest

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func TestObjectNames(t *testing.T) {
	got := objectNames([]string{
		"build/probe.bpf.o", "other/probe.bpf.o", "probe.o", "PROBE.o", "with space.o", ".o", "../x/..bpf.o", "-rf.o",
		strings.Repeat("l", 300) + ".o", strings.Repeat("l", 300) + "m.o", "ü.bpf.o", "a\nb.o",
	})
	want := []string{"probe", "probe-2", "probe-3", "PROBE-4", "with_space", "_", "_.", "_-rf", strings.Repeat("l", 80), strings.Repeat("l", 80) + "-2", "_-2", "a_b"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, n := range got {
		if err := wire.CheckFileName(wire.FileRoot + "/" + n + "/program.log"); err != nil {
			t.Error(err)
		}
	}
}

func TestReadObjectRefuses(t *testing.T) {
	good, err := os.ReadFile("loader/testdata/net.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readObject("loader/testdata/net.bpf.o", goarch.Lookup("amd64")); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(b []byte) []byte
		want   string
	}{
		"big-endian":   {bigEndian, "is built big-endian (-target bpfeb), and amd64 kernels are little-endian: build it with clang -target bpfel"},
		"x86":          {func(b []byte) []byte { binary.LittleEndian.PutUint16(b[18:], 62); return b }, "is built for amd64, not for BPF"},
		"executable":   {func(b []byte) []byte { b[16] = 2; return b }, "not a 64-bit object"},
		"cut short":    {func(b []byte) []byte { return b[:20] }, "is no ELF object"},
		"empty":        {func([]byte) []byte { return nil }, "is no ELF object"},
		"compressed":   {compressed, "has compressed sections"},
		"not an ELF":   {func([]byte) []byte { return []byte("text") }, "is no ELF object"},
		"no such file": {nil, "does not exist"},
	} {
		path := filepath.Join(t.TempDir(), "x.bpf.o")
		if tt.change != nil {
			if err := os.WriteFile(path, tt.change(append([]byte(nil), good...)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := readObject(path, goarch.Lookup("amd64")); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// bigEndian makes an ELF header of a big-endian BPF object, without sections.
func bigEndian([]byte) []byte {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x02\x01")
	binary.BigEndian.PutUint16(b[16:], 1)   // ET_REL
	binary.BigEndian.PutUint16(b[18:], 247) // EM_BPF
	binary.BigEndian.PutUint32(b[20:], 1)
	binary.BigEndian.PutUint16(b[52:], 64)
	return b
}

// compressed marks sections of an object, such as its BTF, as compressed.
func compressed(b []byte) []byte {
	table, n := binary.LittleEndian.Uint64(b[40:]), binary.LittleEndian.Uint16(b[60:])
	for i := 1; i < int(n); i++ {
		if header := b[int(table)+i*64:]; header[4] == byte(elf.SHT_PROGBITS) && binary.LittleEndian.Uint64(header[32:]) > 24 {
			header[9] |= 8 // SHF_COMPRESSED
		}
	}
	return b
}

// bpf2go builds an object for each architecture, or for each order of bytes.
func TestForArch(t *testing.T) {
	perArch := []string{"a/x_arm64_bpfel.o", "a/x_s390_bpfeb.o", "a/x_x86_bpfel.o"}
	perOrder := []string{"a/my_x_bpfeb.o", "a/my_x_bpfel.o", "y.bpf.o"}
	for _, tt := range []struct {
		paths []string
		arch  string
		want  []string
	}{
		{perArch, "amd64", []string{"a/x_x86_bpfel.o"}},
		{perArch, "s390x", []string{"a/x_s390_bpfeb.o"}},
		{perArch, "riscv64", perArch}, // nothing fits: each says so
		{perOrder, "arm64", []string{"a/my_x_bpfel.o", "y.bpf.o"}},
		{perOrder, "s390x", []string{"a/my_x_bpfeb.o", "y.bpf.o"}},
		{[]string{"a/x_bpfeb.o", "b/x_bpfel.o"}, "amd64", []string{"a/x_bpfeb.o", "b/x_bpfel.o"}},
		{[]string{"x_bpfeb_s390.o", "x_bpfel_x86.o"}, "s390x", []string{"x_bpfeb_s390.o"}},
	} {
		if d := cmp.Diff(tt.want, forArch(tt.paths, tt.arch)); d != "" {
			t.Errorf("%s: %s", tt.arch, d)
		}
	}
}

func TestFindObjects(t *testing.T) {
	got, err := FindObjects([]string{"loader/testdata/n*.bpf.o", "./loader/testdata/net.bpf.o"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"loader/testdata/net.bpf.o", "loader/testdata/newer.bpf.o"}, got); d != "" {
		t.Error(d)
	}
	if _, err := FindObjects([]string{"loader/testdata/*.bpf.o", "nothing/*.o"}); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("got %v, want an error that names the pattern", err)
	}
}
