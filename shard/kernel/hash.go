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
	"syscall"
	"time"
)

// stamp is what a file's digest is remembered by. The change time is part of
// it because the modification time can be set back.
type stamp struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	MTime  int64  `json:"mtime"` // ns
	CTime  int64  `json:"ctime"` // ns, 0 where the system does not tell
	Inode  uint64 `json:"inode"`
	Device uint64 `json:"device"`
}

// stampOf returns what a file's digest is remembered by, and when it changed.
func stampOf(path string, st os.FileInfo) (stamp, time.Time) {
	key := stamp{Path: path, Size: st.Size(), MTime: st.ModTime().UnixNano()}
	changed := st.ModTime()
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		key.Inode, key.Device = sys.Ino, uint64(sys.Dev)
		if t := changeTime(sys); t.After(changed) {
			changed = t
		}
		key.CTime = changeTime(sys).UnixNano()
	}
	return key, changed
}

// mtimeGranularity is the age from which a file's times are believed: one written twice
// within the clock's granularity keeps its times.
const mtimeGranularity = 2 * time.Second

// DigestOf returns the digest of a local regular file, from memory when the
// file has not changed since.
func (c *Cache) DigestOf(ctx context.Context, path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() { // opening a FIFO would block
		return "", fmt.Errorf("%q is not a regular file", path)
	}
	key, changed := stampOf(path, st)
	type record struct {
		Stamp  stamp  `json:"stamp"`
		Digest string `json:"digest"`
	}
	sum := sha256.Sum256([]byte(path))
	file := filepath.Join(c.dir, "hashes", hex.EncodeToString(sum[:])+".json")
	if b, err := os.ReadFile(file); err == nil {
		var rec record
		if json.Unmarshal(b, &rec) == nil && rec.Stamp == key {
			if _, err := DigestHex(rec.Digest); err == nil {
				return rec.Digest, nil
			}
		}
	}
	digest, err := HashFile(ctx, path)
	if err != nil {
		return "", err
	}
	if time.Since(changed) > mtimeGranularity {
		if b, err := json.Marshal(record{key, digest}); err == nil {
			// Best effort: without it the next listing hashes again.
			_ = WriteAtomic(file, 0o644, func(w io.Writer) error { _, err := w.Write(b); return err })
		}
	}
	return digest, nil
}

func changeTime(st *syscall.Stat_t) time.Time {
	return time.Unix(int64(st.Ctim.Sec), int64(st.Ctim.Nsec))
}
