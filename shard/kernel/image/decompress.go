package image

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	xz "github.com/therootcompany/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Compression of a kernel's payload or of an archive.
type Compression string

// Compressions that are recognised; all but LZO are decompressed.
const (
	NoCompression Compression = ""
	Gzip          Compression = "gzip"
	XZ            Compression = "xz"
	LZMA          Compression = "lzma"
	LZ4           Compression = "lz4" // kernels use the legacy frame
	Zstd          Compression = "zstd"
	Bzip2         Compression = "bzip2"
	LZO           Compression = "lzo"
)

// maxDict caps the memory that a stream's header can ask for. scripts/xz_wrap.sh
// takes dict=128MiB and zstd22 a window of 128 MiB.
const maxDict = 128 << 20

// CompressionOf tells a compression by the first bytes of a stream.
func CompressionOf(magic []byte) Compression {
	for _, m := range []struct {
		magic string
		c     Compression
	}{
		{"\x1f\x8b", Gzip},
		{"\xfd7zXZ\x00", XZ},
		{"\x5d\x00\x00", LZMA},
		{"\x02\x21\x4c\x18", LZ4},
		{"\x04\x22\x4d\x18", LZ4},
		{"\x28\xb5\x2f\xfd", Zstd},
		{"BZh", Bzip2},
		{"\x89LZO", LZO},
	} {
		if bytes.HasPrefix(magic, []byte(m.magic)) {
			return m.c
		}
	}
	return NoCompression
}

// Slow says that a Go decompressor needs more than about half a second for a
// kernel, so that keeping a zstd copy of the result pays off.
func (c Compression) Slow() bool { return c == XZ || c == LZMA || c == Bzip2 }

// Decompress reads one stream; bytes after its end are not looked at, except by
// zstd and bzip2, which take them as another frame.
func Decompress(c Compression, r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 128<<10)
	switch c {
	case Gzip:
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, err
		}
		zr.Multistream(false)
		return zr, nil
	case XZ:
		// therootcompany/xz and not ulikunitz/xz: the kernel's xz streams go
		// through the x86 BCJ filter.
		zr, err := xz.NewReader(br, maxDict)
		if err != nil {
			return nil, err
		}
		zr.Multistream(false)
		return io.NopCloser(guard{zr}), nil
	case LZMA:
		zr, err := lzma.ReaderConfig{DictCap: maxDict}.NewReader(br)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(guard{zr}), nil
	case LZ4:
		return io.NopCloser(guard{lz4.NewReader(br)}), nil
	case Zstd:
		zr, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxDict), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, err
		}
		return zr.IOReadCloser(), nil
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(br)), nil
	}
	return nil, fmt.Errorf("%s compression is not supported: %w", cmp.Or(c, "unknown"), ErrNoVmlinux)
}

// guard turns a panic of a third-party decompressor on hostile input into an
// error: one bad kernel must not take the whole run down.
type guard struct{ r io.Reader }

func (g guard) Read(p []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			n, err = 0, fmt.Errorf("decompressor: %v", v)
		}
	}()
	return g.r.Read(p)
}
