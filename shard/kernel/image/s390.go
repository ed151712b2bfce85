package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Of an s390 bzImage (arch/s390/boot/head.S).
const (
	s390Magic   = "S390EP"
	s390MagicAt = 0x10008
	s390Version = 0x10428  // the offset of the version string stands here, since 5.0
	maxS390     = 64 << 20 // bytes of the image
	maxTries    = 16       // places to try
)

func isS390(r io.ReaderAt) bool {
	magic := make([]byte, len(s390Magic))
	n, _ := r.ReadAt(magic, s390MagicAt)
	return string(magic[:n]) == s390Magic
}

// probeS390 probes an s390 bzImage: a program with the compressed kernel inside. No
// header says where, so it is found by trying what looks like a compressed stream: the
// kernel has a banner.
func probeS390(r io.ReaderAt, size int64) (Info, error) {
	info := Info{Format: FormatS390, Arch: "s390x"}
	b, err := io.ReadAll(io.NewSectionReader(r, 0, min(size, maxS390)))
	if err != nil {
		return Info{}, fmt.Errorf("read kernel image: %w", err)
	}
	if len(b) >= s390Version+8 {
		if at := binary.BigEndian.Uint64(b[s390Version:]); at < uint64(len(b)) {
			info.Version = VersionToken(b[at:min(at+256, uint64(len(b)))])
		}
	}
	for at, tries := s390MagicAt, 0; tries < maxTries; at++ {
		next := -1
		for _, magic := range []string{"\x1f\x8b\x08", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
			if i := bytes.Index(b[at:], []byte(magic)); i >= 0 && (next < 0 || at+i < next) {
				next = at + i
			}
		}
		if next < 0 {
			break
		}
		at, tries = next, tries+1
		found := info
		found.Compression, found.Offset, found.Length = CompressionOf(b[at:min(at+8, len(b))]), int64(at), size-int64(at)
		rc, err := found.decompress(r)
		if err != nil {
			continue
		}
		version, _ := findVersion(rc)
		rc.Close()
		if version != "" {
			if found.Version == "" {
				found.Version = version
			}
			return found, nil
		}
	}
	return info, nil
}

// decompress opens the payload of an image. Behind an s390 one's comes other data, at
// which only zstd's library does not stop by itself.
func (i Info) decompress(r io.ReaderAt) (io.ReadCloser, error) {
	rc, err := Decompress(i.Compression, io.NewSectionReader(r, i.Offset, i.Length))
	if err == nil && i.Format == FormatS390 {
		return &oneFrame{ReadCloser: rc}, nil
	}
	return rc, err
}

// oneFrame ends where zstd's library finds no further frame behind the first.
type oneFrame struct {
	io.ReadCloser
	began bool
}

func (o *oneFrame) Read(b []byte) (int, error) {
	n, err := o.ReadCloser.Read(b)
	if o.began = o.began || n > 0; o.began && errors.Is(err, zstd.ErrMagicMismatch) {
		err = io.EOF
	}
	return n, err
}
