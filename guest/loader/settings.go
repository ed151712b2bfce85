package main

import (
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/variable"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// settings are the payload's, and which of them an object had a use for.
type settings struct {
	wire.ObjectSettings
	used map[string]bool // by what unused says of them
}

func newSettings(s wire.ObjectSettings) settings {
	return settings{s, map[string]bool{}}
}

// unused says what no object has.
func (s settings) unused() []string {
	var lines []string
	add := func(what string) {
		if !s.used[what] {
			lines = append(lines, what+": no object has it")
		}
	}
	for _, m := range s.Maps {
		add("map " + m.Name)
	}
	for _, v := range slices.Concat(s.Variants...) {
		add("variable " + v.Name)
	}
	for _, t := range s.Targets {
		add("program " + t.Program)
	}
	for _, p := range s.Programs {
		add("program " + strings.TrimPrefix(p, "!"))
	}
	for _, p := range slices.Concat(s.Alternatives...) {
		add("program " + p)
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// inObject returns the name that a setting has in an object. ok is false when it
// is another object's.
func inObject(setting, object string) (name string, ok bool) {
	of, name, found := strings.Cut(setting, "/")
	if !found {
		return setting, true
	}
	return name, of == object
}

// of returns the settings of one object: one set for each variant of it.
func (s settings) of(o wire.Object) []wire.ObjectSettings {
	names := symbols(o.Path)
	has := func(kind, setting string) (string, bool) {
		name, ok := inObject(setting, o.Name)
		found := names[name]
		if kind == "variable " {
			_, _, found = variable.Find(name, func(name string) bool { return names[name] })
		}
		if !ok || !found {
			return "", false
		}
		s.used[kind+setting] = true
		return name, true
	}
	var one wire.ObjectSettings
	for _, m := range s.Maps {
		if name, ok := has("map ", m.Name); ok {
			m.Name = name
			one.Maps = append(one.Maps, m)
		}
	}
	for _, t := range s.Targets {
		if name, ok := has("program ", t.Program); ok {
			t.Program = name
			one.Targets = append(one.Targets, t)
		}
	}
	var all []wire.ObjectSettings
	for _, variant := range s.Variants {
		var mine wire.Variant
		for _, v := range variant {
			if name, ok := has("variable ", v.Name); ok {
				mine = append(mine, wire.Variable{Name: name, Value: v.Value})
			}
		}
		if !slices.ContainsFunc(all, func(x wire.ObjectSettings) bool { return slices.Equal(x.Variants[0], mine) }) {
			x := one
			x.Variants = []wire.Variant{mine}
			all = append(all, x)
		}
	}
	if all == nil {
		return []wire.ObjectSettings{one}
	}
	return all
}

// symbols are the names of an object's maps, variables and functions. One that
// cannot be read has none: whoever loads it says why.
func symbols(path string) map[string]bool {
	names := map[string]bool{}
	f, err := elf.Open(path)
	if err != nil {
		return names
	}
	defer f.Close()
	all, _ := f.Symbols() // none is one that the loader complains of
	for _, s := range all {
		names[s.Name] = true
	}
	return names
}

// variantLabel tells the tests of the nth variant of several from others.
func variantLabel(v wire.Variant, n int) string {
	words := make([]string, len(v))
	for i, x := range v {
		words[i] = x.Name + "=" + x.Value
	}
	label := strings.Join(words, " ")
	switch {
	case label == "":
		label = "nothing set"
	case len(label) > 100:
		label = fmt.Sprintf("variant %d", n+1)
	}
	return " [" + label + "]"
}

// chosen says whether a program is among those to load. One that is excluded never
// is.
func (s settings) chosen(object, program string) bool {
	all, chosen, excluded := true, false, false
	for _, p := range s.Programs {
		pattern, not := strings.CutPrefix(p, "!")
		all = all && not
		if s.matches(pattern, object, program) {
			chosen, excluded = chosen || !not, excluded || not
		}
	}
	return (all || chosen) && !excluded
}

// named says whether a program is asked for, so that it is loaded even if the
// object marks it as optional.
func (s settings) named(object, program string) bool {
	for _, p := range s.Programs {
		if !strings.HasPrefix(p, "!") && s.matches(p, object, program) {
			return true
		}
	}
	return slices.ContainsFunc(slices.Concat(s.Alternatives...), func(p string) bool {
		return s.matches(p, object, program)
	}) || slices.ContainsFunc(s.Targets, func(t wire.TargetOfProg) bool { return s.matches(t.Program, object, program) })
}

// matches says whether a pattern means a program.
func (s settings) matches(pattern, object, program string) bool {
	name := program
	if strings.Contains(pattern, "/") {
		name = object + "/" + program
	}
	ok, err := path.Match(pattern, name)
	if ok && err == nil {
		s.used["program "+pattern] = true
	}
	return ok && err == nil
}
