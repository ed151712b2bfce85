package expect

import (
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/entries"
)

const (
	maxNotes = 10_000 // of a kernel
	maxGlobs = 1000   // of an entry
)

// globs are one glob or a list of them.
type globs []string

func (g *globs) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		return n.Decode((*[]string)(g))
	}
	*g = make(globs, 1)
	return n.Decode(&(*g)[0])
}

// Read reads a YAML list of entries:
//
//   - kernels: debian/5.10.*   # a glob, or a list of them
//     tests: TestRingbuf*      # a glob, or a list of them
//     reason: ringbuf needs 5.8 and a backport that 5.10 lacks
//     link: https://example.org/issues/7
//     expires: 2027-01-31
//
// or, in the place of tests, "verdict: crash" (timeout, no-boot). name is the
// file's, for messages. Every error is an *entries.Error.
func Read(r io.Reader, name string) ([]Entry, error) {
	type entry struct {
		Kernels, Tests                 globs
		Verdict, Reason, Link, Expires string
	}
	list, where, err := entries.Read[entry](r, name)
	if err != nil {
		return nil, err
	}
	var all []Entry
	for i, in := range list {
		e := Entry{
			Kernels: in.Kernels, Tests: in.Tests, Reason: report.OneLine(in.Reason, entries.MaxText), Link: in.Link, Expires: in.Expires, Where: where[i],
		}
		if e.Verdict, err = report.ParseVerdict(in.Verdict); err == nil || in.Verdict == "" {
			err = e.check()
		}
		if err != nil {
			return nil, entries.Errorf(where[i], "%w", err)
		}
		all = append(all, e)
	}
	return all, nil
}

// check says why an entry is none.
func (e Entry) check() error {
	switch {
	case e.Reason == "":
		return errors.New("the entry has no reason: say why this failure is expected")
	case len(e.Kernels) == 0:
		return errors.New("the entry has no kernels: want a glob of kernel ids, such as debian/5.10.*, or '*' for all")
	case len(e.Tests) == 0 && e.Verdict == report.Unknown:
		return errors.New("the entry has neither tests nor verdict: want one of them")
	case len(e.Tests) > 0 && e.Verdict != report.Unknown:
		return errors.New("the entry has tests and verdict: want an entry for each")
	case len(e.Tests) > maxGlobs || len(e.Kernels) > maxGlobs:
		return fmt.Errorf("the entry has more than %d globs", maxGlobs)
	}
	switch e.Verdict {
	case report.Unknown, report.Crash, report.Timeout, report.NoBoot:
	default:
		return fmt.Errorf("verdict %v: want crash, timeout or no-boot; tests that fail are named by tests, and what was not tested cannot be expected", e.Verdict)
	}
	for _, g := range e.Kernels {
		if err := report.CheckKernelGlob(g); err != nil {
			return err
		}
	}
	for _, g := range e.Tests {
		if _, err := path.Match(g, ""); err != nil {
			return fmt.Errorf("test glob %q is not valid: quote [, * and ? that stand for themselves with a backslash", g)
		}
	}
	if e.Expires != "" {
		if _, err := time.Parse(time.DateOnly, e.Expires); err != nil {
			return fmt.Errorf("expires %.40q: want a day such as 2027-01-31", e.Expires)
		}
	}
	if e.Link != "" {
		if err := report.CheckLink(e.Link); err != nil {
			return fmt.Errorf("link %w", err)
		}
	}
	return nil
}
