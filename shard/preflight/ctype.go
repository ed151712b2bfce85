package preflight

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// maxC bounds a piece of C that is shown, in bytes.
const maxC = 400

// maxDepth bounds how deep types are followed; BTF of a hostile kernel can go in
// circles.
const maxDepth = 24

// declare writes the declaration of a name in C: "struct dentry *d".
func declare(t btf.Type, name string) string {
	s := declareAt(t, name, 0)
	if len(s) > maxC {
		s = s[:maxC] + "..."
	}
	return s
}

func declareAt(t btf.Type, name string, depth int) string {
	if depth > maxDepth || len(name) > maxC {
		return "... " + name
	}
	join := func(base string) string {
		if name == "" {
			return base
		}
		return base + " " + name
	}
	depth++
	switch t := t.(type) {
	case nil:
		return join("void")
	case *btf.Void:
		return join("void")
	case *btf.Pointer:
		inner := "*" + name
		switch btf.Type(t.Target).(type) {
		case *btf.FuncProto, *btf.Array:
			inner = "(" + inner + ")"
		}
		return declareAt(t.Target, inner, depth)
	case *btf.Const:
		return qualified("const", t.Type, name, depth)
	case *btf.Volatile:
		return qualified("volatile", t.Type, name, depth)
	case *btf.Restrict:
		return declareAt(t.Type, name, depth)
	case *btf.TypeTag:
		return declareAt(t.Type, name, depth)
	case *btf.Array:
		return declareAt(t.Type, fmt.Sprintf("%s[%d]", name, t.Nelems), depth)
	case *btf.FuncProto:
		return declareAt(t.Return, name+"("+params(t, depth)+")", depth)
	case *btf.Struct:
		return join(tagged("struct", t.Name))
	case *btf.Union:
		return join(tagged("union", t.Name))
	case *btf.Enum:
		return join(tagged("enum", t.Name))
	case *btf.Fwd:
		if t.Kind == btf.FwdUnion {
			return join(tagged("union", t.Name))
		}
		return join(tagged("struct", t.Name))
	}
	return join(clean(t.TypeName()))
}

// qualified puts a qualifier where C has it: behind the star of a pointer,
// before anything else.
func qualified(word string, t btf.Type, name string, depth int) string {
	if p, ok := t.(*btf.Pointer); ok {
		inner := "*" + word
		if name != "" {
			inner += " " + name
		}
		return declareAt(p.Target, inner, depth+1)
	}
	return word + " " + declareAt(t, name, depth)
}

func tagged(kind, name string) string {
	if name == "" {
		return kind + " {...}"
	}
	return kind + " " + clean(name)
}

func params(t *btf.FuncProto, depth int) string {
	if len(t.Params) == 0 {
		return "void"
	}
	var list []string
	for i, p := range t.Params {
		if i == 32 {
			list = append(list, "...")
			break
		}
		if _, void := p.Type.(*btf.Void); void && i == len(t.Params)-1 && p.Name == "" {
			list = append(list, "...") // how BTF writes variable arguments
			break
		}
		list = append(list, declareAt(p.Type, clean(p.Name), depth))
	}
	return strings.Join(list, ", ")
}

// prototype writes a function's prototype.
func prototype(name string, t *btf.FuncProto) string {
	s := declareAt(t, clean(name), 0)
	if len(s) > maxC {
		s = s[:maxC] + "..."
	}
	return s
}

// sign gives an answer a function's prototype.
func (a *Answer) sign(name string, p *btf.FuncProto) {
	a.Signature = prototype(name, p)
	nameless := *p
	nameless.Params = make([]btf.FuncParam, len(p.Params))
	for i := range p.Params {
		nameless.Params[i].Type = p.Params[i].Type
	}
	a.shape = prototype(name, &nameless)
}

// clean makes a name out of a file fit to be shown.
func clean(name string) string {
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return "?"
		}
	}
	if len(name) > maxName {
		return name[:maxName] + "..."
	}
	return name
}

// strip takes typedefs and qualifiers off a type.
func strip(t btf.Type) btf.Type {
	if t == nil {
		return &btf.Void{}
	}
	return btf.UnderlyingType(t)
}

// flavourless is a type's name without libbpf's ___suffix.
func flavourless(name string) string {
	if i := strings.LastIndex(name, "___"); i > 0 {
		return name[:i]
	}
	return name
}

// pointee is the name of the struct or union that a type points to, "" when it
// points to none that has a name.
func pointee(t btf.Type) string {
	p, ok := strip(t).(*btf.Pointer)
	if !ok {
		return ""
	}
	switch s := strip(p.Target).(type) {
	case *btf.Struct:
		return flavourless(s.Name)
	case *btf.Union:
		return flavourless(s.Name)
	case *btf.Fwd:
		return flavourless(s.Name)
	}
	return ""
}

// shape is what a program sees of a type: its class and its size.
func shape(t btf.Type) (class string, size int) {
	size, err := btf.Sizeof(t)
	if err != nil {
		size = -1
	}
	switch s := strip(t).(type) {
	case *btf.Int, *btf.Enum:
		return "number", size
	case *btf.Pointer:
		return "pointer", size
	case *btf.Struct, *btf.Union:
		return "struct", -1 // relocated member by member
	case *btf.Array:
		inner, _ := shape(s.Type)
		return "array of " + inner, -1
	case *btf.Float:
		return "float", size
	}
	return "", -1
}

// alike says whether a program that takes a thing for want sees no difference in
// have.
func alike(want, have btf.Type) bool {
	wantClass, wantSize := shape(want)
	haveClass, haveSize := shape(have)
	if wantClass == "" || haveClass == "" {
		return true
	}
	if wantClass != haveClass || wantSize >= 0 && haveSize >= 0 && wantSize != haveSize {
		return false
	}
	w, h := pointee(want), pointee(have)
	return w == "" || h == "" || w == h
}
