package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/elastic/bpf-kernel-check/guest/contents"
	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/guest/loader/libbpf"
	"github.com/elastic/bpf-kernel-check/guest/variable"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// goPins is where ebpf-go pins the maps that objects share.
const goPins = "/sys/fs/bpf/ebpf-go"

// goEngine is github.com/cilium/ebpf.
type goEngine struct {
	*loader
	kernelTypes *btf.Spec // in place of the kernel's; nil: the kernel's
}

func newGoEngine(l *loader) goEngine {
	e := goEngine{loader: l}
	// Decoded here, so that it does not count as the first program's time.
	if l.BTF != "" {
		e.kernelTypes, l.btfErr = btf.LoadSpec(l.BTF)
	} else {
		_, l.btfErr = l.types.Kernel()
	}
	return e
}

func (e goEngine) version() string { return wire.GoVersion() }

// goObject is an object that ebpf-go has read.
type goObject struct {
	goEngine
	spec     *ebpf.CollectionSpec
	defaults []string // notes
}

func (e goEngine) open(path string, s wire.ObjectSettings) (opened, error) {
	spec, err := contents.Guard(func() (*ebpf.CollectionSpec, error) { return ebpf.LoadCollectionSpec(path) })
	if err != nil {
		return nil, fmt.Errorf("open the object: %w", err)
	}
	o := &goObject{goEngine: e, spec: spec}
	if w := refusedByLibbpf(path, spec, e.has); w != "" {
		o.defaults = append(o.defaults, w)
	}
	for _, m := range spec.Maps {
		// The VM's bpffs is empty: a pin can neither be found nor be wanted.
		m.Pinning = ebpf.PinNone
	}
	for _, m := range s.Maps {
		if err := o.setMap(m); err != nil {
			return nil, fmt.Errorf("map %s: %w", m.Name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Maps)) {
		m := spec.Maps[name]
		if name[0] != '.' {
			o.defaults = append(o.defaults, libbpf.SetDefaults(name, m.Type, &m.ValueSize, &m.MaxEntries)...)
		}
	}
	// Inner maps, with the sizes that the loop before has given them.
	for _, m := range s.Maps {
		if m.Inner == "" {
			continue
		}
		inner := spec.Maps[m.Inner]
		if inner == nil {
			return nil, fmt.Errorf("map %s: the object has no map %s to take as the inner one", m.Name, m.Inner)
		}
		like := inner.Copy()
		like.Pinning = ebpf.PinNone // as the kernel wants it
		spec.Maps[m.Name].InnerMap = like
	}
	for _, v := range slices.Concat(s.Variants...) {
		if err := o.setVariable(v); err != nil {
			return nil, fmt.Errorf("set %s to %s: %w", v.Name, v.Value, err)
		}
	}
	for _, t := range s.Targets {
		ps := spec.Programs[t.Program]
		if ps == nil {
			return nil, fmt.Errorf("it has no program %s", t.Program)
		}
		like, err := sectionProgram(t.Section)
		if err != nil {
			return nil, fmt.Errorf("section %q: %w", t.Section, err)
		}
		ps.SectionName, ps.Type, ps.AttachType, ps.AttachTo, ps.Flags = t.Section, like.Type, like.AttachType, like.AttachTo, like.Flags
	}
	return o, nil
}

// setMap sets what is set of a map.
func (o *goObject) setMap(m wire.MapSetting) error {
	spec := o.spec.Maps[m.Name]
	if spec == nil {
		return errors.New("the object has no such map")
	}
	if m.Type != "" {
		t, ok := wire.MapType(m.Type)
		if !ok {
			return fmt.Errorf("no type is called %q", m.Type)
		}
		spec.Type = ebpf.MapType(t)
	}
	set := func(field *uint32, value uint32) {
		if value != 0 {
			*field = value
		}
	}
	set(&spec.MaxEntries, m.MaxEntries)
	set(&spec.KeySize, m.KeySize)
	set(&spec.ValueSize, m.ValueSize)
	set(&spec.Flags, m.Flags)
	if m.KeySize != 0 {
		spec.Key = nil
	}
	if m.ValueSize != 0 {
		spec.Value = nil
	}
	if m.Pinned {
		if err := os.Mkdir(goPins, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		spec.Pinning = ebpf.PinByName
	}
	return nil
}

// setVariable sets a global variable, or a part of one.
func (o *goObject) setVariable(v wire.Variable) error {
	name, path, ok := variable.Find(v.Name, func(name string) bool { return o.spec.Variables[name] != nil })
	if !ok {
		return errors.New("ebpf-go knows no such variable")
	}
	spec := o.spec.Variables[name]
	if spec.Type == nil {
		return errors.New("the object has no type of it: build it with -g")
	}
	offset, b, err := variable.Encode(spec.Type.Type, path, v.Value, binary.NativeEndian)
	if err != nil {
		return err
	}
	if spec.Value == nil {
		spec.Value = make([]byte, spec.Size())
	}
	if uint64(offset)+uint64(len(b)) > uint64(len(spec.Value)) {
		return errors.New("the variable has no such part")
	}
	copy(spec.Value[offset:], b)
	return nil
}

func (o *goObject) programs() []program {
	var all []program
	for _, name := range slices.Sorted(maps.Keys(o.spec.Programs)) {
		ps := o.spec.Programs[name]
		p := program{programInfo: programInfo{ps.Name, ps.SectionName, ps.Type, ps.AttachType, ps.AttachTo, ps.Flags}}
		p.name, p.leftOut = name, optional(ps.SectionName)
		if ps.Type == ebpf.Extension && ps.AttachTarget == nil {
			p.never = errReplacement
		}
		all = append(all, p)
	}
	return all
}

func (o *goObject) notes() []string { return o.defaults }

// maps are those that no program uses.
func (o *goObject) maps() []string {
	used := map[string]bool{}
	for name := range o.spec.Programs {
		for m := range only(o.spec, name).Maps {
			used[m] = true
		}
	}
	var unused []string
	for _, m := range slices.Sorted(maps.Keys(o.spec.Maps)) {
		// What clang keeps for itself, such as an empty .rodata, is no map of
		// the author's.
		if !used[m] && m[0] != '.' {
			unused = append(unused, m)
		}
	}
	return unused
}

func (o *goObject) close() {}

func (o *goObject) createMap(name string, register bool) (note string, err error) {
	if o.spec.Maps[name].Type != ebpf.StructOpsMap {
		coll, err := o.createMaps(withMaps(o.spec, name))
		if err == nil {
			coll.Close()
		}
		return "", err
	}
	coll, err := o.createStructOps(withMaps(o.spec, name))
	if err != nil {
		return "", err
	}
	defer coll.Close()
	if register {
		return o.attachStructOps(func() (io.Closer, error) {
			return link.AttachStructOps(link.StructOpsOptions{Map: coll.Maps[name]})
		})
	}
	return "", nil
}

// options are those of loading with a verifier's log.
func (o *goObject) options(level ebpf.LogLevel) ebpf.CollectionOptions {
	return ebpf.CollectionOptions{
		Maps:     ebpf.MapOptions{PinPath: goPins},
		Programs: ebpf.ProgramOptions{LogLevel: level, KernelTypes: o.kernelTypes},
		Cache:    o.types,
	}
}

// check finds what ebpf-go would load wrongly, or only complain of when asked
// for more.
func (o *goObject) check(ps *ebpf.ProgramSpec) error {
	switch {
	case ps.Type == ebpf.Tracing && ps.AttachType == attachFSession, ps.Type == ebpf.LSM && ps.AttachType == ebpf.AttachLSMCgroup:
		// It knows the name, and loads the program without a target.
		return fmt.Errorf("%s does not know the section %q", o.version(), ps.SectionName)
	case ps.Type == ebpf.StructOps && ps.AttachTo == "":
		return errNoMember
	}
	if o.btfErr != nil && usesCORE(ps) {
		return fmt.Errorf("the program has CO-RE relocations, and this kernel has no BTF: %w", o.btfErr)
	}
	return nil
}

// load creates the program's maps and loads it: at first with no more of a log
// than its statistics, and again for the whole log when it is rejected.
func (o *goObject) load(name string) (*loaded, error) {
	spec := only(o.spec, name)
	ps := spec.Programs[name]
	if err := o.check(ps); err != nil {
		return nil, err
	}
	collMaps, err := o.createMaps(spec)
	if err != nil {
		return nil, err
	}
	try := func(level ebpf.LogLevel) (*ebpf.Program, error) {
		opt := o.options(level)
		opt.MapReplacements = collMaps.Maps
		coll, err := ebpf.NewCollectionWithOptions(spec, opt)
		if err != nil {
			return nil, err
		}
		defer coll.Close()
		return coll.DetachProgram(name), nil
	}

	start := time.Now()
	prog, err := try(ebpf.LogLevelStats)
	took := time.Since(start)
	if err == nil {
		return &loaded{
			prog: prog, log: strings.Split(prog.VerifierLog, "\n"), took: took,
			close: func() { prog.Close(); collMaps.Close() },
		}, nil
	}
	defer collMaps.Close()
	return nil, o.rejected(ps, err, took, func() error {
		prog, err := try(wholeLogLevel)
		if err == nil {
			prog.Close()
		}
		return err
	})
}

// rejected makes an error of loading one of the verifier's, with the log of
// loading again.
func (o *goObject) rejected(ps *ebpf.ProgramSpec, err error, took time.Duration, again func() error) error {
	var verr *ebpf.VerifierError
	if !errors.As(err, &verr) {
		return o.why(ps, err, nil)
	}
	log, cut, err2 := wholeLog(again)
	if err2 == nil {
		return fmt.Errorf("rejected, and accepted when loaded again with a log: %w", err)
	}
	r := newRejected(log, cut, verr.Log, err2)
	r.took = took
	r.reason = o.why(ps, err, r.tail)
	return r
}

func (o *goObject) why(ps *ebpf.ProgramSpec, err error, log []string) error {
	return o.explain(failure{section: ps.SectionName, typ: ps.Type, insns: ps.Instructions, types: o.spec.Types, maps: o.spec.Maps, err: err, log: log})
}

// loadWhole loads programs with all maps in one collection.
func (o *goObject) loadWhole(names []string) (map[string]*loaded, error) {
	spec := o.spec.Copy()
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !slices.Contains(names, name) })
	for _, name := range names {
		if err := o.check(spec.Programs[name]); err != nil {
			return nil, &programError{name, err}
		}
	}
	if err := o.supportsMaps(spec); err != nil {
		return nil, err
	}
	start := time.Now()
	coll, err := ebpf.NewCollectionWithOptions(spec, o.options(ebpf.LogLevelStats))
	if err != nil {
		m := regexp.MustCompile(`^program (\S+): `).FindStringSubmatch(err.Error())
		if m == nil || spec.Programs[m[1]] == nil {
			return nil, o.supportedOr(err)
		}
		// Its log is that of loading it alone, where that fails too.
		if ld, alone := o.load(m[1]); alone != nil {
			err = alone
		} else {
			ld.close()
		}
		return nil, &programError{m[1], err}
	}
	all := map[string]*loaded{}
	for _, name := range names {
		prog := coll.Programs[name]
		all[name] = &loaded{prog: prog, log: strings.Split(prog.VerifierLog, "\n"), close: func() {}}
	}
	if len(names) > 0 {
		// All are loaded in one go, whose time the first has.
		all[names[0]].took, all[names[0]].close = time.Since(start), coll.Close
	} else {
		coll.Close()
	}
	return all, nil
}

