package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/gcs"
	"github.com/elastic/bpf-kernel-check/shard/kernel/gcstest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// hostileArchives are archives that nothing may come of but an error.
func hostileArchives(t *testing.T) map[string]struct {
	data []byte
	want string
} {
	t.Helper()
	const v = "6.1.0"
	kernel := string(imagetest.Vmlinuz(t, v))
	whole := imagetest.Compressed(t, image.Gzip, imagetest.FullArchive(t, v))
	middle := bytes.Clone(whole)
	middle[len(middle)/2] ^= 0x20
	trailer := bytes.Clone(whole)
	trailer[len(trailer)-6] ^= 1
	link := func(typ byte, to string) *tar.Header { return &tar.Header{Typeflag: typ, Linkname: to} }
	return map[string]struct {
		data []byte
		want string
	}{
		"corrupt-gzip":            {middle, "unpack"},
		"wrong-checksum":          {trailer, "invalid checksum"},
		"truncated-gzip":          {whole[:len(whole)-9], "unexpected EOF"},
		"truncated-in-the-middle": {whole[:len(whole)/2], "unexpected EOF"},
		"empty":                   {nil, "the archive is empty"},
		"html":                    {[]byte("<html><script>alert(1)</script>" + strings.Repeat(" ", 600)), "not a tar archive"},
		"no-vmlinuz":              {imagetest.Tarball(t, imagetest.Member{Name: "config", Data: "x"}), "holds no kernel"},
		"two-vmlinuz": {
			imagetest.Tarball(t, imagetest.Member{Name: "vmlinuz-6.1.0", Data: kernel}, imagetest.Member{Name: "boot/vmlinuz-6.2.0", Data: string(imagetest.Vmlinuz(t, "6.2.0"))}),
			`several kernels, 2: "vmlinuz-6.1.0", "boot/vmlinuz-6.2.0"`,
		},
		"two-builds": {imagetest.Tarball(t, imagetest.Member{Name: "vmlinuz-6.1.0", Data: kernel}, imagetest.Member{Name: "vmlinuz-6.1.0.old", Data: kernel + "x"}), "holds several kernels"},
		"only-dotdot": {imagetest.Tarball(t, imagetest.Member{Name: "../../vmlinuz", Data: kernel}, imagetest.Member{Name: "/vmlinuz", Data: kernel},
			imagetest.Member{Name: "boot/../../vmlinuz", Data: kernel}), "holds no kernel"},
		"only-links": {imagetest.Tarball(t, imagetest.Member{Name: "vmlinuz", Header: link(tar.TypeSymlink, "/etc/passwd")}, imagetest.Member{Name: "boot/vmlinuz-6", Header: link(tar.TypeLink, "../../etc/passwd")},
			imagetest.Member{Name: "lib", Header: link(tar.TypeSymlink, "/")}), "holds no kernel"},
		"only-devices": {imagetest.Tarball(t, imagetest.Member{Name: "vmlinuz", Header: &tar.Header{Typeflag: tar.TypeBlock, Devmajor: 8}},
			imagetest.Member{Name: "boot/vmlinuz-1", Header: &tar.Header{Typeflag: tar.TypeFifo}}), "holds no kernel"},
		"sparse": {sparseArchive(t), "exceeds the limit of 1073741824"},
		"bomb":   {bomb(t), "exceeds the limit of 1073741824"},
		"image-bomb": {
			imagetest.Tarball(t, imagetest.Member{Name: "vmlinuz", Data: string(imagetest.BzImage(v, imagetest.Compressed(t, image.Gzip, make([]byte, 1<<20))))}),
			"",
		}, // found when it is unpacked
	}
}

// sparseArchive has a kernel of 1 TiB in a few bytes, made by tar itself.
func sparseArchive(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "vmlinuz"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 40); err != nil {
		t.Fatal(err)
	}
	f.Close()
	out, err := exec.Command("tar", "--format=posix", "--sparse", "-C", dir, "-cf", "-", "vmlinuz").Output()
	if err != nil {
		t.Fatalf("tar: %v", err)
	}
	return out
}

