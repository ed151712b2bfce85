// Package libbpf loads BPF objects with libbpf, by the C program of
// guest/libbpf: one process for each object.
package libbpf

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Path is where the guest has the C program.
const Path = "/libbpf-loader"

// version is libbpf's, as guest/libbpf/build takes it. A test holds it to the
// program's own.
const version = "1.8"

// Version names the loader in results.
func Version() string { return "libbpf " + version }

// Options are what an application sets before it loads an object. What names
// something that the object does not have is left out, and [Object.Absent] lists
// it.
type Options struct {
	Program string // the C program; "": Path
	BTF     string // file with the kernel's types; "": the kernel's own
	Maps    []wire.MapSetting
	Variant wire.Variant // a variable CONFIG_X is one of the kernel's configuration
	Targets []wire.TargetOfProg
	PinDir  string // directory in a bpffs for pinned maps; "": /sys/fs/bpf
}

// Program is one program of an object.
type Program struct {
	Name       string
	Section    string
	Type       ebpf.ProgramType // UnspecifiedProgram: libbpf does not know the section
	AttachType ebpf.AttachType
	Autoload   bool // bpf_object__load loads it
	CanAttach  bool // bpf_program__attach knows how, given the section names a target
}

// Map is one map of an object, with the sizes that it is created with, but for
// those that libbpf computes.
type Map struct {
	Name       string // .rodata for what the object calls so
	Type       ebpf.MapType
	KeySize    uint32
	ValueSize  uint32
	MaxEntries uint32
	Flags      uint32
	Internal   bool // of global variables
}

// Error is why libbpf refused something.
type Error struct {
	Doing    string     // such as "open the object"
	Program  string     // the one that was being loaded
	Errno    unix.Errno // from 4000 on libbpf's own
	Reason   string     // Errno in libbpf's words
	Log      string     // the verifier's, with what libbpf adds to it
	Cut      bool       // Log has filled its buffer
	Messages []string   // what libbpf printed, 32 KiB at most
}

func (e *Error) Error() string {
	const most = 5
	s := fmt.Sprintf("%s: %s", e.Doing, e.Reason)
	for _, m := range e.Messages[:min(len(e.Messages), most)] {
		s += ": " + m
	}
	if more := len(e.Messages) - most; more > 0 {
		s += fmt.Sprintf(" (and %d messages)", more)
	}
	return s
}

// Unwrap gives the kernel's errno, and nothing for libbpf's own.
func (e *Error) Unwrap() error {
	if e.Errno >= 4000 {
		return nil
	}
	return e.Errno
}

// Object is an opened object. It is for one goroutine.
type Object struct {
	c        *conn
	programs []Program
	maps     []Map
	notes    []string
	absent   []string
}

// Open starts a process that opens the object file and sets what o says. The
// error is an *Error when libbpf refused it, and wraps ErrCrashed when the
// process ended.
func Open(object string, o Options) (*Object, error) {
	c, err := start(o.Program)
	if err != nil {
		return nil, err
	}
	obj := &Object{c: c}
	if err := obj.open(object, o); err != nil {
		c.close()
		return nil, err
	}
	return obj, nil
}

// openTimeout bounds what libbpf does without the verifier: a hostile object
// must not hold up the others.
const openTimeout = 2 * time.Minute