// createStructOps creates the struct_ops map of spec with the programs that are
// its members. It is not registered: the kernel would use it.
func (o *goObject) createStructOps(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	part := *spec
	part.Programs = maps.Clone(spec.Programs)
	maps.DeleteFunc(part.Programs, func(_ string, ps *ebpf.ProgramSpec) bool {
		return ps.Type != ebpf.StructOps || ps.AttachTo == ""
	})
	coll, err := ebpf.NewCollectionWithOptions(&part, o.options(0))
	if err != nil {
		if u := o.supportsMaps(&part); u != nil {
			return nil, u
		}
		return nil, o.supportedOr(fmt.Errorf("create the map: %w", err))
	}
	return coll, nil
}

// createMaps creates all maps of spec.
func (o *goObject) createMaps(spec *ebpf.CollectionSpec) (*ebpf.Collection, error) {
	if err := o.supportsMaps(spec); err != nil {
		return nil, err
	}
	part := *spec
	part.Programs = nil
	coll, err := ebpf.NewCollectionWithOptions(&part, o.options(0))
	if err != nil {
		return nil, o.supportedOr(fmt.Errorf("create the maps: %w", err))
	}
	return coll, nil
}

// supportsMaps asks the kernel for the types of an object's maps.
func (o *goObject) supportsMaps(spec *ebpf.CollectionSpec) error {
	for _, name := range slices.Sorted(maps.Keys(spec.Maps)) {
		if err := o.supportsMap(spec.Maps[name]); err != nil {
			return err
		}
	}
	return nil
}

