package kernel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fixture returns a payload that only a program can make: the ELF kernel of
// version 6.1.0-test, compressed by bzip2 -9, or by xz --x86 --lzma2 as
// scripts/xz_wrap.sh does.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProbeAndVmlinux(t *testing.T) {
	const version = "6.1.0-test"
	elf, image := elfKernel(version, true), arm64Image(version)
	pack := func(c Compression) []byte { return bzImage(version, sized(c, compressed(t, c, elf), len(elf))) }
	for _, tc := range []struct {
		name string
		file []byte
		info Info
		want []byte // what Vmlinux writes, nil for ErrNoVmlinux
	}{
		{"bzImage gzip", pack(Gzip), Info{Format: FormatBzImage, Arch: "amd64", Compression: Gzip}, elf},
		{"bzImage xz", pack(XZ), Info{Format: FormatBzImage, Arch: "amd64", Compression: XZ}, elf},
		{"bzImage xz with BCJ", bzImage(version, sized(XZ, fixture(t, "vmlinux.bcj.xz"), len(elf))), Info{Format: FormatBzImage, Arch: "amd64", Compression: XZ}, elf},
		{"bzImage lzma", pack(LZMA), Info{Format: FormatBzImage, Arch: "amd64", Compression: LZMA}, elf},
		{"bzImage lz4", pack(LZ4), Info{Format: FormatBzImage, Arch: "amd64", Compression: LZ4}, elf},
		{"bzImage zstd", pack(Zstd), Info{Format: FormatBzImage, Arch: "amd64", Compression: Zstd}, elf},
		{"bzImage bzip2", bzImage(version, sized(Bzip2, fixture(t, "vmlinux.bz2"), len(elf))), Info{Format: FormatBzImage, Arch: "amd64", Compression: Bzip2}, elf},
		{"bzImage lzo", bzImage(version, []byte("\x89LZO\x00\r\n\x1a\n123456")), Info{Format: FormatBzImage, Arch: "amd64", Compression: LZO}, nil},
		{"bzImage of unknown payload", bzImage(version, []byte("whatever this is")), Info{Format: FormatBzImage, Arch: "amd64"}, nil},
		{"vmlinux", elf, Info{Format: FormatVmlinux, Arch: "amd64", PVH: true}, elf},
		{"vmlinux without PVH", elfKernel(version, false), Info{Format: FormatVmlinux, Arch: "amd64"}, elfKernel(version, false)},
		{"Image", image, Info{Format: FormatImage, Arch: "arm64"}, nil},
		{"Image.gz", compressed(t, Gzip, image), Info{Format: FormatImageGz, Arch: "arm64", Compression: Gzip}, image},
		{"zboot gzip", zboot(compressed(t, Gzip, image)), Info{Format: FormatZboot, Arch: "arm64", Compression: Gzip}, image},
		{"zboot zstd", zboot(compressed(t, Zstd, image)), Info{Format: FormatZboot, Arch: "arm64", Compression: Zstd}, image},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			path := writeFile(t, filepath.Join(dir, "vmlinuz-x"), tc.file)
			info, err := ProbeFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tc.info.Version = version
			shape := info
			shape.Offset, shape.Length = 0, 0
			if d := cmp.Diff(tc.info, shape); d != "" {
				t.Errorf("info (-want +got):\n%s", d)
			}
			im := open(t, newCache(t), path)
			dst := filepath.Join(dir, "out")
			for range 2 { // the second may come from the copy in the cache
				err = im.Vmlinux(context.Background(), dst)
				if tc.want == nil {
					if !errors.Is(err, ErrNoVmlinux) {
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
			_, err = os.Stat(filepath.Join(im.entry.dir, vmlinuxFile))
			if kept := err == nil; kept != info.Compression.slow() {
				t.Errorf("copy in the cache: %v", kept)
			}
		})
	}
}

