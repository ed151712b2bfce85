package analysis

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// Status of a Dep.
const (
	depAbsent  = "absent"
	depUnknown = "unknown"
)

const (
	maxDifference       = 20 // of a boundary
	maxShownDifferences = 4  // of these, those that are not folded
)

// Difference is what a failing program depends on and what two neighbours do
// not have alike.
type Difference struct {
	Dep    string     // "fentry vfs_unlink"
	Name   string     // of a function: vfs_unlink; else as Dep
	Before report.Dep // on the older of the two
	After  report.Dep
}

// differences compares the two kernels of a boundary: what the failing programs
// depend on, and what is not the same. What the failure's words name comes
// first, and how many these are is said. Otherwise, where the payload's tests
// are not its programs, only what will not load counts.
func differences(before, after *report.Facts, failing *report.Facts, g suspect) (all []Difference, named int) {
	if before == nil || after == nil {
		return nil, 0
	}
	tests := g.Tests
	known := map[string]bool{}
	for i := range failing.Deps {
		for _, p := range failing.Deps[i].Programs {
			known[p] = true
		}
	}
	byProgram := slices.ContainsFunc(tests, func(t string) bool { return known[t] })
	concerns := func(programs []string) bool {
		return slices.ContainsFunc(programs, func(p string) bool { return slices.Contains(tests, p) })
	}
	breaks := func(d *report.Dep) bool {
		if byProgram {
			return concerns(d.Breaks)
		}
		return len(d.Breaks) > 0
	}
	old := make(map[string]*report.Dep, len(before.Deps))
	for i := range before.Deps {
		old[depKey(&before.Deps[i])] = &before.Deps[i]
	}
	passing := before
	if failing == before {
		passing = after
	}
	good := make(map[string]*report.Dep, len(passing.Deps))
	for i := range passing.Deps {
		good[depKey(&passing.Deps[i])] = &passing.Deps[i]
	}
	var byTitle, byExcerpt, sure, others []Difference
	for i := range after.Deps {
		a := &after.Deps[i]
		b := old[depKey(a)]
		if b == nil || b.Status == a.Status && sameSignature(b.Signature, a.Signature) && b.Note == a.Note {
			continue
		}
		bad := a
		if failing == before {
			bad = b
		}
		d := Difference{Dep: a.Kind + " " + a.Name, Name: a.Name, Before: *b, After: *a}
		certain := breaks(bad) && !breaks(good[depKey(a)])
		differs := a.Status != b.Status || !sameSignature(a.Signature, b.Signature)
		switch {
		case (certain || differs) && g.names().title(a.Name):
			byTitle = append(byTitle, d)
		case (certain || differs) && g.names().excerpt(a.Name):
			byExcerpt = append(byExcerpt, d)
		case certain:
			sure = append(sure, d)
		case differs && byProgram && concerns(a.Programs):
			others = append(others, d)
		}
	}
	// What will not load, or is named, is reason enough.
	all = slices.Concat(byTitle, byExcerpt, sure)
	named = len(byTitle) + len(byExcerpt)
	if len(all) == 0 {
		all = others
	}
	all = all[:min(len(all), maxDifference)]
	return all, min(named, len(all))
}

// suspect is a group whose boundaries are looked for.
type suspect struct {
	*Group
	names func() names // in its title and excerpt
}

// names finds the names of a kernel's things in what a failure says.
type names struct{ titleLines, excerptLines []map[string]bool }

func newNames(title, excerpt string) names {
	words := func(lines []string) (all []map[string]bool) {
		for _, l := range lines {
			in := map[string]bool{}
			for _, w := range identifier.FindAllString(l, -1) {
				in[w] = true
			}
			all = append(all, in)
		}
		return all
	}
	return names{words([]string{title}), words(outputLines(excerpt))}
}

var identifier = regexp.MustCompile(`[A-Za-z_]\w*`)

func (n names) title(name string) bool   { return inOneLine(n.titleLines, name) }
func (n names) excerpt(name string) bool { return inOneLine(n.excerptLines, name) }

// inOneLine says whether one line has all of a name: of "struct
// kernfs_node.parent" the structure and its member.
func inOneLine(lines []map[string]bool, name string) bool {
	var want []string
	for _, w := range identifier.FindAllString(name, -1) {
		if w != "struct" && w != "union" && w != "enum" {
			want = append(want, w)
		}
	}
	return len(want) > 0 && slices.ContainsFunc(lines, func(in map[string]bool) bool {
		return !slices.ContainsFunc(want, func(w string) bool { return !in[w] })
	})
}

