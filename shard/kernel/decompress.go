package kernel

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/binary"
	"errors"
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
	LZ4           Compression = "lz4" // the legacy frame, the only one that kernels use
	Zstd          Compression = "zstd"
	Bzip2         Compression = "bzip2"
	LZO           Compression = "lzo"
)

// maxDict caps the memory that a stream's header can ask for. scripts/xz_wrap.sh
// takes dict=128MiB and zstd22 a window of 128 MiB.
const maxDict = 128 << 20

func compressionOf(magic []byte) Compression {
	for _, m := range []struct {
		magic string
		c     Compression
	}{
		{"\x1f\x8b", Gzip},
		{"\xfd7zXZ\x00", XZ},
		{"\x5d\x00\x00", LZMA},
		{"\x02\x21\x4c\x18", LZ4},
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

// slow says that a Go decompressor needs more than about half a second for a
// kernel, so that keeping a zstd copy of the result pays off.
func (c Compression) slow() bool { return c == XZ || c == LZMA || c == Bzip2 }

// decompress reads one stream; bytes after its end are not looked at, except by
// zstd and bzip2, which take them as another frame.
func decompress(c Compression, r io.Reader) (io.ReadCloser, error) {
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
		return io.NopCloser(&lz4Legacy{r: br}), nil
	case Zstd:
		zr, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxDict), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, err
		}
		return zr.IOReadCloser(), nil
	case Bzip2:
		return io.NopCloser(bzip2.NewReader(br)), nil
	}
	name := string(c)
	if c == NoCompression {
		name = "unknown"
	}
	return nil, &UnsupportedError{Compression: name}
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

// lz4Legacy reads the legacy lz4 frame: a magic number, then blocks of at most
// 8 MiB, each after its compressed length.
type lz4Legacy struct {
	r       *bufio.Reader
	started bool
	src     []byte
	block   []byte
	out     []byte
}

const (
	lz4Magic    = 0x184c2102
	lz4MaxBlock = 8 << 20
	lz4MaxSrc   = lz4MaxBlock + lz4MaxBlock/255 + 16
)

func (l *lz4Legacy) Read(p []byte) (int, error) {
	for len(l.out) == 0 {
		var word [4]byte
		if _, err := io.ReadFull(l.r, word[:]); err != nil {
			if !l.started {
				err = io.ErrUnexpectedEOF
			}
			return 0, err // io.EOF between blocks is the end
		}
		n := binary.LittleEndian.Uint32(word[:])
		if n == lz4Magic { // streams may follow each other
			l.started = true
			continue
		}
		if !l.started || n == 0 || n > lz4MaxSrc {
			return 0, fmt.Errorf("lz4: block of %d bytes", n)
		}
		if l.block == nil {
			l.block = make([]byte, lz4MaxBlock)
		}
		if cap(l.src) < int(n) {
			l.src = make([]byte, n)
		}
		src := l.src[:n]
		if _, err := io.ReadFull(l.r, src); err != nil {
			return 0, fmt.Errorf("lz4: read block: %w", noEOF(err))
		}
		m, err := lz4.UncompressBlock(src, l.block)
		if err != nil {
			return 0, fmt.Errorf("lz4: %w", err)
		}
		l.out = l.block[:m]
	}
	n := copy(p, l.out)
	l.out = l.out[n:]
	return n, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// copyCapped copies src to dst until its end, at most limit bytes, and stops
// when ctx ends. More than limit bytes are a *LimitError.
func copyCapped(ctx context.Context, dst io.Writer, src io.Reader, limit int64, what string) (int64, error) {
	n, err := io.CopyBuffer(onlyWriter{dst}, io.LimitReader(ctxReader{ctx, src}, limit+1), make([]byte, 256<<10))
	if err != nil {
		return n, err
	}
	if n > limit {
		return n, &LimitError{What: what, Limit: limit}
	}
	return n, nil
}

// onlyWriter hides ReadFrom, which would copy past the context's end.
type onlyWriter struct{ io.Writer }

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
