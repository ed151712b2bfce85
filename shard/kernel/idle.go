package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// idleTransport ends a request that brings nothing for a while: neither an
// answer, nor more of its body.
type idleTransport struct {
	base http.RoundTripper
	idle time.Duration
}

// errBroken ends a reader of [oneRequest] in place of a second request.
var errBroken = errors.New("the connection broke")

type onceKey struct{}

// oneRequest returns a context under which no further request is made once the
// body of one broke. The storage library goes on reading by itself, without a
// pause and without an end; [retry] has both.
func oneRequest(ctx context.Context) context.Context {
	return context.WithValue(ctx, onceKey{}, new(error))
}

// RoundTrip implements http.RoundTripper.
func (t *idleTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	broken, _ := req.Context().Value(onceKey{}).(*error)
	if broken != nil && *broken != nil {
		return nil, *broken
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	b := &idleBody{idle: t.idle, ctx: ctx, cancel: cancel, broken: broken}
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
	return resp, nil
}

// idleBody is the body of an answer. Reads come one after the other.
type idleBody struct {
	body   io.ReadCloser
	idle   time.Duration
	timer  *time.Timer
	ctx    context.Context
	cancel context.CancelCauseFunc
	broken *error
}

func (b *idleBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	n, err := b.body.Read(p)
	b.timer.Stop()
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	err = b.cause(err)
	if b.broken != nil {
		*b.broken = fmt.Errorf("%w: %w", errBroken, err)
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
