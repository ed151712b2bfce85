package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/spf13/pflag"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/contents"
	"github.com/elastic/bpf-kernel-check/guest/sections"
	"github.com/elastic/bpf-kernel-check/guest/variable"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/btfhub"
)

// objectSettings are the flags that say what the application sets before it loads
// its BPF objects.
type objectSettings struct {
	maps         []string
	variants     []string
	programs     []string
	alternatives []string
	targets      []string
	btf          string
}

// loading are the flags that say how BPF objects are loaded.
type loading struct {
	loader string
	load   string
	objectSettings
}

func (o *loading) add(f *pflag.FlagSet) {
	f.StringVar(&o.loader, "loader", wire.LoaderAuto, "with --objects: load with libbpf, ebpf-go or both; auto takes for each object what it was made for, libbpf if it does not tell")
	f.StringVar(&o.load, "load", wire.LoadEach, "with --objects: each loads every program on its own, whole all of an object together, as an application does")
	o.objectSettings.add(f)
}

func (o *objectSettings) add(f *pflag.FlagSet) {
	f.StringArrayVar(&o.maps, "map", nil, "with --objects: set `NAME:KEY=VALUE,...` of a map: max_entries, type, key_size, value_size, flags, inner=MAP, pinned; repeatable")
	f.StringArrayVar(&o.variants, "set", nil, "with --objects: set global variables to `NAME=VALUE,...`; repeatable: each is a variant, and every variant must load")
	f.StringArrayVar(&o.programs, "programs", nil, "with --objects: load only programs that match `GLOB`, as PROGRAM or OBJECT/PROGRAM, and none that matches a !GLOB; repeatable")
	f.StringArrayVar(&o.alternatives, "alternatives", nil, "with --objects: of the programs `A|B...` one must load; repeatable")
	f.StringArrayVar(&o.targets, "target", nil, "with --objects: load a program as one of another section, `NAME=SECTION`, such as on_exit=fentry/do_exit; repeatable")
	f.StringVar(&o.btf, "btf", "", "with --objects: types for kernels without BTF: a file, or a `PATH` with those of many, as BTFHub lays them out")
}

// validate checks the flags without looking at files.
func (o *loading) validate() error {
	if err := checkLoader(o.loader); err != nil {
		return err
	}
	if o.load != wire.LoadEach && o.load != wire.LoadWhole {
		return usagef("--load is %.50q: want each or whole", o.load)
	}
	_, err := o.parse()
	return err
}

func checkLoader(loader string) error {
	if loaders := []string{wire.LoaderAuto, wire.LoaderLibbpf, wire.LoaderGo, wire.LoaderBoth}; !slices.Contains(loaders, loader) {
		return usagef("--loader is %.50q%s: want auto, libbpf, ebpf-go or both", loader, kernel.Suggest(loader, loaders))
	}
	return nil
}

// lists are the repeatable flags, by name.
func (o *objectSettings) lists() []struct {
	name   string
	values *[]string
} {
	return []struct {
		name   string
		values *[]string
	}{{"map", &o.maps}, {"set", &o.variants}, {"programs", &o.programs}, {"alternatives", &o.alternatives}, {"target", &o.targets}}
}

// flags are those of run and debug for the same loading.
func (o *loading) flags() (words []string) {
	for _, f := range o.lists() {
		for _, v := range *f.values {
			words = append(words, "--"+f.name, v)
		}
	}
	for _, f := range [][3]string{{"loader", o.loader, wire.LoaderAuto}, {"load", o.load, wire.LoadEach}, {"btf", o.btf, ""}} {
		if f[1] != f[2] && f[1] != "" {
			words = append(words, "--"+f[0], f[1])
		}
	}
	return words
}

// restore takes from an earlier run what is not given.
func (o *loading) restore(was loading, given func(flag string) bool) {
	if !given("loader") {
		o.loader = was.loader
	}
	if !given("load") {
		o.load = was.load
	}
	for i, list := range o.lists() {
		if len(*list.values) == 0 {
			*list.values = *was.lists()[i].values
		}
	}
	o.btf = cmp.Or(o.btf, was.btf)
}

// wire is what the guest's loader is told.
func (o *loading) wire(s wire.ObjectSettings, attach bool, unsupported string) wire.Objects {
	w := wire.Objects{Loader: o.loader, Load: o.load, Attach: attach, Unsupported: unsupported, Settings: s}
	if o.btf != "" {
		w.BTF = wire.BTFPath
	}
	return w
}

// openBTF opens what --btf names; nil without it.
func (o *objectSettings) openBTF() (*btfhub.Files, error) {
	if o.btf == "" {
		return nil, nil
	}
	files, err := btfhub.Open(o.btf)
	if err != nil {
		return nil, usagef("--btf %w", err)
	}
	return files, nil
}

