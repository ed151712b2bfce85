package report

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text of a guest, kernel names included, goes into Markdown in two ways only:
// as a code span or in a code fence. GitHub looks for mentions, references to
// issues and commits, links, images, emoji and HTML outside of code alone, so
// there is nothing else to escape, and nothing to forget.

// ansi are a terminal's escape sequences: CSI, OSC, strings, and the short ones.
var ansi = regexp.MustCompile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?|[PX^_][^\x1b\n]*(?:\x1b\\\\)?|[ -/]*[0-~])|\u009b[0-?]*[ -/]*[@-~]")

// printableLines makes text from elsewhere fit for a report: valid UTF-8,
// lines that end in "\n", no escape sequences, no control, zero-width, ignorable
// or bidirectional characters.
func printableLines(s string) string {
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

// noComment keeps text from looking like an HTML comment. Code is safe from
// being one, but report's own comment is found by those who look for "<!--".
func noComment(s string) string { return strings.ReplaceAll(s, "<!--", "<! --") }

// longestRun is the length of the longest run of backticks.
func longestRun(s string) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// clip bounds the work for text of which a line of limit bytes is wanted.
func clip(s string, limit int) string { return s[:min(len(s), 8*limit)] }

// code is text as a code span of at most limit bytes of it, in one line.
func code(s string, limit int) string {
	s = noComment(OneLine(clip(s, limit), limit))
	if s == "" {
		return "(empty)"
	}
	// A space at both ends is not shown, so one more keeps those of the text.
	if s[0] == '`' || s[len(s)-1] == '`' {
		s = " " + s + " "
	}
	quote := strings.Repeat("`", longestRun(s)+1)
	return quote + s + quote
}

// cell is a code span inside a table.
func cell(s string, limit int) string { return strings.ReplaceAll(code(s, limit), "|", `\|`) }

// plainWord are names that mean nothing to GitHub and look better as they are.
var plainWord = regexp.MustCompile(`^[a-z]{2,20}[0-9]{0,4}$`)

// word is a distribution's name, as it is where that is safe.
func word(s string, escape func(string, int) string) string {
	if plainWord.MatchString(s) && strings.Trim(s, "0123456789abcdef") != "" {
		return s
	}
	return escape(s, 60)
}

// fence is text as a code block, each line of it at a line's start.
func fence(info, s string) string {
	s = strings.TrimRight(noComment(printableLines(s)), "\n ")
	quote := strings.Repeat("`", max(3, longestRun(s)+1))
	return quote + info + "\n" + s + "\n" + quote + "\n"
}

// link is text, Markdown already, as a link to an address of ours; the text
// alone when the address is none.
func link(text, address string) string {
	u, err := url.Parse(address)
	if address == "" || err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return text
	}
	var b strings.Builder
	for _, r := range u.String() {
		if r > ' ' && r < 0x7f && !strings.ContainsRune("()<>[]\\`\"'|*_", r) {
			b.WriteRune(r)
			continue
		}
		if r == '_' { // common, and harmless between the brackets of an address
			b.WriteRune(r)
			continue
		}
		b.WriteString(url.PathEscape(string(r)))
		if r < utf8.RuneSelf && url.PathEscape(string(r)) == string(r) {
			return text
		}
	}
	return "[" + text + "](" + b.String() + ")"
}

// shorten keeps the first and the last lines of text: as many as there may be,
// of at most width characters each, and says how many are left out. One third
// is the beginning, where the reason stands; a log's end is its point.
func shorten(s string, lines, width int) string {
	all := strings.Split(strings.Trim(printableLines(s), "\n"), "\n")
	for i, l := range all {
		l = strings.TrimRight(l, " \t")
		if len(l) > width {
			l = strings.ToValidUTF8(l[:width], "") + "..."
		}
		all[i] = l
	}
	if len(all) <= lines {
		return strings.Join(all, "\n")
	}
	head := max(1, lines/3)
	tail := lines - head
	out := append(all[:head:head], "... "+count(len(all)-lines, "line")+" left out ...")
	return strings.Join(append(out, all[len(all)-tail:]...), "\n")
}
