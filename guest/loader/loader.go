package main

import (
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// loader loads objects and tells of each of their programs.
type loader struct {
	wire.Objects
	kernel  kernelFacts
	types   *btf.Cache // the kernel's BTF, decoded once
	btfErr  error      // why the kernel has none
	tell    func(result)
	failed  int
	running func(name string, paused bool) // tells that a test runs or is over
}

// result is a program's outcome, and the verifier's log that a rejected one
// leaves.
type result struct {
	wire.Test
	logName, log string
}

func newLoader(opt wire.Objects, tell func(result), running func(name string, paused bool)) *loader {
	l := &loader{Objects: opt, kernel: readKernelFacts(), types: btf.NewCache(), tell: tell, running: running}
	// Decoded here, so that it does not count as the first program's time.
	_, l.btfErr = l.types.Kernel()
	return l
}

// report tells of one test. err decides: nil is a pass.
func (l *loader) report(r result, err error) {
	r.Verdict = wire.TestPass
	var u *unsupportedError
	switch {
	case err == nil:
	case errors.Is(err, errNotTried):
		r.Verdict = wire.TestSkip
		r.Output = err.Error() + "\n"
	case errors.As(err, &u):
		r.Verdict = l.Unsupported
		r.Output = u.Error() + "\n"
	default:
		r.Verdict = wire.TestFail
		if r.Output == "" {
			r.Output = err.Error() + "\n"
		}
	}
	if r.Verdict == wire.TestFail {
		l.failed++
	}
	l.tell(r)
}

// object loads every program of one object, in the order of their names, and
// creates the maps that none of them uses.
func (l *loader) object(path string) {
	name := objectName(path)
	// Told before it begins, so that a test that hangs has a name.
	l.running(name, false)
	defer l.running(name, true)
	spec, err := ebpf.LoadCollectionSpec(path)
	if err != nil {
		l.report(result{Test: wire.Test{Name: name}}, fmt.Errorf("read the object: %w", err))
		return
	}
	for _, m := range spec.Maps {
		// The VM's bpffs is empty: a pin can neither be found nor be wanted.
		m.Pinning = ebpf.PinNone
	}
	used := map[string]bool{}
	for _, prog := range slices.Sorted(maps.Keys(spec.Programs)) {
		part := only(spec, prog)
		for m := range part.Maps {
			used[m] = true
		}
		l.program(name, prog, part)
		// A rejected program's log takes many megabytes, several times over.
		debug.FreeOSMemory()
	}
	for _, m := range slices.Sorted(maps.Keys(spec.Maps)) {
		// What clang keeps for itself, such as an empty .rodata, is no map of
		// the author's.
		if used[m] || m[0] == '.' {
			continue
		}
		part := withMaps(spec, m)
		create := l.createMaps
		if spec.Maps[m].Type == ebpf.StructOpsMap {
			create = l.createStructOps
		}
		l.running(name+"/map:"+m, false)
		start := time.Now()
		coll, err := create(part)
		took := time.Since(start)
		if err == nil {
			coll.Close()
		}
		l.report(result{Test: wire.Test{Name: name + "/map:" + m, Duration: took}}, err)
	}
	if len(spec.Programs) == 0 && len(spec.Maps) == 0 {
		l.report(result{Test: wire.Test{Name: name}}, errors.New("the object holds neither programs nor maps"))
	}
}

// program loads one program, attaches it when asked to, and reports.
func (l *loader) program(object, name string, spec *ebpf.CollectionSpec) {
	r := result{Test: wire.Test{Name: object + "/" + name}}
	l.running(r.Name, false)
	ps := spec.Programs[name]
	if err := notTried(ps); err != nil {
		l.report(r, err)
		return
	}
	prog, err := l.load(spec, name, &r)
	if err != nil {
		r.logName = fmt.Sprintf("%s/%s/%s.log", wire.FileRoot, wire.SafeName(object), wire.SafeName(name))
		l.report(r, err)
		return
	}
	defer prog.Close()
	if l.Attach {
		var note string
		if note, err = l.attachOnce(prog, ps); err != nil {
			err = fmt.Errorf("loaded, and not attached: %w", err)
		} else {
			r.Output = note
		}
	}
	l.report(r, err)
}

// load creates the program's maps and loads it: at first with no more of a log
// than its statistics, and again for the whole log when it is rejected.
func (l *loader) load(spec *ebpf.CollectionSpec, name string, r *result) (*ebpf.Program, error) {
	ps := spec.Programs[name]
	if ps.Type == ebpf.UnspecifiedProgram {
		return nil, fmt.Errorf("its section %q says no program type that is known here: want one of libbpf's names, such as kprobe/do_exit", ps.SectionName)
	}
	if err := l.supports(ps); err != nil {
		return nil, err
	}
	if l.btfErr != nil && usesCORE(ps) {
		return nil, fmt.Errorf("the program has CO-RE relocations, and this kernel has no BTF: %w", l.btfErr)
	}
	collMaps, err := l.createMaps(spec)
	if err != nil {
		return nil, err
	}
	defer collMaps.Close()
	try := func(level ebpf.LogLevel) (*ebpf.Program, error) {
		coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
			Programs:        ebpf.ProgramOptions{LogLevel: level},
			MapReplacements: collMaps.Maps,
			Cache:           l.types,
		})
		if err != nil {
			return nil, err
		}
		defer coll.Close()
		return coll.DetachProgram(name), nil
	}

	start := time.Now()
	prog, err := try(ebpf.LogLevelStats)
	r.Duration = time.Since(start)
	if err == nil {
		r.Insns = processed(strings.Split(prog.VerifierLog, "\n"))
		return prog, nil
	}
	var verr *ebpf.VerifierError
	if !errors.As(err, &verr) {
		return nil, l.explain(failure{section: ps.SectionName, typ: ps.Type, insns: ps.Instructions, types: spec.Types, err: err})
	}
	r.Insns = processed(verr.Log)
	log, cut, err2 := wholeLog(func() error {
		prog, err := try(wholeLogLevel)
		if err == nil {
			prog.Close()
		}
		return err
	})
	if err2 == nil {
		return nil, fmt.Errorf("rejected, and accepted when loaded again with a log: %w", err)
	}
	lines := strings.Split(strings.TrimSuffix(log, "\n"), "\n")
	r.log = log
	switch {
	case log == "":
		lines = verr.Log
		r.log = fmt.Sprintf("[only what the verifier says at its end: %v]\n%s", err2, strings.Join(lines, "\n")+"\n")
	case cut && processed(lines) > 0:
		r.log = fmt.Sprintf("[the last %d MiB of a longer log]\n%s", wholeLogSize>>20, log)
	case cut:
		lines = verr.Log
		r.log = fmt.Sprintf("[the first %d MiB of a longer log, and its end]\n%s\n[...]\n%s", wholeLogSize>>20, log, strings.Join(lines, "\n")+"\n")
	}
	reason := l.explain(failure{section: ps.SectionName, typ: ps.Type, insns: ps.Instructions, types: spec.Types, err: err, log: lines})
	r.Output = rejection(reason, lines, r.Insns)
	return nil, reason
}