// maxSettings bounds how many there are of each kind of setting, and of the values
// of a variant.
const maxSettings = 1000

// parse parses the flags.
func (o *objectSettings) parse() (s wire.ObjectSettings, err error) {
	for _, list := range o.lists() {
		if n := len(*list.values); n > maxSettings {
			return s, usagef("--%s is given %d times: want %d at most", list.name, n, maxSettings)
		}
	}
	for _, v := range o.maps {
		m, err := parseMap(v)
		if err == nil && slices.ContainsFunc(s.Maps, func(other wire.MapSetting) bool { return other.Name == m.Name }) {
			err = errors.New("the map is set twice: give all of it in one")
		}
		if err != nil {
			return s, usagef("--map %.100q: %w", v, err)
		}
		s.Maps = append(s.Maps, m)
	}
	for _, v := range o.variants {
		variant, err := parseVariant(v)
		if err == nil && slices.ContainsFunc(s.Variants, func(other wire.Variant) bool { return slices.Equal(other, variant) }) {
			err = errors.New("the variant is given twice")
		}
		if err != nil {
			return s, usagef("--set %.100q: %w", v, err)
		}
		s.Variants = append(s.Variants, variant)
	}
	for _, v := range o.programs {
		pattern := strings.TrimPrefix(v, "!")
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return s, usagef("--programs %.100q: want a pattern such as handle_*, or !handle_* for those to leave out", v)
		}
		s.Programs = append(s.Programs, v)
	}
	for _, v := range o.alternatives {
		group, err := parseAlternatives(v)
		if err != nil {
			return s, usagef("--alternatives %.100q: %w", v, err)
		}
		s.Alternatives = append(s.Alternatives, group)
	}
	for _, v := range o.targets {
		t, err := parseTarget(v)
		if err == nil && slices.ContainsFunc(s.Targets, func(other wire.TargetOfProg) bool { return other.Program == t.Program }) {
			err = errors.New("the program is given twice")
		}
		if err != nil {
			return s, usagef("--target %.100q: %w", v, err)
		}
		s.Targets = append(s.Targets, t)
	}
	return s, nil
}

// parseMap parses [OBJECT/]NAME:KEY=VALUE,...
func parseMap(text string) (m wire.MapSetting, err error) {
	name, rest, ok := strings.Cut(text, ":")
	if m.Name = strings.TrimSpace(name); !ok || !isName(m.Name) || strings.TrimSpace(rest) == "" {
		return m, errors.New("want NAME:KEY=VALUE,..., such as events:max_entries=4096")
	}
	numbers := map[string]*uint32{"max_entries": &m.MaxEntries, "key_size": &m.KeySize, "value_size": &m.ValueSize, "flags": &m.Flags}
	keys := append(slices.Sorted(maps.Keys(numbers)), "inner", "pinned", "type")
	seen := map[string]bool{}
	for part := range strings.SplitSeq(rest, ",") {
		key, value, valued := strings.Cut(strings.TrimSpace(part), "=")
		if seen[key] {
			return m, fmt.Errorf("%s is set twice", key)
		}
		seen[key] = true
		switch {
		case key == "pinned" && !valued:
			m.Pinned = true
		case !slices.Contains(keys, key):
			return m, fmt.Errorf("%.40q is nothing that a map has%s: want %s", key, kernel.Suggest(key, keys), strings.Join(keys, ", "))
		case numbers[key] != nil:
			n, err := strconv.ParseUint(value, 0, 32)
			if err != nil || n == 0 {
				return m, fmt.Errorf("%s is %.40q: want a number, 1 to %d", key, value, uint32(math.MaxUint32))
			}
			*numbers[key] = uint32(n)
		case key == "type":
			if _, ok := wire.MapType(value); !ok {
				types := wire.MapTypes()[1:]
				return m, fmt.Errorf("type is %.40q%s: want one of %s", value, kernel.Suggest(value, types), strings.Join(types, ", "))
			}
			m.Type = value
		case key == "inner" && isName(value) && !strings.Contains(value, "/"):
			m.Inner = value
		case key == "inner":
			return m, errors.New("inner is no name: want that of the map of the same object which the inner maps are like")
		default:
			return m, errors.New("pinned takes no value")
		}
	}
	if m.Inner != "" && m.Inner == m.Name[strings.Index(m.Name, "/")+1:] {
		return m, errors.New("inner is the map itself: want that of the map which the inner maps are like")
	}
	if n, _ := wire.MapType(m.Type); m.Inner != "" && m.Type != "" && !holdsMaps(n) {
		return m, fmt.Errorf("%s maps hold no maps: want inner with type=array_of_maps or hash_of_maps", m.Type)
	}
	return m, nil
}

