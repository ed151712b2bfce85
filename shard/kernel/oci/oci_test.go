package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ociServer is a real registry on the loopback interface.
type ociServer struct {
	*httptest.Server
	host string

	mu     sync.Mutex
	hits   []string
	tamper func(path string, body []byte) []byte
}

func newOCIServer(t testing.TB) *ociServer {
	t.Helper()
	o := &ociServer{}
	reg := registry.New(registry.Logger(nullLogger()))
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		o.mu.Lock()
		o.hits = append(o.hits, req.Method+" "+req.URL.Path)
		tamper := o.tamper
		o.mu.Unlock()
		if tamper == nil || req.Method != http.MethodGet {
			reg.ServeHTTP(w, req)
			return
		}
		rec := httptest.NewRecorder()
		reg.ServeHTTP(rec, req)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.Header().Del("Content-Length")
		w.WriteHeader(rec.Code)
		_, _ = w.Write(tamper(req.URL.Path, rec.Body.Bytes()))
	}))
	t.Cleanup(o.Close)
	o.host = strings.TrimPrefix(o.URL, "http://")
	return o
}

func (o *ociServer) requests() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	hits := o.hits
	o.hits = nil
	return hits
}

func (o *ociServer) ref(t testing.TB, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(o.host + "/" + s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (o *ociServer) push(t testing.TB, s string, im v1.Image) {
	t.Helper()
	if err := remote.Write(o.ref(t, s), im); err != nil {
		t.Fatal(err)
	}
}

// ociImage makes an image of layers, lowest first, compressed by c.
func ociImage(t testing.TB, c image.Compression, layers ...[]byte) v1.Image {
	t.Helper()
	media := map[image.Compression]types.MediaType{image.Gzip: types.OCILayer, image.Zstd: types.OCILayerZStd, image.NoCompression: types.OCIUncompressedLayer}[c]
	im := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, l := range layers {
		var err error
		if im, err = mutate.AppendLayers(im, static.NewLayer(imagetest.Compressed(t, c, l), media)); err != nil {
			t.Fatal(err)
		}
	}
	return im
}

func (o *ociServer) source(t testing.TB, spec string, c *kernel.Cache) *source {
	t.Helper()
	s, err := Parse("oci://"+o.host+"/"+spec, "//"+o.host+"/"+spec, "amd64", c)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*source)
}

// A kernel as cilium's ci-kernels and little-vm-helper's images have it.
func ciKernel(t testing.TB, version string) []byte {
	return imagetest.Tarball(t,
		imagetest.Member{Name: "boot", Header: &tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}},
		imagetest.Member{Name: "boot/vmlinuz", Data: string(imagetest.Vmlinuz(t, version))},
		imagetest.Member{Name: "lib/modules/" + version + "/extra/bpf_testmod.ko", Data: "testmod of " + version},
	)
}

