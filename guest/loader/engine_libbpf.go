package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/loader/libbpf"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// libbpfPins is where libbpf pins the maps that objects share.
const libbpfPins = "/sys/fs/bpf/libbpf"

// shortLogSize is for a log of the verifier's statistics.
const shortLogSize = 256 << 10

// libbpfEngine is libbpf, in a process of its own for each object.
type libbpfEngine struct{ *loader }

func (e libbpfEngine) version() string { return libbpf.Version() }

// libbpfObject is an object that libbpf has opened.
type libbpfObject struct {
	libbpfEngine
	path string
	opt  libbpf.Options
	list []program
	one  *libbpf.Object              // for programs on their own
	all  *libbpf.Object              // for all programs; nil: not opened
	held map[string]*libbpf.Loaded   // that are loaded now
	good map[string]bool             // that were
	read func() *ebpf.CollectionSpec // the object as ebpf-go has it; nil: not at all
}

func (e libbpfEngine) open(path string, s wire.ObjectSettings) (opened, error) {
	if err := os.Mkdir(libbpfPins, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	opt := libbpf.Options{BTF: e.BTF, Maps: s.Maps, Targets: s.Targets, Variant: slices.Concat(s.Variants...), PinDir: libbpfPins}
	o := &libbpfObject{libbpfEngine: e, path: path, opt: opt, held: map[string]*libbpf.Loaded{}, good: map[string]bool{}}
	o.read = sync.OnceValue(func() *ebpf.CollectionSpec {
		spec, err := ebpf.LoadCollectionSpec(path)
		if err != nil {
			return nil
		}
		return spec
	})
	var err error
	if o.one, err = o.start(); err != nil {
		return nil, err
	}
	o.listPrograms()
	return o, nil
}

// start opens the object in a process.
func (o *libbpfObject) start() (*libbpf.Object, error) {
	x, err := libbpf.Open(o.path, o.opt)
	var refused *libbpf.Error
	switch {
	case errors.As(err, &refused):
		return nil, fmt.Errorf("%s: %w", refused.Doing, o.explain(failure{err: errors.New(refused.Reason), messages: refused.Messages}))
	case err != nil:
		return nil, fmt.Errorf("open the object: %w", err)
	}
	if absent := x.Absent(); len(absent) > 0 {
		x.Close()
		return nil, fmt.Errorf("libbpf knows no %s in the object, which the settings name", strings.Join(absent, ", "))
	}
	return x, nil
}

// startAll opens the object anew, for what libbpf does only once.
func (o *libbpfObject) startAll() (err error) {
	if o.all != nil {
		o.all.Close()
	}
	o.all, err = o.start()
	return err
}

func (o *libbpfObject) programs() []program { return o.list }

// listPrograms makes the list of programs.
func (o *libbpfObject) listPrograms() {
	for _, p := range o.one.Programs() {
		x := program{programInfo: programInfo{name: p.Name, section: p.Section, typ: p.Type, attachType: p.AttachType}}
		// Of a section that ebpf-go does not know, what attaching takes is guessed.
		_, x.attachTo, _ = strings.Cut(x.section, "/")
		if like, err := sectionProgram(x.section); err == nil && like != nil && like.Type != ebpf.UnspecifiedProgram {
			x.attachTo, x.flags = like.AttachTo, like.Flags
		}
		if !p.Autoload {
			x.leftOut = optional("?" + strings.TrimPrefix(p.Section, "?"))
		}
		if x.typ == ebpf.Extension {
			x.never = errReplacement
		}
		o.list = append(o.list, x)
	}
	slices.SortFunc(o.list, func(a, b program) int { return strings.Compare(a.name, b.name) })
}

func (o *libbpfObject) notes() []string { return o.one.Notes() }

// maps are those of struct_ops and, of an object without programs, all: each
// program is loaded with all of the object's maps.
func (o *libbpfObject) maps() []string {
	var names []string
	for _, m := range o.one.Maps() {
		if m.Type == ebpf.StructOpsMap || len(o.one.Programs()) == 0 && !m.Internal {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (o *libbpfObject) createMap(name string, register bool) (note string, err error) {
	if err := o.create(o.one, name); err != nil || !register || o.mapSpecs(o.one)[name].Type != ebpf.StructOpsMap {
		return "", err
	}
	// With its members, of which those that do not load have failed already.
	var members []string
	for _, p := range o.one.Programs() {
		if p.Type == ebpf.StructOps && o.good[p.Name] {
			members = append(members, p.Name)
		}
	}
	if err := o.startAll(); err != nil {
		return "", err
	}
	if len(members) > 0 {
		if _, err := o.all.LoadWhole(members, 0, 0); err != nil {
			return "", o.reason(o.all, program{}, err, nil)
		}
	}
	return o.attachStructOps(func() (io.Closer, error) { return o.all.AttachMap(name) })
}

// create creates a map, and with it all others that libbpf creates.
func (o *libbpfObject) create(x *libbpf.Object, name string) error {
	fd, err := x.MapFD(name)
	switch {
	case errors.Is(err, unix.EBADF):
		return fmt.Errorf("%w: the section of map %s marks it as optional", errNotTried, name)
	case err != nil:
		return o.reason(x, program{}, err, nil)
	}
	return unix.Close(fd)
}

func (o *libbpfObject) close() {
	o.one.Close()
	if o.all != nil {
		o.all.Close()
	}
}

func (o *libbpfObject) attachBySection(name string) (io.Closer, error) {
	if l := o.held[name]; l != nil {
		return l.Attach("")
	}
	return nil, errNotLoaded
}

// hold makes a program of one that libbpf has loaded.
func (o *libbpfObject) hold(name string, l *libbpf.Loaded) (*loaded, error) {
	fd, err := unix.FcntlInt(uintptr(l.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	prog, err := ebpf.NewProgramFromFD(fd)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	o.held[name], o.good[name] = l, true
	return &loaded{prog: prog, log: strings.Split(l.Log, "\n"), took: l.Duration, close: func() {
		delete(o.held, name)
		// What it cannot close ends with the process.
		_, _ = prog.Close(), l.Close()
	}}, nil
}

func (o *libbpfObject) load(name string) (*loaded, error) {
	start := time.Now()
	l, err := o.one.Load(name, uint32(ebpf.LogLevelStats), shortLogSize)
	if err == nil {
		return o.hold(name, l)
	}
	return nil, o.refused(name, err, time.Since(start))
}

// revive gives the next program a process, when this one has ended. Without, it
// fails as this one did.
func (o *libbpfObject) revive() {
	if !o.one.Ended() {
		return
	}
	if again, err := o.start(); err == nil {
		o.one.Close()
		o.one = again
	}
}

// refused makes an error of loading a program one of the verifier's, with the
// log of loading it again, when it is one.
func (o *libbpfObject) refused(name string, err error, took time.Duration) error {
	var p program
	for _, x := range o.programs() {
		if x.name == name {
			p = x
		}
	}
	o.revive()
	var short *libbpf.Error
	if !errors.As(err, &short) || short.Log == "" {
		return o.reason(o.one, p, err, nil)
	}
	l, err2 := o.one.Load(name, uint32(wholeLogLevel), wholeLogSize)
	o.revive()
	lines := strings.Split(strings.TrimSuffix(short.Log, "\n"), "\n")
	if err2 == nil {
		return errors.Join(fmt.Errorf("%w, and accepted when loaded again on its own", o.reason(o.one, p, err, lines)), l.Close())
	}
	r := newRejected("", false, lines, err2)
	var whole *libbpf.Error
	if errors.As(err2, &whole) {
		r = newRejected(whole.Log, whole.Cut, lines, err2)
	}
	r.took = took
	r.reason = o.reason(o.one, p, err, r.tail)
	return r
}

// loadWhole opens the object anew, as libbpf loads it only once.
func (o *libbpfObject) loadWhole(names []string) (map[string]*loaded, error) {
	if err := o.startAll(); err != nil {
		return nil, err
	}
	if len(names) == 0 { // to libbpf, that would be all
		for _, m := range o.all.Maps() {
			if err := o.create(o.all, m.Name); !errors.Is(err, errNotTried) {
				return nil, err
			}
		}
		return nil, nil
	}
	start := time.Now()
	ls, err := o.all.LoadWhole(names, uint32(ebpf.LogLevelStats), shortLogSize)
	if err != nil {
		var e *libbpf.Error
		if errors.As(err, &e) && e.Program != "" {
			return nil, &programError{e.Program, o.refused(e.Program, err, time.Since(start))}
		}
		return nil, o.reason(o.all, program{}, err, nil)
	}
	all := map[string]*loaded{}
	for _, name := range names {
		l := ls[name]
		if l == nil {
			err = fmt.Errorf("libbpf did not load %s", name)
		} else if all[name], err = o.hold(name, l); err == nil {
			continue
		}
		for _, x := range all {
			if x != nil {
				x.close()
			}
		}
		return nil, &programError{name, err}
	}
	return all, nil
}

// mapSpecs are the object's maps, with what explaining takes.
func (o *libbpfObject) mapSpecs(x *libbpf.Object) map[string]*ebpf.MapSpec {
	specs := map[string]*ebpf.MapSpec{}
	for _, m := range x.Maps() {
		specs[m.Name] = &ebpf.MapSpec{Name: m.Name, Type: m.Type, Flags: m.Flags}
	}
	return specs
}

// reason is why libbpf refused something, in one line.
func (o *libbpfObject) reason(x *libbpf.Object, p program, err error, log []string) error {
	f := failure{section: p.section, typ: p.typ, maps: o.mapSpecs(x), err: err, log: log}
	var e *libbpf.Error
	if errors.As(err, &e) {
		f.messages = e.Messages
	}
	// Where ebpf-go reads the object too, its instructions give names.
	if spec := o.read(); spec != nil && spec.Programs[p.name] != nil {
		f.insns, f.types = spec.Programs[p.name].Instructions, spec.Types
	}
	return o.explain(f)
}
