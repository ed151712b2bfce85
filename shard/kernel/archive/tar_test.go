package archive

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// mainlineSet has what the predecessor's script leaves, and a config for one.
func mainlineSet(t testing.TB) []byte {
	return imagetest.Tarball(t,
		imagetest.Member{Name: "mainline-kernels/bzImage-v5.13.4", Data: string(imagetest.Vmlinuz(t, "5.13.4"))},
		imagetest.Member{Name: "mainline-kernels/bzImage-v5.9", Data: string(imagetest.Vmlinuz(t, "5.9.0"))},
		imagetest.Member{Name: "mainline-kernels/config-v5.13.4", Data: "CONFIG_BPF=y\n"},
		imagetest.Member{Name: "mainline-kernels/README", Data: "hello"},
		imagetest.Member{Name: "mainline-kernels/bzImage-v6.1-rc2", Data: string(imagetest.Vmlinuz(t, "6.1.0-rc2"))},
		imagetest.Member{Name: "mainline-kernels/bzImage-v5.10", Data: "no kernel"},
	)
}

var setIDs = []string{"mainline/mainline-v5.10", "mainline/mainline-v5.13.4", "mainline/mainline-v5.9", "mainline/mainline-v6.1-rc2"}

func TestMainlineSet(t *testing.T) {
	for _, c := range []image.Compression{image.NoCompression, image.Gzip, image.XZ, image.Zstd} {
		t.Run(string(c), func(t *testing.T) {
			name := map[image.Compression]string{image.NoCompression: ".tar", image.Gzip: ".tar.gz", image.XZ: ".tar.xz", image.Zstd: ".tar.zst"}[c]
			file := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "mainline-kernels"+name), imagetest.Compressed(t, c, mainlineSet(t)))
			cache := kerneltest.NewCache(t)
			src := source(t, file, cache)
			refs := kerneltest.List(t, src)
			if d := cmp.Diff(setIDs, kerneltest.IDs(refs)); d != "" {
				t.Fatalf("ids (-want +got):\n%s", d)
			}
			if r := refs[1]; r.Release != "5.13.4" || r.Arch != "amd64" {
				t.Errorf("%+v", r)
			}
			var wg sync.WaitGroup
			for i, ref := range refs {
				wg.Go(func() {
					im, err := src.Open(t.Context(), ref)
					if i == 0 {
						var bad *kernel.BadKernelError
						if !errors.As(err, &bad) || !strings.Contains(err.Error(), "no kernel image") {
							t.Errorf("%s: %v, want a BadKernelError", ref.ID(), err)
						}
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					if b, err := os.ReadFile(im.Kernel); err != nil || !bytes.Equal(b, imagetest.Vmlinuz(t, im.Release)) {
						t.Errorf("%s: %d bytes, %v", ref.ID(), len(b), err)
					}
					config := ""
					if im.Config != "" {
						b, err := os.ReadFile(im.Config)
						if err != nil {
							t.Error(err)
						}
						config = string(b)
					}
					if (config == "CONFIG_BPF=y\n") != (i == 1) {
						t.Errorf("%s: config %q", ref.ID(), config)
					}
				})
			}
			wg.Wait()
			if left, err := os.ReadDir(filepath.Join(cache.Dir(), "tmp")); err != nil || len(left) > 0 {
				t.Errorf("left in tmp: %v, %v", left, err)
			}
			// A job that has only the plan and the archive.
			if _, err := source(t, file, kerneltest.NewCache(t)).Open(t.Context(), refs[2]); err != nil {
				t.Error(err)
			}
		})
	}
}

// A compressed archive is unpacked once for all its images.
func TestMainlineSetIsUnpackedOnce(t *testing.T) {
	file := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "m.tar.gz"), imagetest.Compressed(t, image.Gzip, mainlineSet(t)))
	cache := kerneltest.NewCache(t)
	src := source(t, file, cache)
	refs := kerneltest.List(t, src)
	var first os.FileInfo
	for _, ref := range refs[1:] {
		if _, err := src.Open(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		plain, err := filepath.Glob(filepath.Join(cache.Dir(), "sets", "*.tar"))
		if err != nil || len(plain) != 1 {
			t.Fatalf("unpacked: %v, %v", plain, err)
		}
		st, err := os.Stat(plain[0])
		if err != nil || first != nil && !os.SameFile(st, first) {
			t.Errorf("%s: unpacked once more (%v)", ref.ID(), err)
		}
		first = st
	}
}

