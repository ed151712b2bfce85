package preflight

import (
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// An object and a kernel that are big-endian give the same answers as if both were
// little-endian, and two that differ give none.
func TestByteOrder(t *testing.T) {
	types := append(baseTypes(), function("do_exit", integer(8)), &btf.Struct{Name: "bpf_func_info_aux", Size: 8, Members: []btf.Member{
		{Name: "linkage", Type: integer(4)}, {Name: "unreliable", Type: integer(4), Offset: 32},
	}})
	little := testKernel(t, types, "do_exit T", "schedule T")
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	big := *little
	big.Arch, big.order = "s390x", binary.BigEndian
	if err := big.setBTF(raw); err != nil {
		t.Fatal(err)
	}
	verdicts := func(o *Object, k *Kernel) map[string]Loads {
		m := map[string]Loads{}
		for _, p := range Check(o, k).Programs {
			m[p.Name] = p.Loads
		}
		return m
	}
	for _, name := range []string{"config", "order", "relocations", "versions"} {
		b, err := os.ReadFile("testdata/" + name + ".bpfeb.o")
		if err != nil {
			t.Fatal(err)
		}
		o, err := Read(name, b, "s390x")
		if err != nil {
			t.Fatal(err)
		}
		of := readTestObject(t, name)
		o.Loader = of.Loader
		if name == "order" {
			set := wire.ObjectSettings{Variants: []wire.Variant{{{Name: "set", Value: "0x0a0b"}}}}
			if err := errors.Join(o.Apply(set), of.Apply(set)); err != nil {
				t.Fatal(err)
			}
		}
		want, got := verdicts(of, little), verdicts(o, &big)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if name == "order" && (got["order/constants"] != WillLoad || got["order/variable"] != WillLoad) {
			t.Errorf("the constants of an object are read wrongly: %v", got)
		}
		if name == "relocations" && !slices.Contains(slices.Collect(maps.Values(got)), WillLoad) {
			t.Error("nothing loads")
		}
		for _, arch := range []string{"amd64", "riscv64"} {
			if _, err := Read(name, b, arch); err == nil || !strings.Contains(err.Error(), "another order of bytes") {
				t.Errorf("%s on %s: %v", name, arch, err)
			}
		}
		if found := Embedded("p", slices.Concat([]byte("program"), b), "s390x"); len(found) != 1 {
			t.Errorf("%s: %d objects found in a program", name, len(found))
		}
	}
}
