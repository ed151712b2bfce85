package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// loader loads objects and tells of each of their programs.
type loader struct {
	wire.Objects
	engines map[string]engine // by wire.LoaderLibbpf and wire.LoaderGo
	kernel  kernelFacts
	types   *btf.Cache // the kernel's BTF, decoded once
	btfErr  error      // why the kernel has none
	without string     // why no other types take its place
	tell    func(result)
	file    func(name, content string)
	bad     int                            // tests that failed
	loads   bool                           // a test passed, or was unsupported
	running func(name string, paused bool) // tells that a test runs or is over

	settings settings
	groups   []*group // of all objects
	pending  []pending
	memory   map[ebpf.MapID]int64
	net      *network // nil: no program was attached to it yet
}

// result is a program's outcome, and what it cost.
type result struct {
	wire.Test
	cost *wire.BPFProgram
}

func newLoader(o wire.Objects, tell func(result), running func(name string, paused bool)) *loader {
	l := &loader{
		Objects: o, kernel: readKernelFacts(), types: btf.NewCache(), tell: tell, running: running,
		file: func(string, string) {}, settings: newSettings(o.Settings), memory: map[ebpf.MapID]int64{},
	}
	l.BTF, l.without = kernelTypes(o.BTF, ownTypes)
	l.engines = map[string]engine{wire.LoaderLibbpf: libbpfEngine{l}}
	if slices.ContainsFunc(o.Objects, func(o wire.Object) bool { return o.Loader != wire.LoaderLibbpf }) {
		l.engines[wire.LoaderGo] = newGoEngine(l) // decodes the kernel's types
	}
	for _, members := range o.Settings.Alternatives {
		if !ofOneObject(members) {
			l.groups = append(l.groups, newGroup(members))
		}
	}
	return l
}

// all loads all objects.
func (l *loader) all() {
	for _, o := range l.Objects.Objects {
		l.object(o)
	}
	l.release(l.groups)
	for _, g := range l.groups {
		l.reportUntried(g, "")
	}
	if l.bad == 0 && !l.loads {
		l.report(result{Test: testNamed("(programs)")}, failed(errors.New("no program was loaded")))
	}
	if unused := l.settings.unused(); len(unused) > 0 {
		l.report(result{Test: testNamed("(settings)")}, failed(errors.New(strings.Join(unused, "; "))))
	}
}

func testNamed(name string) wire.Test { return wire.Test{Name: name} }

// report tells of one test.
func (l *loader) report(r result, o outcome) {
	r.Verdict, r.Duration, r.Insns, r.cost, r.Loader = wire.TestPass, o.took, o.insns, o.cost, o.loader
	r.Output = o.output
	var u *unsupportedError
	switch {
	case o.err == nil:
	case errors.Is(o.err, errNotTried):
		r.Verdict = wire.TestSkip
	case errors.As(o.err, &u):
		r.Verdict = l.Unsupported
	default:
		r.Verdict = wire.TestFail
	}
	if r.Verdict == wire.TestFail {
		if l.without != "" {
			r.Output = strings.TrimRight(r.Output, "\n") + "\n" + l.without
		}
		l.bad++
	}
	l.loads = l.loads || u != nil || r.Verdict == wire.TestPass
	l.tell(r)
}

// object tests one object.
func (l *loader) object(o wire.Object) {
	// Told before it begins, so that a test that hangs has a name.
	l.running(o.Name, false)
	defer l.running(o.Name, true)
	if o.Broken != "" {
		l.report(result{Test: testNamed(o.Name)}, failed(errors.New("the object "+o.Broken)))
		return
	}
	variants, err := l.settings.of(o)
	if err != nil {
		l.report(result{Test: testNamed(o.Name)}, failed(err))
	}
	for i, s := range variants {
		label := ""
		if len(variants) > 1 {
			label = variantLabel(s.Variants[0], i)
		}
		l.variant(o, s, label)
		// A rejected program's log takes many megabytes, several times over.
		debug.FreeOSMemory()
	}
}

