package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// reading is one attempt to read a generation of an object, by one request:
// once its body broke, no further one is made. The storage library goes on by
// itself, without a pause and without an end; fetch.Retry has both.
type reading struct {
	generation int64
	broken     error // what its body broke with
}

type readingKey struct{}

// oneRequest returns a context to make such an attempt under.
func oneRequest(ctx context.Context, generation int64) context.Context {
	return context.WithValue(ctx, readingKey{}, &reading{generation: generation})
}

// changedError says that an object has another generation than the one listed.
// The library does not look, and tells the generation that it asked for.
type changedError struct{ generation string }

func (e *changedError) Error() string {
	return "the object now has generation " + bounded.OneLine(e.generation)
}

// generationTransport looks after the attempts that oneRequest marks.
type generationTransport struct{ base http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t *generationTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	read, ok := req.Context().Value(readingKey{}).(*reading)
	if ok && read.broken != nil {
		return nil, read.broken
	}
	resp, err := t.base.RoundTrip(req)
	if err != nil || !ok {
		return resp, err
	}
	got := resp.Header.Get("X-Goog-Generation")
	if resp.StatusCode/100 == 2 && got != "" && got != strconv.FormatInt(read.generation, 10) {
		resp.Body.Close()
		return nil, &changedError{got}
	}
	resp.Body = &readingBody{resp.Body, read}
	return resp, nil
}

type readingBody struct {
	io.ReadCloser
	read *reading
}

func (b *readingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.read.broken = fmt.Errorf("the connection broke: %w", err)
	}
	return n, err
}