// attachBySection is for what ebpf-go has no way to attach.
func (o *goObject) attachBySection(string) (io.Closer, error) {
	return nil, errors.ErrUnsupported
}

// sectionProgram is the program that ebpf-go makes of a section's name. It has
// no function for that, so it reads an object with such a section.
func sectionProgram(section string) (*ebpf.ProgramSpec, error) {
	const header, entry, symbol = 64, 64, 24
	names := "\x00.strtab\x00.symtab\x00p\x00" + section + "\x00"
	code := asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	var b bytes.Buffer
	// What is written to a buffer cannot fail, and the types have fixed sizes.
	arch := goarch.Lookup(runtime.GOARCH)
	put := func(x any) { _ = binary.Write(&b, arch.Order(), x) }
	size := uint64(16)
	put(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(arch.Data), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_BPF), Version: uint32(elf.EV_CURRENT),
		Shoff: header, Ehsize: header, Shentsize: entry, Shnum: 4, Shstrndx: 1,
	})
	at := uint64(header + 4*entry)
	put(elf.Section64{})
	put(elf.Section64{Name: 1, Type: uint32(elf.SHT_STRTAB), Off: at, Size: uint64(len(names))})
	put(elf.Section64{
		Name: 9, Type: uint32(elf.SHT_SYMTAB), Off: at + uint64(len(names)), Size: 2 * symbol, Link: 1, Info: 1, Entsize: symbol,
	})
	put(elf.Section64{
		Name: 19, Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC | elf.SHF_EXECINSTR),
		Off: at + uint64(len(names)) + 2*symbol, Size: size, Addralign: 8,
	})
	put([]byte(names))
	put(elf.Sym64{})
	put(elf.Sym64{Name: 17, Info: elf.ST_INFO(elf.STB_GLOBAL, elf.STT_FUNC), Shndx: 3, Size: size})
	if err := code.Marshal(&b, arch.Order()); err != nil {
		return nil, err
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(b.Bytes()))
	if err != nil {
		return nil, err
	}
	return spec.Programs["p"], nil
}
