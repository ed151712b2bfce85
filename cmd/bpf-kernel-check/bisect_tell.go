package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
	"github.com/elastic/bpf-kernel-check/shard/bisect"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// Limits of what is printed at the end.
const (
	maxReasons = 10
	maxChanges = 10 // of the changelog
	maxOthers  = 5  // kernels that fail otherwise
)

// tell prints what came of a line.
func (b *bisection) tell(ctx context.Context, l kernelLine, s *bisect.Bisection, end bisect.End) {
	say := func(format string, args ...any) { fmt.Fprintf(b.stdout, format+"\n", args...) }
	id := func(i int) string { return l.entries[i].ID() }
	is := func(i int) string {
		return [...]string{"was not tested", "passes", "fails", "could not be tested"}[s.Outcomes[i]]
	}
	switch end {
	case bisect.NoEnds:
		say("%s: nothing is known: no two kernels could be tested", l.name)
		return
	case bisect.NotAsGiven:
		for _, x := range []struct {
			flag string
			at   int
			want bisect.Outcome
		}{{"--good", s.Good, bisect.Good}, {"--bad", s.Bad, bisect.Bad}} {
			if x.at >= 0 && s.Outcomes[x.at] != x.want {
				say("%s: %s is %s, which %s: give another kernel, or leave %s out", l.name, x.flag, id(x.at), is(x.at), x.flag)
			}
		}
		return
	case bisect.Alike:
		verb := "pass"
		if s.Outcomes[s.Low] == bisect.Bad {
			verb = "fail"
			if b.failure(id(s.Low)) != b.failure(id(s.High)) {
				verb = "fail, each in its own way"
			}
		}
		say("%s: nothing to find: %s and %s both %s", l.name, id(s.Low), id(s.High), verb)
		return
	}
	if s.Low < 0 {
		say("%s: --max-boots %d does not suffice to find one that passes and one that fails", l.name, s.MaxBoots)
		return
	}
	what := "broke"
	if s.Outcomes[s.Low] == bisect.Bad {
		what = "mended"
	}
	between := s.High - s.Low - 1
	switch end {
	case bisect.Found:
		say("%s: %s is the kernel that %s it (%s of %s)", l.name, id(s.High), what, count(s.Boots, "boot"), count(len(l.entries), "kernel"))
	case bisect.TooMany:
		say("%s: --max-boots %d does not suffice: one of the %s after %s %s it", l.name, s.MaxBoots, count(between+1, "kernel"), id(s.Low), what)
	case bisect.EndUnknown:
		say("%s: ended before it was found: one of the %s after %s %s it", l.name, count(between+1, "kernel"), id(s.Low), what)
	default:
		say("%s: one of the %s after %s %s it: %d of them could not be tested", l.name, count(between+1, "kernel"), id(s.Low), what, between)
	}
	say("  %-6s %s", is(s.Low), id(s.Low))
	say("  %-6s %s", is(s.High), id(s.High))
	bad := s.High
	if what == "mended" {
		bad = s.Low
	}
	b.tellFailure(id(bad), say)
	b.tellOthers(l, s, id(bad), say)
	low, high := l.entries[s.Low], l.entries[s.High]
	names := b.tellReasons(ctx, low, high, say)
	b.tellChanges(ctx, low, high, names, say)
	if b.indexPath != "" {
		say("all that changed between them for BPF programs:\n  bpf-kernel-check index diff --index %s %s %s", b.indexPath, low.ID(), high.ID())
	}
	say("to see it:")
	for _, e := range []plan.Entry{low, high} {
		if cmd := b.results[e.ID()].Reproduce; cmd != "" {
			say("  %s", cmd)
		}
	}
}

// failure is the same for kernels that fail in the same way.
func (b *bisection) failure(id string) string {
	var keys []string
	for _, g := range b.groups(id) {
		keys = append(keys, g.Key)
	}
	slices.Sort(keys)
	return strings.Join(keys, "\n")
}

func (b *bisection) groups(ids ...string) []analysis.Group {
	m := &report.Merged{}
	for _, id := range ids {
		m.Kernels = append(m.Kernels, b.results[id])
	}
	return analysis.Groups(m)
}

// tellFailure says why a kernel fails.
func (b *bisection) tellFailure(id string, say func(string, ...any)) {
	for i, g := range b.groups(id) {
		if i == 3 {
			say("         and more: see the report")
			break
		}
		what := g.Verdict.String()
		if len(g.Tests) > 0 {
			what = report.List(g.Tests, 3, func(s string) string { return report.OneLine(s, 200) })
		}
		say("         %s: %s", what, report.OneLine(g.Title, 300))
	}
}

