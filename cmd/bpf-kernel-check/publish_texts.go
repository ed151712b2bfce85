package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
)

// What merge writes.
const (
	reportName   = "report.json"
	markdownName = "report.md"
	junitName    = "junit.xml"
)

// Bytes of report.json and of report.md.
const (
	maxReport   = 256 << 20
	maxMarkdown = 4 << 20
)

// readMerged reads report.json.
func readMerged(path string) (report.Merged, error) {
	b, err := readCapped(path, maxReport)
	if err != nil {
		return report.Merged{}, fmt.Errorf("read the report: %w (merge writes it)", err)
	}
	var m report.Merged
	if err := json.Unmarshal(b, &m); err != nil {
		return report.Merged{}, fmt.Errorf("report %q is not what merge writes: %w", path, err)
	}
	if m.Schema != report.MergedSchema {
		return report.Merged{}, fmt.Errorf("report %q has schema %d: want %d, use the same version to merge and to publish", path, m.Schema, report.MergedSchema)
	}
	return m, nil
}

// readMarkdown reads report.md.
func readMarkdown(path string) (string, error) {
	b, err := readCapped(path, maxMarkdown)
	if err != nil {
		return "", fmt.Errorf("read the report: %w (merge writes it)", err)
	}
	return string(b), nil
}

func readCapped(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%q is larger than %d bytes", path, limit)
	}
	return b, err
}

// statusDescription is the result in one line.
func statusDescription(m report.Merged) string {
	passed, failed, untested := numbers(m)
	s := fmt.Sprintf("%d of %d kernels pass", passed, len(m.Kernels))
	if failed > 0 {
		s += fmt.Sprintf(", %d fail", failed)
	}
	if untested > 0 {
		s += fmt.Sprintf(", %d not tested", untested)
	}
	return s
}

// annotations are the refusals, then the kernels that did not pass.
func annotations(m report.Merged) []github.Annotation {
	var all []github.Annotation
	for _, r := range m.Refusals {
		all = append(all, github.Annotation{Title: "bpf-kernel-check: not everything was tested", Message: report.OneLine(r.Reason, 500)})
	}
	for _, k := range m.Kernels {
		if k.Verdict == report.Pass {
			continue
		}
		a := github.Annotation{Title: report.OneLine(k.ID, 200), Message: k.Verdict.String()}
		if k.Cause != nil {
			a.Message += ": " + report.OneLine(k.Cause.Title, 500)
		}
		all = append(all, a)
	}
	return all
}
