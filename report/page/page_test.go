package page

import (
	"io"
	"testing"
)

// pages are the pages of the tests, by name.
func pages(t testing.TB) map[string]func(io.Writer) error {
	m, c := synthetic(1000)
	s, sc := synthetic(120)
	h, hc := hostile()
	r, rc := realRun(t)
	commit := func(sha string) string { return "https://example.com/commit/" + sha }
	return map[string]func(io.Writer) error{
		"real":      func(w io.Writer) error { return Write(w, r, Options{Consoles: rc}) },
		"synthetic": func(w io.Writer) error { return Write(w, m, Options{Consoles: c, History: past(m, 29)}) },
		"small": func(w io.Writer) error {
			return Write(w, s, Options{Consoles: sc, History: past(s, 12), RunURL: "https://example.com/run/1", Commit: commit})
		},
		"hostile": func(w io.Writer) error { return Write(w, h, Options{Consoles: hc, RunURL: "javascript:alert(1)"}) },
	}
}
