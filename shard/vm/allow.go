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
	"github.com/elastic/bpf-kernel-check/report/entries"
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

// maxAllowed is how many entries there may be.
const maxAllowed = 500

// text is a text of an entry.
type text string

// UnmarshalYAML takes no number or the like: YAML does not keep how it was written.
func (t *text) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!str" {
		return fmt.Errorf("line %d: a number or the like is no text: put it in quotes", n.Line)
	}
	err := n.Decode((*string)(t))
	*t = text(strings.TrimSpace(string(*t)))
	return err
}

// Read adds the entries of a file. Its format is YAML, a list of entries:
//
//   - pattern: 'WARNING in bpf_test'       # regular expression on a splat's title or excerpt
//     kernels: 'debian/6.1.*'              # glob of ids; without it all
//     reason: fixed in 6.1.90, harmless    # why it may be there
//     link: https://lore.kernel.org/...    # where that can be read up
//
// An error is an *entries.Error.
func (a *Allowed) Read(name string, r io.Reader) error {
	list, where, err := entries.Read[struct{ Pattern, Kernels, Reason, Link text }](r, name)
	if err != nil {
		return err
	}
	for i, in := range list {
		e := allowEntry{at: where[i], AllowEntry: report.AllowEntry{
			Pattern: string(in.Pattern), Kernels: string(in.Kernels), Reason: string(in.Reason), Link: string(in.Link),
		}}
		if err := e.compile(); err != nil {
			return entries.Errorf(e.at, "%w", err)
		}
		for _, other := range a.entries {
			if other.Is(e.AllowEntry) {
				return entries.Errorf(e.at, "pattern %q has an entry at %s already", report.OneLine(e.Pattern, 100), other.at)
			}
		}
		if len(a.entries) == maxAllowed {
			return entries.Errorf(e.at, "more than %d entries: write patterns that cover more", maxAllowed)
		}
		a.entries = append(a.entries, e)
	}
	return nil
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
