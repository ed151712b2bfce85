package kernel

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// note is a file of the cache with something that was found out once.
type note struct {
	Key   string          `json:"key"` // what it was found out of
	Value json.RawMessage `json:"value"`
}

// maxNote bounds a note's file, in bytes.
const maxNote = 64 << 10

// Recall reads into v what Remember kept by a name, and says whether there was
// any and the key is still the same.
func (c *Cache) Recall(name, key string, v any) bool {
	f, err := os.Open(c.note(name))
	if err != nil {
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxNote))
	var n note
	return err == nil && json.Unmarshal(b, &n) == nil && n.Key == key && json.Unmarshal(n.Value, v) == nil
}

// Remember keeps v by a name, in place of what was kept before.
func (c *Cache) Remember(name, key string, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b, err := json.Marshal(note{key, value})
	if err != nil {
		return err
	}
	write := func() error {
		return WriteAtomic(c.note(name), 0o644, func(w io.Writer) error { _, err := w.Write(b); return err })
	}
	if err := write(); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Join(c.dir, "notes"), 0o755); err != nil {
		return err
	}
	return write()
}

func (c *Cache) note(name string) string { return filepath.Join(c.dir, "notes", name+".json") }
