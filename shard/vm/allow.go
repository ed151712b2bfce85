package vm

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
)

// Allowed are the splats that are no crash: known ones that say nothing about
// what is tested. The zero value allows none.
type Allowed struct {
	entries []allowEntry
}

type allowEntry struct {
	report.AllowEntry
	at string // FILE:LINE
	re *regexp.Regexp
}

// Limits of a list of allowed splats.
const (
	maxAllowFile    = 1 << 20 // bytes
	maxAllowEntries = 500
	maxAllowText    = 1000 // bytes of a value
)

// AllowError is an entry that cannot be: the user's to mend.
type AllowError struct{ error }

func (e AllowError) Unwrap() error { return e.error }

// Read adds the entries of a file. Its format is YAML, a list of entries:
//
//   - pattern: 'WARNING in bpf_test'       # regular expression on a splat's title or excerpt
//     kernels: 'debian/6.1.*'              # glob of ids; without it all
//     reason: fixed in 6.1.90, harmless    # why it may be there
//     link: https://lore.kernel.org/...    # where that can be read up
//
// An error is an AllowError that starts with FILE:LINE.
func (a *Allowed) Read(name string, r io.Reader) error {
	bad := func(line int, format string, args ...any) error {
		return AllowError{fmt.Errorf("%s:%d: "+format, append([]any{name, max(1, line)}, args...)...)}
	}
	b, err := io.ReadAll(io.LimitReader(r, maxAllowFile+1))
	if err != nil {
		return AllowError{fmt.Errorf("%s: %w", name, err)}
	}
	if len(b) > maxAllowFile {
		return bad(1, "it has more than %d MiB: want a list of splats", maxAllowFile>>20)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil // nothing is allowed
	case err != nil:
		return yamlError(name, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return bad(1, "it has more than one document: want one list of entries")
	}
	list := doc.Content[0]
	if list.Kind == yaml.ScalarNode && list.Tag == "!!null" {
		return nil
	}
	if list.Kind != yaml.SequenceNode {
		return bad(list.Line, "want a list of entries, each with pattern, kernels, reason and link")
	}
	for _, n := range list.Content {
		e := allowEntry{at: fmt.Sprintf("%s:%d", name, n.Line)}
		if n.Kind != yaml.MappingNode {
			return bad(n.Line, "want an entry with pattern, kernels, reason and link")
		}
		fields := map[string]*string{"pattern": &e.Pattern, "kernels": &e.Kernels, "reason": &e.Reason, "link": &e.Link}
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, v := n.Content[i], n.Content[i+1]
			field, known := fields[key.Value]
			switch {
			case !known:
				return bad(key.Line, "unknown key %.50q: want pattern, kernels, reason or link", key.Value)
			case seen[key.Value]:
				return bad(key.Line, "%s stands twice in an entry", key.Value)
			case v.Kind != yaml.ScalarNode || v.Tag != "!!str":
				return bad(v.Line, "%s is no text: put it in quotes", key.Value)
			case len(v.Value) > maxAllowText:
				return bad(v.Line, "%s has %d bytes: want at most %d", key.Value, len(v.Value), maxAllowText)
			case strings.TrimSpace(v.Value) == "":
				return bad(v.Line, "%s is empty", key.Value)
			}
			seen[key.Value] = true
			*field = strings.TrimSpace(v.Value)
		}
		if err := e.compile(); err != nil {
			return bad(n.Line, "%w", err)
		}
		for _, other := range a.entries {
			if other.Is(e.AllowEntry) {
				return bad(n.Line, "pattern %q has an entry at %s already", report.OneLine(e.Pattern, 100), other.at)
			}
		}
		if len(a.entries) == maxAllowEntries {
			return bad(n.Line, "more than %d entries: write patterns that cover more", maxAllowEntries)
		}
		a.entries = append(a.entries, e)
	}
	return nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// yamlError puts the line in its place.
func yamlError(name string, err error) error {
	msg := report.OneLine(err.Error(), 200)
	line := "1"
	if m := yamlLine.FindStringSubmatch(msg); m != nil && m[1] != "" {
		line = m[1]
	}
	return AllowError{fmt.Errorf("%s:%s: no YAML: %s", name, line, yamlLine.ReplaceAllString(msg, ""))}
}

// matchesAnything says whether an expression matches the empty text, texts that
// have nothing in common, or every kind of splat.
func matchesAnything(re *regexp.Regexp) bool {
	all := func(texts ...string) bool {
		return !slices.ContainsFunc(texts, func(s string) bool { return !re.MatchString(s) })
	}
	return re.MatchString("") || all(strings.Repeat("q", 40), strings.Repeat("7", 40), strings.Repeat("~", 40)) ||
		all("WARNING in foo", "BUG: soft lockup in bar", "UBSAN: shift-out-of-bounds in baz.c", "task hung in qux", "refcount_t: underflow; use-after-free in quux", "RCU stall")
}

// compile checks an entry.
func (e *allowEntry) compile() error {
	switch {
	case e.Pattern == "":
		return errors.New("the entry has no pattern: say which splat is meant")
	case e.Reason == "":
		return fmt.Errorf("the entry for %q has no reason: say why the splat is harmless", report.OneLine(e.Pattern, 100))
	}
	var err error
	if e.re, err = regexp.Compile(e.Pattern); err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	if matchesAnything(e.re) {
		return fmt.Errorf("pattern %q matches everything: say which splat is meant", report.OneLine(e.Pattern, 100))
	}
	if e.Kernels != "" {
		if err := source.CheckGlobs([]string{e.Kernels}); err != nil {
			return err
		}
	}
	if e.Link != "" {
		if err := report.CheckLink(e.Link); err != nil {
			return fmt.Errorf("link %w", err)
		}
	}
	return nil
}

// Entries are all entries, as results name them.
func (a *Allowed) Entries() []report.AllowEntry {
	if a == nil {
		return nil
	}
	var entries []report.AllowEntry
	for _, e := range a.entries {
		entries = append(entries, e.AllowEntry)
	}
	return entries
}

// At is where an entry stands, as FILE:LINE.
func (a *Allowed) At(e report.AllowEntry) string {
	for _, x := range a.entries {
		if x.Is(e) {
			return x.at
		}
	}
	return ""
}

// covers returns the first entry that allows what a kernel said. What ends the
// machine is never allowed, nor what nobody has looked at.
func (a *Allowed) covers(id string, f console.Finding) (report.AllowEntry, bool) {
	if a == nil || f.Kind.Fatal() || f.Overflow {
		return report.AllowEntry{}, false
	}
	for _, e := range a.entries {
		if e.Kernels != "" && !report.MatchKernel([]string{e.Kernels}, id) {
			continue
		}
		if e.re.MatchString(f.Title) || e.re.MatchString(f.Excerpt) {
			return e.AllowEntry, true
		}
	}
	return report.AllowEntry{}, false
}

// withoutAllowed takes the allowed ones out of what a kernel said, and returns
// them and the bits of the taint that they explain.
func (a *Allowed) withoutAllowed(id string, findings []console.Finding) (rest []console.Finding, allowed []report.Splat, taint uint64) {
	for _, f := range findings {
		e, ok := a.covers(id, f)
		if !ok || !f.Kind.Crash() {
			rest = append(rest, f)
			continue
		}
		taint |= f.Taint
		allowed = append(allowed, report.Splat{Title: f.Title, Location: f.Location, Allowed: e})
	}
	return rest, allowed, taint
}
