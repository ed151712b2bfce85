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

	"github.com/elastic/bpf-kernel-check/report"
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
		Idle: time.Minute, Retry: Retry{Wait: time.Second, MaxWait: 30 * time.Second, Attempts: 6, Header: statusHeader},
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

	header http.Header
}

func statusHeader(err error) http.Header {
	if e := (*StatusError)(nil); errors.As(err, &e) {
		return e.header
	}
	return nil
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s answered %d %s", ShownURL(e.URL), e.Status, http.StatusText(e.Status))
}

// ShownURL is a URL without the secrets that it may hold.
func ShownURL(uri string) string {
	if _, err := url.Parse(uri); err != nil {
		uri = strconv.Quote(uri)
	}
	return report.Redact(uri)
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

// Gone reports whether a server said that this very file is not there.
func Gone(err error) bool {
	var e *StatusError
	return errors.As(err, &e) && (e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// LocalError is an error of this machine, such as a full disk: another attempt
// does not mend it.
type LocalError struct{ error }

func (e *LocalError) Unwrap() error { return e.error }

// retryable says whether another attempt at the same server may help. A
// server's answer tells by its status; everything else that can go wrong on a
// network may.
func retryable(err error) bool {
	var status *StatusError
	var limit *bounded.LimitError
	var local *LocalError
	switch {
	case errors.As(err, &status):
		return status.Status == http.StatusRequestTimeout || status.Status == http.StatusTooManyRequests || status.Status >= 500
	case errors.As(err, &limit), errors.As(err, &local):
		return false
	}
	return true
}

// Get returns a small file of at most limit bytes.
func (c *Client) Get(ctx context.Context, uri string, limit int64) ([]byte, error) {
	var b bytes.Buffer
	err := c.Retry.Do(ctx, retryable, func() (int64, error) {
		b.Reset()
		_, body, err := c.open(ctx, uri, nil, 0)
		if err != nil {
			return 0, err
		}
		defer body.Close()
		_, err = bounded.Copy(ctx, &b, body, limit, "size of the file")
		return 0, err
	})
	return b.Bytes(), explain(ctx, uri, err)
}

// Probe asks once for a file as File does, and reads none of it.
func (c *Client) Probe(ctx context.Context, uri string) error {
	_, body, err := c.open(ctx, uri, http.Header{"Range": {"bytes=0-0"}}, 0)
	if err != nil {
		return explain(ctx, uri, err)
	}
	return body.Close()
}

// File downloads a file of size bytes to path and continues where a broken
// connection ended. progress, when not nil, is told of the bytes that are there.
func (c *Client) File(ctx context.Context, uri, path string, size int64, progress func(done int64)) error {
	err := c.Retry.File(ctx, path, size, progress, retryable, func(offset int64) (int64, io.ReadCloser, error) {
		return c.open(ctx, uri, c.Header, offset)
	})
	return explain(ctx, uri, err)
}

// explain names the URL, and why the context ended where it did.
func explain(ctx context.Context, uri string, err error) error {
	status, u := (*StatusError)(nil), (*url.Error)(nil)
	switch {
	case err == nil || errors.As(err, &status):
		return err
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.As(err, &u): // without the method and the quotes of net/http's errors
		uri, err = u.URL, u.Err
	}
	return fmt.Errorf("fetch %s: %w", ShownURL(uri), err)
}

// open asks for the bytes from offset on, and returns the offset that the
// server starts at.
func (c *Client) open(ctx context.Context, uri string, header http.Header, offset int64) (from int64, body io.ReadCloser, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return 0, nil, &LocalError{errors.New("it is no URL that can be fetched")}
	}
	if header != nil {
		req.Header = header.Clone()
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	client := *c.HTTP
	client.Transport = &IdleTransport{Base: client.Transport, Idle: c.Idle}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return 0, resp.Body, nil
	case resp.StatusCode == http.StatusPartialContent && rangeStart(resp.Header.Get("Content-Range")) == offset:
		return offset, resp.Body, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && offset > 0 {
		// What is here is longer than the file: from the start again.
		return c.open(ctx, uri, header, 0)
	}
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what comes of it
	return 0, nil, &StatusError{URL: uri, Status: resp.StatusCode, Body: string(said), header: resp.Header}
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
