package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
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
func TestFunctionsOfAnImage(t *testing.T) {
	whole := btfOf(t, "vfs_unlink", "do_exit", "tcp_connect")
	for _, tt := range []struct {
		name  string
		image []byte
		want  []string
	}{
		{"among others", slices.Concat(make([]byte, 4096), btfOf(t, "small"), []byte("MZ text \x9f\xeb\x01\x00"), whole, make([]byte, 777)), []string{"do_exit", "tcp_connect", "vfs_unlink"}},
		{"none", make([]byte, 8192), nil},
		{"cut short", append(make([]byte, 4096), whole[:len(whole)-1]...), nil},
		{"a header alone", append(make([]byte, 64), btfHead...), nil},
	} {
		path := filepath.Join(t.TempDir(), "Image")
		if err := os.WriteFile(path, tt.image, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Functions(path)
		if !slices.Equal(got, tt.want) || tt.want == nil && !errors.Is(err, ErrNoBTF) {
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

func FuzzRawBTF(f *testing.F) {
	f.Add(bytes.Clone(btfHead))
	f.Add(append(bytes.Clone(btfHead), 0, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := wholeBTF(b); len(got) > len(b) || got != nil && got[len(got)-1] != 0 {
			t.Fatalf("%d bytes of %d", len(got), len(b))
		}
	})
}
