package image

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
)

func TestProbeRefuses(t *testing.T) {
	good := imagetest.Vmlinuz(t, "6.1.0")
	for _, tc := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "it is empty"},
		{"text", []byte("#!/bin/sh\n"), "header is not one of a kernel"},
		{"a bzImage cut in its payload", good[:len(good)-100], "cut short"},
		{"a bzImage cut in its setup code", good[:0x300], "cut short"},
		{"a program", bytes.ReplaceAll(imagetest.ELF("6.1.0", false), []byte("Linux version"), []byte("Hello version")), `without a "Linux version" banner`},
		{"a 32-bit ELF file", []byte("\x7fELF\x01\x01" + strings.Repeat("\x00", 100)), "not a 64-bit one"},
		{"a gzip file of something else", imagetest.Compressed(t, Gzip, bytes.Repeat([]byte("x"), 100)), "its header is not one of a kernel"},
		{"a zboot image cut short", imagetest.Zboot(imagetest.Compressed(t, Gzip, imagetest.Arm64Image("6.1.0")))[:0x210], "cut short"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "bzImage-x"), tc.file)
			_, err := ProbeFile(path)
			var nk *NotKernelError
			if !errors.As(err, &nk) {
				t.Fatalf("error %v, want a NotKernelError", err)
			}
			for _, want := range []string{path, tc.want, "expected a bzImage"} {
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

// Kernels of further architectures are found by what the table has, and an s390
// kernel in the program around it.
func TestProbeArches(t *testing.T) {
	for _, a := range goarch.Names() {
		magic := goarch.Lookup(a).Image
		if magic == "" {
			continue
		}
		raw := imagetest.RawImage(magic, "6.12.0-"+a)
		for _, b := range [][]byte{raw, imagetest.Compressed(t, Gzip, raw)} {
			info, err := Probe(bytes.NewReader(b), int64(len(b)))
			if err != nil || info.Arch != a || info.Version != "6.12.0-"+a {
				t.Errorf("%s: %+v, %v", a, info, err)
			}
		}
	}
	kernel := []byte(strings.Repeat("\x00s390 code", 10000) + "Linux version 6.12.0-x (gcc) #1 SMP\n" + strings.Repeat("data", 1000))
	for _, c := range []Compression{Gzip, XZ, Zstd} {
		for _, version := range []string{"", "6.12.0-s390x"} {
			b := imagetest.S390(version, imagetest.Compressed(t, c, kernel))
			path := imagetest.WriteFile(t, filepath.Join(t.TempDir(), "vmlinuz"), b)
			info, err := ProbeFile(path)
			if want := cmp.Or(version, "6.12.0-x"); err != nil || info.Format != FormatS390 || info.Arch != "s390x" || info.Version != want || info.Compression != c {
				t.Errorf("%s: %+v, %v", c, info, err)
				continue
			}
			r, err := info.Vmlinux(path)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := info.CopyVmlinux(t.Context(), &out, r); err != nil || !bytes.Equal(out.Bytes(), kernel) {
				t.Errorf("%s: %d bytes of %d, %v", c, out.Len(), len(kernel), err)
			}
			r.Close()
		}
	}
	// One that is not compressed, or in a way that is not known, is booted as it is.
	b := imagetest.S390("6.12.0-s390x", kernel)
	if info, err := Probe(bytes.NewReader(b), int64(len(b))); err != nil || info.Arch != "s390x" || info.Compression != NoCompression {
		t.Errorf("not compressed: %+v, %v", info, err)
	}
}

func TestProbeBigEndianELF(t *testing.T) {
	b := []byte("\x7fELF\x02\x02\x01" + strings.Repeat("\x00", 57) + "Linux version 6.1.0-s390x (gcc)\n")
	b[17], b[19] = 2, 22 // an executable for s390
	info, err := Probe(bytes.NewReader(b), int64(len(b)))
	if err != nil || info.Format != FormatVmlinux || info.Arch != "s390x" || info.Version != "6.1.0-s390x" {
		t.Errorf("%+v, %v", info, err)
	}
	b[5] = 1 // of the other order it is no machine's
	if info, err := Probe(bytes.NewReader(b), int64(len(b))); err == nil {
		t.Errorf("%+v", info)
	}
}

func FuzzProbe(f *testing.F) {
	elf, image := imagetest.ELF("6.1.0", true), imagetest.Arm64Image("6.1.0")
	for _, c := range []Compression{Gzip, XZ, LZMA, LZ4, Zstd} {
		f.Add(imagetest.BzImage("6.1.0", imagetest.Sized(c, imagetest.Compressed(f, c, elf), len(elf))))
		f.Add(imagetest.Zboot(imagetest.Compressed(f, c, image)))
	}
	f.Add(imagetest.BzImage("6.1.0", imagetest.Sized(XZ, imagetest.Fixture(f, "vmlinux.bcj.xz"), len(elf))))
	f.Add(imagetest.BzImage("6.1.0", imagetest.Sized(Bzip2, imagetest.Fixture(f, "vmlinux.bz2"), len(elf))))
	for _, c := range []Compression{Gzip, XZ, Zstd} {
		f.Add(imagetest.S390("6.1.0", imagetest.Compressed(f, c, elf)))
	}
	f.Add(elf)
	f.Add(image)
	f.Add(imagetest.Compressed(f, Gzip, image))
	f.Add(imagetest.PE(0xaa64, ".linux", string(image), ".uname", "6.1.0"))
	f.Add(imagetest.Compressed(f, Zstd, imagetest.PE(0x8664, ".text", "x", ".linux", string(imagetest.Vmlinuz(f, "6.1.0")))))
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
		if info.Version != "" && VersionToken([]byte(info.Version)) != info.Version {
			t.Fatalf("version %q is not clean", info.Version)
		}
		if _, err := probePlain(r, int64(len(data))); errors.Is(err, errNotKnown) {
			return // the rest is about what is in a wrapper
		}
		if info.Offset < 0 || info.Length < 0 || info.Offset+info.Length > int64(len(data)) {
			t.Fatalf("payload %d+%d outside of %d bytes", info.Offset, info.Length, len(data))
		}
		if info.Compression == NoCompression {
			return
		}
		rc, err := Decompress(info.Compression, io.NewSectionReader(r, info.Offset, info.Length))
		if err != nil {
			return
		}
		defer rc.Close()
		_, _ = bounded.Copy(context.Background(), io.Discard, rc, 8<<20, "payload")
	})
}
