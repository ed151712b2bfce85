package preflight

import (
	"bufio"
	"encoding/json"
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
	path  []string // of a field
}

// queryWords are what a query may start with.
var queryWords = map[string]string{
	"struct": kindStruct, "union": kindUnion, "enum": kindEnum, "enum value": kindValue, "typedef": kindTypedef,
	"function": kindFunction, "kprobe": kindFunction, "kretprobe": kindFunction, "fentry": kindFunction, "fexit": kindFunction, "fmod_ret": kindFunction,
	"tracepoint": kindTracepoint, "tp": kindTracepoint, "tp_btf": kindTracepoint, "raw_tp": kindTracepoint, "lsm": kindLSM, "LSM hook": kindLSM,
	"kfunc": kindKfunc, "helper": kindHelper, "map type": kindMap, "program type": kindProgram, "attach type": kindAttach,
	"system call": kindSyscall, "ksyscall": kindSyscall, "build option": kindOption, "config": kindOption,
}

// ParseQuery reads a query: a name, or what it is of and a name, such as "struct
// task_struct.state", "map type ringbuf" or "CONFIG_BPF_LSM". A name alone may be
// of anything.
func ParseQuery(s string) (*Query, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return nil, fmt.Errorf("the query is empty: want a name, such as vfs_unlink, or struct task_struct.state")
	}
	q := &Query{name: words[len(words)-1]}
	if !plain(q.name) {
		return nil, fmt.Errorf("query %.100q: want a name of at most %d printable letters", s, maxName)
	}
	if len(words) > 1 {
		word := strings.Join(words[:len(words)-1], " ")
		kind, ok := queryWords[word]
		if !ok {
			valid := slices.Sorted(maps.Keys(queryWords))
			return nil, fmt.Errorf("query %.100q: %.50q is no kind of thing%s: want a name alone, or one of %s before it", s, word, kernel.Suggest(word, valid), strings.Join(valid, ", "))
		}
		q.kinds = []string{kind}
	}
	option, isOption := strings.CutPrefix(q.name, "CONFIG_")
	switch {
	case isOption:
		q.name = option
		if q.kinds == nil {
			q.kinds = []string{kindOption}
		}
	case strings.Contains(q.name, "/") && (q.kinds == nil || q.kinds[0] == kindTracepoint):
		q.kinds = []string{kindTracepoint}
	case q.kinds == nil && strings.Contains(q.name, "."):
		q.kinds = []string{kindStruct, kindUnion, kindTypedef}
	case q.kinds == nil:
		q.kinds = append(slices.Clone(thingKinds), kindValue)
	}
	if slices.ContainsFunc(q.kinds, func(k string) bool { return k == kindStruct || k == kindUnion || k == kindTypedef }) {
		if name, path, ok := strings.Cut(q.name, "."); ok {
			q.name, q.path = name, strings.Split(path, ".")
			if name == "" || slices.Contains(q.path, "") {
				return nil, fmt.Errorf("query %.100q: want names between the dots, as in struct task_struct.thread_info.flags", s)
			}
		}
	}
	if q.kinds[0] == kindTracepoint && len(q.kinds) == 1 { // of a category nothing is said
		q.name = q.name[strings.LastIndex(q.name, "/")+1:]
	}
	return q, nil
}

// Found is what a kernel has of a name.
type Found struct {
	Kind  string   `json:"kind"`
	Name  string   `json:"name"`
	Words string   `json:"what"`            // in a word or two: "at 24", "notrace", "absent"
	More  []string `json:"lines,omitempty"` // in C
}

