package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// newMemory makes a file of size bytes for a VM's memory. It has no name: it is
// in memory or, where that is refused, in dir.
func newMemory(size int64, dir string) (*os.File, error) {
	f, err := nameless(dir)
	if err == nil {
		if err = f.Truncate(size); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make memory for a VM: %w", err)
	}
	return f, nil
}

func nameless(dir string) (*os.File, error) {
	// Kernels before 6.3 do not know the second flag, and some that do refuse
	// files without it.
	for _, flags := range []int{unix.MFD_CLOEXEC | unix.MFD_NOEXEC_SEAL, unix.MFD_CLOEXEC} {
		if fd, err := unix.MemfdCreate("bpf-kernel-check-ram", flags); err == nil {
			return os.NewFile(uintptr(fd), "ram"), nil
		}
	}
	f, err := os.CreateTemp(dir, "ram-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// Memory is packed as what is in it of pages that are not zero: for each run of
// them the place and the length as 64-bit little-endian numbers, then the bytes;
// at the end the length of the memory and 0; all of it compressed by zstd.
const (
	page   = 4 << 10
	maxRun = 1 << 20 // the longest
)

// packMemory packs a file that is a VM's memory.
func packMemory(w io.Writer, ram *os.File) error {
	z, err := compress(w)
	if err != nil {
		return err
	}
	err = packRuns(z, ram)
	return errors.Join(err, z.Close())
}

func packRuns(w io.Writer, ram *os.File) error {
	info, err := ram.Stat()
	if err != nil {
		return err
	}
	run := func(at int64, b []byte) error {
		var head [16]byte
		binary.LittleEndian.PutUint64(head[:], uint64(at))
		binary.LittleEndian.PutUint64(head[8:], uint64(len(b)))
		if _, err := w.Write(head[:]); err != nil {
			return err
		}
		_, err := w.Write(b)
		return err
	}
	buf, zero := make([]byte, maxRun), make([]byte, page)
	for at := int64(0); at < info.Size(); {
		// What was never written to is a hole.
		data, err := unix.Seek(int(ram.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return fmt.Errorf("read a VM's memory: %w", err)
		}
		at = data / page * page
		b := buf[:min(maxRun, info.Size()-at)]
		if _, err := ram.ReadAt(b, at); err != nil {
			return fmt.Errorf("read a VM's memory: %w", err)
		}
		for i := 0; i < len(b); {
			j := i
			for j < len(b) && !bytes.Equal(b[j:min(j+page, len(b))], zero[:min(page, len(b)-j)]) {
				j += page
			}
			if j = min(j, len(b)); j > i {
				if err := run(at+int64(i), b[i:j]); err != nil {
					return err
				}
			}
			i = j + page
		}
		at += int64(len(b))
	}
	return run(info.Size(), nil)
}

// unpackMemory writes packed memory to a file that is empty, and makes it as long
// as the memory, which has size bytes.
func unpackMemory(ram *os.File, packed io.Reader, size int64) error {
	if err := ram.Truncate(size); err != nil {
		return fmt.Errorf("make a VM's memory: %w", err)
	}
	z, err := decompress(packed)
	if err != nil {
		return err
	}
	defer z.Close()
	buf := make([]byte, maxRun)
	for before := int64(0); ; {
		var head [16]byte
		if _, err := io.ReadFull(z, head[:]); err != nil {
			return fmt.Errorf("unpack a VM's memory: %w", noEOF(err))
		}
		at, n := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint64(head[8:])
		switch {
		case at > uint64(size) || n > maxRun || at+n > uint64(size) || int64(at) < before:
			return fmt.Errorf("unpack a VM's memory: %d bytes at %d of %d", n, at, size)
		case n == 0 && at != uint64(size):
			return fmt.Errorf("unpack a VM's memory: it has %d bytes, want %d", at, size)
		case n == 0:
			return nil
		}
		if _, err := io.ReadFull(z, buf[:n]); err != nil {
			return fmt.Errorf("unpack a VM's memory: %w", noEOF(err))
		}
		if _, err := ram.WriteAt(buf[:n], int64(at)); err != nil {
			return fmt.Errorf("unpack a VM's memory: %w", err)
		}
		before = int64(at + n)
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