func TestArchiveOfOneOrOfMany(t *testing.T) {
	kernel := string(imagetest.Vmlinuz(t, "5.13.4"))
	for name, tc := range map[string]struct {
		members []imagetest.Member
		want    []string
	}{
		"predecessor":    {[]imagetest.Member{{Name: "mainline-kernels/bzImage-v5.13.4", Data: kernel}}, []string{"mainline/mainline-v5.13.4"}},
		"with dots":      {[]imagetest.Member{{Name: "./mainline-kernels/bzImage-v5.13.4", Data: kernel}}, []string{"mainline/mainline-v5.13.4"}},
		"at the top":     {[]imagetest.Member{{Name: "bzImage-v5.13.4", Data: kernel}}, []string{"mainline/mainline-v5.13.4"}},
		"other tree":     {[]imagetest.Member{{Name: "rt/vmlinuz-5.13.4-rt1", Data: kernel}}, []string{"rt/5.13.4-rt1"}},
		"one":            {[]imagetest.Member{{Name: "vmlinuz", Data: kernel}}, []string{"fedora/one"}},
		"one, versioned": {[]imagetest.Member{{Name: "config-5.13.4", Data: "x"}, {Name: "vmlinuz-5.13.4", Data: kernel}}, []string{"fedora/one_2c_20versioned"}},
		"boot":           {[]imagetest.Member{{Name: "boot/bzImage-v5.13.4", Data: kernel}}, []string{"fedora/boot"}},
		"modules first":  {[]imagetest.Member{{Name: "lib/modules/5.13.4/a.ko", Data: "x"}, {Name: "boot/vmlinuz-5.13.4", Data: kernel}}, []string{"fedora/modules_20first"}},
		"deep":           {[]imagetest.Member{{Name: "a/b/bzImage-v5.13.4", Data: kernel}}, []string{"fedora/deep"}},
		"outside":        {[]imagetest.Member{{Name: "../bzImage-v5.13.4", Data: kernel}, {Name: "/x/bzImage-v1.2", Data: kernel}}, []string{"fedora/outside"}},
	} {
		file := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "fedora", name+".tar"), imagetest.Tarball(t, tc.members...))
		if d := cmp.Diff(tc.want, kerneltest.IDs(kerneltest.List(t, source(t, file, kerneltest.NewCache(t))))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestMainlineSetThatChanges(t *testing.T) {
	file := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "m.tar"), mainlineSet(t))
	src := source(t, file, kerneltest.NewCache(t))
	refs := kerneltest.List(t, src)
	imagetest.WriteFile(t, file, imagetest.Tarball(t, imagetest.Member{Name: "mainline-kernels/bzImage-v5.13.4", Data: string(imagetest.Vmlinuz(t, "5.13.5"))}))
	if _, err := src.Open(t.Context(), refs[1]); err == nil || !strings.Contains(err.Error(), "holds no image with digest") {
		t.Errorf("error %v", err)
	}
	if _, err := source(t, filepath.Join(t.TempDir(), "gone.tar"), kerneltest.NewCache(t)).List(t.Context()); err == nil || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("error %v", err)
	}
}

// What an archive that breaks off has lost has no name: a list of the rest
// would be tested, and called whole.
func TestMainlineSetThatBreaksOff(t *testing.T) {
	whole := mainlineSet(t)
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"in the first image":   {whole[:900], "after 0 images"},
		"in the second":        {whole[:len(imagetest.Vmlinuz(t, "5.13.4"))+2*512+100], "after 1 images"},
		"in its second header": {whole[:512+(len(imagetest.Vmlinuz(t, "5.13.4"))+511)/512*512+100], "after 1 images"},
		"compressed":           {imagetest.Compressed(t, image.Gzip, whole)[:len(imagetest.Compressed(t, image.Gzip, whole))-20], "it breaks off after"},
	} {
		file := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "mainline-kernels.tar"), tc.data)
		refs, err := source(t, file, kerneltest.NewCache(t)).List(t.Context())
		var usage *kernel.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, error %v, want a UsageError with %q", name, kerneltest.IDs(refs), err, tc.want)
		}
	}
}

// The archive may change between its digest and its reading.
func TestSetChecksWhatItReads(t *testing.T) {
	for _, c := range []image.Compression{image.NoCompression, image.Gzip} {
		file := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "m.tar"), imagetest.Compressed(t, c, mainlineSet(t)))
		cache := kerneltest.NewCache(t)
		src := source(t, file, cache).(*dirSource)
		set, _, err := src.set(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Replace(mainlineSet(t), []byte("5.9.0 (root@build)"), []byte("5.9.0 (evil@build)"), 1)
		imagetest.WriteFile(t, file, imagetest.Compressed(t, c, changed))
		_, err = openSetImage(t.Context(), cache, kernel.Ref{Digest: set.Images[1].Digest}, file, "sha256:"+strings.Repeat("a", 64), set.Images[1])
		var digest *kernel.DigestError
		if !errors.As(err, &digest) {
			t.Errorf("%q: error %v, want a DigestError", c, err)
		}
	}
}

func FuzzTarSet(f *testing.F) {
	f.Add(mainlineSet(f))
	f.Add(imagetest.FullArchive(f, "5.10.0"))
	f.Add(imagetest.Tarball(f, imagetest.Member{Name: "a/bzImage-v1.2\n::error::", Data: "x"}, imagetest.Member{Name: "../bzImage-v1.2", Data: "x"}, imagetest.Member{Name: "-d/vmlinuz--rf", Data: "x"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := readSet(context.Background(), bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, im := range s.Images {
			if id := (kernel.Ref{Distro: im.Distro, Name: im.Name}).ID(); !kerneltest.SafeID.MatchString(id) {
				t.Fatalf("id %q", id)
			}
			if strings.ContainsAny(im.Bad, "\n\x1b") {
				t.Fatalf("reason %q", im.Bad)
			}
			if _, err := kernel.DigestHex(im.Digest); err != nil {
				t.Fatal(err)
			}
			if im.Image.Offset%512 != 0 || im.Image.Offset <= 0 || im.Image.Offset+im.Image.Size > int64(len(data)) && im.Bad == "" {
				t.Fatalf("%+v in %d bytes", im.Image, len(data))
			}
		}
	})
}
