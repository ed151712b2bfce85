package expect

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/elastic/bpf-kernel-check/report"
)

// Limits of a file of expected failures.
const (
	maxExpectFile = 4 << 20
	maxExpect     = 10_000 // entries
	maxReason     = 1000   // bytes
	maxNotes      = 10_000 // of a kernel
	maxGlob       = 200    // bytes
)

// Error is a file of expected failures that cannot be used: the user's to
// mend. Its text is one line and names file and line.
type Error struct {
	Where string
	Msg   string
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
// file's, for messages. Every error is an *Error.
func Read(r io.Reader, name string) ([]Entry, error) {
	bad := func(line int, format string, args ...any) error {
		where := name
		if line > 0 {
			where = fmt.Sprintf("%s:%d", name, line)
		}
		return &Error{where, report.OneLine(fmt.Sprintf(format, args...), 500)}
	}
	b, err := io.ReadAll(io.LimitReader(r, maxExpectFile+1))
	if err != nil {
		return nil, bad(0, "read: %v", err)
	}
	if len(b) > maxExpectFile {
		return nil, bad(0, "it has more than %d MiB", maxExpectFile>>20)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil // nothing, or comments alone
	case err != nil:
		return nil, bad(0, "it is no YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, bad(0, "it holds more than one YAML document: want one list")
	}
	list := doc.Content[0]
	if list.Kind == yaml.ScalarNode && list.Tag == "!!null" {
		return nil, nil
	}
	if list.Kind != yaml.SequenceNode {
		return nil, bad(list.Line, "want a list of entries, each with kernels, tests or verdict, and reason")
	}
	if len(list.Content) > maxExpect {
		return nil, bad(list.Line, "more than %d entries", maxExpect)
	}
	var entries []Entry
	for _, n := range list.Content {
		e, line, err := readExpectation(n)
		if err != nil {
			return nil, bad(line, "%v", err)
		}
		e.Where = fmt.Sprintf("%s:%d", name, n.Line)
		entries = append(entries, e)
	}
	return entries, nil
}

func readExpectation(n *yaml.Node) (e Entry, line int, err error) {
	if n.Kind != yaml.MappingNode {
		return e, n.Line, errors.New("want an entry with kernels, tests or verdict, and reason")
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if seen[key.Value] {
			return e, key.Line, fmt.Errorf("%s stands twice in one entry", key.Value)
		}
		seen[key.Value] = true
		switch key.Value {
		case "kernels":
			e.Kernels, err = globs(value, report.CheckKernelGlob)
		case "tests":
			e.Tests, err = globs(value, checkTestGlob)
		case "verdict":
			e.Verdict, err = expectedVerdict(value)
		case "reason":
			e.Reason, err = text(value)
		case "link":
			if e.Link, err = text(value); err == nil {
				err = report.CheckLink(e.Link)
			}
		case "expires":
			e.Expires, err = day(value)
		default:
			err = errors.New("no such key: want kernels, tests, verdict, reason, link, expires")
		}
		if err != nil {
			return e, key.Line, fmt.Errorf("%.60s: %w", key.Value, err)
		}
	}
	switch {
	case e.Reason == "":
		return e, n.Line, errors.New("the entry has no reason: say why this failure is expected")
	case len(e.Kernels) == 0:
		return e, n.Line, errors.New("the entry has no kernels: want a glob of kernel ids, such as debian/5.10.*, or '*' for all")
	case len(e.Tests) == 0 && e.Verdict == report.Unknown:
		return e, n.Line, errors.New("the entry has neither tests nor verdict: want one of them")
	case len(e.Tests) > 0 && e.Verdict != report.Unknown:
		return e, n.Line, errors.New("the entry has tests and verdict: want an entry for each")
	}
	return e, 0, nil
}

func text(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return "", errors.New("want a text")
	}
	if len(n.Value) > maxReason {
		return "", fmt.Errorf("want at most %d bytes", maxReason)
	}
	return report.OneLine(n.Value, maxReason), nil
}

// globs reads one glob or a list of them.
func globs(n *yaml.Node, check func(string) error) ([]string, error) {
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	if len(nodes) == 0 || len(nodes) > 1000 {
		return nil, errors.New("want 1 to 1000 globs")
	}
	var all []string
	for _, n := range nodes {
		s, err := text(n)
		switch {
		case err != nil:
			return nil, err
		case s == "":
			return nil, errors.New("an empty glob: want one such as 'debian/6.1.*'")
		case len(s) > maxGlob:
			return nil, fmt.Errorf("a glob of %d bytes: want at most %d", len(s), maxGlob)
		}
		if err := check(s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func checkTestGlob(glob string) error {
	if _, err := path.Match(glob, ""); err != nil {
		return fmt.Errorf("%q is no glob: quote [, * and ? that stand for themselves with a backslash", glob)
	}
	return nil
}

func expectedVerdict(n *yaml.Node) (report.Verdict, error) {
	switch v, err := report.ParseVerdict(n.Value); {
	case n.Kind != yaml.ScalarNode, err != nil:
	case v == report.Crash || v == report.Timeout || v == report.NoBoot:
		return v, nil
	}
	return report.Unknown, errors.New("want crash, timeout or no-boot; tests that fail are named by tests, and what was not tested cannot be expected")
}

func day(n *yaml.Node) (string, error) {
	if _, err := time.Parse(time.DateOnly, n.Value); n.Kind != yaml.ScalarNode || err != nil {
		return "", fmt.Errorf("%.40q: want a day such as 2027-01-31", n.Value)
	}
	return n.Value, nil
}
