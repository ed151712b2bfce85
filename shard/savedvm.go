package shard

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

// savedVM is a VM as it was when init was ready, from the cache:
//
//	header as JSON \n console state, as QEMU migrates it, compressed by zstd
//
// Whoever can write to the cache can have anything run in the guest and in
// QEMU; the digest finds disks that are damaged and files that are cut short.
type savedVM struct {
	head    savedHead
	console []byte
	state   []byte // compressed
	raw     []byte // the state, where it was saved just now
}

type savedHead struct {
	Schema  int    `json:"schema"`
	Key     string `json:"key"`     // what the VM was made from
	TSC     int    `json:"tsc_khz"` // of the host that it was made on; the kernel was told
	PVH     bool   `json:"pvh"`     // the kernel was started through its PVH entry
	Console int64  `json:"console"` // bytes
	State   int64  `json:"state"`   // bytes, compressed
	Digest  string `json:"digest"`  // "sha256:<hex>" of all bytes after the header
}

const (
	savedSchema     = 1
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
	s.head.Schema, s.head.Console, s.head.State = savedSchema, int64(len(s.console)), int64(len(s.state))
	s.head.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	head, err := json.Marshal(s.head)
	if err != nil {
		return err
	}
	for _, b := range [][]byte{append(head, '\n'), s.console, s.state} {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// parseSavedVM reads what write has written. Its slices are b's.
func parseSavedVM(b []byte) (*savedVM, error) {
	line, rest, ok := bytes.Cut(b[:min(len(b), maxSavedHead)], []byte("\n"))
	if !ok {
		return nil, errNoVM
	}
	rest = b[len(line)+1:]
	s := &savedVM{}
	if err := json.Unmarshal(line, &s.head); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoVM, err)
	}
	h := s.head
	switch {
	case h.Schema != savedSchema:
		return nil, fmt.Errorf("it has schema %d, not %d", h.Schema, savedSchema)
	case h.Console < 0 || h.Console > maxSavedConsole || h.State <= 0 || h.State > maxSavedState || h.Console+h.State != int64(len(rest)):
		return nil, fmt.Errorf("it is cut short: %d bytes follow its header, want %d and %d", len(rest), h.Console, h.State)
	}
	sum := sha256.Sum256(rest)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != h.Digest {
		return nil, errors.New("it is damaged: its digest is another")
	}
	s.console, s.state = rest[:h.Console], rest[h.Console:]
	return s, nil
}

// readSavedVM reads the VM of a key.
func readSavedVM(path, key string) (*savedVM, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSavedState+maxSavedConsole+maxSavedHead {
		return nil, fmt.Errorf("it has %d MiB", info.Size()>>20)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := parseSavedVM(b)
	if err == nil && s.head.Key != key {
		err = errors.New("it is of another key than its name says")
	}
	return s, err
}

// open decompresses the state. One decoder for each VM: it works while QEMU
// loads what came before.
func (s *savedVM) open() (io.ReadCloser, error) {
	if s.raw != nil {
		return io.NopCloser(bytes.NewReader(s.raw)), nil
	}
	d, err := zstd.NewReader(bytes.NewReader(s.state), zstd.WithDecoderConcurrency(1), zstd.IgnoreChecksum(true)) // the digest covers it
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// compressState returns a writer of a savedVM's state.
func compressState(w io.Writer) (io.WriteCloser, error) {
	// The next level takes half as long again for a twentieth less.
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
}