// loaderSide is an object as one of the loaders sees it.
type loaderSide struct {
	engine
	opened
	err      error              // of opening it
	infos    map[string]program // by name
	own      outcome            // of loading it whole
	together map[string]outcome // of its programs then; nil: each is loaded on its own
}

// variant tests one object with one set of settings. label stands behind the
// names of its tests.
func (l *loader) variant(o wire.Object, s wire.ObjectSettings, label string) {
	var sides []*loaderSide
	infos := map[string]program{}
	for _, name := range enginesOf(o.Loader) {
		x := &loaderSide{engine: l.engines[name], infos: map[string]program{}}
		sides = append(sides, x)
		if x.opened, x.err = x.open(o.Path, s); x.err != nil {
			continue
		}
		defer x.close()
		for _, p := range x.programs() {
			infos[p.name], x.infos[p.name] = p, p
		}
	}
	local := l.localGroups(o.Name, slices.Collect(maps.Values(infos)))
	var names []string
	for _, name := range slices.Sorted(maps.Keys(infos)) {
		l.settings.found(o.Name, name)
		if l.settings.Choose(o.Name, name) != wire.LeftOut {
			names = append(names, name)
		}
	}
	if l.Load == wire.LoadWhole {
		for _, x := range sides {
			if x.err == nil {
				x.own, x.together = l.whole(o, x, local)
			}
		}
		names = append([]string{""}, names...)
	}
	for _, name := range names {
		r := result{Test: testNamed(strings.TrimSuffix(o.Name+"/"+name, "/") + label)}
		l.running(r.Name, false)
		out := l.joined(sides, func(x *loaderSide) outcome { return l.test(o, x, name) })
		out.output += noteLines("warning: ", warningsOf(o.Warnings, name))
		if out.log != "" {
			l.file(fmt.Sprintf("%s/%s/%s.log", wire.FileRoot, wire.SafeName(o.Name), wire.SafeName(name+label)), out.log)
			debug.FreeOSMemory()
		}
		if out.cost != nil {
			out.cost.Test = r.Name
		}
		l.reportMember(r, out, o.Name, name, local)
	}
	l.release(local)
	if l.Load == wire.LoadEach {
		for _, g := range local {
			l.reportUntried(g, o.Name+label)
		}
		if l.testMaps(o, label, sides) == 0 && len(infos) == 0 {
			out := l.joined(sides, func(*loaderSide) outcome {
				return failed(skipError("nothing to load: the object holds neither programs nor maps"))
			})
			l.report(result{Test: testNamed(o.Name + label)}, out)
		}
	}
}

// joined is the outcome of a test with all loaders.
func (l *loader) joined(sides []*loaderSide, test func(*loaderSide) outcome) outcome {
	var outs []outcome
	for _, x := range sides {
		var out outcome
		if x.err != nil {
			out = failed(&unknownError{x.err})
		} else {
			out = test(x)
		}
		out.loader = x.version()
		outs = append(outs, out)
	}
	if len(outs) == 2 {
		return join(outs[0], outs[1])
	}
	return outs[0]
}

// test is the outcome of a program's test; "" is the object's own.
func (l *loader) test(o wire.Object, x *loaderSide, name string) outcome {
	p, found := x.infos[name]
	out, together := x.together[name]
	switch why := l.leftOut(o, x, p); {
	case x.together != nil && name == "":
		out = x.own
	case together:
	case !found || x.together != nil:
		return failed(errors.New("it finds no program of this name"))
	case why != nil:
		return failed(why)
	default:
		out = l.each(x, p)
	}
	if out.badness() != badnessSkip {
		out.output += noteLines("", x.notes())
	}
	return out
}

// leftOut says why a program is not loaded; nil: it is.
func (l *loader) leftOut(o wire.Object, x *loaderSide, p program) error {
	// ebpf-go loads an object's optional programs with all others.
	_, optional := x.opened.(*goObject)
	if p.never != nil || l.settings.named(o.Name, p.name) || optional && l.Load == wire.LoadWhole {
		return p.never
	}
	return p.leftOut
}

func enginesOf(name string) []string {
	if name == wire.LoaderBoth {
		return []string{wire.LoaderLibbpf, wire.LoaderGo}
	}
	return []string{name}
}

