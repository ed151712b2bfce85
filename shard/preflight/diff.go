package preflight

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

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

	order int // of the kind
	rank  int // what more programs may want comes first
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
	for _, k := range []*Kernel{a, b} {
		unknown := slices.DeleteFunc(slices.Clone(thingKinds), k.tells)
		if len(unknown) > 0 {
			d.Unknown = append(d.Unknown, strings.Join(unknown, ", ")+", which "+clean(k.ID)+" does not tell")
		}
	}
	had, _ := a.names()
	have, takers := b.names()
	for i, kind := range thingKinds {
		if !a.tells(kind) || !b.tells(kind) {
			continue
		}
		for _, name := range once(slices.Concat(had[kind], have[kind])) {
			was, is := a.things(kind, name), b.things(kind, name)
			c := Change{Kind: kind, Name: name, order: i}
			switch kfunc := kfuncs + name; {
			case kind == kindFunction && (a.symbols.has(kfunc) || b.symbols.has(kfunc)):
				continue // it stands with the kfuncs
			case kind == kindFunction && len(without(was, is)) < len(was):
				continue // of several functions of a name, BTF has now these and now those
			case !c.compare(was, is):
				continue
			}
			switch kind {
			case kindFunction:
				c.elsewhere(a, b)
				c.rank = wanted(name, c.Lines[len(c.Lines)-1])
			case kindStruct:
				c.rank = takers[name]
			case kindOption:
				if optionCounts.MatchString(name) {
					c.rank = 1
				}
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

// oftenTraced matches functions of the parts of the kernel that programs mostly
// attach to; hardlyTraced matches what is said of those that few attach to.
var (
	oftenTraced  = regexp.MustCompile(`^_*((x64|arm64|riscv|s390x)_sys|do|vfs|security|cap|ksys|exec|bprm|filp|file|path|tcp|udp|ip|ip6|inet6?|sock|unix|sk|skb|netif|napi|nf|blk|bio|cgroup|sched|wake_up|try_to_wake|handle_mm|oom|kmem|bpf)_`)
	hardlyTraced = regexp.MustCompile(`static |notrace|not in BTF|no symbol`)
)

// wanted ranks a function by its name and what is said of it.
func wanted(name, line string) (rank int) {
	if oftenTraced.MatchString(name) {
		rank++
	}
	if hardlyTraced.MatchString(line) {
		rank -= 2
	}
	return rank
}

// elsewhere notes that a function that one kernel lacks is in a module of it.
func (c *Change) elsewhere(a, b *Kernel) {
	lacks := map[State]*Kernel{Gone: b, New: a}[c.State]
	if lacks == nil {
		return
	}
	if in, _ := lacks.lookModules(c.Name, definesFunction); len(in) > 0 {
		c.Lines[0] += fmt.Sprintf(" // %s has it in module %s", clean(lacks.ID), strings.Join(in, ", "))
	}
}

func (d *Difference) sort() {
	slices.SortStableFunc(d.Changes, func(a, b Change) int {
		return cmp.Or(a.order-b.order, strings.Compare(a.Kind, b.Kind), int(a.State)-int(b.State), b.rank-a.rank, strings.Compare(a.Name, b.Name))
	})
}

// compare says whether a thing differs, and notes how.
func (c *Change) compare(a, b []thing) bool {
	switch {
	case len(b) == 0:
		c.State = Gone
	case len(a) == 0:
		c.State = New
	default:
		c.State = Different
	}
	a, b = without(a, b), without(b, a)
	for len(a) > 0 && len(b) > 0 && len(a[0].parts) > 0 && a[0].text == b[0].text {
		c.compareParts(a[0], b[0])
		a, b = a[1:], b[1:]
	}
	for _, t := range a {
		c.line("- %s", t)
	}
	for _, t := range b {
		c.line("+ %s", t)
	}
	return len(c.Lines) > 0
}

func (c *Change) line(format string, args ...any) {
	c.Lines = append(c.Lines, fmt.Sprintf(format, args...))
}

// compareParts notes which fields or values are not the same.
func (c *Change) compareParts(a, b thing) {
	if c.line("  %s", b); a.note != b.note {
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
		q, ok := have[p.name]
		if ok && p.text == q.text {
			if p.at != q.at {
				moved = append(moved, fmt.Sprintf("%s from %s to %s", p.name, p.at, q.at))
			}
			continue
		}
		c.line("-     %s", p)
		if ok {
			c.line("+     %s", q)
		}
	}
	for _, q := range b.parts {
		if _, ok := had[q.name]; !ok {
			c.line("+     %s", q)
		}
	}
	if len(moved) > 0 {
		c.line("      moved: %s", report.List(moved, 3, clean))
	}
}

// DiffFor says what changed from kernel a to kernel b of what objects depend on.
func DiffFor(objects []*Object, a, b *Kernel) *Difference {
	d := &Difference{A: a.ID, B: b.ID, objects: true}
	said := map[string]int{} // of several objects, in d.Changes
	for _, o := range objects {
		if o.Broken != "" {
			d.Unknown = append(d.Unknown, clean(o.Name)+" "+clean(o.Broken))
			continue
		}
		had, have := Check(o, a), Check(o, b)
		for i, p := range had.Programs {
			c := Change{Kind: kindVerdict, Name: p.Name, order: -1}
			if c.compare([]thing{{text: p.Name + ": " + p.words()}}, []thing{{text: p.Name + ": " + have.Programs[i].words()}}) {
				d.Changes = append(d.Changes, c)
			}
		}
		wants := o.wants()
		for i, dep := range o.Deps {
			c := Change{Kind: dep.Kind, Name: dep.Name, Programs: slices.Clone(dep.Programs), order: kindRank(dep.Kind)}
			was, is := &had.Answers[i], &have.Answers[i]
			if !wants[i] || !c.compare(dep.on(a, was, is.Status == Unknown), dep.on(b, is, was.Status == Unknown)) {
				continue
			}
			if dep.Kind == kindField && c.State == Different && was.Status == is.Status && was.shapeOr() == is.shapeOr() && was.Note == is.Note {
				c.rank = -1
				c.line("  it only moved, and CO-RE follows it")
			}
			if len(c.Programs) == 0 { // libbpf's own wants
				c.Programs = []string{"all programs of " + o.Name}
			}
			key := fmt.Sprint(c.Kind, c.Name, c.Lines)
			if j, ok := said[key]; ok {
				d.Changes[j].Programs = once(slices.Concat(d.Changes[j].Programs, c.Programs))
				continue
			}
			said[key] = len(d.Changes)
			d.Changes = append(d.Changes, c)
		}
	}
	d.sort()
	return d
}

// on is what a kernel has of a dependency, by its answer. What is absent is said
// if say, otherwise by none.
func (d *Dep) on(k *Kernel, a *Answer, say bool) []thing {
	t := thing{text: cmp.Or(a.Signature, d.Name), shape: a.Status.String() + a.shapeOr(), note: a.Note}
	switch {
	case a.Status == Absent && a.Note == "" && !say:
		return nil
	case a.Status == Changed && a.Want != "":
		t.note = join("the object has "+a.Want, t.note)
	case a.Status != Present && a.Status != Changed:
		t.note = join(a.Status.String(), t.note)
	}
	switch d.Kind {
	case kindField:
		t.text = d.Name + ": " + t.text
		if fields := k.things(kindField, flavourless(d.local.typ.TypeName())+"."+strings.Join(d.local.path, ".")); len(fields) > 0 {
			t.note = join(fields[0].note, t.note)
		}
	case kindTracepoint:
		_, name, _ := strings.Cut(d.Name, "/")
		if record := k.things(kindStruct, "trace_event_raw_"+name); len(record) > 0 {
			t.parts = record[0].parts
		}
	}
	return []thing{t}
}

// groups are the changes of one kind and state each.
func (d *Difference) groups() (groups [][]Change) {
	for i, c := range d.Changes {
		if i == 0 || c.Kind != d.Changes[i-1].Kind || c.State != d.Changes[i-1].State {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], c)
	}
	return groups
}

// Markdown writes a difference for people: first how much changed, then what: at
// most max things of each kind and state, and a quarter as many lines of each; 0:
// all.
func (d *Difference) Markdown(w io.Writer, max int) error {
	bw := bufio.NewWriter(w)
	what := "What changed for BPF programs"
	if d.objects {
		what = "What changed of what the objects depend on"
	}
	fmt.Fprintf(bw, "# %s\n\nFrom `%s` to `%s`.\n", what, harmless(clean(d.A)), harmless(clean(d.B)))
	for _, s := range d.Unknown {
		fmt.Fprintf(bw, "\n**Not compared:** %s.\n", harmless(s))
	}
	groups := d.groups()
	if len(groups) == 0 {
		fmt.Fprint(bw, "\nNothing.")
	}
	first := func(i int) bool { return i == len(groups) || i == 0 || groups[i][0].Kind != groups[i-1][0].Kind }
	for i, g := range groups {
		before := ", "
		if first(i) {
			before = "\n- " + many(g[0].Kind) + ": "
		}
		fmt.Fprintf(bw, "%s%s %s", before, report.Thousands(len(g)), g[0].State)
	}
	for i, g := range groups {
		if first(i) {
			fmt.Fprintf(bw, "\n\n## %s\n\n```diff\n", many(g[0].Kind))
		}
		shown := atMost(len(g), max)
		for _, c := range g[:shown] {
			c.write(bw, max)
		}
		if shown < len(g) {
			fmt.Fprintf(bw, "  ... and %s more %s\n", report.Thousands(len(g)-shown), g[0].State)
		}
		if first(i + 1) {
			fmt.Fprint(bw, "```")
		}
	}
	fmt.Fprintln(bw)
	return bw.Flush()
}

// many is a kind's heading.
func many(kind string) string {
	if slices.Contains(thingKinds, kind) || kind == kindField || kind == kindVerdict {
		return kind + "s"
	}
	return kind
}

// harmless is text that cannot end the code that it stands in.
func harmless(s string) string { return strings.ReplaceAll(s, "`", "'") }

func atMost(n, max int) int {
	if max > 0 {
		return min(n, max)
	}
	return n
}

func (c *Change) write(w io.Writer, max int) {
	if max > 0 {
		max = 4 + max/4
	}
	shown := atMost(len(c.Lines), max)
	for _, line := range c.Lines[:shown] {
		fmt.Fprintln(w, harmless(line))
	}
	if shown < len(c.Lines) {
		fmt.Fprintf(w, "      ... and %s more\n", counted(len(c.Lines)-shown, "line"))
	}
	if len(c.Programs) > 0 {
		fmt.Fprintf(w, "  needed by %s\n", harmless(report.List(c.Programs, 5, clean)))
	}
}

// Lines says in at most max lines what changed; the last counts what is left
// out.
func (d *Difference) Lines(max int) (lines []string) {
	for i, c := range d.Changes {
		if i >= max-1 && len(d.Changes) > max {
			return append(lines, fmt.Sprintf("%s more", report.Count(len(d.Changes)-i, "change")))
		}
		lines = append(lines, c.String())
	}
	return lines
}

// String is a change in one line.
func (c *Change) String() string {
	var said []string
	for _, l := range c.Lines {
		text := strings.TrimPrefix(strings.TrimLeft(l[2:], " "), c.Name+": ")
		said = append(said, strings.TrimPrefix(text, c.Kind+" "+c.Name+" // "))
	}
	words := c.Kind + " " + c.Name
	switch {
	case c.State != Different:
		words += " is " + c.State.String() + ": " + said[0]
	case len(said) == 2 && c.Lines[0][0] == '-' && c.Lines[1][0] == '+':
		words += " changed from " + said[0] + " to " + said[1]
	default:
		for i := range said {
			said[i] = c.Lines[i][:2] + said[i]
		}
		words += " changed: " + report.List(said, 4, strings.TrimSpace)
	}
	return report.OneLine(words, 500)
}
