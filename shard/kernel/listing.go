package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// listing is what a remote source had the last time.
type listing struct {
	Schema  int       `json:"schema"`
	Updated time.Time `json:"updated"`
	Refs    []Ref     `json:"refs"`
}

const (
	listingSchema = 1
	maxListing    = 256 << 20 // bytes
)

// Remembered returns list's result, or that of the last call for the same key
// while it is less than an hour old. When list fails for a reason that may
// pass, an older result stands in, with a warning; a signature that is not
// valid is no such reason, nor is what the user has to mend.
func (c *Cache) Remembered(ctx context.Context, key, what string, now func() time.Time, list func(context.Context) ([]Ref, error)) ([]Ref, error) {
	dir := filepath.Join(c.dir, "lists")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	unlock, err := c.Lock(ctx, "list-"+name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	path := filepath.Join(dir, name+".json")
	last, have := readListing(path)
	if age := now().Sub(last.Updated); have && age >= 0 && age < ListAge {
		return last.Refs, nil
	}
	refs, err := list(ctx)
	if err != nil {
		var usage *UsageError
		if !have || ctx.Err() != nil || errors.Is(err, ErrSignature) || errors.As(err, &usage) {
			return nil, err
		}
		c.Warnf("%v; using the list of %s as it was at %s", err, what, last.Updated.UTC().Format(time.RFC3339))
		return last.Refs, nil
	}
	b, err := json.Marshal(listing{listingSchema, now(), refs})
	if err != nil {
		return nil, err
	}
	if err := writeFile(path, b); err != nil {
		return nil, fmt.Errorf("remember the kernels of %s: %w", what, err)
	}
	return refs, nil
}

// readListing takes a damaged file for none.
func readListing(path string) (listing, bool) {
	var l listing
	f, err := os.Open(path)
	if err != nil {
		return l, false
	}
	defer f.Close()
	err = json.NewDecoder(io.LimitReader(f, maxListing)).Decode(&l)
	if err != nil || l.Schema != listingSchema || len(l.Refs) == 0 {
		return listing{}, false
	}
	return l, true
}

// ListAge is how long package lists are used before they are fetched again.
const ListAge = time.Hour
