package preflight

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Text writes a survey for people: what is the same on many kernels once, with
// the kernels as ranges.
func (s *Survey) Text(w io.Writer) error {
	bw := bufio.NewWriter(w)
	t := &text{Survey: s, w: bw}
	for k := range s.Kernels {
		if s.Kernels[k].Err == "" {
			t.known = append(t.known, k)
		} else {
			fmt.Fprintf(bw, "%s: unknown: %s\n", t.name(k), s.Kernels[k].Err)
		}
	}
	if len(t.known) > 0 {
		for o := range s.Objects {
			t.object(o)
		}
	}
	return bw.Flush()
}

type text struct {
	*Survey
	w     *bufio.Writer
	known []int
}

// row is kernels with the same answer.
type row struct {
	words   string
	more    []string // lines below
	kernels []int
}

func (t *text) object(o int) {
	if broken := t.Objects[o].Broken; broken != "" {
		fmt.Fprintf(t.w, "%s: %s\n\n", t.Objects[o].Name, broken)
		return
	}
	if t.Kernels[t.known[0]].Results[o].empty() {
		fmt.Fprintf(t.w, "%s: nothing to check: it has neither programs nor maps of its own\n\n", t.Objects[o].Name)
		return
	}
	count := map[string]int{}
	for _, k := range t.known {
		r := t.Kernels[k].Results[o]
		count[words(r.Loads(), r.Attaches())]++
	}
	var parts []string
	for _, w := range []string{words(WillLoad, WillLoad), words(WillNot, WillNot), words(WillLoad, WillNot), words(MayLoad, MayLoad)} {
		if n := count[w]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s on %d", w, n))
		}
	}
	fmt.Fprintf(t.w, "%s: %s\n", t.Objects[o].Name, strings.Join(parts, ", "))

	fmt.Fprintln(t.w, "\n  programs")
	t.programs(o)
	fmt.Fprintln(t.w, "\n  dependencies")
	t.deps(o)
	fmt.Fprintln(t.w)
}

func (t *text) programs(o int) {
	all := map[string][]string{} // programs that are the same on all kernels
	for p, program := range t.Kernels[t.known[0]].Results[o].Programs {
		name := strings.TrimPrefix(program.Name, t.Objects[o].Name+"/")
		rows := t.rows(func(k int) (string, []string) {
			return t.Kernels[k].Results[o].Programs[p].words(), nil
		})
		if len(rows) == 1 {
			all[rows[0].words] = append(all[rows[0].words], name)
			continue
		}
		fmt.Fprintf(t.w, "    %s\n", name)
		t.print(rows)
	}
	for _, words := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(t.w, "    %s on all %d: %s\n", words, len(t.known), strings.Join(all[words], ", "))
	}
}

func (t *text) deps(o int) {
	present := map[string][]string{} // by kind
	var kinds []string
	wants := t.Objects[o].wants()
	for d, dep := range t.Objects[o].Deps {
		if !wants[d] {
			continue
		}
		rows := t.rows(func(k int) (string, []string) {
			a := t.Kernels[k].Results[o].Answers[d]
			return a.words(dep), a.lines()
		})
		a := t.Kernels[t.known[0]].Results[o].Answers[d]
		if len(rows) == 1 && a.Status == Present && a.Note == "" {
			if present[dep.Kind] == nil {
				kinds = append(kinds, dep.Kind)
			}
			present[dep.Kind] = append(present[dep.Kind], dep.Name)
			continue
		}
		fmt.Fprintf(t.w, "    %s\n", dep)
		t.print(rows)
	}
	for _, kind := range kinds {
		fmt.Fprintf(t.w, "    present on all %d: %s: %s\n", len(t.known), kind, strings.Join(present[kind], ", "))
	}
}

// words says for people what comes of the program.
func (p Program) words() string {
	if p.Skip != "" {
		return "not loaded: " + p.Skip
	}
	w := words(p.Loads, p.Attaches)
	if len(p.Mistaken) > 0 && p.Loads != WillNot {
		w += ", mistaken about " + strings.Join(p.Mistaken, ", ")
	}
	return w
}

// words says for people what comes of a program.
func words(loads, attaches Loads) string {
	switch {
	case loads == WillNot:
		return "will not load"
	case attaches == WillNot:
		return "cannot be attached"
	case attaches == MayLoad:
		return "unknown"
	}
	return "nothing missing"
}

// words is an answer in a word or two.
func (a Answer) words(d *Dep) string {
	w := a.Status.String()
	switch {
	case a.Guarded:
		w += ", and the object does without"
	case len(a.Breaks) > 0 && a.OnlyAttach(d):
		w += ": cannot be attached"
	case len(a.Breaks) > 0:
		w += ": will not load"
	}
	return w
}

