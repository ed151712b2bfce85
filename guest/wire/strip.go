package wire

import (
	"bytes"
	"io"
)

// Strip returns a writer that passes on to w what stands on a line besides
// good frames, as it comes: a console that carries the frames too is then as
// readable as one that does not. What only looks like a frame, or was cut by a
// kernel message, is kept. Close passes on what is still held back.
func Strip(w io.Writer, nonce string) io.WriteCloser { return &strip{w: w, nonce: nonce} }

type strip struct {
	w     io.Writer
	nonce string

	held  []byte // the end of the line so far, from a marker or the beginning of one
	begun bool   // something of the line was passed on
	blank []byte // an empty line that was held back: a frame brings one along
	long  bool   // the line cannot hold a frame any more
	err   error
}

func (s *strip) Write(p []byte) (int, error) {
	n := len(p)
	var out []byte
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			out = s.piece(out, p)
			break
		}
		out = s.end(out, p[:i+1])
		p = p[i+1:]
	}
	if s.err == nil && len(out) > 0 {
		_, s.err = s.w.Write(out)
	}
	return n, s.err
}

// piece takes a piece of a line and appends to out what can be passed on.
func (s *strip) piece(out, p []byte) []byte {
	if s.long {
		return append(out, p...)
	}
	s.held = append(s.held, p...)
	keep := partial(s.held)
	if len(s.held)-keep > MaxLine {
		s.long, keep = true, len(s.held)
	}
	// A carriage return alone may be the beginning of an empty line's end.
	if !s.begun && string(s.held) == "\r" {
		return out
	}
	return s.pass(out, keep)
}

// pass moves the first n held bytes to out.
func (s *strip) pass(out []byte, n int) []byte {
	if n == 0 {
		return out
	}
	out = append(append(out, s.blank...), s.held[:n]...)
	s.blank, s.begun = nil, true
	s.held = append(s.held[:0], s.held[n:]...)
	return out
}

// end takes the end of a line, newline included.
func (s *strip) end(out, p []byte) []byte {
	if s.long {
		s.long, s.begun = false, false
		return append(out, p...)
	}
	s.held = append(s.held, p...)
	line := s.held[:len(s.held)-1]
	_, _, at := find(line, s.nonce)
	switch {
	case at == 0 && !s.begun:
		s.blank = nil
	case at >= 0:
		out = s.pass(out, at)
		out = append(out, '\n')
	case !s.begun && len(bytes.TrimRight(line, "\r")) == 0:
		out = append(out, s.blank...)
		s.blank = bytes.Clone(s.held)
	default:
		out = s.pass(out, len(s.held))
	}
	s.held, s.begun = s.held[:0], false
	return out
}

// partial returns where in b a marker starts, or the beginning of one that b
// ends with, and len(b) when there is neither.
func partial(b []byte) int {
	if i := bytes.Index(b, []byte(marker)); i >= 0 {
		return i
	}
	for n := min(len(marker)-1, len(b)); n > 0; n-- {
		if string(b[len(b)-n:]) == marker[:n] {
			return len(b) - n
		}
	}
	return len(b)
}

// Close passes on what is held back. It does not close the writer below.
func (s *strip) Close() error {
	out := append(bytes.Clone(s.blank), s.held...)
	s.blank, s.held = nil, nil
	if s.err == nil && len(out) > 0 {
		_, s.err = s.w.Write(out)
	}
	return s.err
}
