package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// btfOf is BTF with functions of these names.
func btfOf(t *testing.T, names ...string) []byte {
	t.Helper()
	b, err := btf.NewBuilder(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if _, err := b.Add(&btf.Func{Name: n, Type: &btf.FuncProto{Return: &btf.Void{}}}); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: binary.LittleEndian})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// An arm64 Image has no sections: its BTF is found by its header.
func TestBTFOfAnImage(t *testing.T) {
	whole := btfOf(t, "vfs_unlink", "do_exit", "tcp_connect")
	for _, tt := range []struct {
		name  string
		image []byte
		want  []string
	}{
		{"among others", slices.Concat(make([]byte, 4096), btfOf(t, "small"), []byte("MZ text \x9f\xeb\x01\x00"), whole, make([]byte, 777)), []string{"do_exit", "tcp_connect", "vfs_unlink"}},
		{"none", make([]byte, 8192), nil},
		{"cut short", append(make([]byte, 4096), whole[:len(whole)-1]...), nil},
		{"a header alone", append(make([]byte, 64), 0x9f, 0xeb, 1, 0, 24, 0, 0, 0), nil},
	} {
		path := filepath.Join(t.TempDir(), "Image")
		if err := os.WriteFile(path, tt.image, 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		raw, err := RawBTF(path)
		if err == nil {
			got, err = namesByLibrary(raw, func(t btf.Type) bool { _, ok := t.(*btf.Func); return ok })
		}
		if !slices.Equal(got, tt.want) || tt.want == nil && !errors.Is(err, ErrNoBTF) {
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

// BTF of a big-endian kernel comes out as if it were little-endian.
func TestBTFOfABigEndianKernel(t *testing.T) {
	of := func(order binary.ByteOrder) []byte {
		b, err := btf.NewBuilder([]btf.Type{
			&btf.Func{Name: "do_exit", Type: &btf.FuncProto{Return: &btf.Void{}, Params: []btf.FuncParam{{Name: "code", Type: &btf.Int{Name: "long", Size: 8}}}}},
			&btf.Struct{Name: "s", Size: 8, Members: []btf.Member{{Name: "m", Type: &btf.Int{Name: "long", Size: 8}, Offset: 3}}},
			&btf.Enum{Name: "e64", Size: 8, Values: []btf.EnumValue{{Name: "B", Value: 1 << 40}}},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: order})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	big, want := of(binary.BigEndian), of(binary.LittleEndian)
	path := filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(path, slices.Concat(make([]byte, 4096), big, make([]byte, 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := RawBTF(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d, %v", len(got), len(want), err)
	}
	if bytes.Equal(big, want) {
		t.Error("the test's BTF is not big-endian")
	}
}

func FuzzRawBTF(f *testing.F) {
	head := []byte{0x9f, 0xeb, 1, 0, 24, 0, 0, 0}
	f.Add(head)
	f.Add(append(bytes.Clone(head), 0, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 0))
	f.Add([]byte{0xeb, 0x9f, 1, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 12, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		BTFInOrder(b, binary.LittleEndian)
		if got := findBTF(b); len(got) > len(b) || got != nil && got[len(got)-1] != 0 {
			t.Fatalf("%d bytes of %d", len(got), len(b))
		}
	})
}

// What a BTF library reads is read, too. In BTF that is damaged there may be more:
// the library ends without a word where a type refers to one that is not there.
func FuzzBTFTypes(f *testing.F) {
	raw, err := btf.NewBuilder([]btf.Type{
		&btf.Func{Name: "vfs_read", Type: &btf.FuncProto{Return: &btf.Int{Name: "int", Size: 4}, Params: []btf.FuncParam{{Name: "a", Type: &btf.Pointer{Target: (*btf.Void)(nil)}}}}},
		&btf.Typedef{Name: "btf_trace_sched_switch", Type: (*btf.Void)(nil)},
		&btf.Typedef{Name: "u64", Type: &btf.Int{Name: "long", Size: 8}},
		&btf.Struct{Name: "s", Size: 8, Members: []btf.Member{{Name: "m", Type: &btf.Int{Name: "long", Size: 8}}}},
		&btf.Array{Type: &btf.Int{Name: "char", Size: 1}, Index: &btf.Int{Name: "int", Size: 4}, Nelems: 4},
		&btf.Enum{Name: "e", Size: 4, Values: []btf.EnumValue{{Name: "A", Value: 1}}},
		&btf.Enum{Name: "e64", Size: 8, Values: []btf.EnumValue{{Name: "B", Value: 1 << 40}}},
		&btf.Var{Name: "v", Type: &btf.Int{Name: "int", Size: 4}},
		&btf.Float{Name: "f", Size: 8},
	}, nil)
	if err != nil {
		f.Fatal(err)
	}
	b, err := raw.Marshal(nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	want := []string{"btf_trace_sched_switch", "e", "e64", "s", "u64"}
	if names := typesDefined(b); !slices.Equal(names, want) {
		f.Fatalf("%q", names)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := typesDefined(b)
		want, err := namesByLibrary(b, func(t btf.Type) bool {
			switch t.(type) {
			case *btf.Struct, *btf.Union, *btf.Enum, *btf.Typedef:
				return true
			}
			return false
		})
		for _, name := range want {
			if err == nil && goodName(name) && !slices.Contains(got, name) {
				t.Fatalf("%q, want %q", got, want)
			}
		}
	})
}

func typesDefined(b []byte) []string {
	_, types := ReadBTFTypes(b, nil).Defined()
	return slices.Sorted(maps.Keys(types))
}

func namesByLibrary(b []byte, want func(btf.Type) bool) ([]string, error) {
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var names []string
	for typ, err := range spec.All() {
		if err != nil {
			return nil, err
		}
		if want(typ) {
			names = append(names, typ.TypeName())
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
