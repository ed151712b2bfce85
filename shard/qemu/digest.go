package qemu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/child"
)

const (
	maxROM  = 1 << 20 // bytes; larger ones are of other machines than ours
	maxROMs = 1000
)

// ROMDigest names the firmware that a QEMU loads, which other packages hold and
// other updates change than its own: the BIOS and what starts kernels.
func ROMDigest(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := child.Output(exec.CommandContext(ctx, path, "-L", "help"))
	if err != nil {
		return "", fmt.Errorf("ask %s for its firmware: %w", path, err)
	}
	return romDigest(out)
}

// romDigest takes directories, one in each line.
func romDigest(list []byte) (string, error) {
	h := sha256.New()
	n := 0
	for dir := range bytes.Lines(list) {
		entries, err := os.ReadDir(string(bytes.TrimSpace(dir)))
		if err != nil {
			continue // QEMU passes over it, too
		}
		for _, e := range entries {
			name := e.Name()
			if !slices.Contains([]string{".bin", ".rom", ".aml"}, filepath.Ext(name)) {
				continue
			}
			b, err := readROM(filepath.Join(string(bytes.TrimSpace(dir)), name))
			if err != nil {
				return "", fmt.Errorf("read QEMU's firmware: %w", err)
			}
			if n++; n > maxROMs {
				return "", fmt.Errorf("QEMU has more than %d files of firmware", maxROMs)
			}
			fmt.Fprintf(h, "%q %x\n", name, sha256.Sum256(b))
		}
	}
	if n == 0 {
		return "", errors.New("QEMU has no firmware where it says that it is")
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// readROM reads a file; of one that is too large it reads nothing.
func readROM(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxROM+1))
	if len(b) > maxROM {
		return nil, err
	}
	return b, err
}

// Digest names a QEMU by its version and the bytes of its program: another
// may not understand a VM that it has saved.
func Digest(path, version string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read QEMU: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read QEMU: %w", err)
	}
	return version + " sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}
