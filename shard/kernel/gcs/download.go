package gcs

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"

	"cloud.google.com/go/storage"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
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
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for n := 1; ; n++ {
		d := newDownload(o, f, progress)
		if err := d.reset(); err != nil {
			return err
		}
		err := c.net.retry.Do(ctx, retryable, func() (int64, error) {
			before := d.done
			err := d.attempt(ctx, c.bucket)
			return d.done - before, err
		})
		if err != nil {
			return c.explainRead(ctx, doing, o, err)
		}
		if err = d.check(); err == nil {
			break
		}
		if n == maxCorrupt {
			return fmt.Errorf("%s: %w, %d times: upload it again", doing, err, n)
		}
	}
	return f.Close()
}

// explainRead is explain for one object.
func (c *client) explainRead(ctx context.Context, doing string, o object, err error) error {
	var local *localError
	var changed *changedError
	switch {
	case errors.As(err, &local):
		return fmt.Errorf("%s: %w", doing, local.error)
	case errors.As(err, &changed), errors.Is(err, storage.ErrObjectNotExist):
		return fmt.Errorf("%s: the object was replaced or deleted after it was listed as generation %d: list the kernels again", doing, o.Generation)
	}
	return c.explain(ctx, doing, "storage.objects.get", err)
}

// download is the state of fetching one object.
type download struct {
	object   object
	file     *os.File
	done     int64 // bytes in file
	crc      hash.Hash32
	md5      hash.Hash
	progress func(int64)
}

func newDownload(o object, f *os.File, progress func(int64)) *download {
	return &download{object: o, file: f, crc: crc32.New(crc32.MakeTable(crc32.Castagnoli)), md5: md5.New(), progress: progress}
}

func (d *download) reset() error {
	if err := d.file.Truncate(0); err != nil {
		return err
	}
	_, err := d.file.Seek(0, io.SeekStart)
	return err
}

// attempt reads on from where the last one stopped.
func (d *download) attempt(ctx context.Context, bucket *storage.BucketHandle) error {
	rest := d.object.Size - d.done
	if rest == 0 {
		return nil
	}
	// ReadCompressed: the checksums are of what is stored, and only that can be
	// read from the middle.
	h := bucket.Object(d.object.Name).Generation(d.object.Generation).ReadCompressed(true)
	r, err := h.NewRangeReader(oneRequest(ctx, d.object.Generation), d.done, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		if int64(n) > rest {
			return fmt.Errorf("the server sends more than the %d bytes of the object", d.object.Size)
		}
		rest -= int64(n)
		if werr := d.keep(buf[:n]); werr != nil {
			return &localError{werr}
		}
		switch {
		case errors.Is(err, io.EOF) && rest > 0:
			return io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF), err == nil && rest == 0:
			return nil
		case err != nil:
			return err
		}
	}
}

func (d *download) keep(b []byte) error {
	n, err := d.file.Write(b)
	d.crc.Write(b[:n]) // hashes return no errors
	d.md5.Write(b[:n])
	d.done += int64(n)
	d.progress(d.done)
	return err
}

// check compares the checksums of all bytes with those of the listing. It does
// so here because the library checks only what it read in one go.
func (d *download) check() error {
	if got := d.crc.Sum32(); got != d.object.CRC32C {
		return fmt.Errorf("the bytes that came have CRC32C %08x, not %08x as listed", got, d.object.CRC32C)
	}
	if got := hex.EncodeToString(d.md5.Sum(nil)); d.object.MD5 != "" && got != d.object.MD5 {
		return fmt.Errorf("the bytes that came have MD5 %s, not %s as listed", got, d.object.MD5)
	}
	return nil
}

// changedError says that an object has another generation than the one listed.
type changedError struct{ generation string }

func (e *changedError) Error() string {
	return "the object now has generation " + bounded.OneLine(e.generation)
}

// localError is an error of this machine, such as a full disk.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }
