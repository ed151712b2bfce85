package preflight

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/variable"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Apply has the object checked as the application loads it that sets s. A name
// that the object does not have is of another one. A value that does not fit is
// an *ObjectError.
func (o *Object) Apply(s wire.ObjectSettings) error {
	if o.Broken != "" {
		return nil
	}
	for _, p := range s.Programs {
		if _, err := path.Match(strings.TrimPrefix(p, "!"), ""); err != nil {
			return &ObjectError{o.Name, fmt.Sprintf("%q is no pattern of programs", p)}
		}
	}
	return o.analyze(s)
}

// Targets are the sections of the programs that are loaded, of which
// [Kernel.HasTarget] can tell.
func (o *Object) Targets() (sections []string) {
	for _, p := range o.programs {
		switch p.target.kind {
		case "kprobe", "kretprobe", "fentry", "fexit", "fmod_ret", "tp_btf", "raw_tp", "lsm":
			if p.skip == "" && p.target.name != "" {
				sections = append(sections, p.target.kind+"/"+p.target.symbol())
			}
		}
	}
	slices.Sort(sections)
	return slices.Compact(sections)
}

// is says whether a name in settings means one of the object's.
func (r *reader) is(setting, name string) bool {
	return setting == name || setting == r.Name+"/"+name
}

// mapSetting is a map as the settings have it.
func (r *reader) mapSetting(name string) *ebpf.MapSpec {
	m := *r.spec.maps[name]
	for _, s := range r.set.Maps {
		if !r.is(s.Name, name) {
			continue
		}
		if t, ok := wire.MapType(s.Type); ok {
			m.Type = ebpf.MapType(t)
		}
		m.MaxEntries = cmp.Or(s.MaxEntries, m.MaxEntries)
		m.KeySize, m.ValueSize = cmp.Or(s.KeySize, m.KeySize), cmp.Or(s.ValueSize, m.ValueSize)
		if inner := r.spec.maps[s.Inner]; inner != nil {
			m.InnerMap = inner
		}
	}
	return &m
}

// variants are the values that the application gives to variables that its
// programs only read.
func (r *reader) variants() error {
	r.Object.variants = nil
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
	name, path, ok := variable.Find(name, func(name string) bool { _, ok := r.spec.vars[name]; return ok })
	symbol := r.spec.vars[name]
	if !ok || int(symbol.Section) >= len(r.spec.sections) {
		return nil
	}
	section := r.spec.sections[symbol.Section]
	b := contents[section]
	v, ok := r.spec.external(section, name).(*btf.Var)
	if b == nil || !ok {
		return nil
	}
	at, raw, err := variable.Encode(v.Type, path, value, r.spec.order)
	if err != nil {
		return err
	}
	from := symbol.Value + uint64(at)
	if from > uint64(len(b)) || uint64(len(raw)) > uint64(len(b))-from {
		return fmt.Errorf("it is not in section %s", section)
	}
	copy(b[from:], raw)
	return nil
}
