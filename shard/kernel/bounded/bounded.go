// Package bounded reads what comes from elsewhere: no more than a limit, no
// longer than a context lives, and in messages as one clean line. It knows
// nothing of kernels.
package bounded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"
)

// LimitError says that an input is larger than anything legitimate.
type LimitError struct {
	What  string
	Limit int64 // bytes, or a count where What says so
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s exceeds the limit of %d", e.What, e.Limit)
}

// OneLine puts what a program or server says on one line, without control
// characters, and cuts it to what a log line bears.
func OneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	s = strings.ToValidUTF8(s, "?")
	if len(s) > 600 {
		s = strings.ToValidUTF8(s[:600], "") + "..."
	}
	return s
}

// Tail keeps the end of what is written to it, such as a program's output.
type Tail struct{ b []byte }

const tailSize = 16 << 10

// Write implements [io.Writer].
func (t *Tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

func (t *Tail) String() string { return string(t.b) }

// NoEOF turns an end that comes too early into io.ErrUnexpectedEOF.
func NoEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Copy copies src to dst until its end, at most limit bytes, and stops
// when ctx ends. More than limit bytes are a *LimitError.
func Copy(ctx context.Context, dst io.Writer, src io.Reader, limit int64, what string) (int64, error) {
	n, err := io.CopyBuffer(onlyWriter{dst}, io.LimitReader(Reader(ctx, src), limit+1), make([]byte, 256<<10))
	if err != nil {
		return n, err
	}
	if n > limit {
		return n, &LimitError{What: what, Limit: limit}
	}
	return n, nil
}

// onlyWriter hides ReadFrom, which would copy past the context's end.
type onlyWriter struct{ io.Writer }

// Reader returns a reader that ends with ctx's cause when ctx ends.
func Reader(ctx context.Context, r io.Reader) io.Reader { return ctxReader{ctx, r} }

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// ReadCloser returns r with a Close that closes all of list, in their order.
func ReadCloser(r io.Reader, list ...io.Closer) io.ReadCloser { return &closers{r, list} }

type closers struct {
	io.Reader
	list []io.Closer
}

func (c *closers) Close() error {
	var err error
	for _, x := range c.list {
		err = errors.Join(err, x.Close())
	}
	return err
}

// Pattern is what a name may be. Its length is no part of the pattern: a count of
// hundreds takes a thousand times as long to compile, at every start.
type Pattern struct {
	re  *regexp.Regexp
	max int // bytes
}

// NewPattern compiles a pattern for names of at most max bytes.
func NewPattern(max int, pattern string) Pattern { return Pattern{regexp.MustCompile(pattern), max} }

// MatchString says whether s is such a name.
func (w Pattern) MatchString(s string) bool { return len(s) <= w.max && w.re.MatchString(s) }
