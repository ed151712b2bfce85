package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

func TestProbeAndVmlinux(t *testing.T) {
	const version = "6.1.0-test"
	elf, raw := imagetest.ELF(version, true), imagetest.Arm64Image(version)
	pack := func(c image.Compression) []byte {
		return imagetest.BzImage(version, imagetest.Sized(c, imagetest.Compressed(t, c, elf), len(elf)))
	}
	for _, tc := range []struct {
		name string
		file []byte
		info image.Info
		want []byte // what Vmlinux writes, nil for ErrNoVmlinux
	}{
		{"bzImage gzip", pack(image.Gzip), image.Info{Format: image.FormatBzImage, Arch: "amd64", Compression: image.Gzip}, elf},
		{"bzImage xz", pack(image.XZ), image.Info{Format: image.FormatBzImage, Arch: "amd64", Compression: image.XZ}, elf},
		{"bzImage xz with BCJ", imagetest.BzImage(version, imagetest.Sized(image.XZ, imagetest.Fixture(t, "vmlinux.bcj.xz"), len(elf))), image.Info{Format: image.FormatBzImage, Arch: "amd64", Compression: image.XZ}, elf},
		{"bzImage lzma", pack(image.LZMA), image.Info{Format: image.FormatBzImage, Arch: "amd64", Compression: image.LZMA}, elf},
		{"bzImage lz4", pack(image.LZ4), image.Info{Format: image.FormatBzImage, Arch: "amd64", Compression: image.LZ4}, elf},
		{"bzImage zstd", pack(image.Zstd), image.Info{Format: image.FormatBzImage, Arch: "amd64", Compression: image.Zstd}, elf},
		{"bzImage bzip2", imagetest.BzImage(version, imagetest.Sized(image.Bzip2, imagetest.Fixture(t, "vmlinux.bz2"), len(elf))), image.Info{Format: image.FormatBzImage, Arch: "amd64", Compression: image.Bzip2}, elf},
		{"bzImage lzo", imagetest.BzImage(version, []byte("\x89LZO\x00\r\n\x1a\n123456")), image.Info{Format: image.FormatBzImage, Arch: "amd64", Compression: image.LZO}, nil},
		{"bzImage of unknown payload", imagetest.BzImage(version, []byte("whatever this is")), image.Info{Format: image.FormatBzImage, Arch: "amd64"}, nil},
		{"vmlinux", elf, image.Info{Format: image.FormatVmlinux, Arch: "amd64", PVH: true}, elf},
		{"vmlinux without PVH", imagetest.ELF(version, false), image.Info{Format: image.FormatVmlinux, Arch: "amd64"}, imagetest.ELF(version, false)},
		{"Image", raw, image.Info{Format: image.FormatImage, Arch: "arm64"}, nil},
		{"Image.gz", imagetest.Compressed(t, image.Gzip, raw), image.Info{Format: image.FormatImage, Arch: "arm64"}, nil},
		{"zboot gzip", imagetest.Zboot(imagetest.Compressed(t, image.Gzip, raw)), image.Info{Format: image.FormatZboot, Arch: "arm64", Compression: image.Gzip}, raw},
		{"zboot zstd", imagetest.Zboot(imagetest.Compressed(t, image.Zstd, raw)), image.Info{Format: image.FormatZboot, Arch: "arm64", Compression: image.Zstd}, raw},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path := imagetest.WriteFile(t, filepath.Join(dir, "vmlinuz-x"), tc.file)
			info, err := image.ProbeFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tc.info.Version = version
			shape := info
			shape.Offset, shape.Length = 0, 0
			if d := cmp.Diff(tc.info, shape); d != "" {
				t.Errorf("info (-want +got):\n%s", d)
			}
			im := open(t, kerneltest.NewCache(t), path)
			dst := filepath.Join(dir, "out")
			for range 2 { // the second may come from the copy in the cache
				err = im.Vmlinux(context.Background(), dst)
				if tc.want == nil {
					if !errors.Is(err, image.ErrNoVmlinux) {
						t.Fatalf("error %v, want ErrNoVmlinux", err)
					}
					if _, err := os.Stat(dst); err == nil {
						t.Error("a file was left behind")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got, _ := os.ReadFile(dst); !bytes.Equal(got, tc.want) {
					t.Errorf("vmlinux differs: %d bytes, want %d", len(got), len(tc.want))
				}
				os.Remove(dst)
			}
			_, err = os.Stat(filepath.Join(filepath.Dir(im.Kernel), "vmlinux.zst"))
			if kept := err == nil; kept != info.Compression.Slow() {
				t.Errorf("copy in the cache: %v", kept)
			}
		})
	}
}

