package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

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
		{"a gzip file of something else", imagetest.Compressed(t, Gzip, bytes.Repeat([]byte("x"), 100)), "no Image"},
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

func FuzzProbe(f *testing.F) {
	elf, image := imagetest.ELF("6.1.0", true), imagetest.Arm64Image("6.1.0")
	for _, c := range []Compression{Gzip, XZ, LZMA, LZ4, Zstd} {
		f.Add(imagetest.BzImage("6.1.0", imagetest.Sized(c, imagetest.Compressed(f, c, elf), len(elf))))
		f.Add(imagetest.Zboot(imagetest.Compressed(f, c, image)))
	}
	f.Add(imagetest.BzImage("6.1.0", imagetest.Sized(XZ, imagetest.Fixture(f, "vmlinux.bcj.xz"), len(elf))))
	f.Add(imagetest.BzImage("6.1.0", imagetest.Sized(Bzip2, imagetest.Fixture(f, "vmlinux.bz2"), len(elf))))
	f.Add(elf)
	f.Add(image)
	f.Add(imagetest.Compressed(f, Gzip, image))
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
