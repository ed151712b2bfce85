package unpack

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode"

	"github.com/klauspost/compress/gzip"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// Limits of an archive. The largest distribution package unpacks to about 1
// GiB, in about 10,000 files.
const (
	MaxArchive   = 8 << 30 // bytes of the tar stream
	MaxMembers   = 1 << 20 // count
	MaxConfig    = 16 << 20
	MaxModuleSet = 64 // releases in one archive, count
)

// Tar is a tar archive of any compression.
type Tar string

// String returns the archive's path.
func (t Tar) String() string { return string(t) }

// Walk implements [kernel.Archive].
func (t Tar) Walk(ctx context.Context, fn kernel.WalkFunc) error { return t.walk(ctx, fn, false) }

// walk is Walk, also to the file's end, where a compressed archive has its checksum.
func (t Tar) walk(ctx context.Context, fn kernel.WalkFunc, whole bool) error {
	r, err := t.Open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := WalkTar(ctx, r, fn); err != nil || !whole {
		return err
	}
	_, err = bounded.Copy(ctx, io.Discard, r, MaxArchive, "size of the archive")
	return err
}

// Open returns the archive decompressed.
func (t Tar) Open(ctx context.Context) (io.ReadCloser, error) {
	f, err := os.Open(string(t))
	if err != nil {
		return nil, err
	}
	r, err := OpenTar(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return bounded.ReadCloser(bounded.Reader(ctx, r), r, f), nil
}

// OpenTar decompresses an archive; its content tells how, since names lie. gzip may
// have several members, as layers of images that can be fetched in parts (eStargz).
func OpenTar(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 128<<10)
	head, err := br.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch c := image.CompressionOf(head); {
	case len(head) == 0:
		return nil, errors.New("the archive is empty")
	case c == image.Gzip:
		return gzip.NewReader(br)
	case c != image.NoCompression:
		return image.Decompress(c, br)
	case len(head) < 512 || string(head[257:262]) != "ustar" && !bytes.Equal(head, make([]byte, 512)):
		return nil, errors.New("not a tar archive, plain or compressed by gzip, xz, zstd, bzip2, lzma or lz4")
	}
	return io.NopCloser(br), nil
}

// WalkTar calls fn for each regular file whose name is a clean relative path.
// Links, devices, and names that are absolute, hold ".." or control characters
// are passed over. fn returns fs.SkipAll to end the walk.
func WalkTar(ctx context.Context, r io.Reader, fn kernel.WalkFunc) error {
	return WalkTarUpTo(ctx, r, MaxArchive, fn)
}

// WalkTarUpTo is WalkTar with a limit in bytes of the stream. It reads r no
// further than the member that fn gets, and so r's position is where that
// starts.
func WalkTarUpTo(ctx context.Context, r io.Reader, limit int64, fn kernel.WalkFunc) error {
	return WalkFiles(ctx, r, limit, func(r io.Reader) Reader { return tar.NewReader(r) }, fn)
}

// Reader reads an archive as [tar.Reader] does.
type Reader interface {
	io.Reader
	Next() (*tar.Header, error)
}

// WalkFiles is WalkTarUpTo for archives of any kind.
func WalkFiles(ctx context.Context, r io.Reader, limit int64, open func(io.Reader) Reader, fn kernel.WalkFunc) error {
	b := Budget{Bytes: limit, Members: MaxMembers}
	err := b.Walk(ctx, r, open, func(hdr *tar.Header, r io.Reader) error {
		name, ok := MemberName(hdr.Name)
		if !ok || hdr.Typeflag != tar.TypeReg {
			return nil
		}
		return fn(name, hdr.Size, r)
	})
	if errors.Is(err, fs.SkipAll) {
		return nil
	}
	return err
}

// Budget is what archives may come to, together.
type Budget struct {
	Bytes   int64 // of the streams
	Members int
}

// Walk calls fn for each member of an archive, and takes what it has off the
// budget.
func (b *Budget) Walk(ctx context.Context, r io.Reader, open func(io.Reader) Reader, fn func(*tar.Header, io.Reader) error) error {
	limit := b.Bytes
	limited := &io.LimitedReader{R: bounded.Reader(ctx, r), N: limit}
	defer func() { b.Bytes = limited.N }()
	for members := open(limited); ; {
		hdr, err := members.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if limited.N <= 0 {
			return &bounded.LimitError{What: "unpacked size of the archive", Limit: limit}
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if b.Members--; b.Members < 0 {
			return &bounded.LimitError{What: "number of files in the archive", Limit: MaxMembers}
		}
		if err := fn(hdr, members); err != nil {
			return err
		}
	}
}

// MemberName cleans the name of a file in an archive; ok is false where it is no
// plain relative path.
func MemberName(s string) (string, bool) {
	for strings.HasPrefix(s, "./") {
		s = s[2:]
	}
	ok := fs.ValidPath(s) && s != "." && len(s) < 4096 && !strings.ContainsFunc(s, unicode.IsControl) && !strings.Contains(s, `\`)
	return s, ok
}