func depKey(d *report.Dep) string { return d.Kind + "\x00" + d.Name }

// sameSignature leaves the names of parameters aside.
func sameSignature(a, b string) bool {
	if a == b {
		return true
	}
	pa, oka := parameters(a)
	pb, okb := parameters(b)
	if !oka || !okb || len(pa) != len(pb) {
		return false
	}
	for i := range pa {
		if typeOfParameter(pa[i]) != typeOfParameter(pb[i]) {
			return false
		}
	}
	return a[:strings.IndexByte(a, '(')] == b[:strings.IndexByte(b, '(')]
}

// parameters cuts a prototype in C into its parameters.
func parameters(signature string) (list []string, ok bool) {
	from := strings.IndexByte(signature, '(')
	if from < 0 || !strings.HasSuffix(signature, ")") || strings.HasPrefix(signature[from:], "(*") {
		return nil, false
	}
	depth, start := 0, from+1
	for i := from; i < len(signature); i++ {
		switch signature[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 && i != len(signature)-1 {
				return nil, false
			}
		case ',':
			if depth == 1 {
				list = append(list, strings.TrimSpace(signature[start:i]))
				start = i + 1
			}
		}
	}
	if last := strings.TrimSpace(signature[start : len(signature)-1]); last != "void" && last != "" {
		list = append(list, last)
	}
	return list, depth == 0
}

// typeOfParameter takes the name off "struct dentry *dentry".
func typeOfParameter(p string) string {
	i := strings.LastIndexAny(p, " *")
	if i < 0 {
		return p
	}
	return strings.TrimSpace(p[:i+1])
}

// Text says it in words, of two kernels by name; quote is for names and C.
func (d Difference) Text(before, after string, quote func(string) string) string {
	a, b := d.After, d.Before
	name := quote(d.Dep)
	there := func(x report.Dep) bool { return x.Status != depAbsent && x.Status != depUnknown }
	missing := func(x report.Dep, on string, other report.Dep, where string) string {
		verb := "is not in"
		if x.Status == depUnknown {
			verb = "is not known to be in"
		}
		is := ""
		if other.Signature != "" {
			is = ": " + quote(other.Signature)
		}
		return fmt.Sprintf("%s %s %s%s, it is in %s%s", name, verb, quote(on), aside(x.Note, quote), quote(where), is)
	}
	switch {
	case there(b) && !there(a):
		return missing(a, after, b, before)
	case !there(b) && there(a):
		return missing(b, before, a, after)
	}
	pa, oka := parameters(a.Signature)
	pb, okb := parameters(b.Signature)
	if oka && okb && len(pa) != len(pb) {
		s := fmt.Sprintf("%s takes %s from %s (was %d)", quote(d.Name), report.Count(len(pa), "argument"), quote(after), len(pb))
		if how := inserted(pb, pa, quote); how != "" {
			return s + ": " + how
		}
		return s + ": " + quote(a.Signature) + ", was " + quote(b.Signature)
	}
	if a.Signature != b.Signature && a.Signature != "" && b.Signature != "" {
		return fmt.Sprintf("%s is %s from %s (was %s)", name, quote(a.Signature), quote(after), quote(b.Signature))
	}
	return fmt.Sprintf("%s is %s in %s%s, and %s in %s%s", name, quote(b.Status), quote(before), aside(b.Note, quote), quote(a.Status), quote(after), aside(a.Note, quote))
}

func aside(note string, quote func(string) string) string {
	if note == "" {
		return ""
	}
	return " (" + quote(note) + ")"
}

// inserted says which one parameter came or went, "" when it is not just one.
func inserted(old, now []string, quote func(string) string) string {
	verb, more, fewer := "came", now, old
	if len(old) > len(now) {
		verb, more, fewer = "went", old, now
	}
	if len(more) != len(fewer)+1 {
		return ""
	}
	for i := range more {
		rest := slices.Delete(slices.Clone(more), i, i+1)
		same := true
		for j := range rest {
			same = same && typeOfParameter(rest[j]) == typeOfParameter(fewer[j])
		}
		if !same {
			continue
		}
		switch i {
		case 0:
			return quote(more[i]) + " " + verb + " first"
		case len(more) - 1:
			return quote(more[i]) + " " + verb + " last"
		}
		return fmt.Sprintf("%s %s as number %d", quote(more[i]), verb, i+1)
	}
	return ""
}
