package snapshot

import (
	"bytes"
	"io"
	"testing"
)

func parseBytes(b []byte) (*vmFile, error) { return parse(bytes.NewReader(b), int64(len(b))) }

// parts returns what a VM consists of, one after the other.
func (v *vmFile) parts(t *testing.T) string {
	t.Helper()
	b, err := io.ReadAll(io.MultiReader(bytes.NewReader(v.console), v.state, v.memory))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSavedVMFile(t *testing.T) {
	var b bytes.Buffer
	if err := writeVM(&b, header{Key: "k", TSC: 5, PVH: true}, []byte("con\n"), []byte("state"), []byte("memory")); err != nil {
		t.Fatal(err)
	}
	got, err := parseBytes(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := header{Schema: schema, Key: "k", TSC: 5, PVH: true, Console: 4, State: 5, Memory: 6, Digest: got.head.Digest}
	if got.head != want || string(got.console) != "con\n" || got.state.Size() != 5 || got.parts(t) != "con\nstatememory" {
		t.Errorf("got %+v, %q, want %+v", got.head, got.console, want)
	}
	for i := range b.Len() {
		bad := bytes.Clone(b.Bytes())
		if got, err := parseBytes(bad[:i:i]); err == nil {
			t.Fatalf("cut to %d bytes it is %+v", i, got)
		}
		bad[i] ^= 0x20
		if got, err := parseBytes(bad); err == nil && got.parts(t) != "con\nstatememory" {
			t.Fatalf("with byte %d changed it is %+v", i, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	var b bytes.Buffer
	if err := writeVM(&b, header{}, []byte("a"), []byte("b"), []byte("c")); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema":3,"console":-1,"state":9223372036854775807,"memory":1}` + "\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		vm, err := parseBytes(in)
		if err == nil && (vm.state.Size() == 0 || vm.memory.Size() == 0 || int64(len(vm.parts(t))) != vm.head.Console+vm.head.State+vm.head.Memory) {
			t.Fatalf("%+v", vm.head)
		}
	})
}

func TestSameClock(t *testing.T) {
	for _, tt := range []struct {
		a, b int
		want bool
	}{{0, 0, true}, {2600000, 2600000, true}, {2600000, 2610000, true}, {2600000, 2700000, false}, {2700000, 2600000, false}, {0, 2600000, false}} {
		if got := sameClock(tt.a, tt.b); got != tt.want {
			t.Errorf("%d and %d: %v", tt.a, tt.b, got)
		}
	}
}
