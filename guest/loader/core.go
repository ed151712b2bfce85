package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// usesCORE says whether a program is relocated against the kernel's types.
func usesCORE(ps *ebpf.ProgramSpec) bool {
	for i := range ps.Instructions {
		if btf.CORERelocationMetadata(&ps.Instructions[i]) != nil {
			return true
		}
	}
	return false
}

// badRelocation names what the instruction at an offset asks of the kernel's
// types and does not get. local are the object's types, kernel the running
// kernel's. "" when the instruction has no relocation.
func badRelocation(insns asm.Instructions, offset int, local, kernel *btf.Spec) string {
	iter := insns.Iterate()
	for iter.Next() {
		if int(iter.Offset) != offset {
			continue
		}
		relo := btf.CORERelocationMetadata(iter.Ins)
		if relo == nil {
			return ""
		}
		return describeRelocation(relo.String(), local, kernel)
	}
	return ""
}

// describeRelocation puts a relocation in words. The library gives it away as
// text only: CORERelocation(byte_off, Struct:"task_struct"[0:3], local_id=7).
func describeRelocation(relo string, local, kernel *btf.Spec) string {
	parts := regexp.MustCompile(`^CORERelocation\((\w+), (.*)\[([\d:]*)\], local_id=(\d+)\)$`).FindStringSubmatch(relo)
	if parts == nil {
		return relo
	}
	id, err := strconv.ParseUint(parts[4], 10, 32)
	if err != nil || local == nil {
		return relo
	}
	typ, err := local.TypeByID(btf.TypeID(id))
	if err != nil {
		return relo
	}
	typ = btf.UnderlyingType(typ)
	name, _, _ := strings.Cut(typ.TypeName(), "___") // a flavour
	what := kindOf(typ) + " " + name
	var theirs []btf.Type
	if kernel != nil {
		theirs, _ = kernel.AnyTypesByName(name) // an error is that there is none
	}
	if len(theirs) == 0 {
		return "this kernel has no " + what
	}
	path := accessPath(typ, parts[3])
	if path == "" {
		return fmt.Sprintf("%s is not what the program expects (%s)", what, parts[1])
	}
	if member, _, _ := strings.Cut(path, "."); !slices.ContainsFunc(theirs, func(t btf.Type) bool { return hasMember(t, member) }) {
		return fmt.Sprintf("%s has no %s on this kernel", what, path)
	}
	return fmt.Sprintf("%s has another %s on this kernel (%s)", what, path, parts[1])
}

// hasMember says whether a type has a member or enumerator, in itself or in a
// nameless part of it.
func hasMember(t btf.Type, member string) bool {
	if e, ok := btf.UnderlyingType(t).(*btf.Enum); ok {
		return slices.ContainsFunc(e.Values, func(v btf.EnumValue) bool { return v.Name == member })
	}
	return slices.ContainsFunc(membersOf(t), func(m btf.Member) bool {
		return m.Name == member || m.Name == "" && hasMember(m.Type, member)
	})
}

// membersOf are those of a struct or union.
func membersOf(t btf.Type) []btf.Member {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}

func kindOf(t btf.Type) string {
	switch t.(type) {
	case *btf.Struct, *btf.Union, *btf.Enum:
		return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", t), "*btf."))
	}
	return "type"
}

// accessPath turns an accessor such as 0:3:1 into the members' names, joined by
// dots.
func accessPath(t btf.Type, accessor string) string {
	var names []string
	for i, s := range strings.Split(accessor, ":") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			break
		}
		if e, ok := t.(*btf.Enum); ok && n < len(e.Values) {
			return e.Values[n].Name
		}
		if i == 0 { // an index to an array of the type
			continue
		}
		if a, ok := t.(*btf.Array); ok {
			names = append(names, fmt.Sprintf("[%d]", n))
			t = btf.UnderlyingType(a.Type)
			continue
		}
		members := membersOf(t)
		if n >= len(members) {
			break
		}
		if members[n].Name != "" {
			names = append(names, members[n].Name)
		}
		t = btf.UnderlyingType(members[n].Type)
	}
	return strings.Join(names, ".")
}
