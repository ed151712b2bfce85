package preflight

import (
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Apply has the object checked as the application loads it that sets s. A name
// that the object does not have is of another one. A value that does not fit is
// an *ObjectError.
func (o *Object) Apply(s wire.ObjectSettings) error {
	if o.Broken != "" {
		return nil
	}
	return o.analyze(s)
}

// is says whether a name in settings means one of the object's.
func (r *reader) is(setting, name string) bool {
	return setting == name || setting == r.Name+"/"+name
}

// choice is what the settings say of a program.
type choice uint8

const (
	byDefault choice = iota
	yes
	no
)

func (r *reader) chosen(program string) (choice, error) {
	c := byDefault
	for _, p := range r.set.Programs {
		pattern, out := strings.CutPrefix(p, "!")
		if !out && c == byDefault {
			c = no
		}
		for _, name := range []string{program, r.Name + "/" + program} {
			matches, err := path.Match(pattern, name)
			switch {
			case err != nil:
				return c, &ObjectError{r.Name, fmt.Sprintf("%q is no pattern of programs", p)}
			case matches && out:
				return no, nil
			case matches:
				c = yes
			}
		}
	}
	return c, nil
}

// mapSetting is a map as the settings have it.
func (r *reader) mapSetting(name string) *ebpf.MapSpec {
	m := *r.spec.maps[name]
	for _, s := range r.set.Maps {
		if !r.is(s.Name, name) {
			continue
		}
		if t := mapType(s.Type); t != ebpf.UnspecifiedMap {
			m.Type = t
		}
		if s.MaxEntries != 0 {
			m.MaxEntries = s.MaxEntries
		}
		if inner := r.spec.maps[s.Inner]; inner != nil {
			m.InnerMap = inner
		}
	}
	return &m
}

// mapType is the type that bpftool calls percpu_array, and the library
// PerCPUArray.
func mapType(name string) ebpf.MapType {
	for t := ebpf.Hash; t <= ebpf.Arena; t++ {
		if strings.EqualFold(t.String(), strings.ReplaceAll(name, "_", "")) {
			return t
		}
	}
	return ebpf.UnspecifiedMap
}

// variants are the values that the application gives to variables that its
// programs only read.
func (r *reader) variants() error {
	r.Object.variants, r.alternatives = nil, r.set.Alternatives
	for _, v := range r.set.Variants {
		contents := maps.Clone(r.contents)
		for section := range contents {
			contents[section] = slices.Clone(contents[section])
		}
		for _, x := range v {
			name := strings.TrimPrefix(x.Name, r.Name+"/")
			if err := r.setVariable(contents, name, x.Value); err != nil {
				return &ObjectError{r.Name, fmt.Sprintf("cannot set %s to %s: %v", x.Name, x.Value, err)}
			}
		}
		r.Object.variants = append(r.Object.variants, contents)
	}
	return nil
}

// setVariable writes a variable's value into its section. One of a section that
// programs write decides nothing, and one of another object is left to it.
func (r *reader) setVariable(contents map[string][]byte, name, value string) error {
	end := strings.IndexAny(name, ".[")
	if end < 0 {
		end = len(name)
	}
	symbol, ok := r.spec.vars[name[:end]]
	if !ok || int(symbol.Section) >= len(r.spec.sections) {
		return nil
	}
	section := r.spec.sections[symbol.Section]
	b := contents[section]
	v, ok := r.spec.external(section, name[:end]).(*btf.Var)
	if b == nil || !ok {
		return nil
	}
	t, at := v.Type, symbol.Value
	for rest := name[end:]; rest != ""; {
		part := rest
		if i := strings.IndexAny(rest[1:], ".["); i >= 0 {
			part = rest[:i+1]
		}
		rest = rest[len(part):]
		if member, ok := strings.CutPrefix(part, "."); ok {
			m, off, ok := memberAt(t, member)
			if !ok {
				return fmt.Errorf("it has no %s", part)
			}
			t, at = m, at+off
			continue
		}
		a, ok := strip(t).(*btf.Array)
		n, err := strconv.ParseUint(strings.TrimSuffix(part[1:], "]"), 10, 32)
		if !ok || err != nil || n >= uint64(a.Nelems) {
			return fmt.Errorf("it has no %s", part)
		}
		size, err := btf.Sizeof(a.Type)
		if err != nil {
			return err
		}
		t, at = a.Type, at+n*uint64(size)
	}
	size, err := btf.Sizeof(t)
	if err != nil {
		return err
	}
	if at > uint64(len(b)) || uint64(size) > uint64(len(b))-at {
		return fmt.Errorf("it is not in section %s", section)
	}
	raw, err := encode(t, size, value)
	if err != nil {
		return err
	}
	clear(b[at : at+uint64(size)])
	copy(b[at:], raw)
	return nil
}

// memberAt finds a member, and how many bytes are before it.
func memberAt(t btf.Type, name string) (btf.Type, uint64, bool) {
	s, ok := strip(t).(*btf.Struct)
	if !ok {
		return nil, 0, false
	}
	for _, m := range s.Members {
		if m.Name == name && m.BitfieldSize == 0 {
			return m.Type, uint64(m.Offset.Bytes()), true
		}
	}
	return nil, 0, false
}

// encode makes a value's bytes.
func encode(t btf.Type, size int, value string) ([]byte, error) {
	if s, err := strconv.Unquote(value); err == nil && strings.HasPrefix(value, `"`) {
		if len(s) > size {
			return nil, fmt.Errorf("it takes %d bytes", size)
		}
		return []byte(s), nil
	}
	switch strip(t).(type) {
	case *btf.Int, *btf.Enum:
	default:
		return nil, fmt.Errorf("it is no number")
	}
	var n uint64
	switch u, err := strconv.ParseUint(value, 0, 64); {
	case err == nil && (size >= 8 || u>>(8*size) == 0):
		n = u
	case value == "true":
		n = 1
	case value == "false":
	case len(value) == 3 && value[0] == '\'' && value[2] == '\'':
		n = uint64(value[1])
	default:
		i, err := strconv.ParseInt(value, 0, 64)
		if err != nil || i >= 0 || size < 8 && i < -1<<(8*size-1) {
			return nil, fmt.Errorf("it takes a number of %d bytes", size)
		}
		n = uint64(i)
	}
	return binary.LittleEndian.AppendUint64(nil, n)[:min(size, 8)], nil
}

// alternate leaves out what another program of a group loads in place of.
func (o *Object) alternate(programs []Program) {
	for _, group := range o.alternatives {
		best, in := -1, []int(nil)
		for i, p := range programs {
			short := strings.TrimPrefix(p.Name, o.Name+"/")
			if p.Skip != "" || !slices.Contains(group, p.Name) && !slices.Contains(group, short) {
				continue
			}
			in = append(in, i)
			if best < 0 || programs[best].Loads.worse(p.Loads) != p.Loads {
				best = i
			}
		}
		for _, i := range in {
			if programs[i].Loads != programs[best].Loads {
				programs[i].Skip = "an alternative to " + programs[best].Name
			}
		}
	}
}