func noteLines(prefix string, notes []string) string {
	var b strings.Builder
	for _, n := range notes {
		fmt.Fprintf(&b, "%s%s\n", prefix, n)
	}
	return b.String()
}

// warningsOf are the warnings of an object that are about a program, or about no
// program. They begin with its name: "program NAME: ...".
func warningsOf(warnings []string, program string) (of []string) {
	for _, w := range warnings {
		words := strings.FieldsFunc(w, func(r rune) bool { return r == ' ' || r == ':' })
		if len(words) < 2 || words[0] != "program" || words[1] == program {
			of = append(of, w)
		}
	}
	return of
}

// testMaps creates the maps that are tested on their own, and returns how many
// there are.
func (l *loader) testMaps(o wire.Object, label string, sides []*loaderSide) int {
	found := map[string][]*loaderSide{}
	for _, x := range sides {
		if x.err == nil {
			for _, m := range x.maps() {
				found[m] = append(found[m], x)
			}
		}
	}
	for _, m := range slices.Sorted(maps.Keys(found)) {
		for _, x := range sides {
			if x.err != nil {
				found[m] = append(found[m], x)
			}
		}
		r := result{Test: testNamed(o.Name + "/map:" + m + label)}
		l.running(r.Name, false)
		l.report(r, l.joined(found[m], func(x *loaderSide) outcome {
			start := time.Now()
			note, err := x.createMap(m, l.Attach)
			if err != nil {
				return failed(err)
			}
			return outcome{took: time.Since(start), output: note}
		}))
	}
	return len(found)
}

// each loads one program on its own, and attaches it when asked to.
func (l *loader) each(x *loaderSide, p program) outcome {
	ld, err := l.loadOne(x, p)
	if err != nil {
		return failed(err)
	}
	defer ld.close()
	// Asked before it is attached: a program can deny every bpf(2) from then on.
	out := l.passed(ld, p)
	if !l.Attach {
		return out
	}
	note, detach, err := l.attachProgram(ld.prog, &p.programInfo, x.opened)
	if err == nil && detach != nil {
		err = detach()
	}
	return out.attached(note, err)
}

const notAttached = "loaded, and not attached: "

// attached adds how attaching a loaded program went.
func (o outcome) attached(note string, err error) outcome {
	if err != nil {
		f := failed(fmt.Errorf(notAttached+"%w", err))
		o.err, o.output = f.err, f.output
		return o
	}
	o.output += note
	return o
}

// loadOne loads one program, unless its type says that it cannot be.
func (l *loader) loadOne(x *loaderSide, p program) (*loaded, error) {
	if err := l.loadable(x, p); err != nil {
		return nil, err
	}
	ld, err := x.load(p.name)
	return ld, l.tooNewOr(p, err)
}

// tooNewOr returns the error of loading a program, or that its section is newer
// than the kernel when that may be why.
func (l *loader) tooNewOr(p program, err error) error {
	var r *rejectedError
	if u := l.tooNew(&p.programInfo); u != nil && errors.Is(err, unix.EINVAL) && (!errors.As(err, &r) || verdictLine(r.tail) == "") {
		return u
	}
	return err
}

func (l *loader) loadable(x *loaderSide, p program) error {
	if p.typ == ebpf.UnspecifiedProgram {
		return fmt.Errorf("%s does not know the section %q: want one of libbpf's names, such as kprobe/do_exit", x.version(), p.section)
	}
	return l.supports(&ebpf.ProgramSpec{Type: p.typ})
}

// passed is the outcome of a program that is loaded.
func (l *loader) passed(ld *loaded, p program) outcome {
	return outcome{took: ld.took, insns: processed(ld.log), cost: l.cost(ld, p)}
}

