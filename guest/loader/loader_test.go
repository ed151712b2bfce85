package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func load(t *testing.T, name string) *ebpf.CollectionSpec {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec("testdata/" + name + ".bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestOnlyKeepsWhatAProgramNeeds(t *testing.T) {
	newer := load(t, "newer")
	for _, tt := range []struct {
		program string
		maps    int
	}{{"map_type", 1}, {"program_type", 0}} {
		part := only(newer, tt.program)
		if len(part.Programs) != 1 || part.Programs[tt.program] == nil || len(part.Maps) != tt.maps {
			t.Errorf("%s: %d programs, %d maps, want itself and %d", tt.program, len(part.Programs), len(part.Maps), tt.maps)
		}
	}
	if len(newer.Programs) != 3 {
		t.Errorf("the object has %d programs left, want 3", len(newer.Programs))
	}
	trace := only(load(t, "trace"), "on_kretprobe")
	if len(trace.Variables) != 0 {
		t.Errorf("%d variables without their map", len(trace.Variables))
	}
}

func TestWithMapsFollowsInnerMaps(t *testing.T) {
	spec := &ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{
		"outer": {Type: ebpf.ArrayOfMaps, Contents: []ebpf.MapKV{{Key: uint32(0), Value: "inner"}}},
		"inner": {Type: ebpf.Array}, "other": {Type: ebpf.Array},
		"tails": {Type: ebpf.ProgramArray, Contents: []ebpf.MapKV{{Key: uint32(0), Value: "prog"}}},
	}}
	part := withMaps(spec, "outer", "tails", "missing")
	if len(part.Maps) != 3 || part.Maps["inner"] == nil || part.Maps["tails"].Contents != nil {
		t.Errorf("got %v", part.Maps)
	}
}

func TestRelocationInWords(t *testing.T) {
	spec := load(t, "rejected")
	kernel := spec.Types // stands in for a kernel's: it has both types
	for program, want := range map[string]string{
		// The types themselves are there, so the member is "another".
		"no_such_member": "struct task_struct has another no_such_member on this kernel (byte_off)",
		"no_such_struct": "struct no_such_struct has another member on this kernel (byte_off)",
	} {
		got := badRelocation(spec.Programs[program].Instructions, 1, spec.Types, kernel)
		if got != want {
			t.Errorf("%s: %q, want %q", program, got, want)
		}
		if got := badRelocation(spec.Programs[program].Instructions, 0, spec.Types, kernel); got != "" {
			t.Errorf("%s: an instruction without a relocation says %q", program, got)
		}
	}
	if got, want := badRelocation(spec.Programs["no_such_struct"].Instructions, 1, spec.Types, nil), "struct no_such_struct.member is not what the program expects (byte_off)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := describeRelocation("something else", spec.Types, kernel); got != "something else" {
		t.Errorf("%q", got)
	}
}

func TestUsesCORE(t *testing.T) {
	spec := load(t, "rejected")
	if !usesCORE(spec.Programs["no_such_member"]) || usesCORE(spec.Programs["good"]) {
		t.Error("CO-RE relocations are not told apart")
	}
}

func TestAccessPath(t *testing.T) {
	inner := &btf.Struct{Name: "inner", Members: []btf.Member{{Name: "a"}, {Name: "b"}}}
	anon := &btf.Union{Members: []btf.Member{{Name: "u", Type: inner}}}
	outer := &btf.Struct{Name: "outer", Members: []btf.Member{{Name: "x"}, {Type: anon}, {Name: "arr", Type: &btf.Array{}}}}
	for accessor, want := range map[string]string{
		"0": "", "0:0": "x", "0:1:0:1": "u.b", "0:2:3": "arr[3]", "0:9": "", "": "", "0:x": "",
	} {
		if got := accessPath(outer, accessor); got != want {
			t.Errorf("%s: %q, want %q", accessor, got, want)
		}
	}
}

func TestLogs(t *testing.T) {
	log := strings.Split("0: (85) call bpf_get_prandom_u32#7\n; for (;;)\n12: (05) goto pc-2\ninfinite loop detected at insn 1\ncur state: R10=fp0\nverification time 369 usec\nstack depth 0\ninsns processed 10\nprocessed 10 insns (limit 1000000) max_states_per_insn 0", "\n")
	if got := processed(log); got != 10 {
		t.Errorf("processed %d", got)
	}
	if got := lastInsn(log); got != 12 {
		t.Errorf("last instruction %d", got)
	}
	if got := verdictLine(log); got != "infinite loop detected at insn 1" {
		t.Errorf("verdict %q", got)
	}
	for in, want := range map[string]int{"": 0, "processed -3 insns": 0, "processed 99999999999999999999 insns": 0, "BPF program is too large. Processed 1000001 insn": 1000001} {
		if got := processed([]string{in}); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
	out := rejection(errors.New("two\nlines"), slicesOf("line", 50), 7)
	if want := "two lines\nthe verifier processed 7 insns\nthe last 20 of 50 lines of the verifier's log:\n  line 30\n"; !strings.HasPrefix(out, want) {
		t.Errorf("got %q", out)
	}
}

func slicesOf(s string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s %d", s, i))
	}
	return out
}

