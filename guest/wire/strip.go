package wire

import (
	"bytes"
	"io"
)

// Strip returns a writer that passes on to w what stands on a line besides
// good frames, line by line: a console that carries the frames too is then as
// readable as one that does not. What only looks like a frame, or was cut by a
// kernel message, is kept. Close passes on a last line without an end.
func Strip(w io.Writer, nonce string) io.WriteCloser {
	s := &strip{w: w, nonce: nonce}
	s.lines.each = s.line
	return s
}

type strip struct {
	w     io.Writer
	nonce string
	lines lineWriter
	out   []byte // what is to be passed on
	blank []byte // an empty line that was held back: a frame brings one along
}

func (s *strip) Write(p []byte) (int, error) {
	_, _ = s.lines.Write(p) // never fails
	if err := s.flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *strip) line(line []byte, long bool) {
	at := -1
	if !long {
		line := bytes.TrimSuffix(line, []byte("\n"))
		if _, _, at = find(line, s.nonce); at < 0 {
			_, _, at = find(line, streamNonce(s.nonce, false))
		}
	}
	if at != 0 {
		s.out = append(s.out, s.blank...)
	}
	s.blank = nil
	switch {
	case at > 0:
		s.out = append(append(s.out, line[:at]...), '\n')
	case at < 0 && !long && len(bytes.TrimRight(line, "\r\n")) == 0:
		s.blank = bytes.Clone(line)
	case at < 0:
		s.out = append(s.out, line...)
	}
}

func (s *strip) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	_, err := s.w.Write(s.out)
	s.out = s.out[:0]
	return err
}

// Close passes on what is held back. It does not close the writer below.
func (s *strip) Close() error {
	s.out = append(append(s.out, s.blank...), s.lines.buf...)
	s.blank, s.lines.buf = nil, nil
	return s.flush()
}

// lineWriter cuts what is written to it into lines.
type lineWriter struct {
	// each gets a line with its newline, valid until it returns. A line that is
	// longer than a frame comes in pieces, which are long.
	each func(line []byte, long bool)
	buf  []byte // the line so far
	long bool   // it is too long
}

func (l *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n') + 1
		piece := p
		if end > 0 {
			piece = p[:end]
		}
		p = p[len(piece):]
		l.buf = append(l.buf, piece...)
		l.long = l.long || len(l.buf) > MaxLine+1 // a terminal adds a carriage return
		if end > 0 || l.long {
			l.each(l.buf, l.long)
			l.buf = l.buf[:0]
		}
		l.long = l.long && end == 0
	}
	return n, nil
}
