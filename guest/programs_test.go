package guest

import (
	"bytes"
	"debug/elf"
	"errors"
	"io/fs"
	"testing"
)

// What the build holds is packed, and comes out whole: zstd's checksum says so.
func TestEmbeddedPrograms(t *testing.T) {
	t.Parallel()
	if embedded == nil {
		t.Skip("this build holds no programs: make unit and make test build with the tag embed_guest")
	}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		packed := 0
		for _, name := range []string{Init, Generators, Tracer, Loader, Shell} {
			b, err := Program(t.Context(), arch, name)
			if err != nil {
				t.Fatal(err)
			}
			if f, err := elf.NewFile(bytes.NewReader(b)); err != nil || f.Machine != machine {
				t.Errorf("%s for %s: %v", name, arch, err)
			}
			b, err = embedded("programs/" + arch + "/" + name + ".zst")
			if err != nil {
				t.Fatal(err)
			}
			packed += len(b)
		}
		if packed > 6<<20 {
			t.Errorf("the programs for %s take %d bytes, want 6 MiB at most", arch, packed)
		}
	}
	if _, err := Program(t.Context(), "amd64", "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a program that is none: %v", err)
	}
}

func BenchmarkProgram(b *testing.B) {
	for b.Loop() {
		if _, err := Program(b.Context(), "amd64", Init); err != nil {
			b.Fatal(err)
		}
	}
}
