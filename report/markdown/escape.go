package markdown

import (
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/elastic/bpf-kernel-check/report"
)

// Text of a guest, kernel names included, goes into Markdown in two ways only:
// as a code span or in a code fence. GitHub looks for mentions, references to
// issues and commits, links, images, emoji and HTML outside of code alone, so
// there is nothing else to escape, and nothing to forget.

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

// code is text as a code span of at most limit bytes of it, in one line.
func code(s string, limit int) string {
	s = noComment(report.OneLine(s, limit))
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
	s = strings.TrimRight(noComment(report.Text(s)), "\n ")
	quote := strings.Repeat("`", max(3, longestRun(s)+1))
	return quote + info + "\n" + s + "\n" + quote + "\n"
}

// link is text, Markdown already, as a link to an address of ours; the text
// alone when the address is none.
func link(text, address string) string {
	address = report.WebAddress(address)
	if address == "" {
		return text
	}
	var b strings.Builder
	for _, r := range address {
		if r > ' ' && r < 0x7f && !strings.ContainsRune("()<>[]\\`\"'|*", r) {
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
	all := strings.Split(strings.Trim(report.Text(s), "\n"), "\n")
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
	out := append(all[:head:head], "... "+report.Count(len(all)-lines, "line")+" left out ...")
	return strings.Join(append(out, all[len(all)-tail:]...), "\n")
}
