package preflight

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/report"
)

// Difference is what changed for BPF programs from kernel A to kernel B.
type Difference struct {
	A, B    string   // ids
	Changes []Change // by kind; of one kind what is gone first, then what changed, then what is new
	Unknown []string // what was not compared

	objects bool // only what objects depend on
}

// Change is a thing that is not the same on both kernels.
type Change struct {
	Kind     string // "function", "struct" ..., that of a [Dep], or "program"
	Name     string
	State    State
	Lines    []string // as in a diff: from A with "- ", from B with "+ ", what both have with two spaces
	Programs []string // of objects, as "object/program": those that depend on it

	rank int // what more programs may want comes first
}

// State says what became of a thing.
type State uint8

// The states.
const (
	Gone State = iota + 1
	Different
	New
)

func (s State) String() string { return [...]string{"", "gone", "changed", "new"}[s&3] }

const kindVerdict = "program" // what comes of an object's program

// Diff says what changed for BPF programs from kernel a to kernel b. It takes
// about a second.
func Diff(a, b *Kernel) *Difference {
	d := &Difference{A: a.ID, B: b.ID}
	a, b = d.comparable(a, b)
	had, have := a.names(), b.names()
	// A struct that many functions take is one that many programs read.
	takers := takers(b)
	for _, kind := range thingKinds {
		if kind == kindTypedef {
			continue // what it stands for is shown where it is used
		}
		for _, name := range once(slices.Concat(had[kind], have[kind])) {
			switch kind { // what stands elsewhere
			case kindEnum:
				if isNumbered(name) {
					continue
				}
			case kindFunction:
				if kfunc := kfuncs + name; a.symbols.has(kfunc) || b.symbols.has(kfunc) {
					continue
				}
			}
			c := Change{Kind: kind, Name: name}
			was, is := a.things(kind, name), b.things(kind, name)
			if kind == kindFunction && len(without(was, is)) < len(was) {
				continue // of several functions of a name, BTF has now these and now those
			}
			if !c.compare(was, is) {
				continue
			}
			switch {
			case kind == kindStruct || kind == kindUnion:
				c.rank = takers[name]
			case kind == kindOption && optionOfTools.MatchString(name):
				c.rank = -1
			case kind == kindOption && optionCounts.MatchString(name):
				c.rank = 1
			case kind == kindFunction:
				c.modules(a, b)
				c.rank = wanted(name, strings.TrimLeft(c.Lines[0], "+- "))
			}
			d.Changes = append(d.Changes, c)
		}
	}
	d.sort()
	return d
}

// optionCounts matches build options that programs, or those who write them, are
// likely to meet.
var optionCounts = regexp.MustCompile(`(^|_)(BPF|BTF|FTRACE|TRACING|[KUFE]PROBES?|LSM|LOCKDOWN|SECURITY|PERF_EVENTS|KALLSYMS|DEBUG_INFO|ERROR_INJECTION|JIT|XDP|CGROUPS?)(_|$)`)

// optionOfTools matches those that say what the kernel was, or can be, compiled
// with.
var optionOfTools = regexp.MustCompile(`^(CC|AS|LD|GCC|CLANG|RUSTC?|BINDGEN|PAHOLE|ARCH|HAVE|TOOLS)_`)

// oftenTraced matches functions of the parts of the kernel that programs mostly
// attach to.
var oftenTraced = regexp.MustCompile(`^_*(do|vfs|security|cap|ksys|exec|bprm|filp|file|path|tcp|udp|ip|ip6|inet6?|sock|unix|sk|skb|netif|napi|nf|blk|bio|cgroup|sched|wake_up|try_to_wake|handle_mm|oom|kmem|bpf)_`)

// wanted ranks functions: a program rather attaches to one that others can call,
// too, and hardly to one that is left out of BTF.
func wanted(name, text string) (rank int) {
	if oftenTraced.MatchString(name) {
		rank += 2
	}
	if !strings.HasPrefix(name, "_") && !strings.HasPrefix(text, "static ") {
		rank++
	}
	if strings.Contains(text, "notrace") || strings.Contains(text, "not in BTF") || strings.Contains(text, "no symbol") {
		rank -= 4
	}
	return rank
}

func isNumbered(enum string) bool {
	for _, n := range numbered {
		if n[0] == enum {
			return true
		}
	}
	return false
}

