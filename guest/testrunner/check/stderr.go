package check

import (
	"regexp"
	"strings"
)

// StderrTitle stands above the lines of a tracer's stderr that say why it failed.
const StderrTitle = "its stderr says:"

const (
	maxTelling  = 12  // lines that say why
	maxLineLen  = 400 // bytes of one
	maxVerifier = 5   // last lines of a verifier's log
)

// telling finds the lines of a log that say what failed. libbpf prints some
// three hundred others, most of them before.
var telling = regexp.MustCompile(`(?i)\bfail(ed|ure|s)?\b|could ?n[o']t\b|\bcannot\b|\bcan't\b|\bunsupported\b|\bnot (supported|found)\b|\bunexpected\b|\binvalid\b|\berrors?\b|\bpanic\b|\bdenied\b|\bno such\b|\bout of memory\b|[:( ]-[1-9][0-9]{0,2}\b`)

// note finds lines of libbpf's that sound like a failure and are none: a member
// that this kernel lacks is often not needed, and an imm may be negative.
var note = regexp.MustCompile(`: substituting insn #|: insn #\d+ relocated,`)

// Telling returns the lines of a tracer's stderr that say why it failed, each
// once and the last ones if they are many; where no line does, the last lines.
func Telling(stderr string) []string {
	lines := uniqueLines(stderr)
	var found, verifier []string
	inLog := false
	for _, line := range lines {
		switch {
		case strings.Contains(line, "BEGIN PROG LOAD LOG"):
			inLog, verifier = true, nil
		case inLog && strings.Contains(line, "END PROG LOAD LOG"):
			inLog = false
			found = append(found, verifier[max(0, len(verifier)-maxVerifier):]...)
		case inLog && !strings.HasPrefix(line, "processed "):
			verifier = append(verifier, line)
		case !inLog && telling.MatchString(line) && !note.MatchString(line):
			found = append(found, line)
		}
	}
	if inLog { // the log was cut
		found = append(found, verifier[max(0, len(verifier)-maxVerifier):]...)
	}
	if len(found) == 0 {
		found = lines
	}
	return found[max(0, len(found)-maxTelling):]
}

// OnceEach is a log with every line once, in its order.
func OnceEach(log string) string {
	return strings.Join(uniqueLines(log), "\n")
}

// uniqueLines are the lines with something on them, each once.
func uniqueLines(log string) []string {
	var lines []string
	seen := map[string]bool{}
	for line := range strings.Lines(log) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" || seen[line] {
			continue
		}
		seen[line] = true
		lines = append(lines, line)
	}
	return lines
}

// Said quotes what tells of a tracer's stderr, under StderrTitle.
func Said(stderr string) string {
	lines := Telling(stderr)
	if len(lines) == 0 {
		return "its stderr is empty"
	}
	said := []string{StderrTitle}
	for _, line := range lines {
		said = append(said, "  "+clip(strings.TrimSpace(line), maxLineLen))
	}
	return strings.Join(said, "\n")
}
