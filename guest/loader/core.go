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

	"github.com/elastic/bpf-kernel-check/guest/variable"
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
	return mismatch(parts[1], kindOf(typ), typ.TypeName(), accessPath(typ, parts[3]), kernel)
}

// describeLibbpfRelocation puts a relocation in words from what libbpf writes
// into the verifier's log: "<byte_off> [7] struct file.f_no (0:3 @ offset 24)",
// "<enumval_value> [9] enum e::NAME = 1" or "<type_size> [3] struct file".
func describeLibbpfRelocation(text string, kernel *btf.Spec) string {
	parts := regexp.MustCompile(`^<(\w+)> \[\d+\] (\w+) ([\w<>]+)(?:::(\w+) = -?\d+|(?:\[\d+\])?((?:\.\w+|\[\d+\])*) \([\d:]+ @ offset [\d.]+\))?$`).FindStringSubmatch(text)
	if parts == nil {
		return text
	}
	path := strings.TrimPrefix(parts[4]+parts[5], ".")
	return mismatch(parts[1], parts[2], parts[3], path, kernel)
}

// mismatch says what of a type the running kernel has not as the program expects
// it. path names a member or an enumerator, "" the type itself.
func mismatch(relocation, kind, name, path string, kernel *btf.Spec) string {
	name, _, _ = strings.Cut(name, "___") // a flavour
	what := kind + " " + name
	if kernel == nil {
		return fmt.Sprintf("%s is not what the program expects (%s)", strings.TrimSuffix(what+"."+path, "."), relocation)
	}
	theirs, _ := kernel.AnyTypesByName(name) // an error is that there is none
	if len(theirs) == 0 {
		return "this kernel has no " + what
	}
	if path == "" {
		return fmt.Sprintf("%s is not what the program expects (%s)", what, relocation)
	}
	member, _, _ := strings.Cut(path, ".")
	member, _, _ = strings.Cut(member, "[")
	if member != "" && !slices.ContainsFunc(theirs, func(t btf.Type) bool { return hasMember(t, member) }) {
		return fmt.Sprintf("%s has no %s on this kernel", what, path)
	}
	return fmt.Sprintf("%s has another %s on this kernel (%s)", what, path, relocation)
}

// hasMember says whether a type has a member or enumerator, in itself or in a
// nameless part of it.
func hasMember(t btf.Type, member string) bool {
	if e, ok := btf.UnderlyingType(t).(*btf.Enum); ok {
		return slices.ContainsFunc(e.Values, func(v btf.EnumValue) bool { return v.Name == member })
	}
	return slices.ContainsFunc(variable.MembersOf(t), func(m btf.Member) bool {
		return m.Name == member || m.Name == "" && hasMember(m.Type, member)
	})
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
			index := fmt.Sprintf("[%d]", n)
			if len(names) > 0 {
				names[len(names)-1] += index
			} else {
				names = []string{index}
			}
			t = btf.UnderlyingType(a.Type)
			continue
		}
		members := variable.MembersOf(t)
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
