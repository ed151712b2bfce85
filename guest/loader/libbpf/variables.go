package libbpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/contents"
	"github.com/elastic/bpf-kernel-check/guest/variable"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// ErrNoVariable is wrapped by Encode's error for a variable that the object does
// not have.
var ErrNoVariable = errors.New("no such variable")

// Globals are the global variables of an object.
type Globals map[string]global

type global struct {
	section string
	offset  uint32
	t       btf.Type
}

// ReadGlobals reads them from BTF whose sections are laid out, as libbpf has it.
func ReadGlobals(r io.ReaderAt) (Globals, error) {
	return contents.Guard(func() (Globals, error) { return readGlobals(r) })
}

func readGlobals(r io.ReaderAt) (Globals, error) {
	spec, err := btf.LoadSpecFromReader(r)
	if err != nil {
		return nil, fmt.Errorf("read the object's types: %w", err)
	}
	globals := Globals{}
	for t, err := range spec.All() {
		if err != nil {
			return nil, fmt.Errorf("read the object's types: %w", err)
		}
		sec, ok := t.(*btf.Datasec)
		if !ok {
			continue
		}
		for _, v := range sec.Vars {
			if t, ok := v.Type.(*btf.Var); ok {
				globals[t.Name] = global{sec.Name, v.Offset, t.Type}
			}
		}
	}
	return globals, nil
}

// Bytes are a value as it lies in a map of global variables.
type Bytes struct {
	Map    string // such as .rodata
	Offset uint32
	Data   []byte
}

// Encode gives the bytes of a value.
func (g Globals) Encode(v wire.Variable) (Bytes, error) {
	name, path, ok := variable.Find(v.Name, func(name string) bool { _, ok := g[name]; return ok })
	if !ok {
		return Bytes{}, fmt.Errorf("set %s: %w", v.Name, ErrNoVariable)
	}
	found := g[name]
	offset, data, err := variable.Encode(found.t, path, v.Value, binary.NativeEndian)
	if err == nil && found.offset+offset < offset {
		err = errors.New("it is too far inside of its section")
	}
	if err != nil {
		return Bytes{}, fmt.Errorf("set %s to %s: %w", v.Name, v.Value, err)
	}
	return Bytes{found.section, found.offset + offset, data}, nil
}
