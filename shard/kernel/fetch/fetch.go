// Package fetch downloads files by HTTP: it asks again, resumes what broke, and
// gives up a connection that stands still. It must not know what the files are
// for. Proxies are those of the environment.
package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// maxErrorBody is how much of an error's body is kept, in bytes.
const maxErrorBody = 4 << 10

// Client downloads files. Its fields may be changed before the first use.
type Client struct {
	HTTP   *http.Client
	Header http.Header   // of requests for files
	Idle   time.Duration // without a byte, after which a connection counts as broken
	Retry  Retry
}

// New returns a client for servers that want no credentials.
func New() *Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // what is pinned are the bytes as stored
	return &Client{
		HTTP: &http.Client{Transport: transport, CheckRedirect: checkRedirect},
		Idle: time.Minute, Retry: Retry{Wait: time.Second, MaxWait: 30 * time.Second, Attempts: 6},
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

// StatusError is an answer that is not the file.
type StatusError struct {
	URL    string
	Status int
	Body   string // its beginning
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answered %d %s", ShownURL(e.URL), e.Status, http.StatusText(e.Status))
}

// ShownURL is a URL without the password that it may hold.
func ShownURL(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return strconv.Quote(uri)
	}
	return u.Redacted()
}

// Absent reports whether a server said that it does not have the file. Some
// content networks say 403 for that.
func Absent(err error) bool {
	var e *StatusError
	if errors.As(err, &e) {
		return e.Status == http.StatusNotFound || e.Status == http.StatusGone || e.Status == http.StatusForbidden
	}
	return errors.Is(err, os.ErrNotExist)
}

// finalError is one that another attempt does not mend, such as a full disk.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// retryable says whether another attempt at the same server may help. A
// server's answer tells by its status; everything else that can go wrong on a
// network may.
func retryable(err error) bool {
	var status *StatusError
	var limit *bounded.LimitError
	var final *finalError
	switch {
	case errors.As(err, &status):
		return status.Status == http.StatusRequestTimeout || status.Status == http.StatusTooManyRequests || status.Status >= 500
	case errors.As(err, &limit), errors.As(err, &final):
		return false
	}
	return true
}

// Get returns a small file of at most limit bytes.
func (c *Client) Get(ctx context.Context, uri string, limit int64) ([]byte, error) {
	var b bytes.Buffer
	err := c.retry(ctx, uri, func() (int64, error) {
		b.Reset()
		return 0, c.once(ctx, uri, nil, 0, func(_ int64, r io.Reader) error {
			_, err := bounded.Copy(ctx, &b, r, limit, "size of "+ShownURL(uri))
			return err
		})
	})
	return b.Bytes(), err
}

// File downloads a file of size bytes to path and continues where a broken
// connection ended. progress, when not nil, is told of the bytes that are there.
func (c *Client) File(ctx context.Context, uri, path string, size int64, progress func(done int64)) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var have int64
	err = c.retry(ctx, uri, func() (int64, error) {
		before := have
		err := c.once(ctx, uri, c.Header, have, func(from int64, r io.Reader) error {
			have = from // 0 where the server starts anew
			_, err := f.Seek(have, io.SeekStart)
			if err := errors.Join(err, f.Truncate(have)); err != nil {
				return &finalError{err}
			}
			w := writerFunc(func(p []byte) (int, error) {
				n, err := f.Write(p)
				have += int64(n)
				if progress != nil {
					progress(have)
				}
				if err != nil {
					err = &finalError{err}
				}
				return n, err
			})
			_, err = bounded.Copy(ctx, w, r, size-have, "size of "+ShownURL(uri))
			if err == nil && have < size {
				return fmt.Errorf("%s ends after %d of %d bytes", ShownURL(uri), have, size)
			}
			return err
		})
		return have - before, err
	})
	if err != nil {
		return err
	}
	return f.Close()
}

// retry is Retry.Do with errors that name the URL.
func (c *Client) retry(ctx context.Context, uri string, try func() (int64, error)) error {
	err := c.Retry.Do(ctx, retryable, try)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("fetch %s: %w", ShownURL(uri), context.Cause(ctx))
	}
	// Without the method and the quotes of net/http's errors.
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return fmt.Errorf("fetch %s: %w", ShownURL(u.URL), u.Err)
	}
	return err
}

// once makes one request for the bytes from offset on. body gets the offset
// that the server starts at.
func (c *Client) once(ctx context.Context, uri string, header http.Header, offset int64, body func(from int64, r io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return &finalError{fmt.Errorf("%q is no URL that can be fetched", uri)}
	}
	if header != nil {
		req.Header = header.Clone()
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	watch := time.AfterFunc(c.Idle, func() { cancel(fmt.Errorf("%s: no byte came for %v", ShownURL(uri), c.Idle)) })
	defer watch.Stop()
	resp, err := c.HTTP.Do(req)
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
		return c.once(ctx, uri, header, 0, body)
	default:
		said, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what comes of it
		return &StatusError{URL: uri, Status: resp.StatusCode, Body: string(said)}
	}
	err = body(from, readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		if n > 0 {
			watch.Reset(c.Idle)
		}
		return n, err
	}))
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

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
