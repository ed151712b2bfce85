package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
)

// Names of the reports that have no name of their own in package report.
const (
	junitName    = "junit.xml"
	markdownName = "report.md"
)

// writeOutputs writes every report of a merged result into dir, as many as can
// be written, and returns their names.
func writeOutputs(dir string, m *report.Merged, o report.MarkdownOptions) (names []string, err error) {
	for _, o := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{report.SummaryName, func(w io.Writer) error { return report.WriteSummary(w, m.At, m.Kernels) }},
		{report.ReportName, func(w io.Writer) error { return report.WriteReport(w, m) }},
		{junitName, func(w io.Writer) error { return report.WriteJUnit(w, m) }},
		{markdownName, func(w io.Writer) error { return report.WriteMarkdown(w, m, o) }},
		{report.TimingsName, func(w io.Writer) error { return report.WriteTimings(w, report.NewTimings(m.Kernels)) }},
	} {
		var b bytes.Buffer
		oerr := o.write(&b)
		if oerr == nil {
			oerr = os.WriteFile(filepath.Join(dir, o.name), b.Bytes(), 0o644)
		}
		if oerr != nil {
			err = errors.Join(err, fmt.Errorf("write %s: %w", o.name, oerr))
			continue
		}
		names = append(names, o.name)
	}
	return names, err
}

// reportAlone writes the reports of a run that had the whole list as its only
// shard, from the shard file that it left in dir. Their date is at.
func reportAlone(dir, shardFile string, at time.Time, o report.MarkdownOptions) error {
	f, err := readFile(filepath.Join(dir, shardFile), report.ReadShardFile)
	if err != nil {
		return fmt.Errorf("read %s: %w", shardFile, err)
	}
	m, _ := report.Merge(&report.Collected{Files: []*report.ShardFile{f}}, report.MergeOptions{Tool: version(), At: at})
	_, err = writeOutputs(dir, m, o)
	return err
}

// links are the addresses that a report of this job names.
func (c *command) links() report.MarkdownOptions {
	env, err := github.ReadEnv(c.getenv)
	if err != nil {
		return report.MarkdownOptions{MaxChars: github.MaxBody}
	}
	return report.MarkdownOptions{MaxChars: github.MaxBody, RunURL: env.RunURL(), Commit: env.CommitURL}
}
