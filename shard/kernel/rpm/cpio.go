package rpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

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

type cpioEntry struct {
	name  string
	mode  uint32
	links uint32
	size  int64
}

// next goes to the next entry; io.EOF after the last.
func (c *cpioReader) next() (cpioEntry, error) {
	if _, err := io.CopyN(io.Discard, c.r, c.left); err != nil {
		return cpioEntry{}, fmt.Errorf("read cpio archive: %w", bounded.NoEOF(err))
	}
	c.left, c.size = 0, 0
	var h [cpioHeader]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return cpioEntry{}, fmt.Errorf("read cpio archive: %w", bounded.NoEOF(err)) // it ends with a trailer
	}
	if !bytes.HasPrefix(h[:], []byte(cpioMagic)) {
		if bytes.HasPrefix(h[:], []byte("07070X")) {
			return cpioEntry{}, errors.New("read cpio archive: RPM's format for files of more than 4 GiB is not supported")
		}
		return cpioEntry{}, errors.New("read cpio archive: the header's magic number is wrong")
	}
	var num [13]uint32
	for i := range num {
		n, err := strconv.ParseUint(string(h[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			return cpioEntry{}, errors.New("read cpio archive: the header holds no number where one has to be")
		}
		num[i] = uint32(n)
	}
	e := cpioEntry{mode: num[1], links: num[4], size: int64(num[6])}
	length := num[11]
	if length == 0 || length > cpioMaxName {
		return cpioEntry{}, &bounded.LimitError{What: fmt.Sprintf("length %d of a name in a cpio archive", length), Limit: cpioMaxName}
	}
	name := make([]byte, length+-(cpioHeader+length)&3)
	if _, err := io.ReadFull(c.r, name); err != nil {
		return cpioEntry{}, fmt.Errorf("read cpio archive: %w", bounded.NoEOF(err))
	}
	e.name = string(bytes.TrimRight(name[:length], "\x00"))
	if e.name == cpioTrailer {
		return cpioEntry{}, io.EOF
	}
	c.size = e.size
	c.left = e.size + -e.size&3
	return e, nil
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

// walkCpio is walkTar for cpio archives.
func walkCpio(ctx context.Context, r io.Reader, fn func(name string, size int64, r io.Reader) error) error {
	limited := &io.LimitedReader{R: bounded.Reader(ctx, r), N: unpack.MaxArchive}
	c := &cpioReader{r: limited}
	for count := 0; ; count++ {
		e, err := c.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if limited.N <= 0 {
			return &bounded.LimitError{What: "unpacked size of the archive", Limit: unpack.MaxArchive}
		}
		if err != nil {
			return err
		}
		if count >= unpack.MaxMembers {
			return &bounded.LimitError{What: "number of files in the archive", Limit: unpack.MaxMembers}
		}
		name, ok := unpack.MemberName(e.name)
		if !ok || e.mode&cpioTypeMask != cpioRegular {
			continue
		}
		if e.links > 1 && e.size == 0 {
			continue // a hard link: the last of them has the content
		}
		if err := fn(name, e.size, c); errors.Is(err, fs.SkipAll) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
