// Package variable writes values that people give into the global variables of
// BPF objects.
package variable

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// InSection says whether a section of an object holds global variables: .rodata,
// .data, .bss, or one such as .data.x.
func InSection(name string) bool {
	return slices.ContainsFunc([]string{".rodata", ".data", ".bss"}, func(kind string) bool {
		return name == kind || strings.HasPrefix(name, kind+".")
	})
}

// SplitName splits a name such as cfg.ports[2] into the variable's and the path to
// the member, which begins with a dot or a bracket.
func SplitName(s string) (name, path string) {
	if i := strings.IndexAny(s, ".["); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// Find splits a name as SplitName does, by the longest variable that there is: x of
// a function f is f.x, if it is static. ok is false if there is none.
func Find(s string, exists func(name string) bool) (name, path string, ok bool) {
	for end := len(s); end > 0; end = strings.LastIndexAny(s[:end], ".[") {
		if exists(s[:end]) {
			return s[:end], s[end:], true
		}
	}
	return "", "", false
}

// MemberError says that a struct or union has no member of a name.
type MemberError struct {
	Of, Name string
	Members  []string
}

func (e *MemberError) Error() string {
	return fmt.Sprintf("%s has no member %s: want one of %s", e.Of, e.Name, strings.Join(e.Members, ", "))
}

// Encode returns the bytes of a value, and where they go, in bytes from the start
// of a variable of type t. path leads from the variable to the member that is set;
// "" is the variable itself. A value is a number, true, false, 'c', an enumerator or,
// for an array of char, "text".
func Encode(t btf.Type, path, value string, order binary.ByteOrder) (offset uint32, b []byte, err error) {
	for path != "" {
		t = btf.UnderlyingType(t)
		var step uint32
		if path[0] == '[' {
			t, step, path, err = element(t, path)
		} else {
			t, step, path, err = member(t, path)
		}
		if err != nil {
			return 0, nil, err
		}
		if offset+step < offset {
			return 0, nil, errors.New("it is too far inside of its variable")
		}
		offset += step
	}
	b, err = encode(btf.UnderlyingType(t), value, order)
	return offset, b, err
}

// element takes "[INDEX]" off a path.
func element(t btf.Type, path string) (btf.Type, uint32, string, error) {
	index, rest, ok := strings.Cut(path[1:], "]")
	n, err := strconv.ParseUint(index, 0, 32)
	a, isArray := t.(*btf.Array)
	switch {
	case !ok || err != nil || rest != "" && rest[0] != '.' && rest[0] != '[':
		return nil, 0, "", fmt.Errorf("%q: want [INDEX], such as [0]", path)
	case !isArray:
		return nil, 0, "", fmt.Errorf("%q: it is no array, but %s", "["+index+"]", describe(t))
	case n >= uint64(a.Nelems):
		return nil, 0, "", fmt.Errorf("[%d] is not in an array of %d elements", n, a.Nelems)
	}
	size, err := btf.Sizeof(a.Type)
	if err != nil || uint64(size)*n > math.MaxUint32 {
		return nil, 0, "", fmt.Errorf("[%d] is in an array whose elements have no size that is known", n)
	}
	return a.Type, uint32(uint64(size) * n), rest, nil
}

// member takes ".MEMBER" off a path.
func member(t btf.Type, path string) (btf.Type, uint32, string, error) {
	name, rest := path[1:], ""
	if i := strings.IndexAny(name, ".["); i >= 0 {
		name, rest = name[:i], name[i:]
	}
	if name == "" || path[0] != '.' {
		return nil, 0, "", fmt.Errorf("%q: want .MEMBER or [INDEX]", path)
	}
	if MembersOf(t) == nil {
		return nil, 0, "", fmt.Errorf(".%s: it is no struct or union, but %s", name, describe(t))
	}
	m, bits, ok := find(t, name, map[btf.Type]bool{})
	if !ok {
		return nil, 0, "", &MemberError{describe(t), name, names(t, map[btf.Type]bool{})}
	}
	if m.BitfieldSize > 0 {
		return nil, 0, "", fmt.Errorf(".%s is a bit field, and cannot be set", name)
	}
	return m.Type, bits / 8, rest, nil
}

// find looks for a member, inside of anonymous structs and unions, too, each of
// which is seen once: a hostile object has any number of ways to one.
func find(t btf.Type, name string, seen map[btf.Type]bool) (btf.Member, uint32, bool) {
	for _, m := range MembersOf(t) {
		if m.Name == name {
			return m, uint32(m.Offset), true
		}
		if m.Name != "" || seen[m.Type] {
			continue
		}
		seen[m.Type] = true
		if inner, bits, ok := find(m.Type, name, seen); ok {
			return inner, uint32(m.Offset) + bits, true
		}
	}
	return btf.Member{}, 0, false
}

// MembersOf are the members of a struct or union.
func MembersOf(t btf.Type) []btf.Member {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}

// names are the members of a struct or union, and of those that are anonymous in it.
func names(t btf.Type, seen map[btf.Type]bool) (list []string) {
	for _, m := range MembersOf(t) {
		switch {
		case m.Name != "":
			list = append(list, m.Name)
		case !seen[m.Type]:
			seen[m.Type] = true
			list = append(list, names(m.Type, seen)...)
		}
	}
	return list
}

func describe(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Struct:
		return "struct " + t.Name
	case *btf.Union:
		return "union " + t.Name
	case *btf.Enum:
		return "an enum"
	case *btf.Pointer:
		return "a pointer"
	case *btf.Array:
		return fmt.Sprintf("an array of %d elements", t.Nelems)
	case *btf.Int:
		return "an integer"
	}
	return "of another type"
}