// createStructOps creates the struct_ops map of spec with the programs that are
// its members. It is not registered: the kernel would use it.
func (l *loader) createStructOps(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	part := *spec
	part.Programs = maps.Clone(spec.Programs)
	maps.DeleteFunc(part.Programs, func(_ string, ps *ebpf.ProgramSpec) bool {
		return ps.Type != ebpf.StructOps || ps.AttachTo == ""
	})
	coll, err := ebpf.NewCollectionWithOptions(&part, ebpf.CollectionOptions{Cache: l.types})
	if err != nil {
		for _, m := range part.Maps {
			if u := l.supportsMap(m); u != nil {
				return nil, u
			}
		}
		return nil, l.supportedOr(fmt.Errorf("create the map: %w", err))
	}
	return coll, nil
}

// createMaps creates all maps of spec.
func (l *loader) createMaps(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	for _, name := range slices.Sorted(maps.Keys(spec.Maps)) {
		if err := l.supportsMap(spec.Maps[name]); err != nil {
			return nil, err
		}
	}
	part := *spec
	part.Programs = nil
	coll, err := ebpf.NewCollectionWithOptions(&part, ebpf.CollectionOptions{Cache: l.types})
	if err != nil {
		return nil, l.supportedOr(fmt.Errorf("create the maps: %w", err))
	}
	return coll, nil
}
