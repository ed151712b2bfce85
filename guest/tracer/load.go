package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// A loader puts the probes into the kernel.
type loader struct {
	spec  *ebpf.CollectionSpec
	maps  map[string]*ebpf.Map
	cache *btf.Cache
	types kernelTypes

	// unfit are functions the programs cannot read on this kernel, and why.
	unfit       map[string]error
	trampolines bool
	log         io.Writer // nil: not wanted

	// links hold the probes in place. Whoever drops the loader drops them:
	// the garbage collector closes them then.
	links []link.Link
}

// close takes the probes out, which takes the kernel a few seconds, mostly
// waiting.
func (l *loader) close() {
	for _, lk := range l.links {
		lk.Close()
	}
}

// newLoader makes the maps, with what the programs must know about this kernel
// in their constants.
func newLoader(log io.Writer, f faults) (*loader, error) {
	if err := rlimit.RemoveMemlock(); err != nil { // counts maps before 5.11
		return nil, fmt.Errorf("lift the limit of locked memory: %w; run it as root", err)
	}
	l := &loader{cache: btf.NewCache(), log: log}
	var err error
	if l.types.spec, err = l.cache.Kernel(); err != nil {
		return nil, fmt.Errorf("read the kernel's BTF: %w; the kernel needs CONFIG_DEBUG_INFO_BTF and /sys must be mounted", err)
	}
	if l.spec, err = loadSpec(); err != nil {
		return nil, fmt.Errorf("read the embedded BPF object: %w", err)
	}
	lay, unfit := newLayout(l.types)
	l.unfit = unfit
	for _, p := range probes() {
		if p.name == "setsid" {
			s, _ := l.types.params(l.traceable(p.targets))
			lay.SetsidArgs = uint32(len(s))
		}
	}
	if err := l.spec.Variables["layout"].Set(&lay); err != nil {
		return nil, fmt.Errorf("set layout: %w", err)
	}
	if err := l.spec.Variables["self_tgid"].Set(uint32(os.Getpid())); err != nil {
		return nil, fmt.Errorf("set own pid: %w", err)
	}
	if f.ptrace != "" {
		for name, v := range map[string]bool{"ptrace_family": true, "ptrace_others": f.ptrace == ptraceAll} {
			if err := l.spec.Variables[name].Set(v); err != nil {
				return nil, fmt.Errorf("set %s: %w", name, err)
			}
		}
	}
	base, err := ebpf.NewCollectionWithOptions(l.part(nil), ebpf.CollectionOptions{Cache: l.cache})
	if err != nil {
		return nil, fmt.Errorf("create BPF maps: %w; ring buffers need Linux 5.8", err)
	}
	l.maps = base.Maps
	return l, nil
}

// part is the object with some of its programs.
func (l *loader) part(programs map[string]*ebpf.ProgramSpec) *ebpf.CollectionSpec {
	part := *l.spec
	part.Programs = programs
	return &part
}

// loadSpec reads the embedded BPF object.
func loadSpec() (*ebpf.CollectionSpec, error) {
	return ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
}

// traceable returns the first of the functions that the kernel's BTF has once,
// "" if there is none.
func (l *loader) traceable(targets []string) string {
	for _, t := range targets {
		if _, ok := l.types.params(t); ok {
			return t
		}
	}
	return ""
}

// program loads one program, for a function if target is not "".
func (l *loader) program(name, target string) (*ebpf.Program, error) {
	p, ok := l.spec.Programs[name]
	if !ok {
		return nil, fmt.Errorf("no program %s in the BPF object", name)
	}
	if target != "" {
		p.AttachTo = target
	}
	opts := ebpf.CollectionOptions{MapReplacements: l.maps, Cache: l.cache}
	if l.log != nil {
		opts.Programs.LogLevel = ebpf.LogLevelStats
	}
	start := time.Now()
	coll, err := ebpf.NewCollectionWithOptions(l.part(map[string]*ebpf.ProgramSpec{name: p}), opts)
	if err != nil {
		l.logf("prog '%s': %s\n", name, verifierLog(err))
		return nil, err
	}
	prog := coll.DetachProgram(name)
	coll.Close()
	l.logf("prog '%s': loaded for %s in %v\n%s", name, target, time.Since(start).Round(time.Microsecond), prog.VerifierLog)
	return prog, nil
}

