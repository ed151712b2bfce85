package image

import (
	"bytes"
	"encoding/binary"
)

// BTFTypes are the types of BTF, walked by hand: as a library's values those of
// a kernel's modules would take a gigabyte.
type BTFTypes struct {
	base   *BTFTypes
	first  int // number of the first type
	types  [][]byte
	strs   []byte
	strsAt uint32 // where the base's strings end
}

// Kinds of BTF types (include/uapi/linux/btf.h).
const (
	kindStruct   = 4
	kindUnion    = 5
	kindEnum     = 6
	kindForward  = 7
	kindTypedef  = 8
	kindFunction = 12
	kindTypeTag  = 18
	kindEnum64   = 19
)

// layouts say what the words of a type are, by its kind: s is the offset of a
// string, t the number of a type. The first word of all types is a string's, the
// second their kind, the third stands here; then come words once, and words for
// each member.
var layouts = [...]struct {
	third        byte
	once, member string
}{
	1:  {'.', ".", ""},   // int
	2:  {'t', "", ""},    // pointer
	3:  {'.', "tt.", ""}, // array
	4:  {'.', "", "st."}, // struct
	5:  {'.', "", "st."}, // union
	6:  {'.', "", "s."},  // enum
	7:  {'.', "", ""},    // forward
	8:  {'t', "", ""},    // typedef
	9:  {'t', "", ""},    // volatile
	10: {'t', "", ""},    // const
	11: {'t', "", ""},    // restrict
	12: {'t', "", ""},    // function
	13: {'t', "", "st"},  // its parameters
	14: {'t', ".", ""},   // variable
	15: {'.', "", "t.."}, // section
	16: {'.', "", ""},    // float
	17: {'t', ".", ""},   // declaration tag
	18: {'t', "", ""},    // type tag
	19: {'.', "", "s.."}, // enum of 64 bits
}

// firstType is the type that b begins with, nil where it begins with none.
func firstType(b []byte) []byte {
	if len(b) < 12 {
		return nil
	}
	kind, members := kindOfBTF(b), int(binary.LittleEndian.Uint16(b[4:]))
	if kind == 0 || kind >= len(layouts) {
		return nil
	}
	size := 12 + 4*(len(layouts[kind].once)+members*len(layouts[kind].member))
	if size > len(b) {
		return nil
	}
	return b[:size:size]
}

func kindOfBTF(typ []byte) int { return int(typ[7] & 0x1f) }

// eachWord calls fn for the words of a type that firstType has found, but for
// its second.
func eachWord(typ []byte, fn func(class byte, word []byte)) {
	l := &layouts[kindOfBTF(typ)]
	fn('s', typ[:4])
	fn(l.third, typ[8:12])
	at := 12
	for ; at < 12+4*len(l.once); at += 4 {
		fn(l.once[at/4-3], typ[at:at+4])
	}
	for at < len(typ) {
		for i := range len(l.member) {
			fn(l.member[i], typ[at:at+4])
			at += 4
		}
	}
}

// BTFParts are the types and the strings of BTF, nil where it is none.
func BTFParts(raw []byte) (types, strs []byte) {
	le := binary.LittleEndian
	if len(raw) < 24 || le.Uint16(raw) != 0xeb9f {
		return nil, nil
	}
	part := func(at int) []byte {
		from := uint64(le.Uint32(raw[4:])) + uint64(le.Uint32(raw[at:]))
		to := from + uint64(le.Uint32(raw[at+4:]))
		if to > uint64(len(raw)) {
			return nil
		}
		return raw[from:to:to]
	}
	return part(8), part(16)
}

// EachBTFWord calls fn for each word of types that is the offset of a string
// ('s'), the number of a type ('t') or something else; fn may change it. It
// reports whether these are types to the end.
func EachBTFWord(types []byte, fn func(class byte, word []byte)) bool {
	for len(types) > 0 {
		t := firstType(types)
		if t == nil {
			return false
		}
		eachWord(t, fn)
		types = types[len(t):]
	}
	return true
}

// ReadBTFTypes reads BTF, of a module if base, the kernel's, is not nil. It is
// hostile input: of what is broken there are the types that come before.
func ReadBTFTypes(raw []byte, base *BTFTypes) *BTFTypes {
	t := &BTFTypes{base: base, first: 1}
	if base != nil {
		t.first, t.strsAt = base.End(), uint32(len(base.strs))
	}
	types, strs := BTFParts(raw)
	t.strs = strs
	for {
		typ := firstType(types)
		if typ == nil {
			return t
		}
		t.types = append(t.types, typ)
		types = types[len(typ):]
	}
}