// lines are what there is to an answer besides its words.
func (a Answer) lines() (lines []string) {
	if a.Signature != "" {
		lines = append(lines, a.Signature)
	}
	if a.Want != "" {
		lines = append(lines, "the object has "+a.Want)
	}
	if a.Note != "" {
		lines = append(lines, a.Note)
	}
	return lines
}

// rows groups the kernels by what they have, in the order of the first of each.
func (t *text) rows(say func(k int) (string, []string)) []row {
	var rows []row
	at := map[string]int{}
	for _, k := range t.known {
		words, more := say(k)
		key := words + "\x00" + strings.Join(more, "\x00")
		n, ok := at[key]
		if !ok {
			n = len(rows)
			at[key] = n
			rows = append(rows, row{words: words, more: more})
		}
		rows[n].kernels = append(rows[n].kernels, k)
	}
	return rows
}

func (t *text) print(rows []row) {
	for _, r := range rows {
		if len(r.words) > 22 {
			fmt.Fprintf(t.w, "      %s\n      %-22s %s\n", r.words, "", t.ranges(r.kernels))
		} else {
			fmt.Fprintf(t.w, "      %-22s %s\n", r.words, t.ranges(r.kernels))
		}
		for _, line := range r.more {
			fmt.Fprintf(t.w, "      %-22s %s\n", "", line)
		}
	}
}

// ranges says which kernels, as ranges of versions, or of the versions of each
// flavour where that is shorter.
func (t *text) ranges(kernels []int) string {
	if len(kernels) == len(t.known) {
		return fmt.Sprintf("all %d", len(kernels))
	}
	runs := t.runs(kernels, t.known)
	order := slices.SortedStableFunc(slices.Values(t.known), func(a, b int) int {
		return cmp.Or(strings.Compare(t.distro(a), t.distro(b)), strings.Compare(t.flavour(a), t.flavour(b)))
	})
	if byFlavour := t.runs(kernels, order); len(byFlavour) < len(runs) {
		runs = byFlavour
	}
	const most = 6
	var parts []string
	left := 0
	for i, r := range runs {
		switch {
		case i >= most:
			left += len(r)
		case len(r) == 1:
			parts = append(parts, t.name(r[0]))
		default:
			parts = append(parts, fmt.Sprintf("%s to %s (%d)", t.name(r[0]), t.name(r[len(r)-1]), len(r)))
		}
	}
	if left > 0 {
		parts = append(parts, fmt.Sprintf("%d more", left))
	}
	return strings.Join(parts, ", ")
}

// runs are stretches of order, each of one distribution, that are all in kernels,
// which are sorted.
func (t *text) runs(kernels, order []int) (runs [][]int) {
	before := -1 // the one before, if it is in a run
	for _, k := range order {
		if _, in := slices.BinarySearch(kernels, k); !in {
			before = -1
			continue
		}
		if before < 0 || t.distro(before) != t.distro(k) {
			runs = append(runs, nil)
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], k)
		before = k
	}
	return runs
}

func (t *text) distro(k int) string {
	d, _, _ := strings.Cut(t.Kernels[k].ID, "/")
	return d
}

// flavourRE matches what follows a release's version: "-cloud-amd64".
var flavourRE = regexp.MustCompile(`-[a-z].*`)

func (t *text) flavour(k int) string { return flavourRE.FindString(t.name(k)) }

func (t *text) name(k int) string {
	name, _, _ := strings.Cut(t.Kernels[k].ID, "__")
	return name
}

// JSON writes a survey as one JSON object.
func (s *Survey) JSON(w io.Writer) error {
	type dependency struct {
		*Dep
		Answer
	}
	type object struct {
		Name     string       `json:"name"`
		Error    string       `json:"error,omitempty"` // why it cannot be read
		Loads    Loads        `json:"loads"`
		Attaches Loads        `json:"attaches"`
		Programs []Program    `json:"programs"`
		Deps     []dependency `json:"dependencies"`
	}
	type on struct {
		ID      string   `json:"id"`
		Error   string   `json:"error,omitempty"`
		Objects []object `json:"objects,omitempty"`
	}
	doc := struct {
		Schema   int   `json:"schema"`
		Loads    Loads `json:"loads"`
		Attaches Loads `json:"attaches"`
		Kernels  []on  `json:"kernels"`
	}{Schema: 1, Loads: s.Loads(), Attaches: s.Attaches(), Kernels: []on{}}
	for _, k := range s.Kernels {
		x := on{ID: k.ID, Error: k.Err}
		for i, r := range k.Results {
			y := object{
				Name: s.Objects[i].Name, Error: r.Err, Loads: r.Loads(), Attaches: r.Attaches(),
				Programs: append([]Program{}, r.Programs...), Deps: []dependency{},
			}
			wants := s.Objects[i].wants()
			for d, a := range r.Answers {
				if wants[d] {
					y.Deps = append(y.Deps, dependency{s.Objects[i].Deps[d], a})
				}
			}
			x.Objects = append(x.Objects, y)
		}
		doc.Kernels = append(doc.Kernels, x)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(doc)
}
