package guest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func TestChooseLoader(t *testing.T) {
	entry := `program entry: libbpf 1.x does not know its section "xdp/entry", which ebpf-go takes for "xdp"`
	numbered := `program numbered: libbpf 1.x does not know its section "socket1", which ebpf-go takes for "socket"`
	hint := "; if ebpf-go loads it, give --loader ebpf-go"
	legacy := `libbpf 1.0 and later refuse the object: it defines maps in a section "maps", not ".maps"`
	arm64 := "program on_entry reads the registers of arm64, and the kernels are for amd64: build it with -D__TARGET_ARCH_x86"
	amd64 := "program on_entry reads the registers of amd64 or riscv64, and the kernels are for arm64: build it with -D__TARGET_ARCH_arm64"
	for _, tt := range []struct {
		file, as, loader, arch string
		want                   string
		warnings               []string
	}{
		{"sections.bpf.o", "sections.bpf.o", "auto", "amd64", "libbpf", []string{entry + hint, numbered + hint}},
		{"sections.bpf.o", "sections.o", "auto", "amd64", "libbpf", []string{entry + hint, numbered + hint}},
		{"sections.bpf.o", "sections_bpfel.o", "auto", "amd64", "ebpf-go", nil},
		{"sections.bpf.o", "sections_x86_bpfel.o", "auto", "amd64", "ebpf-go", nil},
		{"sections.bpf.o", "sections_bpfel_x86.o", "auto", "amd64", "ebpf-go", nil},
		{"sections.bpf.o", "sections_arm64_bpfel.o", "auto", "amd64", "ebpf-go", []string{"bpf2go built it for arm64, and the kernels are for amd64"}},
		{"sections.bpf.o", "sections_bpfel.o", "libbpf", "amd64", "libbpf", nil},
		{"sections.bpf.o", "sections.bpf.o", "ebpf-go", "amd64", "ebpf-go", []string{entry, numbered}},
		{"sections.bpf.o", "sections_powerpc_bpfel.o", "auto", "arm64", "ebpf-go", []string{"bpf2go built it for ppc64le, and the kernels are for arm64"}},
		{"sections.bpf.o", "sections.bpf.o", "both", "amd64", "both", []string{entry, numbered}},
		{"legacy.bpf.o", "legacy.bpf.o", "auto", "amd64", "ebpf-go", []string{legacy}},
		{"registers_amd64.bpf.o", "r.bpf.o", "auto", "amd64", "libbpf", nil},
		{"registers_arm64.bpf.o", "r.bpf.o", "auto", "arm64", "libbpf", nil},
		{"registers_arm64.bpf.o", "r.bpf.o", "auto", "amd64", "libbpf", []string{arm64}},
		{"registers_amd64.bpf.o", "r.bpf.o", "ebpf-go", "arm64", "ebpf-go", []string{amd64}},
	} {
		b, err := os.ReadFile("testdata/objects/" + tt.file)
		if err != nil {
			t.Fatal(err)
		}
		got := ChooseLoader(wire.Object{Loader: tt.loader}, ObjectFile{Path: "build/" + tt.as, Data: b}, tt.arch)
		if d := cmp.Diff(wire.Object{Loader: tt.want, Warnings: tt.warnings}, got); d != "" {
			t.Errorf("%s as %s with %s on %s: %s", tt.file, tt.as, tt.loader, tt.arch, d)
		}
	}
}

// Objects that are relocated, or read no registers, fit every architecture; the
// tracer's are built for one each.
func TestContextReads(t *testing.T) {
	insns := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 112, asm.DWord),
		asm.LoadMem(asm.R3, asm.R1, 88, asm.Half), // no register
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R3, asm.R2, 8, asm.DWord),    // of what the argument points to
		asm.LoadMem(asm.R3, asm.R6, 96, asm.DWord),   // relocated
		asm.FnGetPrandomU32.Call(),                   //
		asm.LoadMem(asm.R2, asm.R1, 72, asm.DWord),   // R1 is gone
		asm.LoadMem(asm.R2, asm.R6, 104, asm.Word),   //
		asm.Mov.Imm(asm.R6, 0),                       //
		asm.LoadMem(asm.R2, asm.R6, 16, asm.DWord),   // nor is R6 the context
		asm.StoreMem(asm.R10, -8, asm.R2, asm.DWord), //
		asm.LoadMem(asm.R0, asm.R10, -8, asm.DWord),  //
		asm.Return(),
	}
	var b bytes.Buffer
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		b.Reset()
		if err := insns.Marshal(&b, order); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]int{112, 104}, contextReads(append(b.Bytes(), 1, 2, 3), order, func(insn int) bool { return insn == 4 })); d != "" {
			t.Errorf("%v: %s", order, d)
		}
	}
}

func FuzzChooseLoader(f *testing.F) {
	paths, err := filepath.Glob("testdata/objects/*.o")
	if err != nil || len(paths) == 0 {
		f.Fatal(err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := ChooseLoader(wire.Object{Loader: wire.LoaderAuto}, ObjectFile{Path: "x.o", Data: b}, "amd64")
		if got.Broken == "" && got.Loader != wire.LoaderLibbpf && got.Loader != wire.LoaderGo {
			t.Errorf("loader %q", got.Loader)
		}
	})
}

func TestLoadersNote(t *testing.T) {
	var objects []wire.Object
	for _, n := range strings.Fields("a b c d e f g") {
		objects = append(objects, wire.Object{Name: n, Loader: wire.LoaderLibbpf})
	}
	objects = append(objects, wire.Object{Name: "h", Loader: wire.LoaderGo}, wire.Object{Name: "i", Broken: "is no ELF object"})
	got := loadersNote(objects)
	if want := "loads BPF objects: 7 with libbpf 1.8 (a, b, c and 4 more), 1 with ebpf-go"; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, " (h)") {
		t.Errorf("got %q", got)
	}
}

// One file that is no object fails alone.
func TestObjectsPayloadWithBrokenFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the guest's loader")
	}
	text := filepath.Join(t.TempDir(), "text.bpf.o")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := ReadObjects([]string{text, "testdata/objects/sections.bpf.o"}, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	asked := wire.Objects{Loader: wire.LoaderAuto, Load: wire.LoadEach, Unsupported: wire.TestFail}
	p, err := ObjectsPayload(t.Context(), "amd64", files, asked, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var got wire.Objects
	for _, f := range p.Files {
		if f.Path == wire.ObjectsPath {
			if err := json.Unmarshal(f.Data, &got); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(got.Objects) != 2 || !strings.HasPrefix(got.Objects[0].Broken, "is no ELF object") || got.Objects[1].Broken != "" {
		t.Errorf("got %+v", got)
	}
	if len(p.Warnings) != 3 || !strings.HasPrefix(p.Warnings[0], text+" is no ELF object") {
		t.Errorf("warnings %q", p.Warnings)
	}
	other := asked
	other.Attach = true
	q, err := ObjectsPayload(t.Context(), "amd64", files, other, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if p.Digest() == q.Digest() {
		t.Error("another setting has the same digest")
	}
	if _, err := ReadObjects([]string{text, text}, "amd64"); err == nil || !strings.Contains(err.Error(), `; so is no other file: "`+text+`" is no ELF object: `) {
		t.Errorf("got %v", err)
	}
}
