package preflight

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// local is what a CO-RE relocation names, in the object's types.
type local struct {
	typ  btf.Type // of the root, without typedefs and qualifiers
	path []string // members' names; nameless ones and array elements are left out
	leaf btf.Type // what the path leads to
}

var relocation = regexp.MustCompile(`^CORERelocation\(([\w ()]+), (.*)\[([\d:]*)\], local_id=(\d+)\)$`)

// ofType matches what asks for a type that a kernel may not have.
var ofType = regexp.MustCompile(`^CORERelocation\((type_size|target_type_id),`)

// relocationDep reads the relocation of an instruction. need is false when the
// program asks for something that it can do without; ok is false when it asks
// for nothing of the kernel's.
func relocationDep(ins *asm.Instruction, types *btf.Spec) (d Dep, need, ok bool) {
	relo := btf.CORERelocationMetadata(ins)
	if relo == nil || types == nil {
		return d, false, false
	}
	// The library gives it away as text only:
	// CORERelocation(byte_off, Struct:"task_struct"[0:3], local_id=7).
	parts := relocation.FindStringSubmatch(relo.String())
	if parts == nil {
		return d, false, false
	}
	id, err := strconv.ParseUint(parts[4], 10, 32)
	if err != nil {
		return d, false, false
	}
	typ, err := types.TypeByID(btf.TypeID(id))
	if err != nil {
		return d, false, false
	}
	named := typ
	typ = strip(typ)
	name := flavourless(named.TypeName())
	switch parts[1] {
	case "local_type_id":
		return d, false, false
	case "type_exists", "type_matches", "type_size", "target_type_id":
		d = Dep{Kind: kindType, Name: kindOf(named) + clean(name), local: local{typ: named}}
		return d, parts[1] == "type_size" || parts[1] == "target_type_id", true
	case "enumval_exists", "enumval_value":
		value := enumerator(typ, parts[3])
		d = Dep{Kind: kindValue, Name: clean(value), local: local{typ: named, path: []string{value}}}
		return d, parts[1] == "enumval_value", true
	}
	l := follow(typ, parts[3])
	l.typ = named
	if len(l.path) == 0 { // the thing itself, which is always at 0
		return Dep{Kind: kindType, Name: kindOf(named) + clean(name), local: l}, parts[1] != "field_exists", true
	}
	d = Dep{Kind: kindField, Name: kindOf(named) + clean(name) + "." + clean(strings.Join(l.path, ".")), local: l}
	if l.leaf != nil {
		d.want = declare(l.leaf, l.path[len(l.path)-1])
	}
	return d, parts[1] != "field_exists", true
}

func kindOf(t btf.Type) string {
	switch t.(type) {
	case *btf.Struct:
		return "struct "
	case *btf.Union:
		return "union "
	case *btf.Enum:
		return "enum "
	}
	return ""
}

func enumerator(t btf.Type, accessor string) string {
	e, ok := t.(*btf.Enum)
	n, err := strconv.Atoi(accessor)
	if !ok || err != nil || n < 0 || n >= len(e.Values) {
		return "?"
	}
	return flavourless(e.Values[n].Name)
}

// follow goes along an accessor, such as 0:3:1, whose first number counts whole
// values of the type.
func follow(t btf.Type, accessor string) local {
	var l local
	for i, s := range strings.Split(accessor, ":") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return local{}
		}
		if i == 0 {
			continue
		}
		var members []btf.Member
		switch c := strip(t).(type) {
		case *btf.Struct:
			members = c.Members
		case *btf.Union:
			members = c.Members
		case *btf.Array:
			t, l.leaf = c.Type, c.Type
			continue
		default:
			return local{}
		}
		if n >= len(members) {
			return local{}
		}
		t = members[n].Type
		l.leaf = t
		if members[n].Name != "" {
			l.path = append(l.path, members[n].Name)
		}
	}
	return l
}

// membersOf are the members of a struct or union; of another type there are none.
func membersOf(t btf.Type) []btf.Member {
	switch c := strip(t).(type) {
	case *btf.Struct:
		return c.Members
	case *btf.Union:
		return c.Members
	}
	return nil
}

