package output

import (
	"bytes"
	"fmt"
	"strings"
)

// plural is "1 test" or "2 tests".
func plural(n int, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// digits says whether s is a number that an int holds.
func digits(s string) bool {
	if s == "" || len(s) > 9 {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

// lead puts the line of a failure that says why before its others: readers show
// the first.
func lead(why, own string) string {
	if why == "" || strings.HasPrefix(own, why) {
		return own
	}
	return why + "\n" + own
}

// keepEnd is how much of a cut line is its end: a test's result can stand
// there, behind text that it printed without a newline.
const keepEnd = 1 << 10

// splitter cuts a stream into lines. Of a line that is too long the beginning
// and the end remain.
type splitter struct {
	each func([]byte) // gets a line without its end; valid during the call
	buf  []byte
	last []byte // the end of a line that does not fit buf
	cut  bool
}

func (s *splitter) add(b []byte) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			s.append(b)
			return
		}
		if len(s.buf) == 0 && end <= maxLine {
			s.each(trimCR(b[:end])) // the usual case, without a copy
		} else {
			s.append(b[:end])
			s.flush()
		}
		b = b[end+1:]
	}
}

func (s *splitter) append(b []byte) {
	const head = maxLine - keepEnd
	if !s.cut && len(s.buf)+len(b) <= maxLine {
		s.buf = append(s.buf, b...)
		return
	}
	if !s.cut {
		s.cut = true
		if len(s.buf) > head {
			s.last = append(s.last[:0], s.buf[head:]...)
			s.buf = s.buf[:head]
		} else {
			room := head - len(s.buf)
			s.buf = append(s.buf, b[:room]...)
			b = b[room:]
			s.last = s.last[:0]
		}
	}
	if len(b) >= keepEnd {
		s.last = append(s.last[:0], b[len(b)-keepEnd:]...)
		return
	}
	s.last = append(s.last, b...)
	if len(s.last) > 2*keepEnd {
		s.last = append(s.last[:0], s.last[len(s.last)-keepEnd:]...)
	}
}

func (s *splitter) flush() {
	if s.cut {
		s.buf = append(s.buf, s.last[max(0, len(s.last)-keepEnd):]...)
	}
	s.each(trimCR(s.buf))
	s.buf, s.cut = s.buf[:0], false
}

func (s *splitter) end() {
	if len(s.buf) > 0 {
		s.flush()
	}
}

func trimCR(b []byte) []byte { return bytes.TrimSuffix(b, []byte("\r")) }

// appendPlain appends a line to b without escape sequences of terminals, such as
// colours.
func appendPlain(b, text []byte) []byte {
	for len(text) > 0 {
		at := bytes.IndexByte(text, esc)
		if at < 0 {
			return append(b, text...)
		}
		b = append(b, text[:at]...)
		text = text[at+1:]
		n := 0
		if len(text) == 0 {
			break
		}
		switch c := text[0]; {
		case c == '[': // as in ESC [ 3 1 m
			for n = 1; n < len(text) && text[n] >= 0x20 && text[n] < 0x40; n++ {
			}
			if n < len(text) && text[n] >= 0x40 && text[n] < 0x7f {
				n++
			}
		case c == ']': // a title, to BEL or to ESC \
			if n = bytes.IndexAny(text, "\a\x1b"); n < 0 {
				return b
			}
			if text[n] == '\a' {
				n++
			}
		case c == '(' || c == ')': // a character set
			n = min(2, len(text))
		case c >= 0x30 && c < 0x7f:
			n = 1
		}
		text = text[n:]
	}
	return b
}

const esc = 0x1b

// clip keeps the beginning and the end of a test's lines. held counts what all
// of them keep.
type clip struct {
	head, last []byte
	lost       int
}

const (
	clipHead = 8 << 10
	clipLast = 16 << 10
)

func (c *clip) add(held *int, text []byte) {
	n := len(text) + 1
	switch {
	case *held+n > maxHeld:
		c.lost += n
	case len(c.last) == 0 && len(c.head)+n <= clipHead:
		c.head = append(append(c.head, text...), '\n')
		*held += n
	default:
		c.last = append(append(c.last, text...), '\n')
		*held += n
		if drop := len(c.last) - clipLast; drop > clipLast {
			c.last = append(c.last[:0], c.last[drop:]...)
			c.lost += drop
			*held -= drop
		}
	}
}

// take returns what is kept and forgets it.
func (c *clip) take(held *int) string {
	*held -= len(c.head) + len(c.last)
	s := string(c.head)
	if c.lost > 0 {
		s += fmt.Sprintf("[... %d bytes cut ...]\n", c.lost)
	}
	s += string(c.last)
	*c = clip{}
	return strings.TrimRight(s, "\n")
}