// holdsMaps says whether maps of a type hold maps.
func holdsMaps(mapType uint32) bool {
	return mapType == uint32(ebpf.ArrayOfMaps) || mapType == uint32(ebpf.HashOfMaps)
}

// parseVariant parses [OBJECT/]NAME=VALUE,... Commas in quotes are part of a value.
func parseVariant(text string) (variant wire.Variant, err error) {
	parts, err := splitQuoted(text)
	if err != nil {
		return nil, err
	}
	if len(parts) > maxSettings {
		return nil, fmt.Errorf("it has %d values: want %d at most", len(parts), maxSettings)
	}
	for _, part := range parts {
		name, value, ok := strings.Cut(part, "=")
		v := wire.Variable{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)}
		base, _ := variable.SplitName(v.Name)
		switch {
		case !ok || v.Value == "" || !isName(base):
			return nil, fmt.Errorf("%.60q: want NAME=VALUE, such as targ_pid=42", strings.TrimSpace(part))
		case slices.ContainsFunc(variant, func(other wire.Variable) bool { return other.Name == v.Name }):
			return nil, fmt.Errorf("%s is set twice: give --set once for each variant", v.Name)
		}
		variant = append(variant, v)
	}
	return variant, nil
}

// splitQuoted splits a text at commas that are not in quotes.
func splitQuoted(text string) (parts []string, err error) {
	from, quote := 0, byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++ // what follows is no end
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == ',':
			parts = append(parts, text[from:i])
			from = i + 1
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote %c is not closed", quote)
	}
	return append(parts, text[from:]), nil
}

