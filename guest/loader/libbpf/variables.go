package libbpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

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

// Encode gives the bytes of a value. The name may have .member and [index]
// behind it, and be that of a static variable of a function, f.x.
func (g Globals) Encode(v wire.Variable) (Bytes, error) {
	for end := len(v.Name); end > 0; end = strings.LastIndexAny(v.Name[:end], ".[") {
		if found, ok := g[v.Name[:end]]; ok {
			offset, data, err := EncodeValue(found.t, v.Name[end:], v.Value)
			if err != nil {
				return Bytes{}, fmt.Errorf("set %s to %s: %w", v.Name, v.Value, err)
			}
			return Bytes{found.section, found.offset + offset, data}, nil
		}
	}
	return Bytes{}, fmt.Errorf("set %s: %w", v.Name, ErrNoVariable)
}

// EncodeValue gives the bytes of a value, as wire.Variable has it, of what path
// (.member and [index]) finds in a type, and their offset in it.
func EncodeValue(t btf.Type, path, value string) (offset uint32, data []byte, err error) {
	for t = btf.UnderlyingType(t); path != ""; t = btf.UnderlyingType(t) {
		var n uint32
		if t, n, path, err = step(t, path); err != nil {
			return 0, nil, err
		}
		offset += n
	}
	data, err = encode(t, value)
	return offset, data, err
}

// step follows the first part of a path.
func step(t btf.Type, path string) (inner btf.Type, offset uint32, rest string, err error) {
	if path[0] == '[' {
		index, rest, ok := strings.Cut(path[1:], "]")
		n, err := strconv.ParseUint(index, 10, 32)
		a, isArray := t.(*btf.Array)
		if !ok || err != nil || !isArray || n >= uint64(a.Nelems) {
			return nil, 0, "", fmt.Errorf("%q is no element of %v", path, t)
		}
		size, err := btf.Sizeof(a.Type)
		if err != nil || n*uint64(size) > math.MaxInt32 {
			return nil, 0, "", fmt.Errorf("%q: no size of %v", path, a.Type)
		}
		return a.Type, uint32(n) * uint32(size), rest, nil
	}
	name := strings.TrimPrefix(path, ".")
	end := strings.IndexAny(name, ".[")
	if end < 0 {
		end = len(name)
	}
	if m, offset, ok := member(t, name[:end], 0); ok && m.BitfieldSize == 0 {
		return m.Type, offset, name[end:], nil
	}
	return nil, 0, "", fmt.Errorf("%q is no member of %v, or a bit field", name[:end], t)
}

// member finds a member, also in members without a name.
func member(t btf.Type, name string, depth int) (btf.Member, uint32, bool) {
	var members []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		switch {
		case m.Name == name && name != "":
			return m, m.Offset.Bytes(), true
		case m.Name == "" && depth < 16:
			if in, offset, ok := member(m.Type, name, depth+1); ok {
				return in, m.Offset.Bytes() + offset, true
			}
		}
	}
	return btf.Member{}, 0, false
}

func encode(t btf.Type, value string) ([]byte, error) {
	switch t := t.(type) {
	case *btf.Array:
		elem, ok := btf.UnderlyingType(t.Type).(*btf.Int)
		text, err := strconv.Unquote(value)
		if !ok || elem.Size != 1 || err != nil || value[0] == '\'' {
			return nil, errors.New(`want "text" for an array of char, or an [index] behind the name`)
		}
		if len(text) >= int(t.Nelems) {
			return nil, fmt.Errorf("the text has %d bytes and its NUL, the variable %d", len(text), t.Nelems)
		}
		return append([]byte(text), make([]byte, int(t.Nelems)-len(text))...), nil
	case *btf.Enum:
		if i := slices.IndexFunc(t.Values, func(v btf.EnumValue) bool { return v.Name == value }); i >= 0 {
			return integer(t.Size, t.Values[i].Value)
		}
		return parseInteger(t.Size, t.Signed, value)
	case *btf.Int:
		if t.Encoding == btf.Bool && value != "true" && value != "false" && value != "0" && value != "1" {
			return nil, errors.New("want true or false")
		}
		return parseInteger(t.Size, t.Encoding == btf.Signed, value)
	}
	return nil, fmt.Errorf("%v is neither a number nor a text: name one of its members", t)
}

func parseInteger(size uint32, signed bool, value string) ([]byte, error) {
	switch {
	case value == "true":
		value = "1"
	case value == "false":
		value = "0"
	case strings.HasPrefix(value, "'"):
		c, err := strconv.Unquote(value)
		if err != nil || len(c) != 1 {
			return nil, errors.New("want one character between the quotes")
		}
		return integer(size, uint64(c[0]))
	}
	if size == 0 || size > 8 {
		return nil, fmt.Errorf("numbers of %d bytes cannot be set", size)
	}
	bits := int(size) * 8
	if signed {
		n, err := strconv.ParseInt(value, 0, bits)
		if err != nil {
			return nil, fmt.Errorf("want a signed number of %d bits", bits)
		}
		return integer(size, uint64(n))
	}
	n, err := strconv.ParseUint(value, 0, bits)
	if err != nil {
		return nil, fmt.Errorf("want a number of %d bits without a sign", bits)
	}
	return integer(size, n)
}

func integer(size uint32, n uint64) ([]byte, error) {
	if size == 0 || size > 8 {
		return nil, fmt.Errorf("numbers of %d bytes cannot be set", size)
	}
	return binary.LittleEndian.AppendUint64(nil, n)[:size], nil
}

// mapTypes are the types' names in "bpftool map", by their numbers.
var mapTypes = strings.Fields(`unspec hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array
	lru_hash lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash cgroup_storage
	reuseport_sockarray percpu_cgroup_storage queue stack sk_storage devmap_hash struct_ops ringbuf inode_storage task_storage
	bloom_filter user_ringbuf cgrp_storage arena insn_array rhash`)

// MapType is a map type by its name in "bpftool map".
func MapType(name string) (ebpf.MapType, error) {
	i := slices.Index(mapTypes, name)
	if i < 1 {
		return 0, fmt.Errorf("no map type is called %q: want one of %s", name, strings.Join(mapTypes[1:], ", "))
	}
	return ebpf.MapType(i), nil
}
