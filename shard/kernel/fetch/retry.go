package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// minProgress is what an attempt must bring, in bytes, to count as one that gets
// on. A server that hands out a few bytes and hangs up must not keep a run
// forever.
const minProgress = 64 << 10

// Retry says how often and how patiently something is tried again.
type Retry struct {
	Wait, MaxWait time.Duration // after the first failure; it doubles up to MaxWait
	Attempts      int           // in a row that bring nothing

	// Header returns the header of the answer that an error is, whose
	// Retry-After is waited for; nil when it is none. It may be nil itself.
	Header func(error) http.Header
}

// maxRetryAfter is how long a server is waited for at most, in all.
const maxRetryAfter = time.Minute

// retryAfter returns how long a server wants to be left alone, 0 if it does not
// say. https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
func (r Retry) retryAfter(err error, now time.Time) time.Duration {
	if r.Header == nil {
		return 0
	}
	value := r.Header(err).Get("Retry-After")
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}

// Do calls try until it returns no error, or one that would come again. try
// returns how many bytes it brought.
func (r Retry) Do(ctx context.Context, retryable func(error) bool, try func() (int64, error)) error {
	wait, failed := r.Wait, 0
	var asked time.Duration // for by the server
	for {
		n, err := try()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if n >= minProgress {
			wait, failed = r.Wait, 0
		}
		if failed++; failed >= r.Attempts || !retryable(err) {
			return err
		}
		// Half of it by chance, so that a matrix of jobs does not come back all
		// at once.
		pause := wait/2 + rand.N(wait/2+1)
		after := min(r.retryAfter(err, time.Now()), maxRetryAfter-asked)
		asked += after
		t := time.NewTimer(pause + after)
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
		wait = min(2*wait, r.MaxWait)
	}
}

// File downloads size bytes to path. open returns the bytes from an offset on,
// or from an earlier one; each attempt continues where the last one ended.
// progress, when not nil, is told of the bytes that are there.
func (r Retry) File(ctx context.Context, path string, size int64, progress func(done int64), retryable func(error) bool, open func(offset int64) (from int64, body io.ReadCloser, err error)) error {
	f, err := os.Create(path)
	if err != nil {
		return &LocalError{err}
	}
	defer f.Close()
	w := &fileWriter{f: f, progress: progress}
	err = r.Do(ctx, retryable, func() (int64, error) {
		before := w.have
		if before == size {
			return 0, nil
		}
		from, body, err := open(before)
		if err != nil {
			return 0, err
		}
		defer body.Close()
		if err := w.seek(from); err != nil {
			return 0, err
		}
		_, err = bounded.Copy(ctx, w, body, size-from, "size of the file")
		if err == nil && w.have < size {
			err = fmt.Errorf("it ends after %d of %d bytes", w.have, size)
		}
		return w.have - before, err
	})
	if err != nil {
		return err
	}
	return f.Close()
}

// fileWriter writes a file, and tells of the bytes that are there.
type fileWriter struct {
	f        *os.File
	have     int64
	progress func(done int64)
}

// seek drops what is behind an offset.
func (w *fileWriter) seek(to int64) error {
	_, err := w.f.Seek(to, io.SeekStart)
	if err := errors.Join(err, w.f.Truncate(to)); err != nil {
		return &LocalError{err}
	}
	w.have = to
	return nil
}

func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.have += int64(n)
	if w.progress != nil {
		w.progress(w.have)
	}
	if err != nil {
		err = &LocalError{err}
	}
	return n, err
}
