package testrunner

import (
	"bufio"
	"bytes"
	"io"
)

// maxLine is the longest line of the tracer that is read whole.
const maxLine = 4 << 20

// lineReader reads lines of any length; of those above max it returns the
// beginning and drains the rest.
type lineReader struct {
	r   *bufio.Reader
	max int
	buf []byte
}

func newLineReader(r io.Reader, max int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), max: max}
}

// next returns a line without its end, valid until the next call. long says
// that it was cut. An error may come with a last line that has no end.
func (l *lineReader) next() (line []byte, long bool, err error) {
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
