package github

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"

	"github.com/sethvargo/go-githubactions"

	"github.com/elastic/bpf-kernel-check/report"
)

const maxMessage = 4000 // bytes of an annotation's message

// Output is one output of the step. Values may be of any text.
type Output struct{ Name, Value string }

// Warn writes a warning annotation as a workflow command.
func (l *Log) Warn(title, message string) error { return l.command("warning", title, message) }

// Error writes an error annotation as a workflow command.
func (l *Log) Error(title, message string) error { return l.command("error", title, message) }

func (l *Log) command(name, title, message string) error {
	c := githubactions.Command{
		Name:       name,
		Message:    noBracketed(cutBytes(report.Text(message), maxMessage)),
		Properties: githubactions.CommandProperties{"title": noBracketed(clip(title, 250))},
	}
	return l.Raw(c.String() + "\n")
}

// WriteOutputs appends outputs to the file of GITHUB_OUTPUT. Each value ends
// at a random word: go-githubactions ends it at one that everyone knows.
func WriteOutputs(path string, outputs []Output) error {
	var b strings.Builder
	for _, o := range outputs {
		word := rand.Text()
		fmt.Fprintf(&b, "%s<<%s\n%s\n%s\n", o.Name, word, o.Value, word)
	}
	return appendTo(path, b.String())
}

// writeSummary appends Markdown to the file of GITHUB_STEP_SUMMARY. GitHub drops
// all of one that is too long.
func writeSummary(path, markdown string) error {
	text := clean(markdown) + "\n"
	have := int64(0)
	if info, err := os.Stat(path); err == nil {
		have = info.Size()
	}
	if have+int64(len(text)) > maxSummary {
		return fmt.Errorf("%q has no room for it", path)
	}
	return appendTo(path, text)
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// cutBytes shortens text to max bytes.
func cutBytes(s string, max int) string {
	if len(s) <= max {
		return s
	}
	return strings.ToValidUTF8(s[:max-3], "") + "..."
}