// open lists a path and opens its only kernel.
func open(t testing.TB, c *Cache, path string) *Image {
	t.Helper()
	s, err := Parse(path, c)
	if err != nil {
		t.Fatal(err)
	}
	refs, err := s.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(refs) != 1 {
		t.Fatalf("%d kernels, want 1", len(refs))
	}
	im, err := s.Open(context.Background(), refs[0])
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func TestDamagedVmlinuxCopyIsMadeAgain(t *testing.T) {
	elf := elfKernel("6.1.0", true)
	path := writeFile(t, filepath.Join(t.TempDir(), "vmlinuz-6.1.0"), bzImage("6.1.0", sized(XZ, compressed(t, XZ, elf), len(elf))))
	im := open(t, newCache(t), path)
	dst := filepath.Join(t.TempDir(), "vmlinux")
	kept := filepath.Join(im.entry.dir, vmlinuxFile)
	for _, damage := range []string{"", "no zstd", "\x28\xb5\x2f\xfd cut"} {
		if damage != "" {
			writeFile(t, kept, []byte(damage))
		}
		if err := im.Vmlinux(context.Background(), dst); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(dst); !bytes.Equal(got, elf) {
			t.Error("vmlinux differs")
		}
		r, err := openZstd(kept)
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
	elf := elfKernel("6.1.0", true)
	whole := compressed(t, Zstd, elf)
	for _, tc := range []struct {
		name    string
		payload []byte
		want    string
	}{
		{"a payload that is no ELF file", sized(Zstd, compressed(t, Zstd, []byte("hello, I am not a kernel")), 24), "no ELF file"},
		{"a payload that is cut short", sized(Zstd, whole[:len(whole)/2], 0), "vmlinux"},
		{"an empty payload", sized(LZ4, []byte("\x02\x21\x4c\x18"), 0), "no ELF file"},
		{"an lz4 block of 4 GiB", sized(LZ4, []byte("\x02\x21\x4c\x18\xff\xff\xff\xff"), 0), "block of 4294967295 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			im := open(t, newCache(t), writeFile(t, filepath.Join(t.TempDir(), "vmlinuz-6.1.0"), bzImage("6.1.0", tc.payload)))
			dst := filepath.Join(t.TempDir(), "vmlinux")
			err := im.Vmlinux(context.Background(), dst)
			if err == nil || errors.Is(err, ErrNoVmlinux) || !strings.Contains(err.Error(), tc.want) {
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
	bomb := compressed(t, Zstd, make([]byte, maxVmlinux+1<<20))
	im := open(t, newCache(t), writeFile(t, filepath.Join(t.TempDir(), "vmlinuz-6.1.0"), bzImage("6.1.0", sized(Zstd, bomb, 0))))
	err := im.Vmlinux(context.Background(), filepath.Join(t.TempDir(), "vmlinux"))
	var limit *LimitError
	if !errors.As(err, &limit) {
		t.Errorf("error %v, want a LimitError", err)
	}
}

func TestVmlinuxStopsWithContext(t *testing.T) {
	im := open(t, newCache(t), writeFile(t, filepath.Join(t.TempDir(), "vmlinuz-6.1.0"), bz(t, "6.1.0")))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := im.Vmlinux(ctx, filepath.Join(t.TempDir(), "vmlinux")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestProbeRefuses(t *testing.T) {
	good := bz(t, "6.1.0")
	for _, tc := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "it is empty"},
		{"text", []byte("#!/bin/sh\n"), "header is not one of a kernel"},
		{"a bzImage cut in its payload", good[:len(good)-100], "cut short"},
		{"a bzImage cut in its setup code", good[:0x300], "cut short"},
		{"a program", bytes.ReplaceAll(elfKernel("6.1.0", false), []byte("Linux version"), []byte("Hello version")), `without a "Linux version" banner`},
		{"a 32-bit ELF file", []byte("\x7fELF\x01\x01" + strings.Repeat("\x00", 100)), "not a 64-bit little-endian one"},
		{"a gzip file of something else", compressed(t, Gzip, bytes.Repeat([]byte("x"), 100)), "no arm64 Image"},
		{"a zboot image cut short", zboot(compressed(t, Gzip, arm64Image("6.1.0")))[:0x210], "cut short"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := writeFile(t, filepath.Join(t.TempDir(), "bzImage-x"), tc.file)
			_, err := ProbeFile(path)
			var nk *NotKernelError
			if !errors.As(err, &nk) {
				t.Fatalf("error %v, want a NotKernelError", err)
			}
			for _, want := range []string{path, tc.want, "expected an x86 bzImage"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestFindVersionAcrossReads(t *testing.T) {
	banner := "Linux version 6.1.0-56-amd64 (x)"
	for _, before := range []int{0, 100, 256<<10 - 150, 256<<10 - 20, 256<<10 - 5, 256 << 10, 600 << 10} {
		got, err := findVersion(strings.NewReader(strings.Repeat("y", before) + banner))
		if err != nil || got != "6.1.0-56-amd64" {
			t.Errorf("banner at %d: %q, %v", before, got, err)
		}
	}
	for _, text := range []string{"Linux version \x1b[2J6.1 ", "Linux version 6.1\n::error::x", "Linux version six.one ", "Linux version 6 "} {
		if got, _ := findVersion(strings.NewReader(text)); got != "" {
			t.Errorf("%q gave version %q", text, got)
		}
	}
}

func FuzzProbe(f *testing.F) {
	elf, image := elfKernel("6.1.0", true), arm64Image("6.1.0")
	for _, c := range []Compression{Gzip, XZ, LZMA, LZ4, Zstd} {
		f.Add(bzImage("6.1.0", sized(c, compressed(f, c, elf), len(elf))))
		f.Add(zboot(compressed(f, c, image)))
	}
	f.Add(bzImage("6.1.0", sized(XZ, fixture(f, "vmlinux.bcj.xz"), len(elf))))
	f.Add(bzImage("6.1.0", sized(Bzip2, fixture(f, "vmlinux.bz2"), len(elf))))
	f.Add(elf)
	f.Add(image)
	f.Add(compressed(f, Gzip, image))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		info, err := Probe(r, int64(len(data)))
		if err != nil {
			var nk *NotKernelError
			if !errors.As(err, &nk) {
				t.Fatalf("a reader that never fails gave %v", err)
			}
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Fatalf("error is not one clean line: %q", err)
			}
			return
		}
		if info.Format == FormatUnknown {
			t.Fatal("no error and no format")
		}
		if info.Version != "" && versionToken([]byte(info.Version)) != info.Version {
			t.Fatalf("version %q is not clean", info.Version)
		}
		if info.Offset < 0 || info.Length < 0 || info.Offset+info.Length > int64(len(data)) {
			t.Fatalf("payload %d+%d outside of %d bytes", info.Offset, info.Length, len(data))
		}
		if info.Compression == NoCompression {
			return
		}
		rc, err := decompress(info.Compression, io.NewSectionReader(r, info.Offset, info.Length))
		if err != nil {
			return
		}
		defer rc.Close()
		_, _ = copyCapped(context.Background(), io.Discard, rc, 8<<20, "payload")
	})
}