// The cache may have entries of the program before, which kept an Image.gz as it is.
func TestEntryWithImageGz(t *testing.T) {
	raw := imagetest.Arm64Image("6.1.0")
	packed := imagetest.Compressed(t, image.Gzip, raw)
	path := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "Image-6.1.0.gz"), packed)
	digest, err := kernel.HashFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	c := kerneltest.NewCache(t)
	entry := filepath.Join(c.Dir(), "kernels-2", strings.TrimPrefix(digest, kernel.DigestPrefix))
	imagetest.WriteFile(t, filepath.Join(entry, "vmlinuz"), packed)
	imagetest.WriteFile(t, filepath.Join(entry, "entry.json"), fmt.Appendf(nil, `{"schema": 2, "files": {"vmlinuz": %d}, "kernel_digest": %q,
		"image": {"format": "Image.gz", "arch": "arm64", "version": "6.1.0", "compression": "gzip", "length": %[1]d}}`, len(packed), digest))
	im := open(t, c, path)
	dst := filepath.Join(t.TempDir(), "vmlinux")
	if err := im.Vmlinux(t.Context(), dst); err != nil || im.Info.Format != "Image.gz" {
		t.Fatalf("%+v, %v", im.Info, err)
	}
	if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestDamagedVmlinuxCopyIsMadeAgain(t *testing.T) {
	elf := imagetest.ELF("6.1.0", true)
	path := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "vmlinuz-6.1.0"), imagetest.BzImage("6.1.0", imagetest.Sized(image.XZ, imagetest.Compressed(t, image.XZ, elf), len(elf))))
	im := open(t, kerneltest.NewCache(t), path)
	dst := filepath.Join(t.TempDir(), "vmlinux")
	kept := filepath.Join(filepath.Dir(im.Kernel), "vmlinux.zst")
	for _, damage := range []string{"", "no zstd", "\x28\xb5\x2f\xfd cut"} {
		if damage != "" {
			imagetest.WriteFile(t, kept, []byte(damage))
		}
		if err := im.Vmlinux(context.Background(), dst); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(dst); !bytes.Equal(got, elf) {
			t.Error("vmlinux differs")
		}
		copied, err := os.Open(kept)
		if err != nil {
			t.Fatal(err)
		}
		defer copied.Close()
		r, err := zstd.NewReader(copied)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, elf) {
			t.Errorf("after %q: copy is not whole: %v", damage, err)
		}
		r.Close()
	}
}

func TestVmlinuxRefuses(t *testing.T) {
	elf := imagetest.ELF("6.1.0", true)
	whole := imagetest.Compressed(t, image.Zstd, elf)
	for _, tc := range []struct {
		name    string
		payload []byte
		want    string
	}{
		{"a payload that is no ELF file", imagetest.Sized(image.Zstd, imagetest.Compressed(t, image.Zstd, []byte("hello, I am not a kernel")), 24), "no ELF file"},
		{"a payload that is cut short", imagetest.Sized(image.Zstd, whole[:len(whole)/2], 0), "vmlinux"},
		{"an empty payload", imagetest.Sized(image.LZ4, []byte("\x02\x21\x4c\x18"), 0), "no ELF file"},
		{"an lz4 block of 4 GiB", imagetest.Sized(image.LZ4, []byte("\x02\x21\x4c\x18\xff\xff\xff\xff"), 0), "invalid block size"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			im := open(t, kerneltest.NewCache(t), imagetest.WriteFile(t, filepath.Join(t.TempDir(), "vmlinuz-6.1.0"), imagetest.BzImage("6.1.0", tc.payload)))
			dst := filepath.Join(t.TempDir(), "vmlinux")
			err := im.Vmlinux(context.Background(), dst)
			if err == nil || errors.Is(err, image.ErrNoVmlinux) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
			if list, _ := os.ReadDir(filepath.Dir(dst)); len(list) != 0 {
				t.Errorf("files left behind: %v", list)
			}
		})
	}
}

// A bomb costs no more than the limit: 600 MiB of zeros are 20 KB in zstd.
func TestVmlinuxCapsBombs(t *testing.T) {
	bomb := imagetest.Compressed(t, image.Zstd, append(imagetest.ELF("6.1.0", true), make([]byte, image.MaxVmlinux+1<<20)...))
	im := open(t, kerneltest.NewCache(t), imagetest.WriteFile(t, filepath.Join(t.TempDir(), "vmlinuz-6.1.0"), imagetest.BzImage("6.1.0", imagetest.Sized(image.Zstd, bomb, 0))))
	err := im.Vmlinux(context.Background(), filepath.Join(t.TempDir(), "vmlinux"))
	var limit *bounded.LimitError
	if !errors.As(err, &limit) {
		t.Errorf("error %v, want a LimitError", err)
	}
}

func TestVmlinuxStopsWithContext(t *testing.T) {
	im := open(t, kerneltest.NewCache(t), imagetest.WriteFile(t, filepath.Join(t.TempDir(), "vmlinuz-6.1.0"), imagetest.Vmlinuz(t, "6.1.0")))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := im.Vmlinux(ctx, filepath.Join(t.TempDir(), "vmlinux")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
