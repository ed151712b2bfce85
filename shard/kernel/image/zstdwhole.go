package image

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// zstdWhole is a kernel decompressed at once. Kernels are compressed with a
// window of 128 MiB, more than they have bytes, and a decoder that streams keeps
// twice the window; into a buffer of the kernel's size nothing else is needed.
// The buffer is given back at once, not when the garbage collector gets to it.
type zstdWhole struct {
	*bytes.Reader
	mem []byte
}

func (z *zstdWhole) Close() error { return unix.Munmap(z.mem) }

// zstdSlack is how much room the decoder wants beyond the bytes that come out.
const zstdSlack = 1 << 20

// openZstdWhole decompresses n bytes at off, behind which their decompressed
// size stands as the kernel's build puts it there. It returns nil when that size
// cannot be.
func openZstdWhole(r io.ReaderAt, off, n int64) (*zstdWhole, error) {
	var word [4]byte
	if _, err := r.ReadAt(word[:], off+n); err != nil {
		return nil, nil // the image may end here, whoever made it
	}
	size := int64(binary.LittleEndian.Uint32(word[:]))
	if size < n || size > MaxVmlinux || n > MaxVmlinux {
		return nil, nil
	}
	in := make([]byte, n)
	if _, err := r.ReadAt(in, off); err != nil {
		return nil, fmt.Errorf("read the compressed kernel: %w", err)
	}
	mem, err := unix.Mmap(-1, 0, int(size)+zstdSlack, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("get %d MiB of memory: %w", size>>20, err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(maxDict), zstd.WithDecoderMaxMemory(MaxVmlinux), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		_ = unix.Munmap(mem)
		return nil, err
	}
	defer d.Close()
	out, err := d.DecodeAll(in, mem[:0])
	if err != nil {
		_ = unix.Munmap(mem)
		return nil, err
	}
	// One that is larger than it says was moved to memory of its own.
	return &zstdWhole{bytes.NewReader(out), mem}, nil
}
