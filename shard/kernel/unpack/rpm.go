package unpack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// The layout of an RPM file: a lead of 96 bytes, the signature header, padded
// to 8 bytes, the header, and the payload, a compressed cpio archive.
// https://rpm-software-management.github.io/rpm/manual/format_v4.html
//
// Headers are read here and not by a library: the one that there is for Go
// believes the sizes and offsets that it reads.
const (
	leadSize  = 96
	maxTags   = 1 << 16  // count; rpm itself has the same limit
	maxHeader = 64 << 20 // bytes; that of a kernel's modules has 2 MB
)

// Tags that count, of the header and of the signature header.
const (
	tagName      = 1000
	tagVersion   = 1001
	tagRelease   = 1002
	tagBuildTime = 1006
	tagArch      = 1022
	tagSourceRPM = 1044

	RPMPayloadDigest = 5092
	RPMPayloadAlgo   = 5093

	RPMSigDSAHeader = 267  // OpenPGP signatures of the header
	RPMSigRSAHeader = 268  //
	RPMSigPGP       = 1002 // of header and payload, as rpm 3 did
	RPMSigGPG       = 1005 //
)

// RPMHeader is one of a package's two headers.
type RPMHeader struct {
	Raw   []byte // as signed: with its magic number
	tags  map[uint32]tagEntry
	store []byte
}

type tagEntry struct {
	kind, offset, count uint32
}

// Types of tags.
const (
	typeInt32       = 4
	typeString      = 6
	typeBin         = 7
	typeStringArray = 8
)

// readHeader reads a header; a signature header also up to its padding.
func readHeader(r io.Reader, signature bool) (*RPMHeader, error) {
	intro := make([]byte, 16)
	if _, err := io.ReadFull(r, intro); err != nil {
		return nil, fmt.Errorf("read RPM header: %w", bounded.NoEOF(err))
	}
	if !bytes.Equal(intro[:4], []byte{0x8e, 0xad, 0xe8, 0x01}) {
		return nil, errors.New("read RPM header: its magic number is wrong")
	}
	count, size := binary.BigEndian.Uint32(intro[8:]), binary.BigEndian.Uint32(intro[12:])
	if count > maxTags {
		return nil, &bounded.LimitError{What: "number of tags in an RPM header", Limit: maxTags}
	}
	if size > maxHeader {
		return nil, &bounded.LimitError{What: "size of an RPM header", Limit: maxHeader}
	}
	// Read as it comes, not into what the header asks for.
	var b bytes.Buffer
	b.Write(intro)
	total := 16*int64(count) + int64(size)
	if n, err := io.CopyN(&b, r, total); err != nil {
		return nil, fmt.Errorf("read RPM header: %d of %d bytes: %w", n, total, bounded.NoEOF(err))
	}
	if pad := int64(-size & 7); signature && pad > 0 {
		if _, err := io.CopyN(io.Discard, r, pad); err != nil {
			return nil, fmt.Errorf("read RPM header: %w", bounded.NoEOF(err))
		}
	}
	h := &RPMHeader{Raw: b.Bytes(), tags: map[uint32]tagEntry{}}
	index := h.Raw[16 : 16+16*count]
	h.store = h.Raw[16+16*count:]
	for ; len(index) > 0; index = index[16:] {
		tag := binary.BigEndian.Uint32(index)
		if _, twice := h.tags[tag]; !twice {
			h.tags[tag] = tagEntry{binary.BigEndian.Uint32(index[4:]), binary.BigEndian.Uint32(index[8:]), binary.BigEndian.Uint32(index[12:])}
		}
	}
	return h, nil
}

// Bytes returns a binary tag, nil when there is none or it is out of bounds.
func (h *RPMHeader) Bytes(tag uint32) []byte {
	t, ok := h.tags[tag]
	if !ok || t.kind != typeBin || uint64(t.offset)+uint64(t.count) > uint64(len(h.store)) {
		return nil
	}
	return h.store[t.offset : t.offset+t.count]
}

// String returns a string tag, or the first of an array, "" when there is none.
func (h *RPMHeader) String(tag uint32) string {
	t, ok := h.tags[tag]
	if !ok || t.kind != typeString && t.kind != typeStringArray || t.count == 0 || uint64(t.offset) >= uint64(len(h.store)) {
		return ""
	}
	s, _, ended := bytes.Cut(h.store[t.offset:], []byte{0})
	if !ended {
		return ""
	}
	return string(s)
}

// Int32 returns a number, or the first of an array, 0 when there is none.
func (h *RPMHeader) Int32(tag uint32) uint32 {
	t, ok := h.tags[tag]
	if !ok || t.kind != typeInt32 || t.count == 0 || uint64(t.offset)+4 > uint64(len(h.store)) {
		return 0
	}
	return binary.BigEndian.Uint32(h.store[t.offset:])
}

// ReadRPM reads all that is before the payload.
func ReadRPM(r io.Reader) (signature, header *RPMHeader, err error) {
	lead := make([]byte, leadSize)
	if _, err := io.ReadFull(r, lead); err != nil {
		return nil, nil, fmt.Errorf("read RPM: %w", bounded.NoEOF(err))
	}
	if !bytes.Equal(lead[:4], []byte{0xed, 0xab, 0xee, 0xdb}) {
		return nil, nil, errors.New("it is not an RPM package")
	}
	if signature, err = readHeader(r, true); err != nil {
		return nil, nil, err
	}
	header, err = readHeader(r, false)
	return signature, header, err
}

// RPM is a package, by the path of its file.
type RPM string

// String returns the package's path.
func (p RPM) String() string { return string(p) }

// Walk implements [kernel.Archive].
func (p RPM) Walk(ctx context.Context, fn kernel.WalkFunc) error {
	f, err := os.Open(string(p))
	if err != nil {
		return err
	}
	defer f.Close()
	br := bufio.NewReaderSize(bounded.Reader(ctx, f), 256<<10)
	if _, _, err := ReadRPM(br); err != nil {
		return err
	}
	payload, err := openPayload(br)
	if err != nil {
		return err
	}
	defer payload.Close()
	return walkCpio(ctx, payload, fn)
}

// openPayload finds the compression by content; the header's word for it is
// no better.
func openPayload(br *bufio.Reader) (io.ReadCloser, error) {
	head, err := br.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if c := image.CompressionOf(head); c != image.NoCompression {
		return image.Decompress(c, br)
	}
	if !strings.HasPrefix(string(head), cpioMagic[:5]) {
		return nil, errors.New("the RPM's payload is no cpio archive, plain or compressed by gzip, xz, zstd, bzip2 or lzma")
	}
	return io.NopCloser(br), nil
}
