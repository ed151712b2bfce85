package shard

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/btfhub"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
)

func TestOnDemandZip(t *testing.T) {
	deflated := func(s string) kernel.Deflated {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, 6)
		if err == nil {
			_, err = io.WriteString(w, s)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return kernel.Deflated{Data: b.Bytes(), Size: len(s), CRC32: crc32.ChecksumIEEE([]byte(s))}
	}
	found := kernel.Modules{
		OnDemand: map[string]kernel.Deflated{"tun": deflated("tun's"), "vxlan": deflated("vxlan's"), "odd": deflated("odd's")},
		All:      map[string]bool{"tun": true, "vxlan": true, "odd": true, "b": true, "a": true},
		Builtin:  []string{"z", "y"},
		Info: map[string]image.Modinfo{
			"tun":   {Aliases: []string{"devname:net/tun", "char-major-10-200"}},
			"vxlan": {Depends: []string{"udp_tunnel"}, Pre: []string{"p"}, Aliases: []string{"rtnl-link-vxlan", "pci:v*"}},
			"odd":   {Aliases: []string{"devname:../../etc/x", "char-major-10-1", "devname:"}},
		},
	}
	first, err := onDemandZip(found)
	if err != nil {
		t.Fatal(err)
	}
	again, err := onDemandZip(found)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("not the same bytes, %v", err)
	}
	zr, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range zr.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name] = string(b)
	}
	want := map[string]string{
		"index":  "odd - - - char-major-10-1\ntun - - - char-major-10-200\nvxlan -udp_tunnel -p - rtnl-link-vxlan\n",
		"others": "a\nb\n", "builtin": "y\nz",
		"tun.ko": "tun's", "vxlan.ko": "vxlan's", "odd.ko": "odd's",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff("net/tun 10 200\n", string(deviceNodes(found))); d != "" {
		t.Errorf("devices (-want +got):\n%s", d)
	}
}

// cachedImage is a kernel with modules, in a cache of its own.
func cachedImage(t *testing.T) (*kernel.Cache, *kernel.Image) {
	t.Helper()
	dir := t.TempDir()
	imagetest.WriteFile(t, filepath.Join(dir, "debian", "6.1.0-1__1.tar.gz"), imagetest.FullArchive(t, "6.1.0-1"))
	cache := kerneltest.NewCache(t)
	src, err := source.Parse(dir, cache)
	if err != nil {
		t.Fatal(err)
	}
	im, err := src.Open(t.Context(), kerneltest.List(t, src)[0])
	if err != nil {
		t.Fatal(err)
	}
	return cache, im
}

// A kernel keeps some archives of its modules, not one for each set that was ever
// asked for.
func TestOldModuleArchivesGo(t *testing.T) {
	cache, im := cachedImage(t)
	r := (&Runner{Host: Host{Cache: cache}}).newRun()
	var file string
	var err error
	for i := range keptModules + 4 {
		if file, err = r.modulesArchive(t.Context(), im, []string{fmt.Sprint("m", i)}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = os.Stat(file)
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*.cpio*"))
	if err != nil || len(found) != 2*keptModules {
		t.Errorf("%v, %q", err, found)
	}
}

// A kernel's own file of --btf is in its archive, and another file makes another
// archive, which is what results of earlier runs are told apart by.
func TestTypesInArchive(t *testing.T) {
	cache, im := cachedImage(t)
	types := t.TempDir()
	archive := func(files *btfhub.Files) (string, error) {
		r := (&Runner{Config: Config{BTF: files}, Host: Host{Cache: cache}}).newRun()
		return r.modulesArchive(t.Context(), im, nil)
	}
	raw := func(name string) []byte {
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
	seen := map[string]string{}
	for _, tt := range []struct{ name, file, content, want string }{
		{"no file", "", "", ""},
		{"another kernel's", "6.1.0-2.btf", string(raw("two")), ""},
		{"its own", "6.1.0-1.btf", string(raw("one")), string(raw("one"))},
		{"another", "6.1.0-1.btf", string(raw("other")), string(raw("other"))},
	} {
		if tt.file != "" {
			imagetest.WriteFile(t, filepath.Join(types, tt.file), []byte(tt.content))
		}
		files, err := btfhub.Open(types)
		if err != nil {
			t.Fatal(err)
		}
		path, err := archive(files)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(string(b), strings.TrimPrefix(wire.BTFPath, "/")); has != (tt.want != "") || !strings.Contains(string(b), tt.want) {
			t.Errorf("%s: the archive has types: %v", tt.name, has)
		}
		if other, twice := seen[path]; twice != (tt.want == "") && tt.name != "no file" {
			t.Errorf("%s has the archive of %q", tt.name, other)
		}
		seen[path] = tt.name
	}
	imagetest.WriteFile(t, filepath.Join(types, "6.1.0-1.btf"), []byte("no types"))
	files, err := btfhub.Open(types)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := archive(files); err == nil || !strings.Contains(err.Error(), "--btf: ") || !strings.Contains(err.Error(), "holds no BTF that can be read") {
		t.Errorf("a file without types: %v", err)
	}
	// A kernel that has types needs none.
	im.Config = imagetest.WriteFile(t, filepath.Join(t.TempDir(), "config"), []byte("CONFIG_DEBUG_INFO_BTF=y\n"))
	if _, err := archive(files); err != nil {
		t.Errorf("a kernel with types: %v", err)
	}
}
