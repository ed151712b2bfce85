package resultcache

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// Entry is a result as it is kept.
type Entry struct {
	Schema  int           `json:"schema"`
	Key     string        `json:"key"`
	Nonce   string        `json:"nonce"` // which no result has; see published
	At      time.Time     `json:"at"`    // when its VM had ended, UTC
	RunID   string        `json:"run_id,omitempty"`
	HeadSHA string        `json:"head_sha,omitempty"`
	Kernel  report.Result `json:"kernel"`
	Console []byte        `json:"console"`
	Files   [][]byte      `json:"files,omitempty"` // as Kernel.Files names them
}

const (
	schema   = 3
	prefix   = "pass-"
	versions = 8 // of one kernel that are kept

	maxEntry = 4 << 20  // bytes of a kept result; larger ones are not kept
	maxRaw   = 32 << 20 // bytes, decompressed
)

func entryName(key string) string {
	return prefix + key[len("sha256:"):][:32]
}

// Write writes an entry: the digest of the rest, which finds disks that are
// damaged and files that are cut short, and JSON, compressed.
func (e *Entry) Write(w io.Writer) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if len(b) > maxRaw {
		return fmt.Errorf("it has %d MiB", len(b)>>20)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	b = z.EncodeAll(b, nil)
	if len(b) > maxEntry-100 {
		return fmt.Errorf("it has %d MiB", len(b)>>20)
	}
	if _, err := io.WriteString(w, sumOf(b)+"\n"); err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

var errNoEntry = errors.New("it is no kept result")

// Parse reads what Write has written, from a place that others can write to.
func Parse(b []byte) (*Entry, error) {
	digest, rest, ok := bytes.Cut(b[:min(len(b), maxEntry)], []byte("\n"))
	switch {
	case len(b) > maxEntry:
		return nil, fmt.Errorf("it has %d MiB", len(b)>>20)
	case !ok || len(digest) != len("sha256:")+2*sha256.Size:
		return nil, errNoEntry
	case string(digest) != sumOf(rest):
		return nil, errors.New("it is damaged: its digest is another")
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRaw))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := z.DecodeAll(rest, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoEntry, err)
	}
	e := &Entry{}
	if err := json.Unmarshal(raw, e); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoEntry, err)
	}
	if e.Schema != schema {
		return nil, fmt.Errorf("it has schema %d, not %d", e.Schema, schema)
	}
	return e, nil
}

// published is the key as results have it. The key itself is a digest over the
// values of --env too, and who can read the rest could find a short one by trying.
func (e *Entry) published() string { return sumOf([]byte(e.Nonce + "\n" + e.Key)) }

// result returns what the entry says about a kernel now.
func (e *Entry) result(ref kernel.Ref, key string, now time.Time, maxAge time.Duration) (report.Result, error) {
	k := e.Kernel
	switch age := now.Sub(e.At); {
	case e.Key != key:
		return k, errors.New("it is of other inputs than its name says")
	case k.ID != ref.ID() || k.Digest != ref.Digest:
		return k, errors.New("it is of another kernel")
	case k.Console != "results/"+k.ID+".txt", k.Reused != nil, len(k.Files) != len(e.Files):
		return k, errNoEntry
	case age < 0 || age > maxAge:
		return k, errors.New("it is too old")
	}
	if err := k.Reusable(); err != nil {
		return k, err
	}
	k.Reused = &report.Reused{At: e.At.UTC(), RunID: e.RunID, HeadSHA: e.HeadSHA, Key: e.published()}
	return k, k.Check()
}