func lvhKernel(t testing.TB, dir, version string) []byte {
	return imagetest.Tarball(t,
		imagetest.Member{Name: "data/kernels/" + dir + "/boot/vmlinuz-" + version, Data: string(imagetest.Vmlinuz(t, version))},
		imagetest.Member{Name: "data/kernels/" + dir + "/boot/config-" + version, Data: "CONFIG_" + version},
		imagetest.Member{Name: "data/kernels/" + dir + "/boot/System.map-" + version, Data: "map"},
		imagetest.Member{Name: "data/kernels/" + dir + "/lib/modules/" + version + "/kernel/fs/overlayfs/overlay.ko", Data: "overlay of " + version},
		imagetest.Member{Name: "data/kernels/" + dir + "/lib/modules/" + version + "/build", Header: &tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/usr/src"}},
	)
}

func TestOCIListsOpensAndDownloadsOnce(t *testing.T) {
	t.Parallel()
	o := newOCIServer(t)
	o.push(t, "cilium/ci-kernels:6.6", ociImage(t, image.Gzip, ciKernel(t, "6.6.50")))
	o.push(t, "cilium/ci-kernels:6.12", ociImage(t, image.Zstd, ciKernel(t, "6.12.1")))
	o.push(t, "cilium/ci-kernels:sha256-"+strings.Repeat("0", 64)+".sig", ociImage(t, image.Gzip))
	// An index for several architectures, with an attestation.
	arm := ociImage(t, image.Gzip, ciKernel(t, "9.9.9"))
	amd := ociImage(t, image.NoCompression, ciKernel(t, "5.15.9"))
	add := func(im v1.Image, arch string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: im, Descriptor: v1.Descriptor{MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), add(arm, "arm64"), add(ociImage(t, image.Gzip), "unknown"), add(amd, "amd64"))
	if err := remote.WriteIndex(o.ref(t, "cilium/ci-kernels:5.15"), index); err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(o.ref(t, "cilium/ci-kernels:arm-only"), mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), add(arm, "arm64"))); err != nil {
		t.Fatal(err)
	}
	c := kerneltest.NewCache(t)
	warnings := kerneltest.CollectWarnings(c)
	s := o.source(t, "cilium/ci-kernels", c)
	refs := kerneltest.List(t, s)
	want := []string{"oci-ci-kernels/5.15", "oci-ci-kernels/6.12", "oci-ci-kernels/6.6"}
	if d := cmp.Diff(want, kerneltest.IDs(refs)); d != "" {
		t.Fatalf("ids (-want +got):\n%s", d)
	}
	// What --min-release goes by.
	for _, r := range refs {
		if r.Release != r.Name {
			t.Errorf("%s: release %q", r.ID(), r.Release)
		}
	}
	if w := warnings(); len(w) != 1 || !strings.Contains(w[0], "arm-only") {
		t.Errorf("warnings %q, want one about the tag without an image for amd64", w)
	}
	for i, release := range []string{"5.15.9", "6.12.1", "6.6.50"} {
		im, err := s.Open(context.Background(), refs[i])
		if err != nil {
			t.Fatal(err)
		}
		if im.Release != release || im.Arch != "amd64" {
			t.Errorf("%+v", im.Ref)
		}
		if got := kerneltest.Modules(t, im)["extra/bpf_testmod.ko"]; got != "testmod of "+release {
			t.Errorf("module %q", got)
		}
	}
	o.requests()
	again := o.source(t, "cilium/ci-kernels", c)
	for _, ref := range kerneltest.List(t, again) {
		if _, err := again.Open(context.Background(), ref); err != nil {
			t.Error(err)
		}
	}
	if hits := o.requests(); len(hits) != 0 {
		t.Errorf("the second run asked for %q", hits)
	}
	// One tag, and one digest, by a job that was handed the Ref.
	if got := kerneltest.List(t, o.source(t, "cilium/ci-kernels:6.6", kerneltest.NewCache(t))); len(got) != 1 || got[0].Digest != refs[2].Digest {
		t.Errorf("%+v", got)
	}
	pinned := o.source(t, "cilium/ci-kernels@"+refs[2].Digest, kerneltest.NewCache(t))
	if got := kerneltest.List(t, pinned); len(got) != 1 || got[0].ID() != "oci-ci-kernels/"+strings.TrimPrefix(refs[2].Digest, kernel.DigestPrefix) {
		t.Errorf("%+v", got)
	}
	// A tag that moved does not change what a Ref pins.
	o.push(t, "cilium/ci-kernels:6.6", ociImage(t, image.Gzip, ciKernel(t, "6.6.99")))
	im, err := o.source(t, "cilium/ci-kernels", kerneltest.NewCache(t)).Open(context.Background(), refs[2])
	if err != nil || im.Release != "6.6.50" {
		t.Errorf("%v, %v", im, err)
	}
}

// Tags that say a kernel's release, and tags that do not.
func TestOCITagReleases(t *testing.T) {
	for tag, want := range map[string]string{
		"6.6": "6.6", "v5.13.4": "5.13.4", "4.19-20240101.012345": "4.19-20240101.012345", "10.1": "10.1",
		"latest": "", "1.0": "", "20240101.1": "", "2.6": "", "bpf-next-20240101": "", "6": "",
		"sha256:" + strings.Repeat("6", 64): "",
	} {
		got := unpack.ReleaseOf(tag)
		if !releaseTag.MatchString(got) {
			got = ""
		}
		if got != want {
			t.Errorf("%s: release %q, want %q", tag, got, want)
		}
	}
}

