package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// threeLayers is an image with whiteouts, hard links, setuid and capabilities.
func threeLayers(t testing.TB, arch string) (v1.Image, []string) {
	t.Helper()
	im := empty.Image
	for _, entries := range [][]entry{
		{dir("usr/bin"), symlink("bin", "usr/bin"), file("usr/bin/tool", "old"), file("etc/secret", "x"), file("var/cache/a", "x")},
		{hardlink("usr/bin/same", "usr/bin/tool"), file("etc/.wh.secret", ""), {kind: tar.TypeReg, name: "bin/ping", mode: 0o4755, body: "ping", more: xattr("security.capability", "\x01")}},
		{file("bin/tool", "new"), file("var/cache/.wh..wh..opq", ""), file("var/cache/b", arch)},
	} {
		data := makeTar(t, entries...)
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err == nil {
			im, err = mutate.AppendLayers(im, l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	config, err := im.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = arch, "linux"
	if im, err = mutate.ConfigFile(im, config); err != nil {
		t.Fatal(err)
	}
	return im, []string{
		"2 777 0:0 bin -> usr/bin", "5 755 0:0 etc", "5 755 0:0 usr", "5 755 0:0 usr/bin",
		`0 4755 0:0 usr/bin/ping ping security.capability="\x01"`, "0 644 0:0 usr/bin/same old", "0 644 0:0 usr/bin/tool new",
		"5 755 0:0 var", "5 755 0:0 var/cache", "0 644 0:0 var/cache/b " + arch,
	}
}

func twoArchitectures(t testing.TB) (v1.ImageIndex, []string) {
	t.Helper()
	arm, _ := threeLayers(t, "arm64")
	amd, want := threeLayers(t, "amd64")
	return mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
	), want
}

func wantRoot(t *testing.T, r *Root, arch string, want []string) {
	t.Helper()
	tr, err := r.files()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, show(t, tr)); diff != "" || r.Arch != arch {
		t.Errorf("architecture %q, want %q (-want +got)\n%s", r.Arch, arch, diff)
	}
}

func TestRegistry(t *testing.T) {
	var blobs, all atomic.Int32
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		all.Add(1)
		if strings.Contains(req.URL.Path, "/blobs/") {
			blobs.Add(1)
		}
		reg.ServeHTTP(w, req)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	tag, err := name.NewTag(host + "/x/root")
	if err != nil {
		t.Fatal(err)
	}
	index, want := twoArchitectures(t)
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	c, _ := testCache(t)
	spec := "oci://" + host + "/x/root"
	r := mustOpen(t, c, spec)
	wantRoot(t, r, "amd64", want)
	blobs.Store(0)
	if again := mustOpen(t, c, spec); again.Digest != r.Digest || blobs.Load() != 0 {
		t.Errorf("%v, then %v, which fetched %d blobs", r, again, blobs.Load())
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	pinned := spec + "@" + digest.String()
	wantRoot(t, mustOpen(t, c, pinned), "amd64", want)
	if _, err := Open(t.Context(), c, spec, "riscv64"); err == nil || !strings.Contains(err.Error(), "no image for riscv64") {
		t.Error(err)
	}

	newer, err := mutate.Config(mustImage(t), v1.Config{})
	if err == nil {
		err = remote.Write(tag, newer)
	}
	if err != nil {
		t.Fatal(err)
	}
	if other := mustOpen(t, c, spec); other.Digest == r.Digest {
		t.Error("the tag was moved, and the old image used")
	}
	all.Store(0)
	wantRoot(t, mustOpen(t, c, pinned), "amd64", want)
	if n := all.Load(); n != 0 {
		t.Errorf("an image pinned by digest that is in the cache took %d requests", n)
	}
	server.Close()
	usage := (*kernel.UsageError)(nil)
	if _, err := Open(t.Context(), c, spec, "amd64"); err == nil || errors.As(err, &usage) {
		t.Errorf("a tag without its registry: %v", err)
	}
}

func mustImage(t testing.TB) v1.Image {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(makeTar(t, file("other", "x")))), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	im, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func TestRegistryWithoutTheImage(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	c, _ := testCache(t)
	_, err := Open(t.Context(), c, "oci://"+strings.TrimPrefix(server.URL, "http://")+"/x/none:1", "amd64")
	if usage := (*kernel.UsageError)(nil); !errors.As(err, &usage) || !strings.Contains(err.Error(), "does not have it") {
		t.Error(err)
	}
}

// tarOf packs a directory as the tools that make archives of images do.
func tarOf(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestImagesInFiles(t *testing.T) {
	c, _ := testCache(t)
	index, want := twoArchitectures(t)
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index}) // as docker buildx writes it
	for name, ix := range map[string]v1.ImageIndex{"index": index, "nested": nested} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := layout.Write(dir, ix); err != nil {
				t.Fatal(err)
			}
			wantRoot(t, mustOpen(t, c, dir), "amd64", want)
			wantRoot(t, mustOpen(t, c, tarOf(t, dir)), "amd64", want)
			if _, err := Open(t.Context(), c, dir, "riscv64"); err == nil || !strings.Contains(err.Error(), "no image for riscv64") {
				t.Error(err)
			}
			damageLargest(t, filepath.Join(dir, "blobs"))
			if _, err := Open(t.Context(), c, dir, "amd64"); err == nil {
				t.Error("a layer whose bytes are not those of its digest was taken")
			}
		})
	}
	t.Run("docker save", func(t *testing.T) {
		im, want := threeLayers(t, "arm64")
		path := filepath.Join(t.TempDir(), "saved.tar")
		if err := tarball.WriteToFile(path, name.MustParseReference("x:1"), im); err != nil {
			t.Fatal(err)
		}
		wantRoot(t, mustOpen(t, c, path), "arm64", want)
	})
	t.Run("a root with a file of that name", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "root.tar")
		if err := os.WriteFile(path, makeTar(t, file("manifest.json", "{}"), file("index.json", "{}")), 0o644); err != nil {
			t.Fatal(err)
		}
		wantRoot(t, mustOpen(t, c, path), "", []string{"0 644 0:0 index.json {}", "0 644 0:0 manifest.json {}"})
	})
}

// damageLargest changes a byte in the middle of each file of a directory that is
// a layer: the others are JSON.
func damageLargest(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || b[0] == '{' {
			return err
		}
		return os.WriteFile(path, append(b, 0), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
