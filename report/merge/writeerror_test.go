package merge

import (
	"errors"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/junit"
	"github.com/elastic/bpf-kernel-check/report/markdown"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

func TestMarkdownWriteError(t *testing.T) {
	full := errors.New("disk full")
	for name, write := range map[string]func(*report.Merged) error{
		"comment": func(m *report.Merged) error { return markdown.Write(failingWriter{full}, m, markdown.Options{}) },
		"summary": func(m *report.Merged) error {
			return markdown.WriteJobSummary(failingWriter{full}, m, markdown.Options{})
		},
		"junit": func(m *report.Merged) error { return junit.Write(failingWriter{full}, m) },
	} {
		if err := write(reporttest.Sample()); !errors.Is(err, full) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
