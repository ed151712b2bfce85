package preflight

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

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
	word := strings.Join(words[:len(words)-1], " ")
	if word != "" {
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
	case strings.ContainsAny(q.name, "/:") && may(kindTracepoint): // perf writes sched:sched_switch
		q.name, q.kinds = strings.Replace(q.name, ":", "/", 1), []string{kindTracepoint}
	case (strings.HasPrefix(q.name, "sys_enter_") || strings.HasPrefix(q.name, "sys_exit_")) && slices.Contains([]string{"", "tp", kindTracepoint}, word):
		q.name, q.kinds = "syscalls/"+q.name, []string{kindTracepoint}
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
	if kind == kindTracepoint && strings.Contains(q.name, "/") {
		return q.askEvent(k)
	}
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

// askEvent is ask for an event and its category, of which preflight says more than
// of a tracepoint.
func (q *Query) askEvent(k *Kernel) (f found) {
	a, _ := (&checker{k: k}).tracepoint(&Dep{Name: q.name})
	_, event, _ := strings.Cut(q.name, "/")
	list := k.things(kindTracepoint, event)
	for _, t := range list {
		f.lines = append(f.lines, t.text)
	}
	switch {
	case a.Status == Present:
		f.is, f.words = true, "present"
		if len(list) == 0 {
			f.lines = []string{clean(event)}
		}
	case a.Status == Absent:
		f.words = join("absent", a.Note)
	case len(list) > 0 && a.Note != otherCategory, strings.HasPrefix(a.Note, inModule):
		f.is, f.words = true, a.Note
	default:
		f.words = "not known: " + a.Note
	}
	return f
}

// near proposes a name for one that a kernel does not have, `, did you mean "x"?`,
// or says what else to ask; "" if it knows of nothing.
func (q *Query) near(k *Kernel) string {
	category, event, isEvent := strings.Cut(q.name, "/")
	switch isEvent = isEvent && q.kinds[0] == kindTracepoint; {
	case q.kinds[0] == kindField:
		typ, path, _ := strings.Cut(q.name, ".")
		if len(k.lookup(typ)) > 0 {
			return q.nearField(k, typ, strings.Split(path, "."))
		}
		names, _ := k.names()
		return kernel.Suggest(typ, names[kindStruct])
	case isEvent && q.askEvent(k).words == "not known: "+otherCategory:
		return ": " + otherCategory
	case isEvent && category == "syscalls":
		var valid []string
		for prefix, name := range map[string]string{"event_enter__": "syscalls/sys_enter_", "event_exit__": "syscalls/sys_exit_"} {
			k.symbols.each(prefix, func(s string, _ byte) bool {
				valid = append(valid, name+strings.TrimPrefix(s, prefix))
				return true
			})
		}
		slices.Sort(valid)
		return kernel.Suggest(q.name, valid)
	case isEvent:
		names, _ := k.names()
		return kernel.Suggest(event, names[kindTracepoint])
	}
	names, _ := k.names()
	var valid []string
	for _, kind := range q.kinds {
		valid = append(valid, names[kind]...)
	}
	return kernel.Suggest(q.name, valid)
}

// nearField is near for a field of a type that the kernel has.
func (q *Query) nearField(k *Kernel, typ string, path []string) string {
	for n := len(path) - 1; n >= 0; n-- { // the last part of the path that there is
		parents, _ := k.fieldsOn(typ, path[:n])
		at := strings.Join(append([]string{typ}, path[:n]...), ".")
		var valid []string
		for _, m := range parents {
			if to := pointee(m.Type); to != "" {
				return fmt.Sprintf(": %s is a pointer, and none is followed: ask for struct %s.%s", at, clean(to), strings.Join(path[n:], "."))
			}
			t := strip(m.Type)
			for a, ok := t.(*btf.Array); ok; a, ok = t.(*btf.Array) {
				t = strip(a.Type)
			}
			for _, p := range appendFields(nil, at+".", 0, t, 0) {
				valid = append(valid, p.name)
			}
		}
		if len(parents) > 0 {
			return kernel.Suggest(q.name, valid)
		}
	}
	return ""
}

// Findings are what kernels have of a query's name.
type Findings struct {
	query  *Query
	survey Survey
	near   string // what a kernel has instead of a field
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
		if f.near == "" && f.query.kinds[0] == kindField && !on.found[0].is {
			f.near = f.query.near(k)
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

// Near proposes a name for one that no kernel has, `, did you mean "x"?`, or says
// what else to ask; "" if it knows of nothing. k is one of the kernels.
func (f *Findings) Near(k *Kernel) string { return cmp.Or(f.near, f.query.near(k)) }

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