func (o *Object) open(object string, opt Options) error {
	var kconfig strings.Builder
	var variables []wire.Variable
	for _, v := range opt.Variant {
		if strings.HasPrefix(v.Name, "CONFIG_") {
			fmt.Fprintf(&kconfig, "%s=%s\n", v.Name, v.Value)
		} else {
			variables = append(variables, v)
		}
	}
	end, err := o.c.call("open the object", openTimeout, func(p packet) error {
		switch p.kind {
		case "program":
			o.programs = append(o.programs, p.program())
		case "map":
			o.maps = append(o.maps, Map{
				Name: p.str(), Type: ebpf.MapType(p.u32()), KeySize: p.u32(), ValueSize: p.u32(),
				MaxEntries: p.u32(), Flags: p.u32(), Internal: p.bool(),
			})
		default:
			return errProtocol
		}
		return p.done()
	}, "open", object, opt.BTF, kconfig.String())
	if err = end.or(err); err != nil {
		return err
	}
	for _, t := range opt.Targets {
		i := slices.IndexFunc(o.programs, func(p Program) bool { return p.Name == t.Program })
		if i < 0 {
			o.absent = append(o.absent, t.Program)
			continue
		}
		end, err := o.c.call("load "+t.Program+" as "+t.Section, openTimeout, func(p packet) error {
			o.programs[i] = p.program()
			return p.done()
		}, "section", t.Program, t.Section)
		if err = end.or(err); err != nil {
			return err
		}
	}
	if err := o.setMaps(opt); err != nil {
		return err
	}
	return o.setVariables(variables)
}

func (p packet) program() Program {
	return Program{
		Name: p.str(), Section: p.str(), Type: ebpf.ProgramType(p.u32()), AttachType: ebpf.AttachType(p.u32()),
		Autoload: p.bool(), CanAttach: p.bool(),
	}
}

// set sends one setting.
func (o *Object) set(doing string, request ...string) error {
	end, err := o.c.call(doing, openTimeout, nil, request...)
	return end.or(err)
}