// verifierLog is all that the verifier said, of which Error gives one line.
func verifierLog(err error) string {
	if ve, ok := errors.AsType[*ebpf.VerifierError](err); ok {
		return fmt.Sprintf("%+v", ve)
	}
	return err.Error()
}

func (l *loader) logf(format string, args ...any) {
	if l.log != nil {
		fmt.Fprintf(l.log, "tracer: "+format, args...)
	}
}

// attach attaches a probe in the first way that works.
func (l *loader) attach(p probe) error {
	if p.kind == tracepoint {
		prog, err := l.program(p.name, "")
		if err != nil {
			return err
		}
		return l.keep(link.AttachRawTracepoint(link.RawTracepointOptions{Name: p.targets[0], Program: prog}))
	}
	var tried []error
	if fn := l.traceable(p.targets); l.trampolines && fn != "" {
		if err := l.unfit[fn]; err != nil {
			return err
		}
		err := l.attachTracing(p, fn)
		if err == nil {
			return nil
		}
		tried = append(tried, fmt.Errorf("%s: %w", tracingPrefix(p.kind)+fn, err))
	}
	for _, fn := range p.targets {
		if err := l.unfit[fn]; err != nil {
			return err
		}
		err := l.attachKprobe(p, fn)
		if err == nil {
			return nil
		}
		tried = append(tried, fmt.Errorf("kprobe on %s: %w", fn, err))
	}
	return errors.New(strings.ReplaceAll(errors.Join(tried...).Error(), "\n", "; "))
}

func tracingPrefix(k probeKind) string {
	if k == exit {
		return "fexit_"
	}
	return "fentry_"
}

func (l *loader) attachTracing(p probe, fn string) error {
	prog, err := l.program(tracingPrefix(p.kind)+p.name, fn)
	if err != nil {
		return err
	}
	return l.keep(link.AttachTracing(link.TracingOptions{Program: prog}))
}

func (l *loader) attachKprobe(p probe, fn string) error {
	if p.kind == entry {
		prog, err := l.program("kprobe_"+p.name, fn)
		if err != nil {
			return err
		}
		return l.keep(link.Kprobe(fn, prog, nil))
	}
	save, err := l.program("kentry_"+p.name, fn)
	if err != nil {
		return err
	}
	prog, err := l.program("kexit_"+p.name, fn)
	if err != nil {
		return err
	}
	// The exit first: an exit without its entry does nothing, an entry
	// without its exit would leave a saved call behind.
	ret, err := link.Kretprobe(fn, prog, nil)
	if err != nil {
		return err
	}
	if err := l.keep(link.Kprobe(fn, save, nil)); err != nil {
		return errors.Join(err, ret.Close())
	}
	return l.keep(ret, nil)
}

func (l *loader) keep(lk link.Link, err error) error {
	if err == nil {
		l.links = append(l.links, lk)
	}
	return err
}

// attachAll attaches all probes. Events that are missing for it are told to
// warn, those that must not be missing in the error.
func (l *loader) attachAll(warn func(string)) error {
	for _, p := range probes() {
		err := l.attach(p)
		if err != nil && p.otherwise != nil {
			l.logf("probe %s: %v\n", p.name, err)
			err = l.attach(*p.otherwise)
		}
		if err == nil {
			continue
		}
		about := fmt.Errorf("no %s: probe %s: %w", strings.Join(p.events, ", "), p.name, err)
		if p.required {
			return about
		}
		warn(about.Error())
	}
	return nil
}

// detectTrampolines finds out whether fentry programs run here: on arm64
// before 6.4 they load, and only attaching them is refused.
func (l *loader) detectTrampolines() {
	i := slices.IndexFunc(probes(), func(p probe) bool { return p.kind == entry })
	p := probes()[i]
	prog, err := l.program("fentry_"+p.name, p.targets[0])
	if err == nil {
		var lk link.Link
		if lk, err = link.AttachTracing(link.TracingOptions{Program: prog}); err == nil {
			err = lk.Close()
		}
		prog.Close()
	}
	l.logf("BPF trampolines: %v\n", err == nil)
	l.trampolines = err == nil
}
