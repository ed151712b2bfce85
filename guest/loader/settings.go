package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/contents"
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
func (s settings) of(o wire.Object) ([]wire.ObjectSettings, error) {
	if len(s.Maps)+len(s.Targets)+len(s.Variants) == 0 {
		return []wire.ObjectSettings{{}}, nil
	}
	f, err := os.Open(o.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := contents.Read(f)
	if err != nil {
		return nil, fmt.Errorf("the object %w: the settings are not told from those of other objects", err)
	}
	has := func(kind, setting string, exists func(name string) bool) (string, bool) {
		name, ok := inObject(setting, o.Name)
		if !ok || !exists(name) {
			return "", false
		}
		s.used[kind+setting] = true
		return name, true
	}
	isMap := func(name string) bool { return slices.Contains(names.Maps, name) }
	isProgram := func(name string) bool { return slices.Contains(names.Programs, name) }
	isVariable := func(name string) bool {
		_, _, ok := variable.Find(name, func(name string) bool { _, ok := names.Variables[name]; return ok })
		return ok
	}
	var one wire.ObjectSettings
	for _, m := range s.Maps {
		if name, ok := has("map ", m.Name, isMap); ok {
			m.Name = name
			one.Maps = append(one.Maps, m)
		}
	}
	for _, t := range s.Targets {
		if name, ok := has("program ", t.Program, isProgram); ok {
			t.Program = name
			one.Targets = append(one.Targets, t)
		}
	}
	var all []wire.ObjectSettings
	for _, variant := range s.Variants {
		var mine wire.Variant
		for _, v := range variant {
			if name, ok := has("variable ", v.Name, isVariable); ok {
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
		all = []wire.ObjectSettings{one}
	}
	return all, nil
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

// named says whether a program is asked for, so that it is loaded even if the
// object marks it as optional.
func (s settings) named(object, program string) bool {
	means := func(name string) bool { return wire.MatchesProgram(name, object, program) }
	return s.Choose(object, program) == wire.Chosen || slices.ContainsFunc(slices.Concat(s.Alternatives...), means) ||
		slices.ContainsFunc(s.Targets, func(t wire.TargetOfProg) bool { return means(t.Program) })
}

// found notes the patterns that mean a program.
func (s settings) found(object, program string) {
	for _, p := range s.Programs {
		if pattern := strings.TrimPrefix(p, "!"); wire.MatchesProgram(pattern, object, program) {
			s.used["program "+pattern] = true
		}
	}
}
