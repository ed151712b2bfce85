package main

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// group are programs of which one is enough.
type group struct {
	members  []string // NAME or OBJECT/NAME
	declared bool     // by the settings; else they look as if they were
	passed   []string // members that did, as OBJECT/NAME
	failed   map[string]bool
	tried    bool
	over     bool // all members are tested
}

// newGroup is a group of the settings.
func newGroup(members []string) *group {
	return &group{members: members, declared: true, failed: map[string]bool{}}
}

// ofOneObject says whether members are in the same object. Names alone mean programs
// of one object.
func ofOneObject(members []string) bool {
	return !slices.ContainsFunc(members, func(m string) bool { return path.Dir(m) != path.Dir(members[0]) })
}

func (g *group) has(object, program string) bool {
	return slices.ContainsFunc(g.members, func(m string) bool {
		name, ok := inObject(m, object)
		return ok && name == program
	})
}

// present are the members of a declared group among an object's programs, in
// the order in which they are declared.
func (g *group) present(object string, programs []string) []string {
	var names []string
	for _, m := range g.members {
		if name, ok := inObject(m, object); ok && g.declared && slices.Contains(programs, name) {
			names = append(names, name)
		}
	}
	return names
}

// loads is a member that loads in all its variants, "" when none does.
func (g *group) loads() string {
	for _, m := range g.passed {
		if !g.failed[m] {
			return m
		}
	}
	return ""
}

// localGroups are the groups of one object: those that are declared, and those
// of programs that look like alternatives.
func (l *loader) localGroups(object string, programs []program) []*group {
	var groups []*group
	var names []string
	declared := map[string]bool{}
	slices.SortFunc(programs, func(a, b program) int { return strings.Compare(a.name, b.name) })
	for _, p := range programs {
		names = append(names, p.name)
	}
	for _, members := range l.settings.Alternatives {
		g := newGroup(members)
		for _, m := range members {
			if name, ok := inObject(m, object); ok && slices.Contains(names, name) {
				declared[name], l.settings.used["program "+m] = true, true
			}
		}
		if ofOneObject(members) && len(g.present(object, names)) > 0 {
			groups = append(groups, g)
		}
	}
	similar := map[string][]program{}
	for _, p := range programs {
		if declared[p.name] {
			continue
		}
		if _, what := wayTo(p.section); what != "" {
			similar[what] = append(similar[what], p)
		}
		if base, _, _ := strings.Cut(p.name, "___"); base != "" {
			similar["name "+base] = append(similar["name "+base], p)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(similar)) {
		g := &group{failed: map[string]bool{}}
		ways := map[string]bool{}
		for _, p := range similar[what] {
			g.members = append(g.members, p.name)
			way, _ := wayTo(p.section)
			ways[way] = true
		}
		if len(ways) > 1 || len(g.members) > 1 && strings.HasPrefix(what, "name ") {
			groups = append(groups, g)
		}
	}
	return groups
}

// wayTo cuts a section's name into the way in which its program is attached,
// and to what: one value for all ways to be called at the same moment, "" when
// there is only one.
func wayTo(section string) (way, what string) {
	way, target, _ := strings.Cut(strings.TrimPrefix(section, "?"), "/")
	way = strings.TrimSuffix(way, ".s")
	if target == "" || strings.ContainsAny(target, "*?+") {
		return way, ""
	}
	target = strings.TrimPrefix(target, goarch.Lookup(runtime.GOARCH).Syscall)
	switch way {
	case "fentry", "kprobe", "kprobe.multi":
		return way, "entry " + target
	case "fexit", "kretprobe", "kretprobe.multi":
		return way, "exit " + target
	case "ksyscall":
		return way, "entry sys_" + target
	case "kretsyscall":
		return way, "exit sys_" + target
	case "tp", "tracepoint":
		group, event, _ := strings.Cut(target, "/")
		if call, ok := strings.CutPrefix(event, "sys_enter_"); ok && group == "syscalls" {
			return "tp", "entry sys_" + call
		}
		if call, ok := strings.CutPrefix(event, "sys_exit_"); ok && group == "syscalls" {
			return "tp", "exit sys_" + call
		}
		return "tp", "event " + event
	case "raw_tp", "raw_tracepoint":
		return "raw_tp", "event " + target
	case "tp_btf":
		return way, "event " + target
	}
	return way, ""
}

// pending is a test whose verdict depends on those of other programs.
type pending struct {
	result
	outcome
	groups []*group
}

// reportMember tells of a program's test, or holds it back until the other
// members of its groups are tested.
func (l *loader) reportMember(r result, o outcome, object, program string, local []*group) {
	var of []*group
	for _, g := range slices.Concat(local, l.groups) {
		if !g.has(object, program) {
			continue
		}
		of = append(of, g)
		name := object + "/" + program
		switch o.badness() {
		case badnessPass:
			g.passed, g.tried = append(g.passed, name), true
		case badnessSkip:
		default:
			g.failed[name], g.tried = true, true
		}
	}
	if bad := o.badness(); len(of) == 0 || bad <= badnessSkip || bad == badnessUnknown {
		l.report(r, o)
		return
	}
	l.pending = append(l.pending, pending{r, o.small(), of})
}

// release marks groups as tested, and tells of the tests that waited for no
// other.
func (l *loader) release(groups []*group) {
	for _, g := range groups {
		g.over = true
	}
	var kept []pending
	for _, h := range l.pending {
		if slices.ContainsFunc(h.groups, func(g *group) bool { return !g.over }) {
			kept = append(kept, h)
			continue
		}
		needed, declared, instead := false, false, ""
		for _, g := range h.groups {
			loads := g.loads()
			switch {
			case g.declared:
				declared = true
				needed = needed || loads == ""
				instead = loads
			case loads != "" && !declared:
				h.output += fmt.Sprintf("one of these may be enough: --alternatives '%s'\n", strings.Join(g.members, " | "))
			}
		}
		if declared && !needed {
			h.err = skipError("not needed: " + instead + " loads here")
			h.output = h.err.Error() + "\n" + h.output
		}
		if declared && needed {
			// Of no kind: without any of them the application has nothing.
			h.err = errors.New(oneLine(h.err))
			h.output = strings.TrimRight(h.output, "\n") + "\nof the alternatives none loads here\n"
		}
		l.report(h.result, h.outcome)
	}
	l.pending = kept
}

// reportUntried reports a declared group of which no program was loaded, nor
// refused.
func (l *loader) reportUntried(g *group, where string) {
	if g.declared && !g.tried {
		name := strings.TrimPrefix(where+"/alternatives:"+strings.Join(g.members, "|"), "/")
		l.report(result{Test: testNamed(name)}, failed(fmt.Errorf("none of these was loaded: %s", strings.Join(g.members, " | "))))
	}
}
