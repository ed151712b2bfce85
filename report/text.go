package report

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
)

// ansi matches a terminal's escape sequences: CSI, OSC, strings, and the short
// ones.
var ansi = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?|[PX^_][^\x1b\n]*(?:\x1b\\\\)?|[ -/]*[0-~])|\u009b[0-?]*[ -/]*[@-~]")

// Text makes text from elsewhere fit to be shown: valid UTF-8, lines that end in
// "\n", no escape sequences, no control, zero-width, ignorable or bidirectional
// characters.
func Text(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if strings.ContainsRune(s, 0x1b) || strings.ContainsRune(s, 0x9b) {
		s = ansi.ReplaceAllString(s, "")
	}
	if strings.ContainsRune(s, '\r') {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || unicode.IsPrint(r) && (r < 0x300 || !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return -1
	}, s)
}

// OneLine makes text from elsewhere fit for one line of a report: printable,
// without line breaks, at most limit bytes.
func OneLine(s string, limit int) string {
	if n := 8 * limit; len(s) > n { // bounds the work for a long text
		s = strings.ToValidUTF8(s[:n], "")
	}
	s = strings.Join(strings.Fields(Text(s)), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-3], "") + "..."
	}
	return s
}

// CutMiddle keeps some limit bytes of a longer text, whole lines where there are
// any, and says how much is left out. A quarter is its beginning, where the
// reason stands; a log's end is its point.
func CutMiddle(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	head, tail := s[:limit/4], s[len(s)-(limit-limit/4):]
	if i := strings.LastIndexByte(head, '\n'); i > len(head)/2 {
		head = head[:i+1]
	}
	if i := strings.IndexByte(tail, '\n'); i >= 0 && i < len(tail)/2 {
		tail = tail[i+1:]
	}
	head, tail = strings.ToValidUTF8(head, ""), strings.ToValidUTF8(tail, "")
	left := len(s) - len(head) - len(tail)
	if !strings.HasSuffix(head, "\n") {
		head += "\n"
	}
	return head + fmt.Sprintf("... %d bytes are left out here ...\n", left) + tail
}

// ErrorLine is an error's text in one line of at most limit bytes. A longer one
// is cut in the middle: what was done stands at the beginning, and why it failed
// at the end. It is without the secrets of addresses.
func ErrorLine(err error, limit int) string {
	s := Redact(err.Error())
	s = OneLine(s, len(s)+3)
	if len(s) <= limit {
		return s
	}
	tail := limit / 2
	return OneLine(strings.ToValidUTF8(s[:limit-tail-5], "")+" ... "+strings.ToValidUTF8(s[len(s)-tail:], ""), limit)
}

// UTF16Len is a text's length in UTF-16 code units, the strictest count of
// characters that GitHub's limits may mean.
func UTF16Len(s string) int {
	n := 0
	for _, r := range s {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

// Count is "1 kernel", "2 kernels", "1,200 kernels".
func Count(n int, what string) string {
	return Thousands(n) + " " + what + Plural(n, "", "s")
}

// Thousands is a number with commas: "1,200".
func Thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Plural is one of two words, by a number.
func Plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// List is names in one line, at most limit of them and at least one: "a, b and 2
// more". quote makes each fit to be shown.
func List(names []string, limit int, quote func(string) string) string {
	var words []string
	for _, n := range names[:min(len(names), max(1, limit))] {
		words = append(words, quote(n))
	}
	s := strings.Join(words, ", ")
	if rest := len(names) - len(words); rest > 0 {
		s += " and " + Thousands(rest) + " more"
	}
	return s
}

// WebAddress is an address that a page may link to; "" when it is none.
func WebAddress(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return u.String()
}

// CheckLink refuses what is no address of a page.
func CheckLink(link string) error {
	if WebAddress(link) == "" {
		return fmt.Errorf("%q: want the address of a page, such as https://example.org/report", OneLine(link, 100))
	}
	return nil
}
