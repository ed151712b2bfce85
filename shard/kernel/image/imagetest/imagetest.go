// Package imagetest makes small files that count as kernels, and archives of
// them, for tests. It knows nothing of the packages that read them, so that
// the tests inside those can use it.
package imagetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// ELF is the smallest file that counts as an ELF kernel: a header, one
// PT_NOTE, and a banner.
func ELF(version string, pvh bool) []byte {
	le := binary.LittleEndian
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)
	le.PutUint16(b[18:], 62)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 1)
	note := func(name string, typ uint32, desc []byte) {
		b = le.AppendUint32(b, uint32(len(name)))
		b = le.AppendUint32(b, uint32(len(desc)))
		b = le.AppendUint32(b, typ)
		b = append(b, name...)
		b = append(b, make([]byte, -len(b)&3)...)
		b = append(b, desc...)
		b = append(b, make([]byte, -len(b)&3)...)
	}
	start := len(b)
	note("Linux\x00", 257, []byte{1, 2, 3, 4, 5}) // lengths that need padding
	if pvh {
		note("Xen\x00", 18, make([]byte, 8))
	}
	le.PutUint32(b[64:], 4) // PT_NOTE
	le.PutUint64(b[64+8:], uint64(start))
	le.PutUint64(b[64+32:], uint64(len(b)-start))
	le.PutUint64(b[64+48:], 4)
	b = append(b, "Linux version %s (%s)\x00"...) // a format must not count
	b = append(b, bytes.Repeat([]byte("text "), 1000)...)
	return append(b, "Linux version "+version+" (gcc) #1 SMP\n"...)
}

// Arm64Image is the smallest file that counts as an arm64 Image.
func Arm64Image(version string) []byte {
	b := make([]byte, 64, 8192)
	copy(b, "MZ")
	copy(b[56:], "ARM\x64")
	b = append(b, bytes.Repeat([]byte("x"), 5000)...)
	return append(b, "Linux version "+version+" (gcc)\n"...)
}

// RawImage is Arm64Image for an architecture with another magic number.
func RawImage(magic, version string) []byte {
	b := Arm64Image(version)
	copy(b[56:], magic)
	return b
}

// S390 is an s390 bzImage with an already compressed payload. Without a version
// its header does not tell it.
func S390(version string, payload []byte) []byte {
	b := make([]byte, 0x12000)
	copy(b[0x10008:], "S390EP")
	if version != "" {
		binary.BigEndian.PutUint64(b[0x10428:], 0x11000)
		copy(b[0x11000:], version+" (root@build) #1 SMP\x00")
	}
	copy(b[0x11800:], "\x1f\x8b\x08 and \x28\xb5\x2f\xfd: magic numbers in a program that unpacks")
	return append(append(b, payload...), "\xff\xff trailer"...)
}

// BzImage wraps an already compressed payload.
func BzImage(version string, payload []byte) []byte {
	le := binary.LittleEndian
	const setupSects = 4
	b := make([]byte, (setupSects+1)*512)
	b[0x1f1] = setupSects
	le.PutUint16(b[0x1fe:], 0xaa55)
	copy(b[0x202:], "HdrS")
	le.PutUint16(b[0x206:], 0x20f)
	le.PutUint16(b[0x236:], 1)
	le.PutUint16(b[0x20e:], 0x300)
	copy(b[0x500:], version+" (root@build) #1 SMP\x00")
	le.PutUint32(b[0x248:], 16)
	le.PutUint32(b[0x24c:], uint32(len(payload)))
	b = append(b, make([]byte, 16)...)
	return append(append(b, payload...), "trailer"...)
}

// Zboot is an arm64 EFI zboot image of a compressed payload.
func Zboot(payload []byte) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0x200)
	copy(b, "MZ\x00\x00zimg")
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint32(b[12:], uint32(len(payload)))
	copy(b[24:], "zstd")
	le.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	le.PutUint16(b[0x44:], 0xaa64)
	return append(b, payload...)
}

