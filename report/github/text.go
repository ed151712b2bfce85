package github

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/elastic/bpf-kernel-check/report"
)

// GitHub's limits.
const (
	maxComment     = 65536   // characters of a comment's or an issue's body
	maxCheckOutput = 65535   // characters of a check run's summary
	maxStatus      = 140     // characters of a status' description
	maxSummary     = 1 << 20 // bytes of a step's job summary; one more and all of it is lost
)

// MaxBody is how many characters (UTF-16 code units) of a Content's Body are
// sure not to be cut: GitHub's limit without the marker and some room.
const MaxBody = maxComment - maxMarker

// units is a text's length as the strictest counts it: in UTF-16.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

func octets(s string) int { return len(s) }

// clip makes a text from elsewhere one line of at most max bytes.
func clip(s string, max int) string { return report.OneLine(s, max) }

// clean takes out what JSON or GitHub cannot carry.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// fit shortens Markdown to max, as measured by size, and then puts note at its
// end. It cuts only at empty lines outside of code fences, HTML comments and
// <details>, so that nothing is left open.
func fit(s string, max int, size func(string) int, note string) string {
	if size(s) <= max {
		return s
	}
	note = "\n" + note + "\n"
	max -= size(note)
	if max < 0 {
		return ""
	}
	var b block
	used, keep, at := 0, 0, 0
	for line := range strings.Lines(s) {
		used += size(line)
		if used > max {
			break
		}
		at += len(line)
		b.next(line)
		if strings.TrimSpace(line) == "" && b.closed() {
			keep = at
		}
	}
	return s[:keep] + note
}

// block follows what is open in Markdown. Where it is not sure it says open.
type block struct {
	fence   string // that would close the code block; empty: none is open
	details int
	comment bool
}

func (b *block) closed() bool { return b.fence == "" && b.details == 0 && !b.comment }

func (b *block) next(line string) {
	text := strings.TrimRight(strings.TrimLeft(line, " \t>"), " \t\r\n")
	run := text[:len(text)-len(strings.TrimLeft(text, "`"))]
	if run == "" {
		run = text[:len(text)-len(strings.TrimLeft(text, "~"))]
	}
	if b.fence != "" {
		if len(run) >= len(b.fence) && run[0] == b.fence[0] && run == text {
			b.fence = ""
		}
		return
	}
	if len(run) >= 3 && !b.comment {
		if run[0] == '~' || !strings.Contains(text[len(run):], "`") {
			b.fence = run
			return
		}
	}
	for text != "" {
		switch {
		case b.comment:
			_, after, ok := strings.Cut(text, "-->")
			b.comment = !ok
			text = after
			continue
		case strings.HasPrefix(text, "<!--"):
			b.comment = true
			text = text[4:]
			continue
		case hasPrefixFold(text, "<details"):
			b.details++
		case hasPrefixFold(text, "</details"):
			b.details = max(b.details-1, 0)
		}
		_, n := utf8.DecodeRuneInString(text)
		text = text[n:]
	}
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// code is a text as an inline code span, in which Markdown means nothing.
func code(s string) string { return "`" + strings.ReplaceAll(s, "`", "'") + "`" }
