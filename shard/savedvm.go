package shard

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// savedVM is a VM as it was when init was ready, from the cache:
//
//	header as JSON \n console state, as QEMU migrates it, compressed by zstd memory, as packRAM packs it
//
// Whoever can write to the cache can have anything run in the guest and in
// QEMU; the digest finds disks that are damaged and files that are cut short.
type savedVM struct {
	head    savedHead
	console []byte
	state   []byte   // compressed
	packed  []byte   // the memory; nil: not read
	ram     *os.File // the memory, where it is unpacked; nil: nowhere
	fresh   bool     // saved just now
}

type savedHead struct {
	Schema  int    `json:"schema"`
	Key     string `json:"key"`     // what the VM was made from
	TSC     int    `json:"tsc_khz"` // of the host that it was made on; the kernel was told
	PVH     bool   `json:"pvh"`     // the kernel was started through its PVH entry
	Console int64  `json:"console"` // bytes
	State   int64  `json:"state"`   // bytes, compressed
	RAM     int64  `json:"ram"`     // bytes, packed
	Digest  string `json:"digest"`  // "sha256:<hex>" of console and state
	RAMSum  string `json:"ram_sum"` // "sha256:<hex>" of the packed memory
}

const (
	savedSchema     = 2
	maxSavedHead    = 64 << 10
	maxSavedConsole = 4 << 20
	maxSavedState   = 1 << 30
)

var errNoVM = errors.New("it is no saved VM")

// write writes the VM and fills in what the header says of the rest.
func (s *savedVM) write(w io.Writer) error {
	sum := sha256.New()
	sum.Write(s.console)
	sum.Write(s.state)
	s.head.Schema, s.head.Console, s.head.State, s.head.RAM = savedSchema, int64(len(s.console)), int64(len(s.state)), int64(len(s.packed))
	s.head.Digest, s.head.RAMSum = "sha256:"+hex.EncodeToString(sum.Sum(nil)), sha256Of(s.packed)
	head, err := json.Marshal(s.head)
	if err != nil {
		return err
	}
	for _, b := range [][]byte{append(head, '\n'), s.console, s.state, s.packed} {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func sha256Of(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// parseSavedVM reads what write has written, all of size bytes, but for the
// memory.
func parseSavedVM(f io.ReaderAt, size int64) (*savedVM, error) {
	b := make([]byte, min(size, maxSavedHead))
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	line, _, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return nil, errNoVM
	}
	left := size - int64(len(line)+1)
	s := &savedVM{}
	if err := json.Unmarshal(line, &s.head); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoVM, err)
	}
	h := s.head
	switch {
	case h.Schema != savedSchema:
		return nil, fmt.Errorf("it has schema %d, not %d", h.Schema, savedSchema)
	case h.Console < 0 || h.Console > maxSavedConsole || h.State <= 0 || h.State > maxSavedState || h.RAM <= 0 || h.RAM > maxSavedState || h.Console+h.State+h.RAM != left:
		return nil, fmt.Errorf("it is cut short: %d bytes follow its header, want %d, %d and %d", left, h.Console, h.State, h.RAM)
	}
	rest := make([]byte, h.Console+h.State)
	if _, err := f.ReadAt(rest, int64(len(line)+1)); err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	if sha256Of(rest) != h.Digest {
		return nil, errDamaged
	}
	s.console, s.state = rest[:h.Console], rest[h.Console:]
	return s, nil
}

var errDamaged = errors.New("it is damaged: its digest is another")

// readPacked reads the memory, which is at the file's end.
func (s *savedVM) readPacked(f io.ReaderAt, size int64) error {
	b := make([]byte, s.head.RAM)
	if _, err := f.ReadAt(b, size-s.head.RAM); err != nil {
		return fmt.Errorf("read its memory: %w", err)
	}
	if sha256Of(b) != s.head.RAMSum {
		return errDamaged
	}
	s.packed = b
	return nil
}

// readSavedVM reads the VM of a key. Its memory comes from unpacked, unless that
// returns nil.
func readSavedVM(path, key string, unpacked func(*savedVM) *os.File) (*savedVM, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s, err := parseSavedVM(f, info.Size())
	if err != nil {
		return nil, err
	}
	if s.head.Key != key {
		return nil, errors.New("it is of another key than its name says")
	}
	if s.ram = unpacked(s); s.ram == nil {
		err = s.readPacked(f, info.Size())
	}
	return s, err
}

// open decompresses the state.
func (s *savedVM) open() (io.ReadCloser, error) {
	d, err := zstd.NewReader(bytes.NewReader(s.state), zstd.WithDecoderConcurrency(1), zstd.IgnoreChecksum(true)) // the digest covers it
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// close gives the memory back.
func (s *savedVM) close() {
	if s.ram != nil {
		s.ram.Close()
	}
}

// compressState returns a writer of a savedVM's state.
func compressState(w io.Writer) (*zstd.Encoder, error) {
	// The next level takes half as long again for a twentieth less.
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
}

// Memory is packed as what is in it of pages that are not zero: for each run of
// them the place and the length as 64-bit little-endian numbers, then the bytes;
// at the end the length of the memory and 0; all of it compressed by zstd.
const (
	ramPage = 4 << 10
	ramRun  = 1 << 20 // the longest
)

// packRAM packs a file that is a VM's memory.
func packRAM(w io.Writer, ram *os.File) error {
	z, err := compressState(w)
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
	buf, zero := make([]byte, ramRun), make([]byte, ramPage)
	for at := int64(0); at < info.Size(); {
		// What was never written to is a hole.
		data, err := unix.Seek(int(ram.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return fmt.Errorf("read a VM's memory: %w", err)
		}
		at = data / ramPage * ramPage
		b := buf[:min(ramRun, info.Size()-at)]
		if _, err := ram.ReadAt(b, at); err != nil {
			return fmt.Errorf("read a VM's memory: %w", err)
		}
		for i := 0; i < len(b); {
			j := i
			for j < len(b) && !bytes.Equal(b[j:min(j+ramPage, len(b))], zero[:min(ramPage, len(b)-j)]) {
				j += ramPage
			}
			if j = min(j, len(b)); j > i {
				if err := run(at+int64(i), b[i:j]); err != nil {
					return err
				}
			}
			i = j + ramPage
		}
		at += int64(len(b))
	}
	return run(info.Size(), nil)
}

// unpackRAM writes packed memory to a file that is empty, and makes it as long
// as the memory, which has size bytes.
func unpackRAM(ram *os.File, packed io.Reader, size int64) error {
	if err := ram.Truncate(size); err != nil {
		return fmt.Errorf("make a VM's memory: %w", err)
	}
	z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.IgnoreChecksum(true)) // the digest covers it
	if err != nil {
		return err
	}
	defer z.Close()
	buf := make([]byte, ramRun)
	for before := int64(0); ; {
		var head [16]byte
		if _, err := io.ReadFull(z, head[:]); err != nil {
			return fmt.Errorf("unpack a VM's memory: %w", noEOF(err))
		}
		at, n := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint64(head[8:])
		switch {
		case at > uint64(size) || n > ramRun || at+n > uint64(size) || int64(at) < before:
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
