package main

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// sampleBTF has a function behind one type of each kind.
func sampleBTF(t testing.TB) (raw []byte, function uint32) {
	t.Helper()
	integer := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	member := []btf.Member{{Name: "a", Type: integer}, {Name: "b", Type: integer, Offset: 32}}
	proto := &btf.FuncProto{Return: integer, Params: []btf.FuncParam{{Name: "x", Type: integer}, {Name: "y", Type: integer}}}
	v := &btf.Var{Name: "v", Type: integer}
	tagged := &btf.Struct{Name: "s", Size: 8, Members: member, Tags: []string{"tag"}}
	types := []btf.Type{
		integer, &btf.Pointer{Target: integer}, &btf.Array{Index: integer, Type: integer, Nelems: 3}, tagged,
		&btf.Union{Name: "u", Size: 8, Members: []btf.Member{{Name: "a", Type: integer}}},
		&btf.Enum{Name: "e", Size: 4, Values: []btf.EnumValue{{Name: "one", Value: 1}}}, &btf.Enum{Name: "long", Size: 8, Values: []btf.EnumValue{{Name: "two", Value: 1 << 40}}},
		&btf.Fwd{Name: "fwd"}, &btf.Typedef{Name: "t", Type: integer}, &btf.Volatile{Type: integer}, &btf.Const{Type: integer}, &btf.Restrict{Type: integer},
		v, &btf.Datasec{Name: ".data", Size: 4, Vars: []btf.VarSecinfo{{Type: v, Size: 4}}}, &btf.Float{Name: "f", Size: 8}, &btf.TypeTag{Type: integer, Value: "user"},
		&btf.Func{Name: "a_function_of_a_long_name", Type: proto, Linkage: btf.GlobalFunc},
	}
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = b.Marshal(nil, nil); err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	var f *btf.Func
	if err := spec.TypeByName("a_function_of_a_long_name", &f); err != nil {
		t.Fatal(err)
	}
	id, err := spec.TypeID(f)
	if err != nil {
		t.Fatal(err)
	}
	return raw, uint32(id)
}

func TestBTFName(t *testing.T) {
	raw, id := sampleBTF(t)
	if got := btfName(raw, id); got != "a_function_of_a_long_name" {
		t.Errorf("%q of type %d", got, id)
	}
	for _, n := range []uint32{0, id + 100, 1 << 31} {
		if got := btfName(raw, n); got != "" {
			t.Errorf("type %d: %q", n, got)
		}
	}
	for n := range raw { // cut short anywhere
		if got := btfName(raw[:n], id); got != "" {
			t.Errorf("%d bytes of %d: %q", n, len(raw), got)
		}
	}
}

func FuzzBTFName(f *testing.F) {
	raw, id := sampleBTF(f)
	f.Add(raw, id)
	f.Add(raw[:len(raw)/2], id)
	far := bytes.Clone(raw)
	binary.NativeEndian.PutUint32(far[8:], 1<<32-1) // the types' place
	f.Add(far, id)
	f.Fuzz(func(t *testing.T, raw []byte, id uint32) {
		if s := btfName(raw, id); strings.Contains(s, "\x00") || s != "" && !bytes.Contains(raw, []byte(s)) {
			t.Errorf("%q", s)
		}
	})
}

// A program's records tell of its own tests.
func TestReporterNamesBPF(t *testing.T) {
	r := &reporter{program: "p"}
	for test, want := range map[string]string{"": "", "o/f": "p/o/f"} {
		if got := r.named(wire.Record{Type: wire.TypeBPF, BPF: &wire.BPFProgram{Name: "f", Test: test}}); got.BPF.Test != want || got.BPF.Name != "f" {
			t.Errorf("%q: %+v", test, got.BPF)
		}
	}
}

func TestRelayPassesBPFOn(t *testing.T) {
	var in, out bytes.Buffer
	rep := wire.NewReporter(&in)
	for range wire.MaxBPF + 5 { // of which the last ones are left out
		rep.BPF(wire.BPFProgram{Name: "f", Insns: 7})
	}
	rep.Report(wire.Test{Name: "o/f", Verdict: wire.TestPass})
	if err := rep.Done(); err != nil {
		t.Fatal(err)
	}
	r := &reporter{w: wire.NewWriter(&out, "")}
	relay(&in, r, true, newRunning(func(wire.Run) {}))
	if n := strings.Count(out.String(), `"bpf":{"name":"f"`); !r.complete || n != wire.MaxBPF {
		t.Errorf("complete: %v, %d programs", r.complete, n)
	}
}
