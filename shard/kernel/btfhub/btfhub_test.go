package btfhub

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/ulikunitz/xz"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// What types there are is in the digest, wherever they lie.
func TestDigest(t *testing.T) {
	digest := func(path string) string {
		t.Helper()
		files, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return files.Digest()
	}
	dirs := map[string]string{}
	for name, files := range map[string]map[string][]byte{
		"none": {}, "a file": {"a/5.4.btf": []byte("x")}, "its size": {"a/5.4.btf": []byte("xy")}, "its name": {"a/5.5.btf": []byte("x")},
		"its directory": {"b/5.4.btf": []byte("x")}, "its suffix": {"a/5.4.btf.tar.xz": []byte("x")}, "three directories": {"a/b/c/5.4.btf": []byte("x")},
	} {
		var of [2]string
		for i := range of {
			dir := t.TempDir()
			for path, b := range files {
				put(t, filepath.Join(dir, path), b)
			}
			put(t, filepath.Join(dir, "README"), make([]byte, i))
			of[i] = digest(dir)
		}
		if other, twice := dirs[of[0]]; twice || of[0] != of[1] {
			t.Errorf("%s: %q, as %q", name, of, other)
		}
		dirs[of[0]] = name
	}
	file := filepath.Join(t.TempDir(), "x.btf")
	put(t, file, rawBTF(t, "one"))
	one := digest(file)
	put(t, file, rawBTF(t, "two"))
	if two := digest(file); one == two || one == "" {
		t.Errorf("digests of two files: %s, %s", one, two)
	}
	if none := (*Files)(nil).Digest(); none != "" {
		t.Errorf("without files it is %q", none)
	}
}

// rawBTF are types of a kernel, with one integer of a name.
func rawBTF(t testing.TB, name string) []byte {
	t.Helper()
	b, err := btf.NewBuilder([]btf.Type{&btf.Int{Name: name, Size: 4}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, btf.KernelMarshalOptions())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// packed is a .tar.xz of files, all of the same content.
func packed(t testing.TB, content []byte, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	for _, name := range names {
		if err := tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func put(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	one, two := rawBTF(t, "one"), rawBTF(t, "two")
	for name, tt := range map[string]struct {
		files  map[string][]byte
		distro string
		want   []byte
		err    string
	}{
		"as BTFHub has it":      {files: map[string][]byte{"ubuntu/20.04/x86_64/5.4.0-1.btf.tar.xz": packed(t, one, "5.4.0-1.btf")}, want: one, distro: "ubuntu"},
		"under BTFHub's name":   {files: map[string][]byte{"amzn/2/x86_64/5.4.0-1.btf": one, "ol/8/x86_64/5.4.0-1.btf": two}, want: one, distro: "amazonlinux2"},
		"another distribution":  {files: map[string][]byte{"ubuntu/20.04/x86_64/5.4.0-1.btf": one}, distro: "debian"},
		"another's is damaged":  {files: map[string][]byte{"ubuntu/1/x86_64/5.4.0-1.btf": []byte("text"), "debian/1/x86_64/5.4.0-1.btf": two}, want: two, distro: "debian"},
		"flat":                  {files: map[string][]byte{"5.4.0-1.btf": one}, want: one},
		"of one distribution":   {files: map[string][]byte{"20.04/x86_64/5.4.0-1.btf": one}, want: one},
		"of another release":    {files: map[string][]byte{"5.4.0-10.btf": one, "5.4.0-1": one}},
		"another architecture":  {files: map[string][]byte{"ubuntu/20.04/arm64/5.4.0-1.btf": one, "arm64/5.4.0-1.btf": one}},
		"two of the same":       {files: map[string][]byte{"1/x86_64/5.4.0-1.btf": one, "2/x86_64/5.4.0-1.btf": one}, want: one},
		"the distribution's":    {files: map[string][]byte{"ubuntu/1/x86_64/5.4.0-1.btf": one, "debian/1/x86_64/5.4.0-1.btf": two}, want: two, distro: "debian"},
		"two versions":          {files: map[string][]byte{"ubuntu/18.04/x86_64/5.4.0-1.btf": one, "ubuntu/20.04/x86_64/5.4.0-1.btf": two}, distro: "ubuntu", err: "are both for release 5.4.0-1, and differ: name the directory of one version"},
		"not BTF":               {files: map[string][]byte{"5.4.0-1.btf": []byte("text")}, err: "holds no BTF that can be read"},
		"not an archive":        {files: map[string][]byte{"5.4.0-1.btf.tar.xz": one}, err: "holds no BTF that can be read: not a tar archive"},
		"an archive of several": {files: map[string][]byte{"5.4.0-1.btf.tar.xz": packed(t, one, "a", "b")}, err: "several files: want one"},
		"an archive of none":    {files: map[string][]byte{"5.4.0-1.btf.tar.xz": packed(t, one)}, err: "has no file"},
		"an archive that grows": {files: map[string][]byte{"5.4.0-1.btf.tar.xz": packed(t, make([]byte, maxBTF+1), "a")}, err: "size of the BTF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			dir := "./a[b]*/" // no pattern
			for path, b := range tt.files {
				put(t, filepath.Join(dir, path), b)
			}
			files, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			im := &kernel.Image{Ref: kernel.Ref{Distro: tt.distro, Release: "5.4.0-1", Arch: "amd64"}}
			got, err := files.Find(t.Context(), im.Ref)
			if tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) || tt.err == "" && err != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("%d bytes, %v, want %d, %q", len(got), err, len(tt.want), tt.err)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "vmlinux.btf")
	put(t, file, rawBTF(t, "one"))
	put(t, filepath.Join(dir, "text"), []byte("text"))
	files, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range []string{"5.4.0-1", "", "../x"} { // a file is for every kernel
		if b, err := files.Find(t.Context(), kernel.Ref{Release: release}); err != nil || len(b) == 0 {
			t.Errorf("%q: %d bytes, %v", release, len(b), err)
		}
	}
	put(t, file, rawBTF(t, "other")) // what is checked is what is given
	if b, err := files.Find(t.Context(), kernel.Ref{}); err != nil || !bytes.Equal(b, rawBTF(t, "one")) {
		t.Errorf("a file that changes: %d bytes, %v", len(b), err)
	}
	if files, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	for _, release := range []string{"", "../" + filepath.Base(dir) + "/vmlinux", ".", "*", "vmlinu?"} {
		if b, err := files.Find(t.Context(), kernel.Ref{Release: release}); err != nil || b != nil {
			t.Errorf("%q: %d bytes, %v", release, len(b), err)
		}
	}
	for path, want := range map[string]string{filepath.Join(dir, "none"): "no such file or directory: give a file with BTF", filepath.Join(dir, "text"): "holds no BTF", os.DevNull: "is no regular file", "../../../guest/loader/testdata/trace.bpf.o": "it is a BPF object"} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	var none *Files
	if b, err := none.Find(t.Context(), kernel.Ref{}); b != nil || err != nil {
		t.Error("without files there are some")
	}
}