// member finds a member by name, in the type itself or in its nameless parts. Its
// offset is that from the start of the type.
func member(t btf.Type, name string, depth int) (btf.Member, bool) {
	members := membersOf(t)
	for _, m := range members {
		if m.Name == name {
			return m, true
		}
	}
	if depth > maxDepth {
		return btf.Member{}, false
	}
	for _, m := range members {
		if m.Name != "" {
			continue
		}
		if found, ok := member(m.Type, name, depth+1); ok {
			found.Offset += m.Offset
			return found, true
		}
	}
	return btf.Member{}, false
}

// fieldsOn finds a field in the kernel's types of a name, with its offset from
// the start of each. Of arrays it takes the first element. typeKnown is false when
// the kernel has no type of that name.
func (k *Kernel) fieldsOn(name string, path []string) (fields []btf.Member, typeKnown bool) {
	for _, t := range k.lookup(name) {
		switch t.(type) {
		case *btf.Struct, *btf.Union, *btf.Typedef:
		default:
			continue
		}
		typeKnown = true
		at, ok := btf.Member{Type: t}, true
		for _, name := range path {
			for a, isArray := strip(at.Type).(*btf.Array); isArray; a, isArray = strip(at.Type).(*btf.Array) {
				at.Type = a.Type
			}
			var m btf.Member
			if m, ok = member(at.Type, name, 0); !ok {
				break
			}
			m.Offset += at.Offset
			at = m
		}
		if ok {
			fields = append(fields, at)
		}
	}
	return fields, typeKnown
}

// valueOn finds an enumerator in the kernel's types, "" if there is none.
func (k *Kernel) valueOn(l local) (value string, typeKnown bool) {
	types, err := k.types.AnyTypesByName(flavourless(l.typ.TypeName()))
	if err != nil {
		return "", false
	}
	for _, t := range types {
		e, ok := strip(t).(*btf.Enum)
		if !ok {
			continue
		}
		typeKnown = true
		for _, v := range e.Values {
			switch {
			case flavourless(v.Name) != l.path[0]:
			case e.Signed:
				return strconv.FormatInt(int64(v.Value), 10), true
			default:
				return strconv.FormatUint(v.Value, 10), true
			}
		}
	}
	return "", typeKnown
}

// relocate returns a copy of a program's instructions as they are on a kernel:
// those that ask for what it does not have cannot be executed there.
// Of a type that is not there libbpf makes 0, whatever is asked of it.
func (k *Kernel) relocate(insns asm.Instructions, loader string) (asm.Instructions, error) {
	out := make(asm.Instructions, len(insns))
	copy(out, insns)
	var relos []*btf.CORERelocation
	var at []int
	for i := range out {
		if relo := btf.CORERelocationMetadata(&out[i]); relo != nil {
			relos, at = append(relos, relo), append(at, i)
		}
	}
	if len(relos) == 0 {
		return out, nil
	}
	fixups, err := btf.CORERelocate(relos, []*btf.Spec{k.types}, k.order, func(btf.Type) (btf.TypeID, error) { return 1, nil })
	if err != nil {
		return nil, err
	}
	for i := range fixups {
		if err := fixups[i].Apply(&out[at[i]]); err != nil {
			return nil, fmt.Errorf("%s: %w", relos[i], err)
		}
		if was := &insns[at[i]]; loader != wire.LoaderGo && poisoned(&out[at[i]], was) && ofType.MatchString(relos[i].String()) {
			out[at[i]] = *was
			out[at[i]].Constant = 0
		}
	}
	return out, nil
}

// relocateEach is relocate for instructions of which the library cannot relocate
// all: those that it cannot are none.
func (k *Kernel) relocateEach(insns asm.Instructions, loader string) asm.Instructions {
	out := slices.Clone(insns)
	for i := range insns {
		one, err := k.relocate(insns[i:i+1], loader)
		if err != nil {
			out[i].OpCode = asm.InvalidOpCode
			continue
		}
		out[i] = one[0]
	}
	return out
}

// poisoned says whether relocate has made of an instruction, was, one that
// cannot be executed.
func poisoned(ins, was *asm.Instruction) bool {
	if ins.Constant != btf.COREBadRelocationSentinel || btf.CORERelocationMetadata(was) == nil {
		return false
	}
	return ins.IsBuiltinCall() || ins.OpCode.IsDWordLoad()
}
