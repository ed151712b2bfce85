package snapshot

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSavedVMFile(t *testing.T) {
	vm := &vmFile{head: header{Key: "k", TSC: 5, PVH: true}, console: []byte("con\n"), state: []byte("state"), memory: []byte("memory")}
	var b bytes.Buffer
	if err := vm.write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(vm, got, cmp.AllowUnexported(vmFile{})); d != "" {
		t.Error(d)
	}
	for i := range b.Len() {
		bad := bytes.Clone(b.Bytes())
		if got, err := parse(bad[:i:i]); err == nil {
			t.Fatalf("cut to %d bytes it is %+v", i, got)
		}
		bad[i] ^= 0x20
		if got, err := parse(bad); err == nil && string(got.console)+string(got.state)+string(got.memory) != "con\nstatememory" {
			t.Fatalf("with byte %d changed it is %+v", i, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	var b bytes.Buffer
	if err := (&vmFile{console: []byte("a"), state: []byte("b"), memory: []byte("c")}).write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema":3,"console":-1,"state":9223372036854775807,"memory":1}` + "\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		vm, err := parse(in)
		if err == nil && (len(vm.state) == 0 || len(vm.memory) == 0 || int64(len(vm.console)+len(vm.state)+len(vm.memory)) != vm.head.Console+vm.head.State+vm.head.Memory) {
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
