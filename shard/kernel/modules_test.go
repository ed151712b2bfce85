package kernel

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// koFile is a relocatable ELF file with a .modinfo section.
func koFile(info string) []byte {
	le := binary.LittleEndian
	const names = "\x00.modinfo\x00.shstrtab\x00"
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 1) // ET_REL
	le.PutUint16(b[18:], emX86_64)
	le.PutUint32(b[20:], 1)
	infoAt := len(b)
	b = append(b, info...)
	namesAt := len(b)
	b = append(b, names...)
	le.PutUint64(b[40:], uint64(len(b))) // section headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[58:], 64)
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2)
	section := func(name, typ uint32, at, size int) {
		h := make([]byte, 64)
		le.PutUint32(h, name)
		le.PutUint32(h[4:], typ)
		le.PutUint64(h[24:], uint64(at))
		le.PutUint64(h[32:], uint64(size))
		b = append(b, h...)
	}
	section(0, 0, 0, 0)
	section(1, 1, infoAt, len(info))
	section(10, 3, namesAt, len(names))
	return b
}

func modinfo(depends string) string { return "license=GPL\x00depends=" + depends + "\x00name=x\x00" }

// withModules opens a kernel whose archive holds files below lib/modules.
func withModules(t *testing.T, files map[string][]byte) *Image {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "distro"), 0o755); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, data []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	add("vmlinuz", elfKernel("6.1.0-1", true))
	for name, data := range files {
		add("lib/modules/6.1.0-1/"+name, data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "distro", "6.1.0-1__x.tar.gz"), compressed(t, Gzip, b.Bytes()), 0o644); err != nil {
		t.Fatal(err)
	}
	cache, err := NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, err := Parse(dir, cache)
	if err != nil {
		t.Fatal(err)
	}
	refs, err := src.List(t.Context())
	if err != nil || len(refs) != 1 {
		t.Fatalf("%v, %v", refs, err)
	}
	im, err := src.Open(t.Context(), refs[0])
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func TestModules(t *testing.T) {
	files := map[string][]byte{
		"kernel/fs/overlayfs/overlay.ko": koFile(modinfo("")),
		"kernel/net/a-b.ko.xz":           compressed(t, XZ, koFile(modinfo("c_d,e"))),
		"kernel/net/c-d.ko.zst":          compressed(t, Zstd, koFile(modinfo("f"))),
		"kernel/lib/e.ko.gz":             compressed(t, Gzip, koFile(modinfo("f"))),
		"kernel/lib/f.ko":                koFile("license=GPL\x00"),
		"kernel/lib/loop1.ko":            koFile(modinfo("loop2")),
		"kernel/lib/loop2.ko":            koFile(modinfo("loop1")),
		"kernel/lib/needs-builtin.ko":    koFile(modinfo("not_a_module")),
		"kernel/lib/broken.ko":           []byte("no ELF"),
		"kernel/lib/overlay.txt":         []byte("no module"),
	}
	im := withModules(t, files)
	for _, tt := range []struct {
		want []string
		got  []string
		err  string
	}{
		{nil, nil, ""},
		{[]string{"overlay"}, []string{"overlay"}, ""},
		{[]string{"a_b"}, []string{"f", "c_d", "e", "a_b"}, ""},
		{[]string{"a-b", "f"}, []string{"f", "c_d", "e", "a_b"}, ""},
		{[]string{"e", "overlay", "e"}, []string{"f", "e", "overlay"}, ""},
		{[]string{"built_in"}, nil, ""},
		{[]string{"needs_builtin"}, []string{"needs_builtin"}, ""},
		{[]string{"loop1"}, nil, "depends on itself"},
		{[]string{"broken"}, nil, `module "kernel/lib/broken.ko"`},
	} {
		modules, err := im.Modules(t.Context(), tt.want)
		var got []string
		for _, m := range modules {
			got = append(got, m.Name)
			if !bytes.HasPrefix(m.Data, []byte("\x7fELF")) {
				t.Errorf("%s is not decompressed", m.Name)
			}
		}
		if d := cmp.Diff(tt.got, got); d != "" {
			t.Errorf("%v (-want +got):\n%s", tt.want, d)
		}
		if (tt.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%v: %v, want %q", tt.want, err, tt.err)
		}
	}
}

func FuzzModuleDepends(f *testing.F) {
	f.Add(koFile(modinfo("a,b")))
	f.Add(koFile(modinfo("")))
	f.Add(koFile("depends=a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := moduleDepends(data)
		if err != nil && names != nil {
			t.Fatal("names beside an error")
		}
		for _, n := range names {
			if strings.ContainsAny(n, ",\x00") {
				t.Fatalf("name %q", n)
			}
		}
	})
}