// whole loads the programs of an object together, as its application does. It
// returns the object's own outcome, and those of its programs by name.
func (l *loader) whole(o wire.Object, x *loaderSide, local []*group) (outcome, map[string]outcome) {
	out := map[string]outcome{}
	var names []string
	for _, p := range x.programs() {
		if why := l.leftOut(o, x, p); why != nil {
			out[p.name] = failed(why)
		} else if l.settings.Choose(o.Name, p.name) != wire.LeftOut {
			names = append(names, p.name)
		}
	}
	names, because := l.chooseAlternatives(o.Name, x, local, names, out)
	if because == "" && len(names) == 0 && len(x.programs()) > 0 {
		return failed(skipError("none of its programs is chosen")), out
	}
	start := time.Now()
	var together map[string]*loaded
	err := fmt.Errorf("none of these loads: %s", because)
	if because == "" {
		together, err = l.loadTogether(x, names)
	}
	if err != nil {
		var p *programError
		if errors.As(err, &p) {
			because = p.program
			out[p.program] = failed(l.tooNewOr(x.infos[p.program], p.err))
		}
		for _, name := range names {
			if name != because {
				out[name] = failed(skipError(fmt.Sprintf("not tried: %s did not load, because of %s", o.Name, cmp.Or(because, "its maps"))))
			}
		}
		// Of no kind: whatever the kernel has not, the application would have got
		// nothing. The program's test has the log.
		return failed(errors.New("the object did not load: " + oneLine(err))), out
	}
	own := outcome{took: time.Since(start), output: fmt.Sprintf("loaded %d together", len(names))}
	if left := len(x.programs()) - len(names); left > 0 {
		own.output += fmt.Sprintf(", %d left out", left)
	}
	own.output += "\n"
	for _, name := range names {
		defer together[name].close()
		out[name] = l.passed(together[name], x.infos[name])
	}
	if l.Attach {
		l.attachTogether(x, names, together, out)
		own = l.registerAll(x, own)
	}
	return own, out
}

// chooseAlternatives returns the programs to load together: of alternatives the
// application takes the first that loads. The others' outcomes go to out. missing
// are alternatives of which the object has all, and none loads.
func (l *loader) chooseAlternatives(object string, x *loaderSide, local []*group, names []string, out map[string]outcome) (left []string, missing string) {
	for _, g := range slices.Concat(local, l.groups) {
		present, taken := g.present(object, names), ""
		for _, name := range present {
			if taken != "" {
				out[name] = failed(skipError(fmt.Sprintf("not needed: %s loads here", taken)))
			} else if alone := l.each(x, x.infos[name]); alone.err == nil {
				taken = name
				continue
			} else {
				out[name] = alone
			}
			names = slices.DeleteFunc(names, func(n string) bool { return n == name })
		}
		if taken == "" && len(present) > 0 && slices.Contains(local, g) {
			missing = strings.Join(g.members, " | ")
		}
	}
	return names, missing
}

// loadTogether loads programs in one go, unless the type of one says that it
// cannot be.
func (l *loader) loadTogether(x *loaderSide, names []string) (map[string]*loaded, error) {
	for _, name := range names {
		if err := l.loadable(x, x.infos[name]); err != nil {
			return nil, &programError{name, err}
		}
	}
	return x.loadWhole(names)
}

// attachTogether attaches programs at the same time, and adds to their outcomes
// how that went.
func (l *loader) attachTogether(x *loaderSide, names []string, together map[string]*loaded, out map[string]outcome) {
	detach := map[string]func() error{}
	notes, errs := map[string]string{}, map[string]error{}
	for _, name := range names {
		p := x.infos[name]
		notes[name], detach[name], errs[name] = l.attachProgram(together[name].prog, &p.programInfo, x.opened)
	}
	for _, name := range names {
		if errs[name] == nil && detach[name] != nil {
			errs[name] = detach[name]()
		}
		out[name] = out[name].attached(notes[name], errs[name])
	}
}

// registerAll registers the struct_ops maps of an object that was loaded whole,
// and adds to its outcome how that went.
func (l *loader) registerAll(x *loaderSide, own outcome) outcome {
	for _, m := range x.maps() {
		note, err := x.createMap(m, true)
		if err != nil && !errors.Is(err, errNotTried) {
			return own.attached("", fmt.Errorf("map %s: %s", m, oneLine(err)))
		}
		if note != "" {
			own.output += "map " + m + ": " + note
		}
	}
	return own
}