func TestUnsupported(t *testing.T) {
	k := kernelFacts{release: "5.10.0-46-cloud-amd64"}
	for _, tt := range []struct{ what, version, want string }{
		{"map type X", "5.16", "unsupported: map type X came with Linux 5.16, this kernel is 5.10.0-46-cloud-amd64"},
		{"map type X", "5.7", "unsupported: map type X came with Linux 5.7, and this kernel, 5.10.0-46-cloud-amd64, is built without it"},
		{"map type X", "", "unsupported: this kernel, 5.10.0-46-cloud-amd64, has no map type X"},
	} {
		if got := k.unsupported(tt.what, tt.version).Error(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	for in, want := range map[string]string{
		"BloomFilter not supported (requires >= v5.16)": "5.16", "x not supported (requires >= v4.14.2)": "4.14.2", "x not supported (requires >= v6.0)": "6.0", "x not supported": "",
	} {
		if got := minimumVersion(errors.New(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestMissingTarget(t *testing.T) {
	wrap := func(s string) error { return fmt.Errorf("%s%w", s, quiet{ebpf.ErrNotSupported}) }
	for in, want := range map[string]string{
		"program p: attach Tracing/TraceFEntry: fentry no_such not supported":   "no_such",
		"program p: attach LSM/LSMMac: no_hook LSM hook not supported":          "no_hook",
		"program p: attach Tracing(26)/TraceRawTp: raw_tp no_tp not supported":  "no_tp",
		"program p: load program: bpf2bpf calls not supported (requires >= v4)": "",
	} {
		if got, _ := missingTarget(wrap(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// quiet is an error without words of its own.
type quiet struct{ error }

func (quiet) Error() string   { return "" }
func (q quiet) Unwrap() error { return q.error }

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		less bool
	}{{"5.10.0-46", "5.16", true}, {"5.16", "5.16", false}, {"7.2.13+deb14", "5.16", false}, {"4.19", "5.2", true}, {"6.1rc", "6.2", true}, {"", "1.0", true}} {
		if got := versionLess(tt.a, tt.b); got != tt.less {
			t.Errorf("%s < %s: %v", tt.a, tt.b, got)
		}
	}
	for fn, want := range map[asm.BuiltinFunc]string{
		asm.FnMapLookupElem: "", asm.FnProbeReadKernel: "5.5", asm.FnRingbufOutput: "5.8", asm.FnTaskStorageGet: "5.11",
		asm.FnStrncmp: "5.17", asm.FnUserRingbufDrain: "6.1", asm.FnKtimeGetTaiNs: "6.1", asm.FnCgrpStorageGet: "6.2", 9999: "",
	} {
		if got := helperVersion(int(fn)); got != want {
			t.Errorf("%v: %q, want %q", fn, got, want)
		}
	}
	if got := helperName(asm.FnGetPrandomU32); got != "bpf_get_prandom_u32" {
		t.Errorf("got %s", got)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"/no/such/file"}, {"testdata/build"}, {"a", "b"}} {
		var out, errs bytes.Buffer
		if code := run(args, &out, &errs, wire.NewReporter(&out)); code != exitUsage {
			t.Errorf("%q: exit status %d", args, code)
		}
	}
}

// An object that cannot be read is a failed test of its own.
func TestDamagedObject(t *testing.T) {
	var got []result
	l := &loader{Objects: wire.Objects{Unsupported: wire.TestFail}, tell: func(r result) { got = append(got, r) }, running: func(string, bool) {}}
	l.object("testdata/trace.bpf.c")
	if len(got) != 1 || l.failed != 1 {
		t.Fatalf("got %v", got)
	}
	if d := cmp.Diff("trace.bpf.c fail", got[0].Name+" "+got[0].Verdict); d != "" {
		t.Error(d)
	}
}

func TestSymbolOffset(t *testing.T) {
	for _, tt := range []struct {
		target, symbol string
		offset         uint64
		ok             bool
	}{{"do_exit", "do_exit", 0, true}, {"do_exit+0x1f", "do_exit", 31, true}, {"do_exit+5", "do_exit", 5, true}, {"do_exit+", "do_exit", 0, false}, {"do_exit+-1", "do_exit", 0, false}} {
		symbol, offset, ok := symbolOffset(tt.target)
		if symbol != tt.symbol || offset != tt.offset || ok != tt.ok {
			t.Errorf("%s: %s, %d, %v", tt.target, symbol, offset, ok)
		}
	}
}