// parseAlternatives parses programs with | between them. The object of the first
// is that of those without one.
func parseAlternatives(text string) (group []string, err error) {
	object := ""
	for part := range strings.SplitSeq(text, "|") {
		name := strings.TrimSpace(part)
		if !isName(name) {
			return nil, errors.New("want programs with | between them, such as 'on_exec_fentry | on_exec_kprobe'")
		}
		of, _, qualified := strings.Cut(name, "/")
		switch {
		case len(group) == 0 && qualified:
			object = of
		case object != "" && !qualified:
			name = object + "/" + name
		}
		if slices.Contains(group, name) {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		group = append(group, name)
	}
	if len(group) < 2 {
		return nil, errors.New("it is one program: want two or more with | between them")
	}
	return group, nil
}

// parseTarget parses [OBJECT/]PROGRAM=SECTION.
func parseTarget(text string) (t wire.TargetOfProg, err error) {
	program, section, _ := strings.Cut(text, "=")
	t = wire.TargetOfProg{Program: strings.TrimSpace(program), Section: strings.TrimSpace(section)}
	if !isName(t.Program) || t.Section == "" || strings.ContainsFunc(t.Section, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return t, errors.New("want PROGRAM=SECTION, such as on_exit=fentry/do_exit")
	}
	return t, nil
}

// isName says whether a text is NAME or OBJECT/NAME.
func isName(s string) bool {
	object, name, qualified := strings.Cut(s, "/")
	if !qualified {
		object, name = "object", s
	}
	return object != "" && name != "" && !strings.ContainsAny(name, "/=,:| \t\n\"'")
}

// namesOf are the names in the objects of a run.
type namesOf struct {
	objects []guest.ObjectFile
	content []contents.Object
}

// checkSettings holds settings against the objects: each must be about something
// that one of them has. What cannot be read is left to the loader, which fails it.
func checkSettings(objects []guest.ObjectFile, s wire.ObjectSettings) error {
	if len(s.Maps)+len(s.Variants)+len(s.Programs)+len(s.Alternatives)+len(s.Targets) == 0 {
		return nil
	}
	var n namesOf
	for _, o := range objects {
		if c, err := contents.Read(bytes.NewReader(o.Data)); err == nil {
			n.objects, n.content = append(n.objects, o), append(n.content, c)
		}
	}
	programs := func(c contents.Object) []string { return c.Programs }
	ofMaps := func(c contents.Object) []string { return c.Maps }
	variables := func(c contents.Object) []string { return slices.Sorted(maps.Keys(c.Variables)) }
	for _, m := range s.Maps {
		found, err := n.find("map", m.Name, ofMaps)
		if err != nil {
			return usagef("--map %w", err)
		}
		for _, c := range found {
			if m.Inner != "" && !slices.Contains(c.Maps, m.Inner) {
				return usagef("--map %s: inner: the object has no map %s%s: there %s", m.Name, m.Inner, kernel.Suggest(m.Inner, c.Maps), thereAre(c.Maps))
			}
			_, name, _ := n.split(m.Name)
			if t, known := c.MapTypes[name]; m.Inner != "" && m.Type == "" && known && !holdsMaps(t) {
				return usagef("--map %s: inner: it is no map of maps: give it type=array_of_maps or hash_of_maps, too", m.Name)
			}
		}
	}
	for _, variant := range s.Variants {
		for _, v := range variant {
			name, path := n.splitVariable(v.Name)
			found, err := n.find("global variable", name, variables)
			if err != nil {
				return usagef("--set %w", err)
			}
			for _, c := range found {
				if err := checkValue(c.Variables[name[strings.Index(name, "/")+1:]], path, v.Value); err != nil {
					return usagef("--set %s: %w", v.Name, err)
				}
			}
		}
	}
	for _, p := range s.Programs {
		pattern := strings.TrimPrefix(p, "!")
		if !n.any(func(object, program string) bool { return wire.MatchesProgram(pattern, object, program) }) {
			return usagef("--programs %.100q matches no program%s", p, n.choice(pattern, programs))
		}
	}
	isChosen := func(object, program string) bool { return s.Choose(object, program) != wire.LeftOut }
	if !n.any(isChosen) && len(s.Programs) > 0 {
		return usagef("--programs leaves every program out: want a pattern of those to load")
	}
	for _, group := range s.Alternatives {
		for _, p := range group {
			if _, err := n.find("program", p, programs); err != nil {
				return usagef("--alternatives %w", err)
			}
			of, name, _ := n.split(p)
			if !n.any(func(object, program string) bool {
				return program == name && (of == "" || of == object) && isChosen(object, program)
			}) {
				return usagef("--alternatives %s: --programs leaves it out", p)
			}
		}
	}
	for _, t := range s.Targets {
		if _, err := n.find("program", t.Program, programs); err != nil {
			return usagef("--target %w", err)
		}
		if sections.Program(t.Section).Type == ebpf.UnspecifiedProgram {
			return usagef("--target %s: libbpf knows no section %.50q: want one such as fentry/do_exit", t.Program, t.Section)
		}
	}
	return nil
}

// checkValue says what is wrong with a value of a variable of type t; nil: its type
// is not known.
func checkValue(t btf.Type, path, value string) error {
	if t == nil {
		return nil
	}
	_, _, err := variable.Encode(t, path, value, binary.LittleEndian)
	var member *variable.MemberError
	if errors.As(err, &member) {
		return fmt.Errorf("%s has no member %s%s: want one of %s", member.Of, member.Name, kernel.Suggest(member.Name, member.Members), strings.Join(member.Members, ", "))
	}
	return err
}

// split splits [OBJECT/]NAME. object is "" for any; ok is false if no object has
// that name.
func (n namesOf) split(s string) (object, name string, ok bool) {
	object, name, qualified := strings.Cut(s, "/")
	if !qualified {
		return "", s, true
	}
	return object, name, slices.ContainsFunc(n.objects, func(o guest.ObjectFile) bool { return o.Name == object })
}

// splitVariable splits [OBJECT/]NAME from the path to a member.
func (n namesOf) splitVariable(s string) (name, path string) {
	object, full, _ := n.split(s)
	name, path, ok := variable.Find(full, func(name string) bool {
		return slices.ContainsFunc(n.content, func(c contents.Object) bool { _, ok := c.Variables[name]; return ok })
	})
	if !ok {
		name, path = variable.SplitName(full)
	}
	if object != "" {
		name = object + "/" + name
	}
	return name, path
}

// find returns the objects that have a name.
func (n namesOf) find(what, full string, names func(contents.Object) []string) (found []contents.Object, err error) {
	object, name, ok := n.split(full)
	if !ok {
		var all []string
		for _, o := range n.objects {
			all = append(all, o.Name)
		}
		return nil, fmt.Errorf("%s: there is no object %s%s: there %s", full, object, kernel.Suggest(object, all), thereAre(all))
	}
	for i, c := range n.content {
		if (object == "" || n.objects[i].Name == object) && slices.Contains(names(c), name) {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		of := "no object has a"
		if object != "" {
			of = object + " has no"
		}
		return nil, fmt.Errorf("%s: %s %s %s%s", full, of, what, name, n.choice(full, names))
	}
	return found, nil
}

// choice says what is like a name that is not found, and what there is.
func (n namesOf) choice(full string, names func(contents.Object) []string) string {
	object, name, _ := n.split(full)
	var all []string
	for i, c := range n.content {
		if object == "" || n.objects[i].Name == object {
			all = append(all, names(c)...)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return kernel.Suggest(name, all) + ": there " + thereAre(all)
}

func thereAre(names []string) string {
	switch len(names) {
	case 0:
		return "is none"
	case 1:
		return "is " + names[0]
	}
	return "are " + someOf(names)
}

// any says whether a program is like that.
func (n namesOf) any(is func(object, program string) bool) bool {
	for i, c := range n.content {
		if slices.ContainsFunc(c.Programs, func(p string) bool { return is(n.objects[i].Name, p) }) {
			return true
		}
	}
	return false
}