// setMaps sets the maps' sizes, which their inner maps take over, at first.
func (o *Object) setMaps(opt Options) error {
	find := func(name string) int { return slices.IndexFunc(o.maps, func(m Map) bool { return m.Name == name }) }
	for _, s := range opt.Maps {
		i := find(s.Name)
		if i < 0 {
			o.absent = append(o.absent, s.Name)
			continue
		}
		m := &o.maps[i]
		if s.Type != "" {
			t, ok := wire.MapType(s.Type)
			if !ok {
				return fmt.Errorf("map %s: no type is called %q", s.Name, s.Type)
			}
			m.Type = ebpf.MapType(t)
			if err := o.setNumber(m, "type", t, new(uint32)); err != nil {
				return err
			}
		}
		for _, f := range []struct {
			what  string
			n     uint32
			field *uint32
		}{
			{"max_entries", s.MaxEntries, &m.MaxEntries},
			{"key_size", s.KeySize, &m.KeySize},
			{"value_size", s.ValueSize, &m.ValueSize},
			{"flags", s.Flags, &m.Flags},
		} {
			if err := o.setNumber(m, f.what, f.n, f.field); err != nil {
				return err
			}
		}
	}
	for i := range o.maps {
		m := &o.maps[i]
		if m.Internal {
			continue
		}
		value, entries := m.ValueSize, m.MaxEntries
		o.notes = append(o.notes, SetDefaults(m.Name, m.Type, &value, &entries)...)
		if value != m.ValueSize {
			if err := o.setNumber(m, "value_size", value, &m.ValueSize); err != nil {
				return err
			}
		}
		if entries != m.MaxEntries {
			if err := o.setNumber(m, "max_entries", entries, &m.MaxEntries); err != nil {
				return err
			}
		}
	}
	for _, s := range opt.Maps {
		if find(s.Name) < 0 {
			continue
		}
		if s.Inner != "" {
			if err := o.set("make the maps in "+s.Name+" like "+s.Inner, "map", s.Name, "inner", s.Inner); err != nil {
				return err
			}
		}
		if s.Pinned {
			path := filepath.Join(cmp.Or(opt.PinDir, "/sys/fs/bpf"), s.Name)
			if err := o.set("pin map "+s.Name, "map", s.Name, "pin", path); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *Object) setNumber(m *Map, what string, n uint32, field *uint32) error {
	if n == 0 {
		return nil
	}
	*field = n
	return o.set(fmt.Sprintf("set %s of map %s to %d", what, m.Name, n), "map", m.Name, what, strconv.FormatUint(uint64(n), 10))
}

// setVariables sets global variables, by the types in the object.
func (o *Object) setVariables(variables []wire.Variable) error {
	if len(variables) == 0 {
		return nil
	}
	end, err := o.c.call("read the object's types", openTimeout, nil, "btf")
	if err = end.or(err); err != nil {
		return err
	}
	raw, err := o.c.memory(0, end.bytes)
	if err != nil {
		return err
	}
	globals, err := ReadGlobals(strings.NewReader(raw))
	if err != nil {
		return err
	}
	for _, v := range variables {
		b, err := globals.Encode(v)
		if errors.Is(err, ErrNoVariable) {
			o.absent = append(o.absent, v.Name)
			continue
		}
		if err != nil {
			return err
		}
		for len(b.Data) > 0 {
			n := min(len(b.Data), 32<<10) // of what a request may hold
			if err := o.set("set "+v.Name, "bytes", b.Map, strconv.FormatUint(uint64(b.Offset), 10), hex.EncodeToString(b.Data[:n])); err != nil {
				return err
			}
			b.Offset, b.Data = b.Offset+uint32(n), b.Data[n:]
		}
	}
	return nil
}

// SetDefaults gives a map sizes that the object leaves to its application: such as
// make sense anywhere. Each has a note.
func SetDefaults(name string, t ebpf.MapType, valueSize, maxEntries *uint32) (notes []string) {
	if t == ebpf.StackTrace && *valueSize == 0 {
		*valueSize = 127 * 8 // addresses, as many as the kernel takes unless it is told to take more
		notes = append(notes, fmt.Sprintf("map %s has values of 0 bytes in the object: created with %d", name, *valueSize))
	}
	if n := defaultEntries(t); *maxEntries == 0 && n > 0 {
		*maxEntries = n
		notes = append(notes, fmt.Sprintf("map %s has 0 entries in the object: created with %d", name, n))
	}
	return notes
}

// defaultEntries is 0 for types that want none, or of which the loader finds the
// number.
func defaultEntries(t ebpf.MapType) uint32 {
	switch t {
	case ebpf.RingBuf, ebpf.UserRingbuf:
		return 256 << 10 // bytes, a multiple of any page
	case ebpf.Arena:
		return 1 << 10 // pages
	case ebpf.UnspecifiedMap, ebpf.PerfEventArray, ebpf.StructOpsMap, ebpf.SkStorage, ebpf.InodeStorage, ebpf.TaskStorage,
		ebpf.CgroupStorage, ebpf.CGroupStorage, ebpf.PerCPUCGroupStorage:
		return 0
	}
	return 1
}

// Programs are the object's, in its file's order.
func (o *Object) Programs() []Program { return o.programs }

// Maps are the object's.
func (o *Object) Maps() []Map { return o.maps }

// Notes say what was set that nobody asked for.
func (o *Object) Notes() []string { return o.notes }

// Absent names the settings' maps, variables and programs that the object does
// not have.
func (o *Object) Absent() []string { return o.absent }

// Ended says whether the process has ended, so that whatever it is asked fails.
func (o *Object) Ended() bool { return o.c.err != nil }

// Close ends the process and with it all that it holds.
func (o *Object) Close() { o.c.close() }

// Loaded is a program in the kernel.
type Loaded struct {
	FD       int
	Log      string
	Duration time.Duration // of the load alone

	object *Object
	name   string
}

// Close closes the program. What is attached of it stays until it is closed.
func (l *Loaded) Close() error {
	err := unix.Close(l.FD)
	return errors.Join(err, l.object.set("release "+l.name, "release", l.name))
}

// Load loads one program, as bpf_object__load does when no other is set to be
// loaded. level and logSize are those of BPF_PROG_LOAD; 0 and 0 ask for no log.
// The error is an *Error when libbpf or the kernel refused the program.
func (o *Object) Load(program string, level uint32, logSize int) (*Loaded, error) {
	loaded, err := o.load("load "+program, logSize, "load", program, strconv.FormatUint(uint64(level), 10), strconv.Itoa(logSize))
	if err != nil {
		return nil, err
	}
	l := loaded[program]
	if l == nil || len(loaded) > 1 {
		closeAll(loaded)
		return nil, errProtocol
	}
	return l, nil
}

// LoadWhole loads programs together, as bpf_object__load does; none: those that
// it loads by default. It is for an object of which nothing was loaded. Each
// program has a log of logSize; those of all together are 256 MiB at most.
func (o *Object) LoadWhole(programs []string, level uint32, logSize int) (map[string]*Loaded, error) {
	request := append([]string{"whole", strconv.FormatUint(uint64(level), 10), strconv.Itoa(logSize)}, programs...)
	return o.load("load the object", logSize, request...)
}

func closeAll(loaded map[string]*Loaded) {
	for _, l := range loaded {
		unix.Close(l.FD)
	}
}

func (o *Object) load(doing string, logSize int, request ...string) (map[string]*Loaded, error) {
	loaded := map[string]*Loaded{}
	logs := map[string][2]int64{}
	end, err := o.c.call(doing, 0, func(p packet) error {
		name := p.str()
		l := &Loaded{FD: p.takeFD(), Duration: p.duration(), object: o, name: name}
		log := [2]int64{p.i64(), p.i64()}
		if l.FD < 0 || loaded[name] != nil || p.kind != "loaded" || p.done() != nil {
			unix.Close(l.FD)
			return errProtocol
		}
		loaded[name], logs[name] = l, log
		return nil
	}, request...)
	err = end.or(err)
	for name, l := range loaded {
		if err == nil {
			l.Log, err = o.c.memory(logs[name][0], logs[name][1])
		}
	}
	var refused *Error
	if errors.As(err, &refused) && logSize > 0 {
		refused.Cut = len(refused.Log) >= logSize-1
	}
	if err != nil {
		closeAll(loaded)
		return nil, err
	}
	return loaded, nil
}

// Attach attaches the program where its section says, as libbpf does with its
// fallbacks for old kernels; section, unless it is "", stands in its place:
// uprobe//bin/x:main, usdt//bin/x:provider:name, kprobe.multi/vfs_*.
func (l *Loaded) Attach(section string) (io.Closer, error) {
	return l.object.attach("attach "+l.name, "attach", l.name, section)
}

// AttachMap registers a map of struct_ops, with its programs.
func (o *Object) AttachMap(name string) (io.Closer, error) {
	return o.attach("attach map "+name, "attach_map", name)
}

func (o *Object) attach(doing string, request ...string) (io.Closer, error) {
	l := &link{object: o}
	end, err := o.c.call(doing, 0, func(p packet) error {
		l.number = p.str()
		if p.kind != "link" {
			return errProtocol
		}
		return p.done()
	}, request...)
	if err = end.or(err); err != nil {
		return nil, err
	}
	if l.number == "" {
		return nil, errProtocol
	}
	return l, nil
}

// link is something attached, which the process holds.
type link struct {
	object *Object
	number string
}

// Close detaches it.
func (l *link) Close() error { return l.object.set("detach", "detach", l.number) }

// MapFD gives a descriptor of a map, which is the caller's, and creates all maps
// before. The error is an *Error when one cannot be created; it is EBADF for a map
// that the object marks as optional.
func (o *Object) MapFD(name string) (int, error) {
	fd := -1
	end, err := o.c.call("create the maps", 0, func(p packet) error {
		if fd >= 0 || p.kind != "map_fd" {
			return errProtocol
		}
		fd = p.takeFD()
		return p.done()
	}, "map_fd", name)
	if err = end.or(err); err == nil && fd < 0 {
		err = errProtocol
	}
	if err != nil && fd >= 0 {
		unix.Close(fd)
	}
	if err != nil {
		return -1, err
	}
	return fd, nil
}
