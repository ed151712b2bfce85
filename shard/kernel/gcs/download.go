package gcs

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"cloud.google.com/go/storage"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/fetch"
)

// maxCorrupt is how often an object is fetched whose bytes are not those that
// its checksums are of.
const maxCorrupt = 3

// download fetches an object to path and checks it. A connection that breaks
// or stalls is resumed where it stopped, at the same generation. progress gets
// the bytes that are there so far. What is left at path after an error is not
// to be used.
func (c *client) download(ctx context.Context, o object, path string, progress func(int64)) error {
	doing := fmt.Sprintf("fetch gs://%s/%s", c.name, bounded.OneLine(o.Name))
	// ReadCompressed: the checksums are of what is stored, and only that can be
	// read from the middle.
	stored := c.bucket.Object(o.Name).Generation(o.Generation).ReadCompressed(true)
	for n := 1; ; n++ {
		err := c.net.retry.File(ctx, path, o.Size, progress, retryable, func(offset int64) (int64, io.ReadCloser, error) {
			r, err := stored.NewRangeReader(oneRequest(ctx, o.Generation), offset, -1)
			return offset, r, err
		})
		if err != nil {
			return c.explainRead(ctx, doing, o, err)
		}
		if err = o.check(path); err == nil {
			return nil
		}
		if n == maxCorrupt {
			return fmt.Errorf("%s: %w, %d times: upload it again", doing, err, n)
		}
	}
}

// explainRead is explain for one object.
func (c *client) explainRead(ctx context.Context, doing string, o object, err error) error {
	var local *fetch.LocalError
	var changed *changedError
	switch {
	case errors.As(err, &local):
		return fmt.Errorf("%s: %w", doing, local)
	case errors.As(err, &changed), errors.Is(err, storage.ErrObjectNotExist):
		return fmt.Errorf("%s: the object was replaced or deleted after it was listed as generation %d: list the kernels again", doing, o.Generation)
	}
	return c.explain(ctx, doing, "storage.objects.get", err)
}

// check compares the checksums of a file with those of the listing. The library
// checks only what it read in one go.
func (o object) check(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	crc, sum := crc32.New(crc32.MakeTable(crc32.Castagnoli)), md5.New()
	if _, err := io.Copy(io.MultiWriter(crc, sum), f); err != nil {
		return err
	}
	if got := crc.Sum32(); got != o.CRC32C {
		return fmt.Errorf("the bytes that came have CRC32C %08x, not %08x as listed", got, o.CRC32C)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); o.MD5 != "" && got != o.MD5 {
		return fmt.Errorf("the bytes that came have MD5 %s, not %s as listed", got, o.MD5)
	}
	return nil
}
