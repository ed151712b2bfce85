package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// printType prints a type of the running kernel in about C's notation, members
// with their offsets in bytes.
func printType(w io.Writer, name string) error {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	types, err := spec.AnyTypesByName(name)
	if errors.Is(err, btf.ErrNotFound) {
		return fmt.Errorf("the kernel's BTF has no type or function %q", name)
	}
	if err != nil {
		return err
	}
	for _, t := range types {
		printOne(w, t)
	}
	return nil
}

func printOne(w io.Writer, t btf.Type) {
	members := func(kind, name string, size uint32, ms []btf.Member) {
		fmt.Fprintf(w, "%s %s { // %d bytes\n", kind, name, size)
		for _, m := range ms {
			at := fmt.Sprint(m.Offset.Bytes())
			if m.BitfieldSize > 0 {
				at = fmt.Sprintf("%d.%d, %d bits", m.Offset/8, m.Offset%8, m.BitfieldSize)
			}
			fmt.Fprintf(w, "  %s; // %s\n", declare(m.Type, m.Name), at)
		}
		fmt.Fprintln(w, "}")
	}
	switch t := t.(type) {
	case *btf.Struct:
		members("struct", t.Name, t.Size, t.Members)
	case *btf.Union:
		members("union", t.Name, t.Size, t.Members)
	case *btf.Enum:
		fmt.Fprintf(w, "enum %s {\n", t.Name)
		for _, v := range t.Values {
			value := fmt.Sprint(v.Value)
			if t.Signed {
				value = fmt.Sprint(int64(v.Value))
			}
			fmt.Fprintf(w, "  %s = %s,\n", v.Name, value)
		}
		fmt.Fprintln(w, "}")
	case *btf.Func:
		fmt.Fprintf(w, "%s;\n", declare(t.Type, t.Name))
	case *btf.Typedef:
		fmt.Fprintf(w, "typedef %s;\n", declare(t.Type, t.Name))
	default:
		fmt.Fprintf(w, "%s; // %v\n", declare(t, ""), t)
	}
}

// declare is a declaration of name with a type.
func declare(t btf.Type, name string) string {
	with := func(s string) string { return strings.TrimSpace(s + " " + name) }
	switch t := t.(type) {
	case *btf.Void:
		return with("void")
	case *btf.Pointer:
		inner := "*" + name
		if f, ok := t.Target.(*btf.FuncProto); ok {
			return declare(f, "("+inner+")")
		}
		return declare(t.Target, inner)
	case *btf.Array:
		return declare(t.Type, fmt.Sprintf("%s[%d]", name, t.Nelems))
	case *btf.Const:
		return "const " + declare(t.Type, name)
	case *btf.Volatile:
		return "volatile " + declare(t.Type, name)
	case *btf.Restrict:
		return declare(t.Type, name)
	case *btf.TypeTag:
		return declare(t.Type, name)
	case *btf.FuncProto:
		var params []string
		for _, p := range t.Params {
			params = append(params, declare(p.Type, p.Name))
		}
		return declare(t.Return, name+"("+strings.Join(params, ", ")+")")
	case *btf.Struct:
		return with("struct " + named(t.Name))
	case *btf.Union:
		return with("union " + named(t.Name))
	case *btf.Enum:
		return with("enum " + named(t.Name))
	case *btf.Fwd:
		return with(t.Kind.String() + " " + t.Name)
	default:
		return with(named(t.TypeName()))
	}
}

func named(s string) string {
	if s == "" {
		return "{...}"
	}
	return s
}