// Ask returns what a kernel has of a query's name, by kind; none if it has
// nothing.
func (q *Query) Ask(k *Kernel) (list []Found) {
	for _, kind := range q.kinds {
		f := Found{Kind: kind, Name: q.title(kind)}
		switch {
		case len(q.path) > 0:
			for _, t := range k.lookup(q.name) {
				if isKind(t, kind) {
					if p, ok := locate(t, q.path); ok {
						f.add("at "+byteAt(p.at), p.text)
					}
				}
			}
		case kind == kindValue:
			if strings.ToLower(q.name) != q.name || len(q.kinds) == 1 { // it takes a look at all types
				f.More = k.valuesNamed(q.name)
			}
		case numbered[kind][0] != "":
			for _, v := range k.enumValues(numbered[kind][0]) {
				_, number, _ := strings.Cut(v.text, " = ")
				if short(v.name) == short(q.name) || number == q.name && len(q.kinds) == 1 {
					f.add("present", v.text)
				}
			}
		default:
			for _, v := range k.things(kind, q.name) {
				f.add(v.note, v.head)
				for _, p := range v.parts {
					f.More = append(f.More, "    "+p.String())
				}
			}
		}
		if in, _ := q.inModules(k, kind); len(f.More) == 0 && len(in) > 0 && len(q.path) == 0 {
			f.Words = "in module " + strings.Join(in, ", ")
		} else if len(f.More) == 0 {
			continue
		}
		if f.Words == "" {
			f.Words = "present"
		}
		list = append(list, f)
	}
	return list
}

func (f *Found) add(words, line string) {
	if !strings.Contains(f.Words, words) {
		f.Words = join(f.Words, words)
	}
	f.More = append(f.More, line)
}

// title is what is asked for: "struct task_struct.state".
func (q *Query) title(kind string) string {
	name := strings.Join(append([]string{q.name}, q.path...), ".")
	if kind == kindOption {
		return "CONFIG_" + name
	}
	return kind + " " + name
}

func isKind(t btf.Type, kind string) bool {
	switch t.(type) {
	case *btf.Struct:
		return kind == kindStruct
	case *btf.Union:
		return kind == kindUnion
	case *btf.Typedef:
		return kind == kindTypedef
	}
	return false
}

// short is a name of the kernel's interface without what all of its kind start
// with: "ringbuf" of BPF_MAP_TYPE_RINGBUF and RingBuf.
func short(name string) string {
	name = strings.ToLower(name)
	for _, prefix := range []string{"bpf_func_", "bpf_map_type_", "bpf_prog_type_", "bpf_"} {
		if s, ok := strings.CutPrefix(name, prefix); ok {
			name = s
			break
		}
	}
	return strings.ReplaceAll(name, "_", "")
}

// valuesNamed finds the enumerators of a name.
func (k *Kernel) valuesNamed(name string) (list []string) {
	if k.types == nil {
		return nil
	}
	for t, err := range k.types.All() {
		if err != nil {
			break
		}
		e, ok := t.(*btf.Enum)
		if !ok || !slices.ContainsFunc(e.Values, func(v btf.EnumValue) bool { return v.Name == name }) {
			continue
		}
		for _, v := range values(e) {
			if v.name == name {
				list = append(list, v.text+" // "+tagged("enum", e.Name))
			}
		}
	}
	return once(list)
}

// inModules says which modules have what is asked for. known is false if others
// may.
func (q *Query) inModules(k *Kernel, kind string) (in []string, known bool) {
	switch kind {
	case kindFunction:
		return k.lookModules(q.name, definesFunction)
	case kindTracepoint:
		return k.lookModules("btf_trace_"+q.name, definesType)
	case kindStruct: // a module's list does not tell structs from others
		return k.lookModules(q.name, definesType)
	}
	return nil, true
}

// missing says what is known where nothing was found.
func (q *Query) missing(k *Kernel, kind string) string {
	unknown := k.types == nil
	switch kind {
	case kindFunction, kindSyscall, kindKfunc:
		unknown = len(k.symbols) == 0
	case kindTracepoint:
		unknown = k.types == nil && len(k.symbols) == 0
	case kindOption:
		if k.config[q.name] == "n" {
			return "off"
		}
		unknown = k.config == nil
	}
	in, known := q.inModules(k, kind)
	switch {
	case unknown:
		return "not known"
	case len(q.path) > 0 && slices.ContainsFunc(k.lookup(q.name), func(t btf.Type) bool { return isKind(t, kind) }):
		return "absent"
	case len(in) > 0: // which of its fields, the list does not tell
		return "not known: the type is in module " + strings.Join(in, ", ")
	case !known:
		return "not in vmlinux; a module may have it"
	}
	return "absent"
}