// Compressed compresses as the kernel's build does, without the appended size.
func Compressed[C ~string](t testing.TB, c C, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch c {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		w, err = zstd.NewWriter(&b)
	case "xz":
		w, err = xz.NewWriter(&b)
	case "lzma":
		w, err = lzma.NewWriter(&b)
	case "lz4":
		b.WriteString("\x02\x21\x4c\x18")
		for len(data) > 0 {
			n := min(len(data), 8<<20)
			dst := make([]byte, lz4.CompressBlockBound(n))
			m, err := lz4.CompressBlock(data[:n], dst, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = binary.Write(&b, binary.LittleEndian, uint32(m))
			b.Write(dst[:m])
			data = data[n:]
		}
		return b.Bytes()
	case "":
		return data
	default:
		t.Fatalf("cannot compress %s", c)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Sized appends the decompressed size, as all but gzip payloads have it.
func Sized[C ~string](c C, payload []byte, size int) []byte {
	if c == "gzip" {
		return payload
	}
	return binary.LittleEndian.AppendUint32(payload, uint32(size))
}

// Vmlinuz is a bootable-looking bzImage of a version.
func Vmlinuz(t testing.TB, version string) []byte {
	elf := ELF(version, true)
	return BzImage(version, Sized("zstd", Compressed(t, "zstd", elf), len(elf)))
}

// Member is one member of a tar archive.
type Member struct {
	Name   string
	Data   string
	Header *tar.Header // nil: a regular file
}

// Tarball is a tar archive.
func Tarball(t testing.TB, members ...Member) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, m := range members {
		hdr := tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}
		if m.Header != nil {
			hdr = *m.Header
		}
		hdr.Name, hdr.Size = m.Name, int64(len(m.Data))
		if err := tw.WriteHeader(&hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, m.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FullArchive has all that an archive can have.
func FullArchive(t testing.TB, version string) []byte {
	return Tarball(t,
		Member{Name: "./boot/config-" + version, Data: "CONFIG_BPF=y\n"},
		Member{Name: "./boot/vmlinuz-" + version, Data: string(Vmlinuz(t, version))},
		Member{Name: "./lib/modules/" + version + "/kernel/fs/overlayfs/overlay.ko", Data: "overlay of " + version},
		Member{Name: "./lib/modules/" + version + "/kernel/net/veth.ko.xz", Data: "veth"},
		Member{Name: "./lib/modules/" + version + "/modules.dep", Data: "kernel/fs/overlayfs/overlay.ko:\n"},
	)
}

// WriteFile writes a file and the directories it is in, and returns its path.
func WriteFile(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

//go:embed testdata
var fixtures embed.FS

// Fixture returns a payload that only a program can make: the ELF kernel of
// version 6.1.0-test, compressed by bzip2 -9 (vmlinux.bz2), or by xz --x86
// --lzma2 as scripts/xz_wrap.sh does (vmlinux.bcj.xz).
func Fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := fixtures.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// KoFile is a relocatable ELF file with a .modinfo section.
func KoFile(info string) []byte {
	le := binary.LittleEndian
	const names = "\x00.modinfo\x00.shstrtab\x00"
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 1) // ET_REL
	le.PutUint16(b[18:], 62)
	le.PutUint32(b[20:], 1)
	infoAt := len(b)
	b = append(b, info...)
	namesAt := len(b)
	b = append(b, names...)
	le.PutUint64(b[40:], uint64(len(b))) // section headers
	le.PutUint16(b[52:], 64)
	le.PutUint16(b[58:], 64)
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2)
	section := func(name, typ uint32, at, size int) {
		h := make([]byte, 64)
		le.PutUint32(h, name)
		le.PutUint32(h[4:], typ)
		le.PutUint64(h[24:], uint64(at))
		le.PutUint64(h[32:], uint64(size))
		b = append(b, h...)
	}
	section(0, 0, 0, 0)
	section(1, 1, infoAt, len(info))
	section(10, 3, namesAt, len(names))
	return b
}

// Modinfo is the .modinfo of a module that depends on others.
func Modinfo(depends string) string { return "license=GPL\x00depends=" + depends + "\x00name=x\x00" }
