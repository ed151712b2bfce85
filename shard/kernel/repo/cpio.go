package repo

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// The "new ASCII" format of cpio(5), as RPM writes it: 110 bytes of magic and
// 13 numbers of 8 hex digits, the name with its zero, the file, each padded to
// 4 bytes. u-root's reader is for archives of our own: it allocates what a
// name's length says, and wants to seek.
const (
	cpioMagic   = "070701"
	cpioHeader  = 110
	cpioMaxName = 4096
	cpioTrailer = "TRAILER!!!"

	cpioTypeMask = 0o170000
	cpioRegular  = 0o100000
)

type cpioReader struct {
	r    io.Reader
	left int64 // of the present file and its padding
	size int64 // of the present file, what is left of it
}

// Next goes to the next entry; io.EOF after the last. What it returns is a
// regular file or, with all that counts as none, a zero type.
func (c *cpioReader) Next() (*tar.Header, error) {
	if _, err := io.CopyN(io.Discard, c.r, c.left); err != nil {
		return nil, bounded.NoEOF(err)
	}
	c.left, c.size = 0, 0
	var h [cpioHeader]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return nil, bounded.NoEOF(err) // it ends with a trailer
	}
	if bytes.HasPrefix(h[:], []byte("07070X")) {
		return nil, errors.New("RPM's cpio format for files of more than 4 GiB is not supported")
	}
	if !bytes.HasPrefix(h[:], []byte(cpioMagic)) {
		return nil, errors.New("the cpio header's magic number is wrong")
	}
	var num [13]uint32
	for i := range num {
		n, err := strconv.ParseUint(string(h[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			return nil, errors.New("the cpio header holds no number where one has to be")
		}
		num[i] = uint32(n)
	}
	mode, links, length := num[1], num[4], num[11]
	hdr := &tar.Header{Size: int64(num[6])}
	if length == 0 || length > cpioMaxName {
		return nil, &bounded.LimitError{What: fmt.Sprintf("length %d of a name in a cpio archive", length), Limit: cpioMaxName}
	}
	name := make([]byte, length+-(cpioHeader+length)&3)
	if _, err := io.ReadFull(c.r, name); err != nil {
		return nil, bounded.NoEOF(err)
	}
	hdr.Name = string(bytes.TrimRight(name[:length], "\x00"))
	if hdr.Name == cpioTrailer {
		return nil, io.EOF
	}
	c.size = hdr.Size
	c.left = hdr.Size + -hdr.Size&3
	// Of hard links the last one has the content.
	if mode&cpioTypeMask == cpioRegular && (links <= 1 || hdr.Size > 0) {
		hdr.Typeflag = tar.TypeReg
	}
	return hdr, nil
}

// Read reads the present file.
func (c *cpioReader) Read(p []byte) (int, error) {
	if c.size == 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.size)])
	c.size -= int64(n)
	c.left -= int64(n)
	if c.size > 0 {
		err = bounded.NoEOF(err)
	}
	return n, err
}

// walkCpio is [unpack.WalkTar] for cpio archives.
func walkCpio(ctx context.Context, r io.Reader, fn kernel.WalkFunc) error {
	return unpack.WalkFiles(ctx, r, unpack.MaxArchive, func(r io.Reader) unpack.Reader { return &cpioReader{r: r} }, fn)
}
