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
	head                   header
	console, state, memory []byte
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

func digestOf(parts ...[]byte) string {
	sum := sha256.New()
	for _, p := range parts {
		sum.Write(p)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

// write writes the VM and fills in what the header says of the rest.
func (v *vmFile) write(w io.Writer) error {
	v.head.Schema, v.head.Console, v.head.State, v.head.Memory = schema, int64(len(v.console)), int64(len(v.state)), int64(len(v.memory))
	v.head.Digest = digestOf(v.console, v.state, v.memory)
	head, err := json.Marshal(v.head)
	if err != nil {
		return err
	}
	for _, b := range [][]byte{append(head, '\n'), v.console, v.state, v.memory} {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// parse reads what write has written.
func parse(b []byte) (*vmFile, error) {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok || len(line) > maxHeader {
		return nil, errNoSnapshot
	}
	v := &vmFile{}
	if err := json.Unmarshal(line, &v.head); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoSnapshot, err)
	}
	h := v.head
	switch {
	case h.Schema != schema:
		return nil, fmt.Errorf("it has schema %d, not %d", h.Schema, schema)
	case h.Console < 0 || h.Console > maxConsole || h.State <= 0 || h.State > maxState || h.Memory <= 0 || h.Memory > maxState || h.Console+h.State+h.Memory != int64(len(rest)):
		return nil, fmt.Errorf("it is cut short: %d bytes follow its header, want %d, %d and %d", len(rest), h.Console, h.State, h.Memory)
	case digestOf(rest) != h.Digest:
		return nil, errors.New("it is damaged: its digest is another")
	}
	v.console, v.state, v.memory = rest[:h.Console], rest[h.Console:h.Console+h.State], rest[h.Console+h.State:]
	return v, nil
}

// readFile reads the VM of a key.
func readFile(path, key string) (*vmFile, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxHeader+maxConsole+2*maxState {
		return nil, fmt.Errorf("it has %d MiB", info.Size()>>20)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	v, err := parse(b)
	if err == nil && v.head.Key != key {
		return nil, errors.New("it is of another key than its name says")
	}
	return v, err
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