// End is the number behind that of the last type.
func (t *BTFTypes) End() int { return t.first + len(t.types) }

// at is a type's record, nil for void and for what is not there.
func (t *BTFTypes) at(id uint32) []byte {
	switch n := int(id) - t.first; {
	case n >= len(t.types):
		return nil
	case n >= 0:
		return t.types[n]
	case t.base != nil:
		return t.base.at(id)
	}
	return nil
}

func (t *BTFTypes) name(off uint32) []byte {
	if off < t.strsAt {
		return t.base.name(off)
	}
	if off -= t.strsAt; off >= uint32(len(t.strs)) {
		return nil
	}
	s, _, _ := bytes.Cut(t.strs[off:], []byte{0})
	return s
}

// maxNamelessDepth bounds how deep types without names are followed. A hostile
// kernel's go in circles, and it bounds maxNamelessWords too.
const (
	maxNamelessDepth = 12
	maxNamelessWords = 1 << 12 // in one definition
)

// Definition is a digest of a type as it is declared: of its members' or
// parameters' names, places and types. Of a type that has a name only the name
// counts where another names it, its reference. It holds no numbers of types or strings, and is
// the same in other builds.
func (t *BTFTypes) Definition(id uint32) uint64 {
	words := 0
	return t.definition(id, 0, &words)
}

func (t *BTFTypes) definition(id uint32, depth int, words *int) uint64 {
	typ := t.at(id)
	if depth > 0 {
		*words += len(typ) / 4
	}
	if typ == nil || depth > maxNamelessDepth || *words > maxNamelessWords {
		return 1
	}
	h := digest(offset64).word(typ[4:8])
	eachWord(typ, func(class byte, w []byte) {
		switch n := binary.LittleEndian.Uint32(w); class {
		case 's':
			h = h.bytes(t.name(n))
		case 't':
			h = h.number(t.reference(n, depth+1, words))
		default:
			h = h.word(w)
		}
	})
	return uint64(h)
}

func (t *BTFTypes) reference(id uint32, depth int, words *int) uint64 {
	typ := t.at(id)
	if typ == nil {
		return 1
	}
	name, kind := binary.LittleEndian.Uint32(typ), kindOfBTF(typ)
	switch {
	case kind == kindTypeTag && depth <= maxNamelessDepth:
		return t.reference(binary.LittleEndian.Uint32(typ[8:]), depth+1, words)
	case kind == kindForward: // which is what is left of a struct where nobody sees inside
		kind = kindStruct + int(typ[7]>>7)
	}
	if name == 0 {
		return t.definition(id, depth, words)
	}
	return uint64(digest(offset64).bytes(t.name(name)).number(uint64(kind)))
}

// digest is FNV-1a, over words of 64 bits where these are at hand.
type digest uint64

const (
	offset64 = 14695981039346656037
	prime64  = 1099511628211
)

func (h digest) number(n uint64) digest {
	h = (h ^ digest(n)) * prime64
	return h ^ h>>32
}

func (h digest) word(w []byte) digest { return h.number(uint64(binary.LittleEndian.Uint32(w))) }

func (h digest) bytes(b []byte) digest {
	for _, c := range b {
		h = (h ^ digest(c)) * prime64
	}
	return h.number(uint64(len(b)))
}

// Defined are the names of the functions and of the types that BTF defines, but
// for the base's, each with its definition; of several of one name all together.
func (t *BTFTypes) Defined() (functions, types map[string]uint64) {
	functions, types = map[string]uint64{}, map[string]uint64{}
	for i, typ := range t.types {
		name := string(t.name(binary.LittleEndian.Uint32(typ)))
		if !goodName(name) {
			continue
		}
		switch kindOfBTF(typ) {
		case kindFunction:
			words := 0
			functions[name] += t.reference(binary.LittleEndian.Uint32(typ[8:]), 0, &words)
		case kindStruct, kindUnion, kindEnum, kindTypedef, kindEnum64:
			types[name] += t.Definition(uint32(t.first + i))
		}
	}
	return functions, types
}
