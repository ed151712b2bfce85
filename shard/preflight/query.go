package preflight

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// Query asks what kernels have of a name.
type Query struct {
	kinds []string // that the name may be of
	name  string
}

// kindWords are other words for kinds.
var kindWords = map[string]string{
	"union": kindStruct, "config": kindOption, "lsm": kindLSM, "tp": kindTracepoint, "tp_btf": kindTracepoint, "raw_tp": kindTracepoint,
	"kprobe": kindFunction, "kretprobe": kindFunction, "fentry": kindFunction, "fexit": kindFunction, "fmod_ret": kindFunction,
}

// ParseQuery reads a query: a name, or what it is of and a name, such as "struct
// task_struct.state", "map type ringbuf" or "CONFIG_BPF_LSM". A name alone may be
// of anything.
func ParseQuery(s string) (*Query, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return nil, fmt.Errorf("the query is empty: want a name, such as vfs_unlink, or struct task_struct.state")
	}
	q := &Query{name: words[len(words)-1], kinds: thingKinds}
	if !plain(q.name) {
		return nil, fmt.Errorf("query %.100q: want a name of at most %d printable letters", s, maxName)
	}
	if word := strings.Join(words[:len(words)-1], " "); word != "" {
		kind := cmp.Or(kindWords[word], word)
		if !slices.Contains(thingKinds, kind) {
			valid := slices.Sorted(slices.Values(slices.AppendSeq(slices.Clone(thingKinds), maps.Keys(kindWords))))
			return nil, fmt.Errorf("query %.100q: %.50q is no kind of thing%s: want a name alone, or one of %s before it", s, word, kernel.Suggest(word, valid), strings.Join(valid, ", "))
		}
		q.kinds = []string{kind}
	}
	may := func(kind string) bool { return slices.Contains(q.kinds, kind) }
	option, isOption := strings.CutPrefix(q.name, "CONFIG_")
	switch {
	case isOption && may(kindOption):
		q.name, q.kinds = option, []string{kindOption}
	case strings.Contains(q.name, "/") && may(kindTracepoint): // of a category nothing is said
		q.name, q.kinds = q.name[strings.LastIndex(q.name, "/")+1:], []string{kindTracepoint}
	case strings.Contains(q.name, ".") && may(kindStruct):
		if slices.Contains(strings.Split(q.name, "."), "") {
			return nil, fmt.Errorf("query %.100q: want names between the dots, as in struct task_struct.thread_info.flags", s)
		}
		q.kinds = []string{kindField}
	}
	return q, nil
}

// found is what a kernel has of a name.
type found struct {
	is    bool
	words string   // in a word or two: "at 24", "notrace", "absent"
	lines []string // in C
}

// ask says what a kernel has of the query's name.
func (q *Query) ask(k *Kernel, kind string) (f found) {
	for _, t := range k.things(kind, q.name) {
		if f.is = true; !strings.Contains(f.words, t.note) {
			f.words = join(f.words, t.note)
		}
		f.lines = append(f.lines, t.text)
		for _, p := range t.parts {
			f.lines = append(f.lines, "    "+p.String())
		}
	}
	if f.is {
		f.words = cmp.Or(f.words, "present")
		return f
	}
	var in []string // modules that have the name
	known := true
	switch kind {
	case kindFunction, kindKfunc:
		in, known = k.lookModules(q.name, definesFunction)
	case kindTracepoint:
		in, known = k.lookModules("btf_trace_"+q.name, definesType)
	case kindStruct, kindEnum, kindField:
		name, path, _ := strings.Cut(q.name, ".")
		if _, typeKnown := k.fieldsOn(name, strings.Split(path, ".")); !typeKnown {
			in, known = k.lookModules(name, definesType)
		}
	}
	switch {
	case len(in) > 0 && (kind == kindFunction || kind == kindTracepoint || kind == kindStruct):
		return found{is: true, words: "in module " + strings.Join(in, ", ")}
	case len(in) > 0: // the list of modules' names says no more
		f.words = "not known: the name is in module " + strings.Join(in, ", ")
	case kind == kindOption && k.config[q.name] == "n":
		f.words = "off"
	case !k.tells(kind):
		f.words = "not known"
	case !known:
		f.words = "not in vmlinux; a module may have it"
	default:
		f.words = "absent"
	}
	return f
}

// Near proposes a name for one that no kernel has, `, did you mean "x"?`; "" if
// there is none.
func (q *Query) Near(k *Kernel) string {
	names, _ := k.names()
	var valid []string
	for _, kind := range q.kinds {
		valid = append(valid, names[kind]...)
	}
	if typ, _, _ := strings.Cut(q.name, "."); q.kinds[0] == kindField {
		for _, t := range k.things(kindStruct, typ) {
			for _, p := range t.parts {
				valid = append(valid, typ+"."+p.name)
			}
		}
		if len(valid) == 0 {
			return kernel.Suggest(typ, names[kindStruct])
		}
	}
	return kernel.Suggest(q.name, valid)
}

// Findings are what kernels have of a query's name.
type Findings struct {
	query  *Query
	survey Survey
}

// NewFindings are those of a query, of no kernel yet.
func NewFindings(q *Query) *Findings { return &Findings{query: q} }

// Add asks a kernel; err is why nothing is known of it.
func (f *Findings) Add(id string, k *Kernel, err error) {
	on := On{ID: id}
	if err != nil {
		on.Err = report.OneLine(err.Error(), 300)
	} else {
		for _, kind := range f.query.kinds {
			on.found = append(on.found, f.query.ask(k, kind))
		}
	}
	f.survey.Kernels = append(f.survey.Kernels, on)
}

// Empty says whether no kernel has anything of the name.
func (f *Findings) Empty() bool {
	return !slices.ContainsFunc(f.survey.Kernels, func(on On) bool {
		return slices.ContainsFunc(on.found, func(x found) bool { return x.is })
	})
}

// Text writes what was found for people: kernels that have the same as ranges,
// and at most max lines of C of each, 0: all.
func (f *Findings) Text(w io.Writer, max int) error {
	f.survey.Finish()
	t := f.survey.text(w)
	for i, kind := range f.query.kinds {
		if !slices.ContainsFunc(f.survey.Kernels, func(on On) bool { return on.Err == "" && on.found[i].is }) {
			continue
		}
		title := kind + " " + f.query.name
		if kind == kindOption {
			title = "CONFIG_" + f.query.name
		}
		fmt.Fprintln(t.w, title)
		rows := t.rows(func(k int) (string, []string) {
			x := f.survey.Kernels[k].found[i]
			return x.words, x.lines
		})
		for i := range rows {
			r := &rows[i]
			if n := atMost(len(r.more), max); n < len(r.more) {
				r.more = append(r.more[:n:n], fmt.Sprintf("    ... and %s more", counted(len(r.more)-n, "line")))
			}
		}
		t.print(rows)
	}
	return t.w.Flush()
}
