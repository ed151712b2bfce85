package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Of an s390 bzImage (arch/s390/boot/head.S).
const (
	s390Magic   = "S390EP"
	s390MagicAt = 0x10008
	s390Version = 0x10428  // where the number of the version's first byte stands, since 5.0
	maxS390     = 64 << 20 // bytes of the image
	maxTries    = 16       // places that could be the compressed kernel
)

func isS390(r io.ReaderAt) bool {
	magic := make([]byte, len(s390Magic))
	n, _ := r.ReadAt(magic, s390MagicAt)
	return string(magic[:n]) == s390Magic
}

// probeS390 probes an s390 bzImage: a program that holds the kernel. Nothing in it
// says where: the compressed kernel is what begins like one and has a banner.
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
		if found.Compression == Zstd { // whose decoder takes what follows for a further frame
			found.Length = zstdFrame(b[at:])
		}
		rc, err := Decompress(found.Compression, io.NewSectionReader(r, found.Offset, found.Length))
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

// zstdFrame is the length of the frame that b begins with in bytes, 0 if it begins
// with none (RFC 8878).
func zstdFrame(b []byte) int64 {
	var h zstd.Header
	if h.Decode(b) != nil || h.Skippable {
		return 0
	}
	at, last := h.HeaderSize, false
	for !last {
		if at+3 > len(b) {
			return 0
		}
		block := int(b[at]) | int(b[at+1])<<8 | int(b[at+2])<<16
		last = block&1 != 0
		n := block >> 3
		if block>>1&3 == 1 { // one byte, repeated
			n = 1
		}
		at += 3 + n
	}
	if h.HasCheckSum {
		at += 4
	}
	if at > len(b) {
		return 0
	}
	return int64(at)
}
