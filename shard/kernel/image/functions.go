package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxBTF bounds a kernel's BTF, in bytes; distributions' have 5 to 10 MB.
const maxBTF = 128 << 20

// ErrNoBTF is returned by [Functions] for a kernel without BTF.
var ErrNoBTF = errors.New("kernel has no BTF")

// Functions returns, sorted, the names that BPF programs can attach to as the
// BTF of an ELF vmlinux, or of an arm64 Image, has them: functions, and "btf_trace_<name>" for
// tracepoints. vmlinux is hostile input.
func Functions(vmlinux string) ([]string, error) {
	raw, err := RawBTF(vmlinux)
	if err != nil {
		return nil, err
	}
	names, err := namesBTF(raw)
	if err != nil {
		return nil, fmt.Errorf("read BTF of %q: %w", vmlinux, err)
	}
	return names, nil
}

// Kinds of BTF types (include/uapi/linux/btf.h), and how many bytes follow the
// twelve that all have: so many, and so many for each member.
var kindsBTF = [...]struct{ fixed, each int }{
	1:  {4, 0},  // int
	2:  {0, 0},  // pointer
	3:  {12, 0}, // array
	4:  {0, 12}, // struct
	5:  {0, 12}, // union
	6:  {0, 8},  // enum
	7:  {0, 0},  // forward
	8:  {0, 0},  // typedef
	9:  {0, 0},  // volatile
	10: {0, 0},  // const
	11: {0, 0},  // restrict
	12: {0, 0},  // function
	13: {0, 8},  // its parameters
	14: {4, 0},  // variable
	15: {0, 12}, // section
	16: {0, 0},  // float
	17: {4, 0},  // declaration tag
	18: {0, 0},  // type tag
	19: {0, 12}, // enum of 64 bits
}

const (
	kindTypedef = 8
	kindFunc    = 12
)

// namesBTF walks over the types by hand: as values they would take a hundred
// megabytes, and names are all that is wanted.
func namesBTF(raw []byte) ([]string, error) {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case len(raw) < 24:
		return nil, errors.New("it is cut short")
	case raw[0] == 0xeb && raw[1] == 0x9f:
		order = binary.BigEndian
	case raw[0] != 0x9f || raw[1] != 0xeb:
		return nil, errors.New("it does not begin as BTF does")
	}
	u32 := func(at int) uint64 { return uint64(order.Uint32(raw[at:])) }
	part := func(at int) ([]byte, error) {
		from := u32(4) + u32(at)
		to := from + u32(at+4)
		if to > uint64(len(raw)) {
			return nil, errors.New("its parts are not in it")
		}
		return raw[from:to], nil
	}
	types, err := part(8)
	if err != nil {
		return nil, err
	}
	strs, err := part(16)
	if err != nil {
		return nil, err
	}
	var names []string
	for len(types) > 0 {
		if len(types) < 12 {
			return nil, errors.New("its last type is cut short")
		}
		name, info := order.Uint32(types), order.Uint32(types[4:])
		kind, members := int(info>>24&0x1f), int(info&0xffff)
		if kind == 0 || kind >= len(kindsBTF) {
			return nil, fmt.Errorf("a type of the unknown kind %d", kind)
		}
		if kind == kindFunc || kind == kindTypedef {
			if uint64(name) >= uint64(len(strs)) {
				return nil, errors.New("a name is not in its strings")
			}
			s, _, ok := bytes.Cut(strs[name:], []byte{0})
			if !ok || len(s) > maxSymbolName {
				return nil, errors.New("a name does not end")
			}
			if kind == kindFunc || bytes.HasPrefix(s, []byte("btf_trace_")) {
				names = append(names, string(s))
			}
		}
		size := 12 + kindsBTF[kind].fixed + members*kindsBTF[kind].each
		if size > len(types) {
			return nil, errors.New("its last type is cut short")
		}
		types = types[size:]
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// TargetFunction returns the name that [Functions] has for what a program of a
// section such as "fentry/vfs_unlink" attaches to.
func TargetFunction(section string) string {
	kind, name, _ := strings.Cut(section, "/")
	switch strings.TrimSuffix(kind, ".s") {
	case "lsm":
		return "bpf_lsm_" + name
	case "tp_btf", "raw_tp", "raw_tracepoint":
		return "btf_trace_" + name
	}
	return name
}