// Near proposes a name for one that no kernel has, `, did you mean "x"?`; "" if
// there is none.
func (q *Query) Near(k *Kernel) string {
	if len(q.path) > 0 {
		var fields []string
		for _, kind := range []string{kindStruct, kindUnion} {
			for _, v := range k.things(kind, q.name) {
				for _, p := range v.parts {
					fields = append(fields, q.name+"."+p.name)
				}
			}
		}
		if len(fields) > 0 {
			return kernel.Suggest(strings.Join(append([]string{q.name}, q.path...), "."), fields)
		}
	}
	names := k.names()
	var valid []string
	for _, kind := range q.kinds {
		valid = append(valid, names[kind]...)
	}
	return kernel.Suggest(q.name, valid)
}

// Findings are what kernels have of a query's name.
type Findings struct {
	query  *Query
	survey Survey
	by     map[string]found // by id
}

type found struct {
	list    []Found
	missing map[string]string // by kind
}

// NewFindings are those of a query, of no kernel yet.
func NewFindings(q *Query) *Findings { return &Findings{query: q, by: map[string]found{}} }

// Add asks a kernel; err is why nothing is known of it.
func (f *Findings) Add(id string, k *Kernel, err error) {
	on := On{ID: id}
	if err != nil {
		on.Err = report.OneLine(err.Error(), 300)
	} else {
		x := found{list: f.query.Ask(k), missing: map[string]string{}}
		for _, kind := range f.query.kinds {
			x.missing[kind] = f.query.missing(k, kind)
		}
		f.by[id] = x
	}
	f.survey.Kernels = append(f.survey.Kernels, on)
}

// Empty says whether no kernel has anything of the name.
func (f *Findings) Empty() bool { return len(f.kinds()) == 0 }

// kinds are those that some kernel has.
func (f *Findings) kinds() (kinds []string) {
	for _, kind := range f.query.kinds {
		for _, x := range f.by {
			if x.of(kind) != nil {
				kinds = append(kinds, kind)
				break
			}
		}
	}
	return kinds
}

func (x found) of(kind string) *Found {
	for i := range x.list {
		if x.list[i].Kind == kind {
			return &x.list[i]
		}
	}
	return nil
}

// Text writes what was found for people: kernels that have the same as ranges,
// and at most max lines of C of each, 0: all.
func (f *Findings) Text(w io.Writer, max int) error {
	f.survey.Finish()
	bw := bufio.NewWriter(w)
	t := &text{Survey: &f.survey, w: bw}
	for i, k := range f.survey.Kernels {
		if k.Err != "" {
			fmt.Fprintf(bw, "%s: unknown: %s\n", t.name(i), k.Err)
		} else {
			t.known = append(t.known, i)
		}
	}
	for _, kind := range f.kinds() {
		fmt.Fprintln(bw, f.query.title(kind))
		rows := t.rows(func(k int) (string, []string) {
			x := f.by[f.survey.Kernels[k].ID]
			if found := x.of(kind); found != nil {
				return found.Words, found.More
			}
			return x.missing[kind], nil
		})
		for i := range rows {
			if n := limit(len(rows[i].more), max); n < len(rows[i].more) {
				rows[i].more = append(rows[i].more[:n:n], fmt.Sprintf("    ... and %s more", counted(len(rows[i].more)-n, "line")))
			}
		}
		t.print(rows)
	}
	return bw.Flush()
}

// JSON writes what was found as one JSON object.
func (f *Findings) JSON(w io.Writer) error {
	f.survey.Finish()
	type on struct {
		ID    string  `json:"id"`
		Error string  `json:"error,omitempty"`
		Found []Found `json:"found"`
	}
	doc := struct {
		Schema  int  `json:"schema"`
		Kernels []on `json:"kernels"`
	}{Schema: 1, Kernels: []on{}}
	for _, k := range f.survey.Kernels {
		doc.Kernels = append(doc.Kernels, on{k.ID, k.Err, append([]Found{}, f.by[k.ID].list...)})
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(doc)
}
