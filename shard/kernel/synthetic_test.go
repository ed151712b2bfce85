package kernel

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
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

// elfKernel is the smallest file that counts as an ELF kernel: a header, one
// PT_NOTE, and a banner.
func elfKernel(version string, pvh bool) []byte {
	le := binary.LittleEndian
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)
	le.PutUint16(b[18:], emX86_64)
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
		note("Xen\x00", xenNotePhys32Entry, make([]byte, 8))
	}
	le.PutUint32(b[64:], 4) // PT_NOTE
	le.PutUint64(b[64+8:], uint64(start))
	le.PutUint64(b[64+32:], uint64(len(b)-start))
	le.PutUint64(b[64+48:], 4)
	b = append(b, "Linux version %s (%s)\x00"...) // a format must not count
	b = append(b, bytes.Repeat([]byte("text "), 1000)...)
	return append(b, "Linux version "+version+" (gcc) #1 SMP\n"...)
}

func arm64Image(version string) []byte {
	b := make([]byte, 64, 8192)
	copy(b, "MZ")
	copy(b[56:], "ARM\x64")
	b = append(b, bytes.Repeat([]byte("x"), 5000)...)
	return append(b, "Linux version "+version+" (gcc)\n"...)
}

// bzImage wraps an already compressed payload.
func bzImage(version string, payload []byte) []byte {
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

func zboot(payload []byte) []byte {
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

// compressed compresses as the kernel's build does, without the appended size.
func compressed(t testing.TB, c Compression, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch c {
	case Gzip:
		w = gzip.NewWriter(&b)
	case Zstd:
		w, err = zstd.NewWriter(&b)
	case XZ:
		w, err = xz.NewWriter(&b)
	case LZMA:
		w, err = lzma.NewWriter(&b)
	case LZ4:
		b.WriteString("\x02\x21\x4c\x18")
		for len(data) > 0 {
			n := min(len(data), lz4MaxBlock)
			dst := make([]byte, lz4.CompressBlockBound(n))
			m, err := lz4.CompressBlock(data[:n], dst, nil)
			if err != nil {
				t.Fatal(err)
			}
			binary.Write(&b, binary.LittleEndian, uint32(m))
			b.Write(dst[:m])
			data = data[n:]
		}
		return b.Bytes()
	case NoCompression:
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

// sized appends the decompressed size, as all but gzip payloads have it.
func sized(c Compression, payload []byte, size int) []byte {
	if c == Gzip {
		return payload
	}
	return binary.LittleEndian.AppendUint32(payload, uint32(size))
}

// bz is a bootable-looking bzImage of a version.
func bz(t testing.TB, version string) []byte {
	elf := elfKernel(version, true)
	return bzImage(version, sized(Zstd, compressed(t, Zstd, elf), len(elf)))
}

type member struct {
	name string
	data string
	hdr  *tar.Header // nil: a regular file
}

func tarball(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, m := range members {
		hdr := tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}
		if m.hdr != nil {
			hdr = *m.hdr
		}
		hdr.Name, hdr.Size = m.name, int64(len(m.data))
		if err := tw.WriteHeader(&hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// fullArchive has all that an archive can have.
func fullArchive(t testing.TB, version string) []byte {
	return tarball(t,
		member{name: "./boot/config-" + version, data: "CONFIG_BPF=y\n"},
		member{name: "./boot/vmlinuz-" + version, data: string(bz(t, version))},
		member{name: "./lib/modules/" + version + "/kernel/fs/overlayfs/overlay.ko", data: "overlay of " + version},
		member{name: "./lib/modules/" + version + "/kernel/net/veth.ko.xz", data: "veth"},
		member{name: "./lib/modules/" + version + "/modules.dep", data: "kernel/fs/overlayfs/overlay.ko:\n"},
	)
}

func writeFile(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func newCache(t testing.TB) *Cache {
	t.Helper()
	c, err := NewCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// modules reads all of an image's modules into a map.
func modules(t testing.TB, im *Image) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := im.ReadModules(context.Background(), func(string) bool { return true }, func(name string, size int64, r io.Reader) error {
		b, err := io.ReadAll(r)
		if int64(len(b)) != size {
			t.Errorf("%s: size %d, but %d bytes", name, size, len(b))
		}
		got[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}
