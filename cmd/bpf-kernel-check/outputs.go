package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/coverage"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/report/junit"
	"github.com/elastic/bpf-kernel-check/report/markdown"
	"github.com/elastic/bpf-kernel-check/report/merge"
	"github.com/elastic/bpf-kernel-check/report/page"
	"github.com/elastic/bpf-kernel-check/report/summary"
)

// Names of the reports that package report does not name.
const (
	junitName    = "junit.xml"
	markdownName = "report.md"
)

// writeOutputs writes the reports of a merged result to dir, as many as it can,
// and returns their names. The page shows the consoles in dir and the history.
func writeOutputs(dir string, m *report.Merged, o markdown.Options, history *page.History) (names []string, err error) {
	root, err := os.OpenRoot(dir) // so that links in an artifact lead nowhere
	if err != nil {
		return nil, fmt.Errorf("write the reports: %w", err)
	}
	defer root.Close()
	var profile []byte
	if m.Coverage, profile = coverage.Merge(root.FS(), m.Kernels); profile != nil {
		if err = root.WriteFile(coverage.Name, profile, 0o644); err == nil {
			names = append(names, coverage.Name)
		}
	}
	shown := page.Options{RunURL: o.RunURL, Commit: o.Commit, Consoles: root.FS(), History: history}
	for _, o := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{summary.Name, func(w io.Writer) error { return summary.Write(w, m) }},
		{report.ReportName, func(w io.Writer) error { return report.WriteReport(w, m) }},
		{junitName, func(w io.Writer) error { return junit.Write(w, m) }},
		{markdownName, func(w io.Writer) error { return markdown.Write(w, m, o) }},
		{page.Name, func(w io.Writer) error { return page.Write(w, m, shown) }},
		{report.TimingsName, func(w io.Writer) error { return report.WriteTimings(w, report.NewTimings(m.Whole().Kernels)) }},
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

// reportAlone writes the reports of a run of the whole list, from the shard file
// in dir, and returns the result.
func reportAlone(dir, shardFile string, mo merge.Options, o markdown.Options, history *page.History) (*report.Merged, error) {
	f, err := readFile(filepath.Join(dir, shardFile), report.ReadShardFile)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shardFile, err)
	}
	m, _ := merge.Merge(&merge.Collected{Files: []*merge.File{{ShardFile: f}}}, mo)
	_, err = writeOutputs(dir, m, o, history)
	return m, err
}

// links returns the addresses for a report of this job.
func (c *command) links() markdown.Options {
	env, err := github.ReadEnv(c.getenv)
	if err != nil {
		return markdown.Options{MaxChars: github.MaxBody}
	}
	return markdown.Options{MaxChars: github.MaxBody, RunURL: env.RunURL(), Commit: env.CommitURL}
}

// history reads earlier reports; nil without a directory.
func (c *command) history(dir string) *page.History {
	if dir == "" {
		return nil
	}
	return page.ReadHistory(dir, c.warn)
}