func encode(t btf.Type, value string, order binary.ByteOrder) ([]byte, error) {
	var size uint32
	signed, bits := false, 0
	switch t := t.(type) {
	case *btf.Int:
		size, signed = t.Size, t.Encoding == btf.Signed || t.Encoding == btf.Char
		if t.Encoding == btf.Bool {
			bits = 1
		}
	case *btf.Enum:
		size, signed = t.Size, t.Signed
		for _, e := range t.Values {
			if e.Name == value {
				return number(order, e.Value, min(size, 8)), nil
			}
		}
	case *btf.Pointer:
		size = 8
	case *btf.Array:
		return text(t, value)
	default:
		return nil, fmt.Errorf("%s cannot be set: want a part of it, such as .MEMBER", describe(t))
	}
	if size == 0 || size > 8 {
		return nil, fmt.Errorf("an integer of %d bytes cannot be set", size)
	}
	switch {
	case value == "true":
		value = "1"
	case value == "false":
		value = "0"
	case strings.HasPrefix(value, "'"):
		c, _, tail, err := strconv.UnquoteChar(value[1:], '\'')
		if err != nil || tail != "'" || c > math.MaxUint8 {
			return nil, fmt.Errorf("%.60s: want a character in single quotes, such as 'x'", value)
		}
		value = strconv.Itoa(int(c))
	}
	bits = cmp.Or(bits, 8*int(size))
	// As in C, 0xffffffff is a value for an int.
	n, err := strconv.ParseUint(value, 0, bits)
	if err != nil && signed {
		var i int64
		i, err = strconv.ParseInt(value, 0, bits)
		n = uint64(i)
	}
	if err != nil {
		return nil, fmt.Errorf("%.60q is no number of %s: want such as 42, 0x2a, true, false or 'c'", value, kind(signed, bits))
	}
	return number(order, n, size), nil
}

// number is the last size bytes of n, at most 8.
func number(order binary.ByteOrder, n uint64, size uint32) []byte {
	b := make([]byte, 8)
	order.PutUint64(b, n)
	if order.Uint16([]byte{0, 1}) == 1 { // big-endian
		return b[8-size:]
	}
	return b[:size]
}

func kind(signed bool, bits int) string {
	switch {
	case bits == 1:
		return "1 bit"
	case signed:
		return fmt.Sprintf("%d bits with a sign", bits)
	}
	return fmt.Sprintf("%d bits without a sign", bits)
}

// text encodes a string into an array of char, which it fills with zeros.
func text(a *btf.Array, value string) ([]byte, error) {
	char, ok := btf.UnderlyingType(a.Type).(*btf.Int)
	if !ok || char.Size != 1 {
		return nil, fmt.Errorf("%s is set element by element, such as [0]=1", describe(a))
	}
	s, err := strconv.Unquote(value)
	if err != nil || !strings.HasPrefix(value, `"`) {
		return nil, fmt.Errorf(`%.60q: want a text in double quotes, such as "bash"`, value)
	}
	const most = 1 << 20
	if uint64(len(s)) > uint64(a.Nelems) || a.Nelems > most {
		return nil, fmt.Errorf("a text of %d bytes does not fit an array of %d", len(s), a.Nelems)
	}
	b := make([]byte, a.Nelems)
	copy(b, s)
	return b, nil
}
