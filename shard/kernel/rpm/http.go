package rpm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// Limits of a download.
const (
	httpAttempts = 5                // of one file from one server, when the connection breaks or the server is busy
	httpIdle     = 60 * time.Second // without a byte, after which a connection counts as broken
)

// httpFetcher downloads files. Proxies are those of the environment.
type httpFetcher struct {
	client *http.Client
	idle   time.Duration
	pause  func(ctx context.Context, attempt int) error // between attempts, counted from 1
}

func newHTTPFetcher() *httpFetcher {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // what is pinned are the bytes as stored
	transport.ResponseHeaderTimeout = httpIdle
	return &httpFetcher{
		client: &http.Client{Transport: transport, CheckRedirect: checkRedirect},
		idle:   httpIdle,
		pause:  backoff,
	}
}

// checkRedirect keeps a download that began encrypted from ending in the clear.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("more than 10 redirects")
	}
	if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirect from https to %s is refused", req.URL.Scheme)
	}
	return nil
}

// backoff waits 1, 2, 4... seconds.
func backoff(ctx context.Context, attempt int) error {
	t := time.NewTimer(time.Second << (attempt - 1))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// httpError is an answer that is not the file.
type httpError struct {
	URL    string
	Status int
}

func (e *httpError) Error() string {
	return fmt.Sprintf("%s answered %d %s", shownURL(e.URL), e.Status, http.StatusText(e.Status))
}

// shownURL is a URL without the password that it may hold.
func shownURL(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return strconv.Quote(uri)
	}
	return u.Redacted()
}

// absent reports whether a server said that it does not have the file. Some
// content networks say 403 for that.
func absent(err error) bool {
	var e *httpError
	if errors.As(err, &e) {
		return e.Status == http.StatusNotFound || e.Status == http.StatusGone || e.Status == http.StatusForbidden
	}
	return errors.Is(err, os.ErrNotExist)
}

// retryable reports whether another attempt at the same server may help.
func retryable(err error) bool {
	var status *httpError
	if errors.As(err, &status) {
		return status.Status == http.StatusRequestTimeout || status.Status == http.StatusTooManyRequests || status.Status >= 500
	}
	var limit *bounded.LimitError
	return !errors.As(err, &limit) && !errors.Is(err, errLocal)
}

// errLocal marks what went wrong on this machine.
var errLocal = errors.New("write download")

// get returns a small file of at most limit bytes.
func (h *httpFetcher) get(ctx context.Context, uri string, limit int64) ([]byte, error) {
	var b strings.Builder
	err := h.retry(ctx, uri, func() error {
		b.Reset()
		return h.once(ctx, uri, 0, func(_ int64, r io.Reader) error {
			_, err := bounded.Copy(ctx, &b, r, limit, "size of "+shownURL(uri))
			return err
		})
	})
	return []byte(b.String()), err
}

// file downloads uri to path and continues where a broken connection ended. It
// takes at most size bytes, which progress, when not nil, is told of.
func (h *httpFetcher) file(ctx context.Context, uri, path string, size int64, progress func(done int64)) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	var have int64
	err = h.retry(ctx, uri, func() error {
		return h.once(ctx, uri, have, func(from int64, r io.Reader) error {
			if from != have { // the server starts anew
				have = from
			}
			if err := f.Truncate(have); err != nil {
				return fmt.Errorf("%w: %w", errLocal, err)
			}
			if _, err := f.Seek(have, io.SeekStart); err != nil {
				return fmt.Errorf("%w: %w", errLocal, err)
			}
			w := &countingWriter{w: f, fn: func(n int64) {
				have += n
				if progress != nil {
					progress(have)
				}
			}}
			_, err := bounded.Copy(ctx, w, r, size-have, "size of "+shownURL(uri))
			if err == nil && have < size {
				return fmt.Errorf("%s ends after %d of %d bytes", shownURL(uri), have, size)
			}
			return err
		})
	})
	if err != nil {
		return err
	}
	return f.Close()
}

func (h *httpFetcher) retry(ctx context.Context, uri string, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("fetch %s: %w", shownURL(uri), context.Cause(ctx))
		}
		if !retryable(err) || attempt == httpAttempts {
			return plainURLError(err)
		}
		if err := h.pause(ctx, attempt); err != nil {
			return fmt.Errorf("fetch %s: %w", shownURL(uri), err)
		}
	}
}

// once makes one request for the bytes from offset on. body gets the offset
// that the server starts at.
func (h *httpFetcher) once(ctx context.Context, uri string, offset int64, body func(from int64, r io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return kernel.Usagef("%q is no URL that can be fetched", uri)
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	stalled := fmt.Errorf("%s sent nothing for %v", shownURL(uri), h.idle)
	watch := time.AfterFunc(h.idle, func() { cancel(stalled) })
	defer watch.Stop()
	resp, err := h.client.Do(req)
	if err != nil {
		return causeOf(ctx, err)
	}
	defer resp.Body.Close()
	from := int64(0)
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode == http.StatusPartialContent && rangeStart(resp.Header.Get("Content-Range")) == offset:
		from = offset
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && offset > 0:
		// What is here is longer than the file: from the start again.
		return h.once(ctx, uri, 0, body)
	default:
		return &httpError{URL: uri, Status: resp.StatusCode}
	}
	err = body(from, &countingReader{r: resp.Body, fn: func() { watch.Reset(h.idle) }})
	return causeOf(ctx, err)
}

// rangeStart returns the first byte of a Content-Range, -1 when it has none.
func rangeStart(header string) int64 {
	s, ok := strings.CutPrefix(header, "bytes ")
	first, _, dash := strings.Cut(s, "-")
	n, err := strconv.ParseInt(first, 10, 64)
	if !ok || !dash || err != nil {
		return -1
	}
	return n
}

// causeOf says why a request was given up, where the reason is our own.
func causeOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// plainURLError takes the method and the quotes out of net/http's errors.
func plainURLError(err error) error {
	var u *url.Error
	if !errors.As(err, &u) {
		return err
	}
	var op *net.OpError
	if errors.As(u.Err, &op) {
		return fmt.Errorf("fetch %s: %w", shownURL(u.URL), op)
	}
	return fmt.Errorf("fetch %s: %w", shownURL(u.URL), u.Err)
}

type countingReader struct {
	r  io.Reader
	fn func()
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.fn()
	}
	return n, err
}

type countingWriter struct {
	w  io.Writer
	fn func(n int64)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.fn(int64(n))
	if err != nil {
		err = fmt.Errorf("%w: %w", errLocal, err)
	}
	return n, err
}
