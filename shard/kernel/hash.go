package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// DigestPrefix starts every digest.
const DigestPrefix = "sha256:"

// DigestHex returns the hex part of a digest. It becomes a file name, so it is
// checked to the letter.
func DigestHex(digest string) (string, error) {
	key, ok := strings.CutPrefix(digest, DigestPrefix)
	if ok && len(key) == 2*sha256.Size && strings.Trim(key, "0123456789abcdef") == "" {
		return key, nil
	}
	return "", fmt.Errorf("digest %q is not of the form sha256:<64 hex digits>", digest)
}

// DigestOfAll returns a digest over the sums of several files, in whatever order
// they come.
func DigestOfAll(sums []string) string {
	h := sha256.New()
	for _, s := range slices.Sorted(slices.Values(sums)) {
		fmt.Fprintln(h, s)
	}
	return DigestPrefix + hex.EncodeToString(h.Sum(nil))
}

// HashFile returns the digest of a file's bytes.
func HashFile(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, bounded.Reader(ctx, f), make([]byte, 128<<10)); err != nil {
		return "", err
	}
	return DigestPrefix + hex.EncodeToString(h.Sum(nil)), nil
}

// stamp tells whether a file has changed. The change time is part of it because
// the modification time can be set back.
type stamp struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	MTime  int64  `json:"mtime"` // ns
	CTime  int64  `json:"ctime"` // ns
	Inode  uint64 `json:"inode"`
	Device uint64 `json:"device"`
}

const (
	// mtimeGranularity is the age from which a file's times are believed: one
	// written twice within the clock's granularity keeps its times.
	mtimeGranularity = 2 * time.Second
	// recheck is the age from which what is remembered is no longer believed: a
	// disk that decays changes neither size nor times.
	recheck = 24 * time.Hour
)

// DigestOf returns the digest of a local regular file, from memory when the
// file has not changed since.
func (c *Cache) DigestOf(ctx context.Context, path string) (string, error) {
	return rememberedDigest(ctx, path, c.noteOf(path), time.Now())
}

// rememberedDigest is HashFile with a memory, the file note.
func rememberedDigest(ctx context.Context, path, note string, now time.Time) (string, error) {
	var digest string
	err := rememberOf(path, note, "", now, &digest, func() (keep bool, err error) {
		digest, err = HashFile(ctx, path)
		return true, err
	})
	if _, bad := DigestHex(digest); err == nil && bad != nil {
		return HashFile(ctx, path)
	}
	return digest, err
}

// RememberOf has find set v to what it finds out of a local regular file, such
// as a program, and the next times, for a day at most, sets it to the same while
// the file and key have not changed. What find does not say to keep is looked for
// again.
func (c *Cache) RememberOf(path, key string, v any, find func() (keep bool, err error)) error {
	return rememberOf(path, c.noteOf(path), key, time.Now(), v, find)
}

func (c *Cache) noteOf(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(c.dir, "hashes", hex.EncodeToString(sum[:])+".json")
}

func rememberOf(path, note, key string, now time.Time, v any, find func() (keep bool, err error)) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !st.Mode().IsRegular() || !ok { // opening a FIFO would block
		return fmt.Errorf("%q is not a regular file", path)
	}
	changed := time.Unix(int64(sys.Ctim.Sec), int64(sys.Ctim.Nsec))
	type record struct {
		Stamp stamp           `json:"stamp"`
		Key   string          `json:"key"`
		Value json.RawMessage `json:"value"`
		At    time.Time       `json:"at"`
	}
	now = now.Round(0)
	rec := record{stamp{path, st.Size(), st.ModTime().UnixNano(), changed.UnixNano(), sys.Ino, uint64(sys.Dev)}, key, nil, now}
	if b, err := os.ReadFile(note); err == nil {
		var last record
		if json.Unmarshal(b, &last) == nil && last.Stamp == rec.Stamp && last.Key == key {
			if age := now.Sub(last.At); age >= 0 && age < recheck && json.Unmarshal(last.Value, v) == nil {
				return nil
			}
		}
	}
	keep, err := find()
	if err != nil {
		return err
	}
	if st.ModTime().After(changed) {
		changed = st.ModTime()
	}
	if keep && now.Sub(changed) > mtimeGranularity {
		if rec.Value, err = json.Marshal(v); err != nil {
			return err
		}
		if b, err := json.Marshal(rec); err == nil {
			// Best effort: without it find is called again. Addresses of mirrors may have
			// passwords.
			_ = WriteAtomic(note, 0o600, func(w io.Writer) error { _, err := w.Write(b); return err })
		}
	}
	return nil
}

// writeFile is os.WriteFile for a file that appears whole or not at all.
func writeFile(path string, b []byte) error {
	return WriteAtomic(path, 0o644, func(w io.Writer) error { _, err := w.Write(b); return err })
}

// WriteAtomic writes a file that appears whole or not at all.
func WriteAtomic(path string, perm os.FileMode, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
