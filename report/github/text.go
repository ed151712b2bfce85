package github

import (
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// GitHub's limits.
const (
	maxComment     = 65536   // characters of a comment's or an issue's body
	maxCheckOutput = 65535   // characters of a check run's summary
	maxStatus      = 140     // characters of a status' description
	maxSummary     = 1 << 20 // bytes of a step's job summary; one more and all of it is lost
)

// MaxBody is how many characters (UTF-16 code units) a Content's Body may have:
// GitHub's limit without the marker and some room.
const MaxBody = maxComment - maxMarker

// clip makes a text from elsewhere one line of at most max bytes.
func clip(s string, max int) string { return report.OneLine(s, max) }

// clean takes out what JSON or GitHub cannot carry.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// within is Markdown of at most limit characters, or else note: what is written
// here was made to fit, and a part of it could leave something open.
func within(markdown string, limit int, note string) string {
	if s := clean(markdown); report.UTF16Len(s) <= limit {
		return s
	}
	return note
}

// code is a text as an inline code span, in which Markdown means nothing.
func code(s string) string { return "`" + strings.ReplaceAll(s, "`", "'") + "`" }
