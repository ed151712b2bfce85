package testrunner

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync"
)

// smallPipe is what a pipe holds by itself.
const smallPipe = 64 << 10

// executeStreamed is execute for a program whose standard input is in, and whose
// output is passed on to two writers, byte by byte, as it comes.
func executeStreamed(ctx context.Context, dir string, argv []string, in *os.File, stdout, stderr, copied io.Writer) ended {
	var ways []passage
	lines := &wholeLines{to: copied}
	for _, out := range []io.Writer{stdout, stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return ended{code: exitNotStarted, how: "make a pipe: " + err.Error()}
		}
		line := &lineOf{all: lines}
		defer line.flush()
		ways = append(ways, passage{r: r, w: w, held: smallPipe, out: out, copied: line})
	}
	return executeWith(ctx, dir, argv, in, ways)
}

// wholeLines takes lines of several streams, and passes on one after the other.
type wholeLines struct {
	mu sync.Mutex
	to io.Writer
}

// lineOf cuts a stream into lines for wholeLines.
type lineOf struct {
	all *wholeLines
	buf []byte
}

// maxHeldLine is how much of a line waits for its end.
const maxHeldLine = 64 << 10

func (l *lineOf) Write(b []byte) (int, error) {
	l.buf = append(l.buf, b...)
	if end := bytes.LastIndexByte(l.buf, '\n') + 1; end > 0 || len(l.buf) > maxHeldLine {
		if end == 0 {
			end = len(l.buf)
		}
		l.pass(end)
	}
	return len(b), nil
}

func (l *lineOf) flush() { l.pass(len(l.buf)) }

func (l *lineOf) pass(n int) {
	l.all.mu.Lock()
	_, _ = l.all.to.Write(l.buf[:n]) // the parser takes everything
	l.all.mu.Unlock()
	l.buf = append(l.buf[:0], l.buf[n:]...)
}
