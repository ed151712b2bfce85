// Package markdown writes a result as GitHub-flavoured Markdown: a comment on a
// pull request, and the summary of a job.
//
// It owns what fits into GitHub's limits, what goes first when there is too
// little room, and that what guests said stays text. It decides nothing: verdict,
// groups and wording come from report and report/analysis.
package markdown

import (
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/elastic/bpf-kernel-check/report"
)

// Limits of GitHub.
const (
	// MaxComment is the length of a comment in characters, which GitHub counts
	// as code points.
	MaxComment = 65_536
	// MaxJobSummary is the length of a step's summary in bytes; one that is
	// longer is dropped whole.
	MaxJobSummary = 1 << 20
)

// Options say what stands around the results. The zero value is good.
type Options struct {
	MaxChars int                     // at most this many characters, as report.UTF16Len counts; 0: MaxComment
	RunURL   string                  // page of the workflow's run
	Commit   func(sha string) string // address of a commit's page; nil or "": no link
	PageURL  string                  // where report.html can be read; "": it is not named
}

// Write writes the result as GitHub-flavoured Markdown, for a comment:
// the verdict, why it is incomplete, a grid of distributions and kernel series,
// and the failures, grouped. When all of it is too long, the list of passed
// kernels goes first, then excerpts shrink, then groups become counts.
func Write(w io.Writer, m *report.Merged, o Options) error {
	limit := o.MaxChars
	if limit <= 0 {
		limit = MaxComment
	}
	return writeFitting(w, m, o, func(s string) bool { return len(s) <= limit || report.UTF16Len(s) <= limit })
}

// WriteJobSummary is Write for the summary of a step: the same, with
// more room.
func WriteJobSummary(w io.Writer, m *report.Merged, o Options) error {
	// Some room for what else the step may write there.
	return writeFitting(w, m, o, func(s string) bool { return len(s) <= MaxJobSummary-4096 })
}

func writeFitting(w io.Writer, m *report.Merged, o Options, fits func(string) bool) error {
	d := newDocument(m, o)
	_, err := io.WriteString(w, d.truncated(fits))
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// detail is how much is written.
type detail struct {
	passes   bool // the list of kernels that passed
	lines    int  // of an excerpt; 0: none
	width    int  // of a line of it
	kernels  int  // of a group that are listed
	full     int  // groups in full
	counted  int  // further groups in one line each
	refusals int  // in one line each
	rows     int  // of the grid
}

// The steps from all to little.
var details = []detail{
	{passes: true, lines: 40, width: 240, kernels: 200, full: 200, counted: 1000, refusals: 50, rows: 60},
	{lines: 40, width: 240, kernels: 200, full: 200, counted: 1000, refusals: 50, rows: 60},
	{lines: 24, width: 200, kernels: 60, full: 200, counted: 1000, refusals: 50, rows: 60},
	{lines: 12, width: 160, kernels: 30, full: 200, counted: 1000, refusals: 30, rows: 60},
	{lines: 6, width: 140, kernels: 15, full: 200, counted: 1000, refusals: 30, rows: 60},
	{lines: 3, width: 120, kernels: 8, full: 200, counted: 1000, refusals: 20, rows: 40},
	{lines: 3, width: 120, kernels: 8, full: 100, counted: 1000, refusals: 20, rows: 40},
	{lines: 3, width: 120, kernels: 8, full: 50, counted: 500, refusals: 20, rows: 40},
	{lines: 3, width: 120, kernels: 8, full: 20, counted: 200, refusals: 20, rows: 40},
	{lines: 3, width: 120, kernels: 5, full: 10, counted: 100, refusals: 20, rows: 40},
	{lines: 3, width: 120, kernels: 5, full: 5, counted: 50, refusals: 20, rows: 20},
	{lines: 3, width: 120, kernels: 3, full: 2, counted: 20, refusals: 10, rows: 10},
	{kernels: 3, counted: 10, refusals: 5, rows: 10},
	{kernels: 3, counted: 3, refusals: 3, rows: 5},
	{kernels: 1, refusals: 1, rows: 5},
}

// truncated renders as much as fits.
func (d *document) truncated(fits func(string) bool) string {
	for _, x := range details {
		if s := d.render(x); fits(s) {
			return s
		}
	}
	// There is hardly any room at all.
	s := d.verdictLine() + "\n"
	for !fits(s) && s != "" {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