// tellOthers names the kernels that fail in another way than the one at the change.
func (b *bisection) tellOthers(l kernelLine, s *bisect.Bisection, bad string, say func(string, ...any)) {
	var others []string
	for i, o := range s.Outcomes {
		if id := l.entries[i].ID(); o == bisect.Bad && id != bad && b.failure(id) != b.failure(bad) {
			others = append(others, id)
		}
	}
	if len(others) > 0 {
		say("  note: in another way fail %s: what broke those may be another kernel", report.List(others, maxOthers, report.Text))
	}
}

// tellReasons says what changed from one kernel to the next for the payload, and
// returns the names in it.
func (b *bisection) tellReasons(ctx context.Context, low, high plan.Entry, say func(string, ...any)) (names []string) {
	if len(b.forecast.Objects()) > 0 {
		if x, y := b.kernel(ctx, low), b.kernel(ctx, high); x != nil && y != nil {
			d := b.forecast.Difference(x, y)
			if lines := d.Lines(maxReasons); len(lines) > 0 {
				say("what changed for the payload:")
				for _, l := range lines {
					say("  %s", l)
				}
				for _, c := range d.Changes {
					names = append(names, c.Name)
				}
				return names
			}
		}
	}
	var reasons []string
	for _, g := range b.groups(low.ID(), high.ID()) {
		for _, of := range g.Boundaries {
			shown, folded := of.Reasons(func(s string) string { return report.OneLine(s, 300) })
			for _, r := range slices.Concat(shown, folded) {
				if !slices.Contains(reasons, r) {
					reasons = append(reasons, r)
				}
			}
			for _, d := range of.Differences {
				names = append(names, d.After.Name)
			}
		}
	}
	if len(reasons) == 0 {
		if len(b.forecast.Objects()) == 0 {
			say("what changed for the payload is not known: no BPF objects were found in it")
		} else {
			say("preflight knows of nothing that changed for the payload")
		}
		return nil
	}
	say("what changed for the payload:")
	for i, r := range reasons {
		if i == maxReasons {
			say("  and %d more: see the report", len(reasons)-i)
			break
		}
		say("  %s", r)
	}
	return names
}

// concerning are words of changes that may concern BPF programs.
var concerning = regexp.MustCompile(`(?i)\b(e?bpf|btf|xdp|libbpf|pahole|ftrace|fprobe|kprobes?|tracepoints?|tracing)\b`)

// tellChanges prints the changelog between two kernels, as far as the package of the
// newer has it: first what names something that changed.
func (b *bisection) tellChanges(ctx context.Context, low, high plan.Entry, names []string, say func(string, ...any)) {
	after, upTo := packageVersion(low), packageVersion(high)
	if after == "" || upTo == "" {
		return
	}
	im, err := high.Source.Open(ctx, high.Ref)
	var c kernel.Changes
	if err == nil {
		c, err = im.ReadChangelog(ctx, after, upTo)
	}
	switch {
	case err != nil:
		b.warn(err.Error())
		return
	case len(c.Versions) == 0:
		say("changelog: the package of %s has none that goes back to %s", high.ID(), after)
		return
	}
	var named, others []string
	for _, line := range c.Lines {
		switch {
		case slices.ContainsFunc(names, func(n string) bool { return mentions(line, n) }):
			named = append(named, line)
		case concerning.MatchString(line):
			others = append(others, line)
		}
	}
	found := append(named, others...)
	say("changelog of %s, %s to %s: %s, %d of BPF and tracing", high.Distro, c.Versions[len(c.Versions)-1], c.Versions[0], count(len(c.Lines), "change"), len(found))
	for i, line := range found {
		if i == maxChanges {
			say("  and %d more", len(found)-i)
			break
		}
		say("  %s", report.OneLine(line, 200))
	}
}

// mentions says whether a line has an identifier of a dependency's name, such as
// "struct task_struct.state", as a word.
func mentions(line, name string) bool {
	words := strings.FieldsFunc(line, func(r rune) bool { return r != '_' && (r < '0' || r > '9' && r < 'A' || r > 'Z' && r < 'a' || r > 'z') })
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune(" .:/*", r) }) {
		// A short or common word says nothing.
		if len(part) > 4 && part != "struct" && part != "union" && slices.Contains(words, part) {
			return true
		}
	}
	return false
}

// packageVersion is that of a distribution's kernel; "" if its name does not tell.
func packageVersion(e plan.Entry) string {
	_, v, _ := strings.Cut(e.Name, "__")
	if v == "" || v[0] < '0' || v[0] > '9' {
		return ""
	}
	return v
}
