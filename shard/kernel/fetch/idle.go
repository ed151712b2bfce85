package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// IdleTransport ends a request that brings nothing for a while: neither an
// answer, nor more of its body.
type IdleTransport struct {
	Base http.RoundTripper
	Idle time.Duration
}

// RoundTrip implements [http.RoundTripper].
func (t *IdleTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	b := &idleBody{idle: t.Idle, ctx: ctx, cancel: cancel}
	b.timer = time.AfterFunc(t.Idle, func() { cancel(fmt.Errorf("no byte came for %v", t.Idle)) })
	resp, err := t.Base.RoundTrip(req.WithContext(ctx))
	b.timer.Stop() // Read sets it again: what the caller does meanwhile does not count
	if err != nil {
		err = b.cause(err)
		cancel(nil)
		return nil, err
	}
	b.body, resp.Body = resp.Body, b
	return resp, nil
}

// idleBody is the body of an answer. Reads come one after the other.
type idleBody struct {
	body   io.ReadCloser
	idle   time.Duration
	timer  *time.Timer
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (b *idleBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	n, err := b.body.Read(p)
	b.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.cause(err)
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
