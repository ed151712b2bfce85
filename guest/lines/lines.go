// Package lines reads text that nobody vouches for: what a program in the guest
// prints can have lines without end, and no end. It owns the pipe by which such text
// comes, how it is read and how much of it is kept, and knows nothing of what it
// means.
package lines

import (
	"bufio"
	"bytes"
	"io"
)

// Reader reads lines of any length. Of those above a limit it returns the
// beginning, and drains the rest.
type Reader struct {
	r   *bufio.Reader
	max int
	buf []byte
}

// NewReader returns a Reader of r whose lines have at most max bytes.
func NewReader(r io.Reader, max int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 64<<10), max: max}
}

// Next returns a line without its end, valid until the next call. long says that
// it was cut. An error may come with a last line that has no end.
func (l *Reader) Next() (line []byte, long bool, err error) {
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if err == nil {
			part = part[:len(part)-1]
		}
		if room := l.max - len(l.buf); len(part) > room {
			part, long = part[:room], true
		}
		l.buf = append(l.buf, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		return bytes.TrimSuffix(l.buf, []byte("\r")), long, err
	}
}