// bomb is a member of 1 TiB of zeros, of which the first 2 GiB are there, in 2 MB.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b, head bytes.Buffer
	tw := tar.NewWriter(&head)
	if err := tw.WriteHeader(&tar.Header{Name: "vmlinuz", Typeflag: tar.TypeReg, Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	b.Write(imagetest.Compressed(t, image.Zstd, append(head.Bytes(), make([]byte, 64<<20)...)))
	return b.Bytes()
}

// Each hostile archive is an error for its kernel alone, from a bucket and from
// a directory, and nothing is written but in the cache.
func TestHostileArchives(t *testing.T) {
	archives := hostileArchives(t)
	s := gcstest.Start(t)
	s.Bucket(t, "bkt")
	root := t.TempDir()
	for name, a := range archives {
		s.Put(t, "bkt", "d/"+name+".tar.gz", a.data)
		imagetest.WriteFile(t, filepath.Join(root, "in", "d", name+".tar.gz"), a.data)
	}
	good := imagetest.FullArchive(t, "6.1.0")
	s.Put(t, "bkt", "d/good.tar.gz", good)
	imagetest.WriteFile(t, filepath.Join(root, "in", "d", "good.tar.gz"), good)
	for _, kind := range []string{"bucket", "directory"} {
		t.Run(kind, func(t *testing.T) {
			c, err := kernel.NewCache(filepath.Join(root, kind))
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv("STORAGE_EMULATOR_HOST", s.Host)
			src := kerneltest.Parse(t, "gs://bkt", c, gcs.Parse)
			if kind == "directory" {
				src = source(t, filepath.Join(root, "in"), c)
			}
			refs := kerneltest.List(t, src)
			if len(refs) != len(archives)+1 {
				t.Fatalf("%d kernels, want %d", len(refs), len(archives)+1)
			}
			for _, ref := range refs {
				im, err := src.Open(t.Context(), ref)
				want := archives[ref.Name].want
				switch {
				case want == "" && err != nil:
					t.Errorf("%s: %v", ref.Name, err)
				case want != "":
					var bad *kernel.BadKernelError
					if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
						t.Errorf("%s: error %v, want a BadKernelError with %q", ref.Name, err, want)
					}
				case ref.Name == "image-bomb":
					if err := im.Vmlinux(t.Context(), filepath.Join(t.TempDir(), "vmlinux")); err == nil {
						t.Error("a payload of zeros was taken for a kernel")
					}
				}
			}
			if kept, err := os.ReadDir(filepath.Join(c.Dir(), "kernels-2")); err != nil || len(kept) != 2 {
				t.Errorf("the cache has %d kernels (%v), want 2", len(kept), err)
			}
			if left, err := os.ReadDir(filepath.Join(c.Dir(), "tmp")); err != nil || len(left) > 0 {
				t.Errorf("left in tmp: %v, %v", left, err)
			}
		})
	}
	var names []string
	list, err := os.ReadDir(root)
	for _, f := range list {
		names = append(names, f.Name())
	}
	if got := fmt.Sprint(names); err != nil || got != "[bucket directory in]" {
		t.Errorf("beside the caches there is %s", got)
	}
}

func TestSameKernelTwiceIsOne(t *testing.T) {
	kernel := string(imagetest.Vmlinuz(t, "6.1.0"))
	elf := imagetest.ELF("6.1.0", true)
	for name, members := range map[string][]imagetest.Member{
		"twice":        {{Name: "vmlinuz", Data: kernel}, {Name: "boot/vmlinuz-6.1.0", Data: kernel}},
		"two formats":  {{Name: "boot/Image", Data: string(elf)}, {Name: "vmlinuz", Data: kernel}},
		"not a second": {{Name: "vmlinuz-6.1.0", Data: kernel}, {Name: "vmlinuz-6.1.0.sig", Data: "signature"}},
	} {
		im, err := openArchive(t, imagetest.Tarball(t, members...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if list, err := os.ReadDir(filepath.Dir(im.Kernel)); err != nil || len(list) != 2 {
			t.Errorf("%s: the cache entry holds %v, %v", name, list, err)
		}
	}
}

// walkTar's limit holds for what a compressed archive unpacks to, in the end
// behind the tar as well.
func TestBombBehindTheEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("unpacks 8 GiB of zeros; -short was given")
	}
	path := filepath.Join(t.TempDir(), "bomb.tar.zst")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	zw, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	_, err = zw.Write(imagetest.Tarball(t, imagetest.Member{Name: "vmlinuz", Data: string(imagetest.Vmlinuz(t, "6.1.0"))}))
	zeros := make([]byte, 1<<20)
	for i := 0; i < 8<<10+1 && err == nil; i++ {
		_, err = zw.Write(zeros)
	}
	if err := errors.Join(err, zw.Close()); err != nil {
		t.Fatal(err)
	}
	f.Close()
	src := source(t, path, kerneltest.NewCache(t))
	_, err = src.Open(context.Background(), kerneltest.List(t, src)[0])
	var limit *bounded.LimitError
	if !errors.As(err, &limit) {
		t.Errorf("error %v, want a LimitError", err)
	}
}
