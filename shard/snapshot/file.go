package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// vmFile is a VM as it was when init was ready. Its file in the cache is
//
//	header as JSON \n console state memory
//
// with the state as QEMU migrates it, compressed by zstd, and the memory as
// packMemory packs it. Whoever can write to the cache can have anything run in
// the guest and in QEMU; the digest finds disks that are damaged and files that
// are cut short.
type vmFile struct {
	head          header
	console       []byte
	state, memory *io.SectionReader
	io.Closer     // nil if there is none
}

type header struct {
	Schema  int    `json:"schema"`
	Key     string `json:"key"`     // what the VM was made from
	TSC     int    `json:"tsc_khz"` // of the host that it was made on; the kernel was told
	PVH     bool   `json:"pvh"`     // the kernel was started through its PVH entry
	Console int64  `json:"console"` // bytes, as are the next two
	State   int64  `json:"state"`
	Memory  int64  `json:"memory"`
	Digest  string `json:"digest"` // "sha256:<hex>" of all that follows the header
}

const (
	schema     = 3
	maxHeader  = 64 << 10
	maxConsole = 4 << 20
	maxState   = 1 << 30
)

var errNoSnapshot = errors.New("it is no snapshot")

// writeVM writes a VM and fills in what the header says of the rest.
func writeVM(w io.Writer, head header, console, state, memory []byte) error {
	sum := sha256.New()
	for _, b := range [][]byte{console, state, memory} {
		sum.Write(b)
	}
	head.Schema, head.Console, head.State, head.Memory = schema, int64(len(console)), int64(len(state)), int64(len(memory))
	head.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	line, err := json.Marshal(head)
	if err != nil {
		return err
	}
	for _, b := range [][]byte{append(line, '\n'), console, state, memory} {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// parse reads what writeVM has written, but for the state and the memory: as
// large a piece of fresh memory takes longer than reading it twice.
func parse(f io.ReaderAt, size int64) (*vmFile, error) {
	start := make([]byte, min(size, maxHeader))
	if _, err := f.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	line, _, ok := bytes.Cut(start, []byte("\n"))
	if !ok {
		return nil, errNoSnapshot
	}
	v := &vmFile{}
	if err := json.Unmarshal(line, &v.head); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoSnapshot, err)
	}
	h := v.head
	at := int64(len(line)) + 1
	rest := io.NewSectionReader(f, at, size-at)
	switch {
	case h.Schema != schema:
		return nil, fmt.Errorf("it has schema %d, not %d", h.Schema, schema)
	case h.Console < 0 || h.Console > maxConsole || h.State <= 0 || h.State > maxState || h.Memory <= 0 || h.Memory > maxState || h.Console+h.State+h.Memory != rest.Size():
		return nil, fmt.Errorf("it is cut short: %d bytes follow its header, want %d, %d and %d", rest.Size(), h.Console, h.State, h.Memory)
	}
	sum := sha256.New()
	v.console = make([]byte, h.Console)
	if _, err := io.ReadFull(io.TeeReader(rest, sum), v.console); err != nil {
		return nil, err
	}
	if _, err := io.Copy(sum, rest); err != nil {
		return nil, err
	}
	if "sha256:"+hex.EncodeToString(sum.Sum(nil)) != h.Digest {
		return nil, errors.New("it is damaged: its digest is another")
	}
	v.state = io.NewSectionReader(rest, h.Console, h.State)
	v.memory = io.NewSectionReader(rest, h.Console+h.State, h.Memory)
	return v, nil
}

// openVM opens the VM of a key, which is to be closed.
func openVM(path, key string) (*vmFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	var v *vmFile
	if err == nil {
		v, err = parse(f, info.Size())
	}
	if err == nil && v.head.Key != key {
		err = errors.New("it is of another key than its name says")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	v.Closer = f
	return v, nil
}

// compress returns a writer for a state or a memory.
func compress(w io.Writer) (*zstd.Encoder, error) {
	// The next level takes half as long again for a twentieth less.
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
}

// decompress reads what compress has written.
func decompress(r io.Reader) (io.ReadCloser, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.IgnoreChecksum(true)) // the digest covers it
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}
