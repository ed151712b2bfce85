package github

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/term"

	"github.com/elastic/bpf-kernel-check/report"
)

// Log is what a command prints, a job's log or a terminal. Whatever is written
// to it is text: nothing in it moves the cursor, turns the reading direction or
// is a command of a CI runner, no matter in how many pieces it comes. Only Raw
// and the annotations go around that. Its methods may be called from several
// goroutines.
type Log struct {
	w      io.Writer
	colors bool

	mu   sync.Mutex
	line []byte // the line that has not ended yet
}

// maxLogLine is how long a line may be, in bytes. Longer ones are broken.
const maxLogLine = 1 << 20

// NewLog makes a log that ends in w. On a terminal text may have colors.
func NewLog(w io.Writer) *Log {
	f, ok := w.(*os.File)
	return &Log{w: w, colors: ok && term.IsTerminal(int(f.Fd()))}
}

// Write passes on what is text of p, by whole lines: the runner takes a command
// where it stands in a line of a stream, and two streams may end in one.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = append(l.line, p...)
	end := bytes.LastIndexByte(l.line, '\n') + 1
	if end == 0 && len(l.line) < maxLogLine {
		return len(p), nil
	}
	if end == 0 {
		end = len(l.line)
	}
	text := string(l.line[:end])
	l.line = append(l.line[:0], l.line[end:]...)
	if err := l.put(text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush ends the line that has not ended.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flush()
}

func (l *Log) flush() error {
	if len(l.line) == 0 {
		return nil
	}
	text := string(l.line)
	l.line = l.line[:0]
	return l.put(text)
}

func (l *Log) put(text string) error {
	_, err := io.WriteString(l.w, logText(text, l.colors))
	return err
}

// Raw writes s as it is, on a line of its own. Nothing that others said may be
// in it.
func (l *Log) Raw(s string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.flush(); err != nil {
		return err
	}
	_, err := io.WriteString(l.w, s)
	return err
}

// Unwrap returns the writer that the log ends in.
func (l *Log) Unwrap() io.Writer { return l.w }

// color are the colors that may pass, and the end of them.
var color = regexp.MustCompile("\x1b\\[(?:0|3[0-7])m")

// logText makes text from anywhere fit for a log, as whole lines. First goes
// what cannot be seen, then commands are broken: in the other order a character
// that cannot be seen hides a command.
func logText(s string, colors bool) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n") {
		b.WriteString(noCommand(visible(line, colors)) + "\n")
	}
	return b.String()
}

// visible is what can be seen of a line.
func visible(line string, colors bool) string {
	if !colors {
		return strings.ReplaceAll(report.Text(line), "\n", " ")
	}
	var b strings.Builder
	at := 0
	for _, m := range color.FindAllStringIndex(line, -1) {
		b.WriteString(visible(line[at:m[0]], false) + line[m[0]:m[1]])
		at = m[1]
	}
	b.WriteString(visible(line[at:], false))
	return b.String()
}

// bracketed are the older commands, "##[name]", which GitHub's runner takes
// anywhere in a line, and those that others have made of them, "##vso[" and
// "##teamcity[". The runner compares by the rules of a language, for which a
// mark on a letter may be nothing.
var bracketed = regexp.MustCompile(`#\p{M}*#[\p{M}A-Za-z]*\[`)

func noBracketed(s string) string {
	return bracketed.ReplaceAllStringFunc(s, func(s string) string { return s[:len(s)-1] + " [" })
}

// noCommand breaks whatever a CI runner takes for a command in a line, which
// has to be fit to be seen already. See TryParse and TryParseV2 in
// https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs.
func noCommand(line string) string {
	line = noBracketed(line)
	// "::name::" counts at a line's start, behind white space too.
	start := len(line) - len(strings.TrimLeftFunc(line, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsMark(r) }))
	if text := strings.TrimPrefix(line[start:], ":"); text != line[start:] && strings.HasPrefix(strings.TrimLeftFunc(text, unicode.IsMark), ":") {
		return line[:start] + `\` + line[start:]
	}
	return line
}