// comparable returns the kernels without what is not known of both.
func (d *Difference) comparable(a, b *Kernel) (*Kernel, *Kernel) {
	x, y := *a, *b
	unknown := func(what string, known func(k *Kernel) bool, drop func(k *Kernel)) {
		for _, k := range []*Kernel{a, b} {
			if !known(k) {
				d.Unknown = append(d.Unknown, fmt.Sprintf(what, clean(k.ID)))
				drop(&x)
				drop(&y)
			}
		}
	}
	unknown("no BTF of %s is known, and with it neither types nor prototypes", func(k *Kernel) bool { return k.types != nil }, func(k *Kernel) { k.types = nil })
	unknown("no symbols of %s are known: of functions only what BTF says", func(k *Kernel) bool { return len(k.symbols) > 0 }, func(k *Kernel) { k.symbols = "" })
	unknown("no build options of %s are known", func(k *Kernel) bool { return k.config != nil }, func(k *Kernel) { k.config = nil })
	return &x, &y
}

// takers counts the functions that take a pointer to a struct or union of a name.
func takers(k *Kernel) map[string]int {
	n := map[string]int{}
	if k.types == nil {
		return n
	}
	for t, err := range k.types.All() {
		if err != nil {
			break
		}
		if f, ok := t.(*btf.Func); ok {
			if p, ok := f.Type.(*btf.FuncProto); ok {
				for _, param := range p.Params {
					n[pointee(param.Type)]++
				}
			}
		}
	}
	return n
}

func (d *Difference) sort() {
	rank := func(kind string) int {
		switch i := slices.Index(thingKinds, kind); {
		case kind == kindVerdict:
			return -1
		case i >= 0 && !d.objects:
			return i
		}
		return kindRank(kind)
	}
	slices.SortStableFunc(d.Changes, func(a, b Change) int {
		return cmp.Or(rank(a.Kind)-rank(b.Kind), strings.Compare(a.Kind, b.Kind), int(a.State)-int(b.State), b.rank-a.rank, strings.Compare(a.Name, b.Name))
	})
}

// compare says whether a thing differs, and notes how.
func (c *Change) compare(a, b []variant) bool {
	switch {
	case len(a) == 0 && len(b) == 0:
		return false
	case len(b) == 0:
		c.State = Gone
	case len(a) == 0:
		c.State = New
	default:
		c.State = Different
	}
	a, b = without(a, b), without(b, a)
	for len(a) > 0 && len(b) > 0 {
		c.changed(a[0], b[0])
		a, b = a[1:], b[1:]
	}
	for _, v := range a {
		c.Lines = append(c.Lines, "- "+v.String())
	}
	for _, v := range b {
		c.Lines = append(c.Lines, "+ "+v.String())
	}
	return len(c.Lines) > 0
}

// without returns those of a list that are not in another.
func without(list, other []variant) []variant {
	return slices.DeleteFunc(slices.Clone(list), func(v variant) bool {
		return slices.ContainsFunc(other, func(o variant) bool { return o.key == v.key })
	})
}

// modules notes that a module has what the kernel has lost, or had what it has
// got.
func (c *Change) modules(a, b *Kernel) {
	k, word := b, "now"
	switch c.State {
	case New:
		k, word = a, "was"
	case Different:
		return
	}
	if in, _ := k.lookModules(c.Name, definesFunction); len(in) > 0 {
		c.Lines = append(c.Lines, fmt.Sprintf("  %s in module %s", word, strings.Join(in, ", ")))
	}
}

// changed notes what is not the same in two variants.
func (c *Change) changed(a, b variant) {
	if len(a.parts) == 0 || len(b.parts) == 0 {
		c.Lines = append(c.Lines, "- "+a.String(), "+ "+b.String())
		return
	}
	line := func(format string, args ...any) { c.Lines = append(c.Lines, fmt.Sprintf(format, args...)) }
	if line("  %s", b); a.note != b.note {
		c.Lines[len(c.Lines)-1] += ", was " + cmp.Or(a.note, "present")
	}
	had, have := map[string]part{}, map[string]part{}
	for _, p := range a.parts {
		had[p.name] = p
	}
	for _, p := range b.parts {
		have[p.name] = p
	}
	var moved []string
	for _, p := range a.parts {
		switch q, ok := have[p.name]; {
		case !ok:
			line("-     %s", p)
		case p.text != q.text:
			line("-     %s", p)
			line("+     %s", q)
		case p.at != q.at:
			moved = append(moved, fmt.Sprintf("%s from %s to %s", p.name, byteAt(p.at), byteAt(q.at)))
		}
	}
	for _, q := range b.parts {
		if _, ok := had[q.name]; !ok {
			line("+     %s", q)
		}
	}
	if len(moved) > 0 {
		line("      moved: %s", report.List(moved, 3, func(s string) string { return s }))
	}
}

