package libbpf

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// config is what testdata/settings.bpf.c has for an application to set, and more.
func config() btf.Type {
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
	short := &btf.Int{Name: "short", Size: 2, Encoding: btf.Signed}
	inner := &btf.Struct{Name: "inner", Size: 14, Members: []btf.Member{
		{Name: "name", Type: &btf.Array{Type: char, Nelems: 8}},
		{Name: "numbers", Type: &btf.Typedef{Name: "t", Type: &btf.Array{Type: short, Nelems: 3}}, Offset: 64},
	}}
	return &btf.Volatile{Type: &btf.Struct{Name: "config", Size: 48, Members: []btf.Member{
		{Name: "mode", Type: &btf.Enum{Name: "mode", Size: 4, Values: []btf.EnumValue{{Name: "BAD"}, {Name: "GOOD", Value: 1}}}},
		{Name: "inner", Type: &btf.Array{Type: inner, Nelems: 2}, Offset: 32},
		{Type: &btf.Union{Size: 8, Members: []btf.Member{
			{Name: "on", Type: &btf.Int{Size: 1, Encoding: btf.Bool}},
			{Name: "n", Type: &btf.Const{Type: &btf.Int{Size: 8}}},
		}}, Offset: 256},
		{Name: "bits", Type: short, Offset: 320, BitfieldSize: 3},
		{Name: "pointer", Type: &btf.Pointer{Target: char}, Offset: 384},
	}}}
}

func TestEncodeValue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		path, value string
		offset      uint32
		want        string // hexadecimal; or else the error
	}{
		{".mode", "GOOD", 0, "01000000"},
		{".mode", "0x10", 0, "10000000"},
		{".mode", "GREAT", 0, "want a number of 32 bits"},
		{".inner[1].numbers[2]", "-3", 4 + 14 + 8 + 4, "fdff"},
		{".inner[1].numbers[3]", "1", 0, "is no element"},
		{".inner[-1].numbers[0]", "1", 0, "is no element"},
		{".inner[1.numbers[0]", "1", 0, "is no element"},
		{".inner[0].numbers", "1", 0, `want "text" for an array of char`},
		{".inner[0].numbers[0]", "32768", 0, "want a signed number of 16 bits"},
		{".inner[0].name", `"1234567"`, 4, "3132333435363700"},
		{".inner[0].name", `"12345678"`, 0, "8 bytes and its NUL"},
		{".inner[0].name", `text`, 0, "want"},
		{".inner[0].name", ``, 0, "want"},
		{".inner[0].name[1]", `'x'`, 5, "78"},
		{".inner[0].name[1]", `'xy'`, 0, "one character"},
		{".inner", "1", 0, "want"},
		{".on", "true", 32, "01"},
		{".on", "2", 0, "want true or false"},
		{".n", "18446744073709551615", 32, "ffffffffffffffff"},
		{".n", "-1", 0, "without a sign"},
		{".bits", "1", 0, "bit field"},
		{".pointer", "1", 0, "neither a number nor a text"},
		{"", "1", 0, "neither a number nor a text"},
		{".", "1", 0, "no member"},
		{"[0]", "1", 0, "is no element"},
		{".missing", "1", 0, "no member"},
	} {
		offset, b, err := EncodeValue(config(), tt.path, tt.value)
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s=%s: %v, want %q", tt.path, tt.value, err, tt.want)
			}
			continue
		}
		if got := hex.EncodeToString(b); got != tt.want || offset != tt.offset {
			t.Errorf("%s=%s: %s at %d, want %s at %d", tt.path, tt.value, got, offset, tt.want, tt.offset)
		}
	}
}

// What is encoded lies inside of the type.
func FuzzEncodeValue(f *testing.F) {
	f.Add(".inner[1].numbers[2]", "-3")
	f.Add(".mode", "GOOD")
	f.Add(".inner[0].name", `"abc"`)
	f.Add(".on", "true")
	f.Fuzz(func(t *testing.T, path, value string) {
		offset, b, err := EncodeValue(config(), path, value)
		if err == nil && (len(b) == 0 || int(offset)+len(b) > 48) {
			t.Errorf("%q=%q: %d bytes at %d", path, value, len(b), offset)
		}
	})
}

func TestGlobals(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/settings.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	g, err := ReadGlobals(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Encode(wire.Variable{Name: "config.inner[1].name", Value: `"a"`})
	if err != nil || got.Map != ".rodata" || got.Offset != 4+14 || len(got.Data) != 8 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, name := range []string{"", "config_", "conf", ".config", "[0]"} {
		if _, err := g.Encode(wire.Variable{Name: name, Value: "1"}); !errors.Is(err, ErrNoVariable) {
			t.Errorf("%q: %v, want that there is none", name, err)
		}
	}
}

func TestMapType(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]ebpf.MapType{"hash": ebpf.Hash, "ringbuf": ebpf.RingBuf, "arena": ebpf.Arena, "cgrp_storage": ebpf.CgroupStorage} {
		if got, err := MapType(name); got != want || err != nil {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	for _, name := range []string{"", "unspec", "Hash"} {
		if _, err := MapType(name); err == nil {
			t.Errorf("%q is a map type", name)
		}
	}
}