func TestOCILayouts(t *testing.T) {
	t.Parallel()
	o := newOCIServer(t)
	opaque := imagetest.Tarball(t, imagetest.Member{Name: "lib/modules/6.1.1/.wh..wh..opq"}, imagetest.Member{Name: "lib/modules/6.1.1/kernel/new.ko", Data: "new"})
	for _, tc := range []struct {
		name    string
		layers  [][]byte
		release string
		config  string
		modules map[string]string
		err     string
	}{
		{
			name: "little-vm-helper", layers: [][]byte{imagetest.Tarball(t, imagetest.Member{Name: "bin/busybox", Data: "x"}), lvhKernel(t, "6.1-main", "6.1.9")},
			release: "6.1.9", config: "CONFIG_6.1.9", modules: map[string]string{"kernel/fs/overlayfs/overlay.ko": "overlay of 6.1.9"},
		},
		{
			name: "a distribution's", layers: [][]byte{imagetest.Tarball(t,
				imagetest.Member{Name: "./usr/lib/modules/6.1.1/vmlinuz", Data: string(imagetest.Vmlinuz(t, "6.1.1"))},
				imagetest.Member{Name: "./usr/lib/modules/6.1.1/config", Data: "C"},
				imagetest.Member{Name: "./usr/lib/modules/6.1.1/kernel/a.ko", Data: "a"})},
			release: "6.1.1", config: "C", modules: map[string]string{"vmlinuz": string(imagetest.Vmlinuz(t, "6.1.1")), "config": "C", "kernel/a.ko": "a"},
		},
		{name: "bare", layers: [][]byte{imagetest.Tarball(t, imagetest.Member{Name: "/vmlinuz", Data: string(imagetest.Vmlinuz(t, "6.1.1"))}, imagetest.Member{Name: "/config", Data: "C"})}, release: "6.1.1", config: "C"},
		{
			name: "replaced by an upper layer", layers: [][]byte{ciKernel(t, "6.1.1"), imagetest.Tarball(t, imagetest.Member{Name: "boot/vmlinuz", Data: string(imagetest.Vmlinuz(t, "6.1.2"))})},
			release: "6.1.2", modules: map[string]string{"extra/bpf_testmod.ko": "testmod of 6.1.1"},
		},
		{
			name: "whiteouts", layers: [][]byte{
				imagetest.Tarball(t, imagetest.Member{Name: "boot/vmlinuz-6.0.0", Data: string(imagetest.Vmlinuz(t, "6.0.0"))}, imagetest.Member{Name: "lib/modules/6.0.0/kernel/old.ko", Data: "old"}),
				ciKernel(t, "6.1.1"),
				imagetest.Tarball(t, imagetest.Member{Name: "boot/.wh.vmlinuz-6.0.0"}, imagetest.Member{Name: "lib/modules/.wh.6.0.0"}),
			},
			release: "6.1.1", modules: map[string]string{"extra/bpf_testmod.ko": "testmod of 6.1.1"},
		},
		{name: "opaque", layers: [][]byte{ciKernel(t, "6.1.1"), opaque}, release: "6.1.1", modules: map[string]string{"kernel/new.ko": "new"}},
		{name: "a link hides a directory", layers: [][]byte{ciKernel(t, "6.1.1"), imagetest.Tarball(t, imagetest.Member{Name: "lib/modules", Header: &tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/etc"}})}, release: "6.1.1"},
		{name: "deleted", layers: [][]byte{ciKernel(t, "6.1.1"), imagetest.Tarball(t, imagetest.Member{Name: ".wh.boot"})}, err: "holds no kernel"},
		{name: "no kernel", layers: [][]byte{imagetest.Tarball(t, imagetest.Member{Name: "bin/sh", Data: "x"})}, err: "of 1 files the first are \"bin/sh\""},
		{name: "no layer", err: "holds no kernel"},
		{name: "two kernels", layers: [][]byte{lvhKernel(t, "a", "6.1.1"), lvhKernel(t, "b", "6.2.2")}, err: "several kernels, 2: \"data/kernels/b/boot/vmlinuz-6.2.2\", \"data/kernels/a/boot/vmlinuz-6.1.1\": choose one by its release or file behind the tag, as in #6.1.1"},
		{name: "names that lead out", layers: [][]byte{imagetest.Tarball(t, imagetest.Member{Name: "../boot/vmlinuz", Data: string(imagetest.Vmlinuz(t, "6.1.1"))}, imagetest.Member{Name: "boot/../../vmlinuz", Data: "x"})}, err: "holds no kernel"},
		{name: "a link to a kernel", layers: [][]byte{imagetest.Tarball(t, imagetest.Member{Name: "boot/vmlinuz", Header: &tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/boot/vmlinuz"}})}, err: "holds no kernel"},
		{name: "not a kernel", layers: [][]byte{imagetest.Tarball(t, imagetest.Member{Name: "boot/vmlinuz", Data: "hello"})}, err: "no kernel image"},
		{name: "a truncated layer", layers: [][]byte{ciKernel(t, "6.1.1")[:1500]}, err: "unexpected EOF"},
		{name: "a layer that is no tar", layers: [][]byte{bytes.Repeat([]byte("x"), 2000)}, err: "layer 1: read archive"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tag := strings.ReplaceAll(strings.ReplaceAll(tc.name, " ", "-"), "'", "")
			o.push(t, "k/x:"+tag, ociImage(t, image.Gzip, tc.layers...))
			s := o.source(t, "k/x:"+tag, kerneltest.NewCache(t))
			ref := kerneltest.List(t, s)[0]
			im, err := s.Open(context.Background(), ref)
			if tc.err != "" {
				var bad *kernel.BadKernelError
				if !errors.As(err, &bad) || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %v, want a BadKernelError with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			config, _ := os.ReadFile(im.Config)
			if im.Release != tc.release || string(config) != tc.config {
				t.Errorf("release %q, config %q", im.Release, config)
			}
			got := kerneltest.Modules(t, im)
			if len(got) == 0 {
				got = nil
			}
			if d := cmp.Diff(tc.modules, got); d != "" {
				t.Errorf("modules (-want +got):\n%s", d)
			}
		})
	}
}

// Of several kernels in an image the user picks one.
func TestOCIPick(t *testing.T) {
	t.Parallel()
	o := newOCIServer(t)
	o.push(t, "k/x:both", ociImage(t, image.Gzip, lvhKernel(t, "a", "6.1.1"), lvhKernel(t, "b", "6.2.2")))
	parse := func(spec string) (kernel.Source, error) {
		return Parse("oci://"+o.host+"/"+spec, "//"+o.host+"/"+spec, "amd64", kerneltest.NewCache(t))
	}
	for _, v := range []string{"6.1.1", "6.2.2"} {
		s, err := parse("k/x:both#" + v)
		if err != nil {
			t.Fatal(err)
		}
		ref := kerneltest.List(t, s)[0]
		im, err := s.Open(context.Background(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := kerneltest.Modules(t, im); ref.ID() != "oci-x/"+v+"__both" || im.Release != v || got["kernel/fs/overlayfs/overlay.ko"] != "overlay of "+v {
			t.Errorf("%s, release %s, modules %v", ref.ID(), im.Release, got)
		}
		ref.Locator = strings.Replace(ref.Locator, "#"+v, "#6", 1)
		var digest *kernel.DigestError
		if _, err := s.Open(context.Background(), ref); !errors.As(err, &digest) {
			t.Errorf("error %v, want a DigestError", err)
		}
	}
	s, err := parse("k/x:both#6.9")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(context.Background(), kerneltest.List(t, s)[0]); err == nil || !strings.Contains(err.Error(), `no kernel in it is "6.9"`) {
		t.Errorf("error %v", err)
	}
	var usage *kernel.UsageError
	if _, err := parse("k/x#6.1.1"); !errors.As(err, &usage) || !strings.Contains(err.Error(), "name its tag") {
		t.Errorf("error %v, want a UsageError", err)
	}
}

func TestOCIRefusesTamperedBytes(t *testing.T) {
	t.Parallel()
	o := newOCIServer(t)
	// Much padding, which the archive's reader does not come to.
	im := ociImage(t, image.NoCompression, append(ciKernel(t, "6.6.50"), make([]byte, 1<<20)...))
	o.push(t, "k:6.6", im)
	layers, err := im.Layers()
	if err != nil {
		t.Fatal(err)
	}
	blob, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	ref := kerneltest.List(t, o.source(t, "k:6.6", kerneltest.NewCache(t)))[0]
	for name, tamper := range map[string]func(path string, b []byte) []byte{
		// In the padding: the archive unpacks as before.
		"a layer": func(path string, b []byte) []byte {
			if strings.HasSuffix(path, blob.String()) {
				b = bytes.Clone(b)
				b[len(b)-1] ^= 1
			}
			return b
		},
		"a manifest": func(path string, b []byte) []byte {
			if strings.Contains(path, "/manifests/") {
				b = append(bytes.Clone(b), ' ')
			}
			return b
		},
		"half a layer": func(path string, b []byte) []byte {
			if strings.HasSuffix(path, blob.String()) {
				return b[:len(b)/2]
			}
			return b
		},
	} {
		o.mu.Lock()
		o.tamper = tamper
		o.mu.Unlock()
		c := kerneltest.NewCache(t)
		_, err := o.source(t, "k:6.6", c).Open(context.Background(), ref)
		if err == nil || !strings.Contains(err.Error(), "oci-k/6.6") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with the kernel's id", name, err)
		}
		if left, _ := os.ReadDir(c.Dir() + "/" + "kernels-2"); len(left) != 0 {
			t.Errorf("%s: the cache holds %v", name, left)
		}
	}
}

func TestOCIErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	o := newOCIServer(t)
	o.push(t, "k:a", ociImage(t, image.Gzip, ciKernel(t, "6.6.50")))
	var usage *kernel.UsageError
	for _, spec := range []string{"k:none", "none", "k@" + kernel.DigestPrefix + strings.Repeat("0", 64)} {
		_, err := o.source(t, spec, kerneltest.NewCache(t)).List(context.Background())
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), o.host) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want a UsageError that names the registry", spec, err)
		}
	}
	denied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer denied.Close()
	s, err := Parse("oci://x", "//"+strings.TrimPrefix(denied.URL, "http://")+"/k:a", "amd64", kerneltest.NewCache(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.List(context.Background()); err == nil || errors.As(err, &usage) || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("error %v, want it to say what to do", err)
	}
}

// FuzzLayers holds that whatever layers hold, nothing but clean paths comes
// out, and what an upper layer has is never given twice.
func FuzzLayers(f *testing.F) {
	f.Add(ciKernel(f, "6.1.1"), imagetest.Tarball(f, imagetest.Member{Name: ".wh.boot"}, imagetest.Member{Name: "lib/modules/.wh..wh..opq"}))
	f.Add(lvhKernel(f, "a", "6.1.1"), imagetest.Tarball(f, imagetest.Member{Name: "data", Data: "a file"}))
	f.Add([]byte{}, imagetest.Tarball(f, imagetest.Member{Name: "/../boot/vmlinuz", Data: "x"}, imagetest.Member{Name: "boot/.wh."}))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		open := func(b []byte) layer {
			return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
		}
		seen := map[string]int{}
		err := walkLayers(context.Background(), []layer{open(lower), open(upper)}, func(name string, size int64, r io.Reader) error {
			if got, ok := unpack.MemberName(name); !ok || got != name || strings.Contains(name, "/"+whiteoutOpaque) {
				return fmt.Errorf("name %q", name)
			}
			seen[name]++
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if err != nil && strings.Contains(err.Error(), ": name ") {
			t.Fatal(err)
		}
	})
}

func nullLogger() *log.Logger { return log.New(io.Discard, "", 0) }
