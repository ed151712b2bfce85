package analysis

import (
	"fmt"
	"regexp"
	"slices"

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
	Before report.Dep // on the older of the two
	After  report.Dep
}

// differences compares the two kernels of a boundary: what the failing programs
// depend on, and what is not the same. What the failure's words name comes
// first, and how many these are is said. Otherwise, where the payload's tests
// are not its programs, only what will not load counts.
func differences(before, after *report.Facts, failsAfter bool, g suspect) (all []Difference, named int) {
	if before == nil || after == nil {
		return nil, 0
	}
	failing := before
	if failsAfter {
		failing = after
	}
	concerns := func(programs []string) bool {
		return slices.ContainsFunc(programs, func(p string) bool { return slices.Contains(g.Tests, p) })
	}
	byProgram := slices.ContainsFunc(failing.Deps, func(d report.Dep) bool { return concerns(d.Programs) })
	breaks := func(d report.Dep) bool { return len(d.Breaks) > 0 && (!byProgram || concerns(d.Breaks)) }
	old := make(map[string]report.Dep, len(before.Deps))
	for _, d := range before.Deps {
		old[d.Kind+"\x00"+d.Name] = d
	}
	var byTitle, byExcerpt, sure, others []Difference
	for _, a := range after.Deps {
		b, ok := old[a.Kind+"\x00"+a.Name]
		differs := a.Status != b.Status || !sameSignature(a.Signature, b.Signature)
		if !ok || !differs && a.Note == b.Note {
			continue
		}
		good, bad := a, b
		if failsAfter {
			good, bad = b, a
		}
		d := Difference{Dep: a.Kind + " " + a.Name, Before: b, After: a}
		certain := breaks(bad) && !breaks(good)
		switch {
		case (certain || differs) && g.title.have(a.Name):
			byTitle = append(byTitle, d)
		case (certain || differs) && g.excerpt.have(a.Name):
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
	title, excerpt identifiers
}

// identifiers are the names in a text, by its lines.
type identifiers []map[string]bool

var identifier = regexp.MustCompile(`[A-Za-z_]\w*`)

func identifiersOf(lines []string) (all identifiers) {
	for _, l := range lines {
		in := map[string]bool{}
		for _, w := range identifier.FindAllString(l, -1) {
			in[w] = true
		}
		all = append(all, in)
	}
	return all
}

// have says whether one line has all of a name: of "struct kernfs_node.parent"
// the structure and its member.
func (lines identifiers) have(name string) bool {
	want := slices.DeleteFunc(identifier.FindAllString(name, -1), func(w string) bool { return w == "struct" || w == "union" || w == "enum" })
	return len(want) > 0 && slices.ContainsFunc(lines, func(in map[string]bool) bool {
		return !slices.ContainsFunc(want, func(w string) bool { return !in[w] })
	})
}

// parameterName is the name in "struct dentry *dentry,".
var parameterName = regexp.MustCompile(`([ *])\w+([,)])`)

// sameSignature leaves the names of parameters aside.
func sameSignature(a, b string) bool {
	return a == b || parameterName.ReplaceAllString(a, "$1$2") == parameterName.ReplaceAllString(b, "$1$2")
}

// Text says it in words, of two kernels by name; quote is for names and C.
func (d Difference) Text(before, after string, quote func(string) string) string {
	a, b := d.After, d.Before
	name := quote(d.Dep)
	there := func(x report.Dep) bool { return x.Status != depAbsent && x.Status != depUnknown }
	note := func(x report.Dep) string {
		if x.Note == "" {
			return ""
		}
		return " (" + quote(x.Note) + ")"
	}
	if there(a) != there(b) {
		without, with, lacks, has := a, b, after, before
		if there(a) {
			without, with, lacks, has = b, a, before, after
		}
		verb, is := "is not in", ""
		if without.Status == depUnknown {
			verb = "is not known to be in"
		}
		if with.Signature != "" {
			is = ": " + quote(with.Signature)
		}
		return fmt.Sprintf("%s %s %s%s, it is in %s%s", name, verb, quote(lacks), note(without), quote(has), is)
	}
	if a.Signature != b.Signature && a.Signature != "" && b.Signature != "" {
		return fmt.Sprintf("%s is %s from %s (was %s)", name, quote(a.Signature), quote(after), quote(b.Signature))
	}
	return fmt.Sprintf("%s is %s in %s%s, and %s in %s%s", name, quote(b.Status), quote(before), note(b), quote(a.Status), quote(after), note(a))
}
