package variable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// types are those of a variable of each kind.
func types() map[string]btf.Type {
	u8, char := &btf.Int{Name: "u8", Size: 1}, &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	i32, u64 := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}, &btf.Int{Name: "u64", Size: 8}
	config := &btf.Struct{Name: "config", Size: 48, Members: []btf.Member{
		{Name: "pid", Type: i32},
		{Type: &btf.Union{Size: 8, Members: []btf.Member{
			{Name: "ports", Type: &btf.Array{Type: &btf.Int{Size: 2}, Nelems: 4}},
			{Name: "all", Type: u64},
		}}, Offset: 64},
		{Name: "bits", Type: i32, Offset: 128, BitfieldSize: 3},
		{Name: "rows", Type: &btf.Array{Type: &btf.Array{Type: u8, Nelems: 3}, Nelems: 2}, Offset: 160},
	}}
	volatile := func(t btf.Type) btf.Type { return &btf.Const{Type: &btf.Volatile{Type: t}} }
	return map[string]btf.Type{
		"u8": volatile(u8), "int": volatile(&btf.Typedef{Name: "pid_t", Type: i32}), "u64": volatile(u64),
		"bool": volatile(&btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}),
		"enum": volatile(&btf.Enum{Size: 4, Values: []btf.EnumValue{{Name: "B", Value: 7}}}),
		"text": volatile(&btf.Array{Type: char, Nelems: 4}), "ints": volatile(&btf.Array{Type: i32, Nelems: 4}),
		"config": volatile(config), "array": volatile(&btf.Array{Type: config, Nelems: 2}), "pointer": volatile(&btf.Pointer{Target: i32}),
		"float": volatile(&btf.Float{Size: 8}), "wide": volatile(&btf.Int{Size: 16}),
	}
}

func TestEncode(t *testing.T) {
	for _, tt := range []struct {
		of, path, value string
		offset          uint32
		want            string // bytes, or what the error says
		bad             bool
	}{
		{of: "u8", value: "255", want: "\xff"},
		{of: "u8", value: "'a'", want: "a"},
		{of: "u8", value: `'\''`, want: "'"},
		{of: "u8", value: "256", want: "no number of 8 bits without a sign", bad: true},
		{of: "u8", value: "-1", want: "no number of 8 bits without a sign", bad: true},
		{of: "u8", value: "'ab'", want: "want a character", bad: true},
		{of: "u8", value: "'€'", want: "want a character", bad: true},
		{of: "int", value: "-2", want: "\xfe\xff\xff\xff"},
		{of: "int", value: "0xffffffff", want: "\xff\xff\xff\xff"},
		{of: "int", value: "true", want: "\x01\x00\x00\x00"},
		{of: "int", value: "0x100000000", want: "no number of 32 bits with a sign", bad: true},
		{of: "int", value: "-2147483649", want: "no number", bad: true},
		{of: "int", value: "one", want: "no number", bad: true},
		{of: "int", value: "", want: "no number", bad: true},
		{of: "u64", value: "0x0102030405060708", want: "\x08\x07\x06\x05\x04\x03\x02\x01"},
		{of: "bool", value: "true", want: "\x01"},
		{of: "bool", value: "2", want: "no number of 1 bit", bad: true},
		{of: "enum", value: "B", want: "\x07\x00\x00\x00"},
		{of: "enum", value: "C", want: "no number", bad: true},
		{of: "pointer", value: "1", want: "\x01\x00\x00\x00\x00\x00\x00\x00"},
		{of: "text", value: `"abc"`, want: "abc\x00"},
		{of: "text", value: `"abcd"`, want: "abcd"},
		{of: "text", value: `"abcde"`, want: "does not fit an array of 4", bad: true},
		{of: "text", value: "`abc`", want: "in double quotes", bad: true},
		{of: "text", value: "abc", want: "in double quotes", bad: true},
		{of: "text", path: "[3]", value: "1", offset: 3, want: "\x01"},
		{of: "text", path: "[4]", value: "1", want: "[4] is not in an array of 4", bad: true},
		{of: "text", path: "[x]", value: "1", want: "want [INDEX]", bad: true},
		{of: "text", path: "[0", value: "1", want: "want [INDEX]", bad: true},
		{of: "text", path: "[0]a", value: "1", want: "want [INDEX]", bad: true},
		{of: "ints", value: `"abc"`, want: "element by element", bad: true},
		{of: "config", path: ".ports[2]", value: "80", offset: 12, want: "\x50\x00"},
		{of: "config", path: ".rows[1][2]", value: "1", offset: 25, want: "\x01"},
		{of: "array", path: "[1].pid", value: "1", offset: 48, want: "\x01\x00\x00\x00"},
		{of: "config", path: ".bits", value: "1", want: "is a bit field", bad: true},
		{of: "config", path: ".prots", value: "1", want: "struct config has no member prots: want one of pid, ports, all, bits, rows", bad: true},
		{of: "config", path: "..pid", value: "1", want: "want .MEMBER", bad: true},
		{of: "config", path: "[0]", value: "1", want: "it is no array, but struct config", bad: true},
		{of: "config", value: "1", want: "struct config cannot be set: want a part of it", bad: true},
		{of: "int", path: ".x", value: "1", want: "no struct or union, but an integer", bad: true},
		{of: "float", value: "1", want: "cannot be set", bad: true},
		{of: "wide", value: "1", want: "an integer of 16 bytes", bad: true},
	} {
		offset, b, err := Encode(types()[tt.of], tt.path, tt.value, binary.LittleEndian)
		switch {
		case tt.bad && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s%s=%s: %v, %v, want %q", tt.of, tt.path, tt.value, b, err, tt.want)
		case !tt.bad && (err != nil || string(b) != tt.want || offset != tt.offset):
			t.Errorf("%s%s=%s: %d, %x, %v, want %d, %x", tt.of, tt.path, tt.value, offset, b, err, tt.offset, tt.want)
		}
	}
}

// A hostile object has many ways to a type.
func TestEncodeManyWays(t *testing.T) {
	var inner btf.Type = &btf.Int{Size: 4}
	for range 16 {
		inner = &btf.Struct{Size: 4, Members: slices.Repeat([]btf.Member{{Type: inner}}, 40)}
	}
	var member *MemberError
	if _, _, err := Encode(inner, ".none", "1", binary.LittleEndian); !errors.As(err, &member) || len(member.Members) > 0 {
		t.Error(err)
	}
}

// Whatever is set lies inside of its variable.
func FuzzEncode(f *testing.F) {
	f.Add("config", ".ports[2]", "80")
	f.Add("array", "[1].rows[1][2]", "-1")
	f.Add("text", "", `"a\x00b"`)
	f.Add("u8", "", "'a'")
	f.Add("enum", "", "B")
	f.Fuzz(func(t *testing.T, of, path, value string) {
		typ := types()[of]
		if typ == nil {
			t.Skip()
		}
		offset, b, err := Encode(typ, path, value, binary.LittleEndian)
		size, sizeErr := btf.Sizeof(typ)
		if err == nil && (sizeErr != nil || len(b) == 0 || int(offset)+len(b) > size) {
			t.Errorf("%s%s=%s: %d bytes at %d of %d", of, path, value, len(b), offset, size)
		}
		if _, again, _ := Encode(typ, path, value, binary.LittleEndian); !bytes.Equal(b, again) {
			t.Error("the same value has two encodings")
		}
	})
}