// DiffFor says what changed from kernel a to kernel b of what objects depend on.
func DiffFor(objects []*Object, a, b *Kernel) *Difference {
	d := &Difference{A: a.ID, B: b.ID, objects: true}
	at := map[[2]string]int{} // in d.Changes
	for _, o := range objects {
		had, have := Check(o, a), Check(o, b)
		if o.Broken != "" {
			d.Unknown = append(d.Unknown, fmt.Sprintf("%s %s", clean(o.Name), clean(o.Broken)))
			continue
		}
		for i, p := range had.Programs {
			if was, is := p.words(), have.Programs[i].words(); was != is {
				d.Changes = append(d.Changes, Change{Kind: kindVerdict, Name: p.Name, State: Different, Lines: []string{"- " + p.Name + ": " + was, "+ " + p.Name + ": " + is}})
			}
		}
		wants := o.wants()
		for i, dep := range o.Deps {
			c := Change{Kind: dep.Kind, Name: dep.Name, Programs: slices.Clone(dep.Programs)}
			was, is := &had.Answers[i], &have.Answers[i]
			v, w := dep.on(a, was, is.Status == Unknown), dep.on(b, is, was.Status == Unknown)
			if !wants[i] || !c.compare(v, w) {
				continue
			}
			if dep.Kind == kindField && c.State == Different && was.Status == is.Status && was.shapeOr() == is.shapeOr() && was.Note == is.Note {
				c.Lines, c.rank = append(c.Lines, "  it only moved, and CO-RE follows it"), -1
			}
			if len(c.Programs) == 0 { // libbpf's own wants
				c.Programs = []string{"all programs of " + o.Name}
			}
			if j, ok := at[[2]string{c.Kind, c.Name}]; ok {
				d.Changes[j].Programs = once(slices.Concat(d.Changes[j].Programs, c.Programs))
				continue
			}
			at[[2]string{c.Kind, c.Name}] = len(d.Changes)
			d.Changes = append(d.Changes, c)
		}
	}
	d.sort()
	return d
}

// on is what a kernel has of a dependency, by its answer. What is absent is said
// if say, otherwise by none.
func (d *Dep) on(k *Kernel, a *Answer, say bool) []variant {
	v := variant{head: cmp.Or(a.Signature, d.Name), note: a.Note, key: a.Status.String() + a.shapeOr() + a.Note}
	switch {
	case a.Status == Changed && a.Want != "":
		v.note = join("the object has "+a.Want, a.Note)
	case a.Status != Present && a.Status != Absent && a.Status != Changed:
		v.note = join(a.Status.String(), a.Note)
	}
	switch {
	case a.Status == Absent && a.Note == "" && !say:
		return nil
	case a.Status == Absent:
		v.note = join("absent", a.Note)
	case d.Kind == kindField && k.types != nil:
		v.head = d.Name + ": " + v.head
		list := k.locate(flavourless(d.local.typ.TypeName()), d.local.path)
		if len(list) > 0 { // the first is what loaders take
			v.note = join("at "+byteAt(list[0].at), v.note)
			v.key += byteAt(list[0].at)
		}
	case d.Kind == kindTracepoint:
		_, name, _ := strings.Cut(d.Name, "/")
		if record := k.things(kindStruct, "trace_event_raw_"+name); len(record) > 0 {
			v.parts, v.key = record[0].parts, v.key+record[0].key
		}
	}
	return []variant{v}
}

// locate finds a field in the kernel's types of a name.
func (k *Kernel) locate(name string, path []string) (list []part) {
	for _, t := range k.lookup(name) {
		switch t.(type) {
		case *btf.Struct, *btf.Union, *btf.Typedef:
			if p, ok := locate(t, path); ok {
				list = append(list, p)
			}
		}
	}
	return list
}

// locate follows names of fields, also through those that have none. Of arrays
// it takes the first element.
func locate(t btf.Type, path []string) (p part, ok bool) {
	for _, name := range path {
		for a, is := strip(t).(*btf.Array); is; a, is = strip(t).(*btf.Array) {
			t = a.Type
		}
		m, at, ok := memberAt(t, name, 0)
		if !ok {
			return p, false
		}
		p.at += at
		p.name, p.text, t = name, declare(m.Type, clean(name)), m.Type
		if m.BitfieldSize > 0 {
			p.text += fmt.Sprintf(" : %d", m.BitfieldSize)
		}
	}
	return p, len(path) > 0
}

// memberAt is [member] with its offset in bits.
func memberAt(t btf.Type, name string, depth int) (m btf.Member, at int, ok bool) {
	var members []btf.Member
	switch c := strip(t).(type) {
	case *btf.Struct:
		members = c.Members
	case *btf.Union:
		members = c.Members
	}
	for _, m := range members {
		if m.Name == name {
			return m, int(m.Offset), true
		}
	}
	for _, m := range members {
		if m.Name != "" || depth > maxDepth {
			continue
		}
		if found, at, ok := memberAt(m.Type, name, depth+1); ok {
			return found, int(m.Offset) + at, true
		}
	}
	return m, 0, false
}

// many is a kind's heading.
func many(kind string) string {
	if slices.Contains(thingKinds, kind) || kind == kindVerdict || kind == kindField || kind == kindValue {
		return kind + "s"
	}
	return kind
}

