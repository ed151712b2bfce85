package output

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// plural is "1 test" or "2 tests".
func plural(n int, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// lazy compiles a regular expression when it is needed: this package is a part of
// all programs in the guest.
func lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// digits says whether s is a number that an int holds.
func digits(s string) bool {
	return s != "" && len(s) <= 9 && strings.Trim(s, "0123456789") == ""
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
}

func (s *splitter) add(b []byte) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			s.append(b, 2*maxLine)
			return
		}
		if len(s.buf) == 0 && end <= maxLine {
			s.each(trimCR(b[:end])) // the usual case, without a copy
		} else {
			s.append(b[:end], 2*maxLine)
			s.flush()
		}
		b = b[end+1:]
	}
}

// append takes more of a line, and cuts out its middle when it exceeds a limit.
func (s *splitter) append(b []byte, limit int) {
	s.buf = append(s.buf, b...)
	if len(s.buf) > limit {
		s.buf = append(s.buf[:maxLine-keepEnd], s.buf[len(s.buf)-keepEnd:]...)
	}
}

func (s *splitter) flush() {
	s.append(nil, maxLine)
	s.each(trimCR(s.buf))
	s.buf = s.buf[:0]
}

func (s *splitter) end() {
	if len(s.buf) > 0 {
		s.flush()
	}
}

func trimCR(b []byte) []byte { return bytes.TrimSuffix(b, []byte("\r")) }

const esc = 0x1b

// escapes are the sequences by which programs talk to a terminal: colours and
// the like (ESC [), titles (ESC ]), character sets, and single characters.
var escapes = lazy(`\x1b(?:\[[ -?]*[@-~]?|\][^\x07\x1b]*\x07?|[()](?s:.)?|[0-~]?)`)

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
