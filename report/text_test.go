package report

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\r\n\tc ":               "a b c",
		"\x1b[31mred\x1b[0m\x00":     "red",
		"bad \xff utf8":              "bad ? utf8",
		strings.Repeat("é", 100):     strings.Repeat("é", 13) + "...",
		"::error::x\u202e\u200bhide": "::error::xhide",
	} {
		if got := OneLine(in, 30); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// An error's end, which says why, is not what is cut off.
func TestErrorLine(t *testing.T) {
	uri := "https://deb.debian.org/debian/pool/main/l/linux/" + strings.Repeat("linux-image-6.1.0-9-cloud-amd64-unsigned_", 4) + ".deb"
	err := fmt.Errorf("fetch %s: exit status 1: E: Failed to fetch %s  404  Not Found: the mirror no longer has it", uri, uri)
	s := ErrorLine(err, 300)
	if len(s) > 300 || !strings.HasPrefix(s, "fetch https://deb.debian.org/") || !strings.HasSuffix(s, "404 Not Found: the mirror no longer has it") {
		t.Errorf("%d bytes: %q", len(s), s)
	}
	if got := ErrorLine(errors.New("a\nb"), 300); got != "a b" {
		t.Errorf("%q", got)
	}
	for n := range 40 {
		if s := ErrorLine(errors.New(strings.Repeat("ä", 200)+strings.Repeat("x", n)), 100); len(s) > 100 || !utf8.ValidString(s) {
			t.Errorf("%d bytes: %q", len(s), s)
		}
	}
}

func TestUTF16Len(t *testing.T) {
	for s, n := range map[string]int{"": 0, "abc": 3, "äö": 2, "€": 1, "😀": 2, "\xff\xfe": 2} {
		if got := UTF16Len(s); got != n {
			t.Errorf("%q: %d, want %d", s, got, n)
		}
	}
}

func TestWebAddress(t *testing.T) {
	for in, want := range map[string]string{
		"https://example.com/a?b#c": "https://example.com/a?b#c", "http://localhost:1/": "http://localhost:1/",
		"": "", "javascript:alert(1)": "", "//example.com": "", "https:///x": "", "data:text/html,x": "", "https://u:p@example.com/": "", "ftp://example.com/": "", " https://x": "", "https://x\n.y": "",
	} {
		if got := WebAddress(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestCutMiddle(t *testing.T) {
	for _, tt := range []struct {
		in    string
		limit int
		want  string
	}{
		{"short", 10, "short"},
		{"one\ntwo\nthree\nfour\nfive\n", 16, "one\n... 10 bytes are left out here ...\nfour\nfive\n"},
		{strings.Repeat("é", 20), 12, "é\n... 30 bytes are left out here ...\néééé"},
		{strings.Repeat("x", 40), 12, "xxx\n... 28 bytes are left out here ...\nxxxxxxxxx"},
	} {
		if got := CutMiddle(tt.in, tt.limit); got != tt.want {
			t.Errorf("%.20q: %q, want %q", tt.in, got, tt.want)
		}
	}
}