// Markdown writes a difference for people: first how much changed, then what, of
// each kind at most max of what is gone, changed and new, and a quarter as many
// lines of each; 0: all.
func (d *Difference) Markdown(w io.Writer, max int) error {
	bw := bufio.NewWriter(w)
	what := "What changed for BPF programs"
	if d.objects {
		what = "What changed of what the objects depend on"
	}
	fmt.Fprintf(bw, "# %s\n\nFrom `%s` to `%s`.\n", what, clean(d.A), clean(d.B))
	for _, s := range d.Unknown {
		fmt.Fprintf(bw, "\n**Not compared:** %s.\n", strings.ReplaceAll(s, "`", "'"))
	}
	kinds, counts := d.counts()
	if len(kinds) == 0 {
		fmt.Fprintf(bw, "\nNothing.\n")
	}
	if len(kinds) > 3 && !d.objects {
		fmt.Fprintf(bw, "\n| | gone | changed | new |\n| --- | ---: | ---: | ---: |\n")
		for _, kind := range kinds {
			n := counts[kind]
			fmt.Fprintf(bw, "| %s | %s | %s | %s |\n", many(kind), report.Thousands(n[Gone]), report.Thousands(n[Different]), report.Thousands(n[New]))
		}
	}
	rest := d.Changes
	for _, kind := range kinds {
		n := counts[kind]
		fmt.Fprintf(bw, "\n## %s: %s\n\n```diff\n", many(kind), tally(n))
		for s := Gone; s <= New; s++ {
			group := rest[:n[s]]
			rest = rest[n[s]:]
			for _, c := range group[:limit(len(group), max)] {
				c.write(bw, max)
			}
			if left := len(group) - limit(len(group), max); left > 0 {
				fmt.Fprintf(bw, "  ... and %s more %s\n", report.Thousands(left), s)
			}
		}
		fmt.Fprintf(bw, "```\n")
	}
	return bw.Flush()
}

func limit(n, max int) int {
	if max > 0 {
		return min(n, max)
	}
	return n
}

func (c *Change) write(w io.Writer, most int) {
	shown := len(c.Lines)
	if most > 0 {
		shown = min(shown, max(4, most/4))
	}
	for _, line := range c.Lines[:shown] {
		fmt.Fprintln(w, strings.ReplaceAll(line, "`", "'")) // which could end the block
	}
	if left := len(c.Lines) - shown; left > 0 {
		fmt.Fprintf(w, "      ... and %s more\n", counted(left, "line"))
	}
	if len(c.Programs) > 0 {
		fmt.Fprintf(w, "  needed by %s\n", report.List(c.Programs, 5, clean))
	}
}

// counts says how many changes there are of each kind, by State.
func (d *Difference) counts() (kinds []string, counts map[string][4]int) {
	counts = map[string][4]int{}
	for _, c := range d.Changes {
		n, ok := counts[c.Kind]
		if !ok {
			kinds = append(kinds, c.Kind)
		}
		n[c.State&3]++
		counts[c.Kind] = n
	}
	return kinds, counts
}

func tally(n [4]int) string {
	var parts []string
	for s := Gone; s <= New; s++ {
		if n[s] > 0 {
			parts = append(parts, report.Thousands(n[s])+" "+s.String())
		}
	}
	return strings.Join(parts, ", ")
}

// Lines says in at most max lines what changed; the last counts what is left
// out.
func (d *Difference) Lines(max int) (lines []string) {
	for i, c := range d.Changes {
		if i >= max-1 && len(d.Changes) > max {
			return append(lines, fmt.Sprintf("%s more", report.Count(len(d.Changes)-i, "change")))
		}
		lines = append(lines, c.line())
	}
	return lines
}

// line is a change in one line.
func (c *Change) line() string {
	var said []string
	for _, l := range c.Lines {
		text := strings.Join(strings.Fields(l[2:]), " ")
		said = append(said, strings.TrimPrefix(strings.TrimPrefix(text, c.Name+": "), c.Kind+" "+c.Name+" // "))
	}
	as := func(s string) string { return s }
	words := c.State.String()
	switch pair := c.State == Different && len(said) == 2 && c.Lines[0][0] == '-' && c.Lines[1][0] == '+'; {
	case pair:
		words = "changed from " + said[0] + " to " + said[1]
	case c.State == Different: // "- int a; // at 8"
		for i := range said {
			said[i] = strings.TrimSpace(c.Lines[i][:2] + said[i])
		}
		words = "changed: " + report.List(said, 4, as)
	case said[0] != c.Name:
		words = "is " + words + ": " + report.List(said, 4, as)
	default:
		words = "is " + words
	}
	return report.OneLine(c.Kind+" "+c.Name+" "+words, 500)
}
