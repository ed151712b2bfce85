package archive

import (
	"archive/tar"
	"bytes"
	"compress/flate"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
)

// withModules opens a kernel whose archive holds files below lib/modules.
func withModules(t *testing.T, files map[string][]byte) *kernel.Image {
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
	add("vmlinuz", imagetest.ELF("6.1.0-1", true))
	for name, data := range files {
		add("lib/modules/6.1.0-1/"+name, data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "distro", "6.1.0-1__x.tar.gz"), imagetest.Compressed(t, image.Gzip, b.Bytes()), 0o644); err != nil {
		t.Fatal(err)
	}
	cache, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, err := New(dir, cache)
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

func TestModulesOnDemand(t *testing.T) {
	im := withModules(t, map[string][]byte{
		"kernel/a/needed-later.ko":               imagetest.KoFile(imagetest.Modinfo("deep")), // may have gone by when it turns out to be
		"kernel/a/deep.ko.xz":                    imagetest.Compressed(t, image.XZ, imagetest.KoFile(imagetest.Modinfo(""))),
		"kernel/arch/x86/crypto/crc32c-intel.ko": imagetest.KoFile("alias=crypto-crc32c\x00alias=crc32c"),
		"kernel/crypto/crc32c_generic.ko":        imagetest.KoFile("depends=deep\x00alias=crc32c"),
		"kernel/crypto/sha1.ko":                  imagetest.KoFile("alias=crypto-sha1"),
		"kernel/drivers/crypto/card.ko":          imagetest.KoFile("alias=crc32c"), // no machine of ours has it
		"kernel/b/soft.ko":                       imagetest.KoFile("depends="),
		"kernel/b/after.ko":                      imagetest.KoFile("depends="),
		"kernel/m/wanted.ko":                     imagetest.KoFile("depends=needed-later\x00softdep=pre: soft crc32c post: after built-in\x00alias=net-pf-2-proto-132"),
		"kernel/m/broken.ko":                     []byte("no ELF"),
		"kernel/z/other.ko":                      []byte("never read"),
		"kernel/z/first.ko":                      imagetest.KoFile("depends=deep\x00softdep=pre: other"),
		"modules.builtin":                        []byte("kernel/b/built-in.ko\nkernel/c/x.ko\n"),
	})
	got, err := im.Modules(t.Context(), []string{"first"}, func(name string) bool { return name == "wanted" || name == "broken" })
	if err != nil {
		t.Fatal(err)
	}
	var first []string
	for _, m := range got.First {
		first = append(first, m.Name)
	}
	if d := cmp.Diff([]string{"deep", "first"}, first); d != "" {
		t.Errorf("first (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"after", "crc32c_generic", "crc32c_intel", "deep", "needed_later", "soft", "wanted"}, slices.Sorted(maps.Keys(got.OnDemand))); d != "" {
		t.Errorf("on demand (-want +got):\n%s", d)
	}
	for name, m := range got.OnDemand {
		b, err := io.ReadAll(flate.NewReader(bytes.NewReader(m.Data)))
		if err != nil || len(b) != m.Size || crc32.ChecksumIEEE(b) != m.CRC32 || !bytes.HasPrefix(b, []byte("\x7fELF")) {
			t.Errorf("%s has %d bytes, %v", name, len(b), err)
		}
	}
	if d := cmp.Diff([]string{"built_in", "x"}, got.Builtin); d != "" {
		t.Errorf("built in (-want +got):\n%s", d)
	}
	if len(got.All) != 12 || !got.All["other"] {
		t.Errorf("all: %v", got.All)
	}
	if want := (image.Modinfo{Depends: []string{"needed_later"}, Pre: []string{"soft", "crc32c"}, Post: []string{"after", "built_in"}, Aliases: []string{"net-pf-2-proto-132"}}); !cmp.Equal(want, got.Info["wanted"]) {
		t.Errorf("got %+v", got.Info["wanted"])
	}
}

func TestModules(t *testing.T) {
	files := map[string][]byte{
		"kernel/fs/overlayfs/overlay.ko": imagetest.KoFile(imagetest.Modinfo("")),
		"kernel/net/a-b.ko.xz":           imagetest.Compressed(t, image.XZ, imagetest.KoFile(imagetest.Modinfo("c_d,e"))),
		"kernel/net/c-d.ko.zst":          imagetest.Compressed(t, image.Zstd, imagetest.KoFile(imagetest.Modinfo("f"))),
		"kernel/lib/e.ko.gz":             imagetest.Compressed(t, image.Gzip, imagetest.KoFile(imagetest.Modinfo("f"))),
		"kernel/lib/f.ko":                imagetest.KoFile("license=GPL\x00"),
		"kernel/lib/loop1.ko":            imagetest.KoFile(imagetest.Modinfo("loop2")),
		"kernel/lib/loop2.ko":            imagetest.KoFile(imagetest.Modinfo("loop1")),
		"kernel/lib/needs-builtin.ko":    imagetest.KoFile(imagetest.Modinfo("not_a_module")),
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
		modules, err := im.Modules(t.Context(), tt.want, nil)
		var got []string
		for _, m := range modules.First {
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
