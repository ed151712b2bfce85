package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// idleTransport ends a request that brings nothing for a while: neither an
// answer, nor more of its body.
type idleTransport struct {
	base http.RoundTripper
	idle time.Duration
}

// reading is one attempt to read an object.
type reading struct {
	generation int64
	broken     error // what its body broke with
}

type readingKey struct{}

// oneRequest returns a context to read a generation of an object under, by one
// request: once its body broke, no further one is made. The storage library
// goes on by itself, without a pause and without an end; fetch.Retry has both. And
// an answer that is of another generation is a *changedError: the library does
// not look, and tells the generation that it asked for.
func oneRequest(ctx context.Context, generation int64) context.Context {
	return context.WithValue(ctx, readingKey{}, &reading{generation: generation})
}

func (r *reading) check(resp *http.Response) error {
	got := resp.Header.Get("X-Goog-Generation")
	if resp.StatusCode/100 != 2 || got == "" || got == strconv.FormatInt(r.generation, 10) {
		return nil
	}
	return &changedError{got}
}

// RoundTrip implements http.RoundTripper.
func (t *idleTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	read, _ := req.Context().Value(readingKey{}).(*reading)
	if read != nil && read.broken != nil {
		return nil, read.broken
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	b := &idleBody{idle: t.idle, ctx: ctx, cancel: cancel, read: read}
	b.timer = time.AfterFunc(t.idle, func() { cancel(fmt.Errorf("no byte came for %v", t.idle)) })
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		b.timer.Stop()
		err = b.cause(err)
		cancel(nil)
		return nil, err
	}
	b.timer.Stop() // Read sets it again: what the caller does meanwhile does not count
	b.body, resp.Body = resp.Body, b
	if read != nil {
		if err := read.check(resp); err != nil {
			b.Close()
			return nil, err
		}
	}
	return resp, nil
}

// idleBody is the body of an answer. Reads come one after the other.
type idleBody struct {
	body   io.ReadCloser
	idle   time.Duration
	timer  *time.Timer
	ctx    context.Context
	cancel context.CancelCauseFunc
	read   *reading // nil when no object is read
}

func (b *idleBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	n, err := b.body.Read(p)
	b.timer.Stop()
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	err = b.cause(err)
	if b.read != nil {
		b.read.broken = fmt.Errorf("the connection broke: %w", err)
	}
	return n, err
}

// cause returns why the request was ended where that was done here.
func (b *idleBody) cause(err error) error {
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	return err
}

func (b *idleBody) Close() error {
	b.timer.Stop()
	err := b.body.Close()
	b.cancel(nil)
	return err
}
