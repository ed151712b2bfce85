package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
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
	const (
		statistics73  = "verification time 49666 usec\nstack depth max 0\nsubprog 0 (established) main insns_self 9 insns_total 9 stack 0\nprocessed 9 insns (limit 1000000) max_states_per_insn 0"
		explanation73 = "\nReason:\n  The second argument (R2) has type\n  sock_or_null.\n\nAt:\n  established @ net.bpf.c:133:12\n  Instruction context:\n       7 | (b7) r3 = 0\n  >>>  9 | (85) call bpf_sk_storage_get#107\n\nSuggestion:\n  Pass a value with one of the accepted types.\n\n"
	)
	for log, want := range map[string]string{
		"9: (85) call bpf_sk_storage_get#107\nR2 type=sock_or_null\n" + statistics73:                                                                                                "R2 type=sock_or_null",
		"9: (85) call bpf_sk_storage_get#107\nR2 type=sock_or_null\n\nVerification failed: Invalid call argument\n" + explanation73 + strings.Repeat("  more\n", 50) + statistics73: "R2 type=sock_or_null",
		"9: (85) call bpf_sk_storage_get#107\nVerification failed: Invalid call argument\n" + explanation73 + statistics73:                                                          "Verification failed: Invalid call argument",
		explanation73 + statistics73:                             "",
		"subprog 1 () does not return a scalar\n" + statistics73: "subprog 1 () does not return a scalar",
	} {
		if got := verdictLine(strings.Split(log, "\n")); got != want {
			t.Errorf("verdict %q, want %q of:\n%s", got, want, log)
		}
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
		{"map type X", "", "this kernel, 5.10.0-46-cloud-amd64, has no map type X"},
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
	for _, payload := range []string{
		"", "{}", `{"load": "each", "unsupported": "fail"}`, `{"load": "some", "unsupported": "fail", "objects": [{}]}`,
		`{"load": "each", "unsupported": "maybe", "objects": [{}]}`,
	} {
		path := filepath.Join(t.TempDir(), "objects.json")
		if err := os.WriteFile(path, []byte(payload), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if code := run(path, &out, &errs, wire.NewReporter(&out)); code != exitUsage {
			t.Errorf("%s: exit status %d", payload, code)
		}
	}
}

// fakeEngine stands in for a loader: programs that are named in it fail.
type fakeEngine struct {
	name string
	bad  map[string]error
	err  error // of opening
	all  []program
	note string           // of what it sets
	ops  map[string]error // struct_ops maps, and what registering them says
}

func (e *fakeEngine) version() string { return e.name }
func (e *fakeEngine) open(string, wire.ObjectSettings) (opened, error) {
	return fakeObject{e}, e.err
}

type fakeObject struct{ *fakeEngine }

func (o fakeObject) programs() []program { return o.all }
func (o fakeObject) notes() []string     { return strings.Fields(o.note) }
func (o fakeObject) load(name string) (*loaded, error) {
	return &loaded{close: func() {}}, o.bad[name]
}

func (o fakeObject) loadWhole(names []string) (map[string]*loaded, error) {
	all := map[string]*loaded{}
	for _, name := range names {
		if err := o.bad[name]; err != nil {
			return nil, &programError{name, err}
		}
		all[name] = &loaded{close: func() {}}
	}
	return all, nil
}
func (o fakeObject) maps() []string { return slices.Sorted(maps.Keys(o.ops)) }
func (o fakeObject) createMap(name string, register bool) (string, error) {
	if !register {
		return "", errors.New("is not registered")
	}
	return "registered\n", o.ops[name]
}
func (o fakeObject) attachBySection(string) (io.Closer, error) { return nil, errors.ErrUnsupported }
func (o fakeObject) close()                                    {}

// fakeEngines is one loader of several objects, by path.
type fakeEngines map[string]*fakeEngine

func (e fakeEngines) version() string { return "libbpf 1" }
func (e fakeEngines) open(path string, s wire.ObjectSettings) (opened, error) {
	return e[path].open(path, s)
}

// programsOf are programs of fakes, as NAME SECTION.
func programsOf(sections ...string) (all []program) {
	for _, s := range sections {
		name, section, _ := strings.Cut(s, " ")
		p := program{programInfo: programInfo{name: name, section: section, typ: ebpf.Tracing}}
		if section == "syscall" {
			p.typ = ebpf.Syscall // which attaching only says something of
		}
		p.leftOut = optional(section)
		all = append(all, p)
	}
	return all
}

// checkTests holds tests against VERDICT NAME and part of the output of each.
func checkTests(t *testing.T, o wire.Objects, engines map[string]engine, want []string) {
	t.Helper()
	var got []result
	l := newLoader(o, func(r result) { got = append(got, r) }, func(string, bool) {})
	l.engines = engines
	l.all()
	failed := 0
	for i, r := range got {
		if r.Verdict == wire.TestFail {
			failed++
		}
		if 2*i >= len(want) || r.Verdict+" "+r.Name != want[2*i] || !strings.Contains(r.Output, want[2*i+1]) {
			t.Errorf("test %d is %s %s: %s", i, r.Verdict, r.Name, r.Output)
		}
		if r.Output == "" && r.Verdict != wire.TestPass {
			t.Errorf("%s gives no reason", r.Name)
		}
	}
	if 2*len(got) != len(want) || failed != l.bad {
		t.Errorf("%d tests, %d failed, %d counted; want %q", len(got), failed, l.bad, want)
	}
}

// What loading says becomes the right tests.
func TestVerdicts(t *testing.T) {
	refused := errors.New("refused")
	libbpf := func(bad map[string]error, sections ...string) *fakeEngine {
		return &fakeEngine{name: "libbpf 1", bad: bad, all: programsOf(sections...)}
	}
	alternatives := wire.ObjectSettings{Alternatives: [][]string{{"a", "b"}}}
	for name, tt := range map[string]struct {
		engine, goEngine *fakeEngine // both: two loaders
		load             string
		attach           bool
		settings         wire.ObjectSettings
		object           wire.Object
		want             []string // VERDICT NAME, then part of the output
	}{
		"each": {
			engine: libbpf(map[string]error{"b": refused}, "a fentry/x", "b fentry/y", "c ?fentry/z"),
			want:   []string{"pass o/a", "", "fail o/b", "refused", "skip o/c", "marks it as optional"},
		},
		"broken": {
			object: wire.Object{Broken: "is no ELF object"}, want: []string{"fail o", "the object is no ELF object"},
		},
		"warnings": {
			engine: libbpf(nil, "a x", "aa x"), object: wire.Object{Warnings: []string{"program a: is odd", "all are odd"}},
			want: []string{"pass o/a", "warning: program a: is odd\nwarning: all are odd\n", "pass o/aa", "warning: all are odd"},
		},
		"both": {
			engine:   libbpf(nil, "a x", "b x", "c x"),
			goEngine: &fakeEngine{name: "ebpf-go v1", bad: map[string]error{"b": refused}, all: programsOf("a x", "b x")},
			want: []string{
				"pass o/a", "", "fail o/b", "loads with libbpf 1, not with ebpf-go v1, because refused\n",
				"fail o/c", "not with ebpf-go v1, because it finds no program of this name",
			},
		},
		"both, and one says that the kernel cannot": {
			engine:   libbpf(nil, "a x"),
			goEngine: &fakeEngine{name: "ebpf-go v1", bad: map[string]error{"a": &unsupportedError{what: "kfunc f", version: "6.2", running: "6.1"}}, all: programsOf("a x")},
			want:     []string{"fail o/a", "not with ebpf-go v1, because unsupported: kfunc f came with Linux 6.2, this kernel is 6.1"},
		},
		"both say that the kernel cannot": {
			engine:   libbpf(map[string]error{"a": &unsupportedError{what: "kfunc f", version: "6.2", running: "6.1"}}, "a x"),
			goEngine: &fakeEngine{name: "ebpf-go v1", bad: map[string]error{"a": &unsupportedError{what: "kfunc f", version: "6.2", running: "6.1"}}, all: programsOf("a x")},
			want:     []string{"skip o/a", "unsupported: kfunc f came with Linux 6.2, this kernel is 6.1"},
		},
		"both refuse it for reasons of their own": {
			engine:   libbpf(map[string]error{"a": &rejectedError{reason: errors.New("other"), tail: []string{"line"}}}, "a x"),
			goEngine: &fakeEngine{name: "ebpf-go v1", bad: map[string]error{"a": refused}, all: programsOf("a x")},
			want:     []string{"fail o/a", "libbpf 1: other\nebpf-go v1: refused\nthe last 1 of 1 lines of the verifier's log:\n  line\n"},
		},
		"both, and one cannot open it": {
			engine: libbpf(nil, "a x"), goEngine: &fakeEngine{name: "ebpf-go v1", err: refused},
			want: []string{"fail o/a", "loads with libbpf 1, not with ebpf-go v1, because refused"},
		},
		"none can open it": {
			engine: &fakeEngine{name: "libbpf 1", err: refused}, want: []string{"fail o", "refused"},
		},
		"alternatives": {
			engine: libbpf(map[string]error{"a": refused}, "a ?x", "b ?x"), settings: alternatives,
			want: []string{"pass o/b", "", "skip o/a", "not needed: o/b loads here\nrefused"},
		},
		"alternatives of which none loads": {
			engine: libbpf(map[string]error{"a": refused, "b": refused}, "a x", "b x"), settings: alternatives,
			want: []string{"fail o/a", "refused", "fail o/b", "refused"},
		},
		"alternatives of which the kernel can have none": {
			engine:   libbpf(map[string]error{"a": &unsupportedError{what: "kfunc f", version: "6.2", running: "6.1"}, "b": &unsupportedError{what: "kfunc g", version: "6.2", running: "6.1"}}, "a x", "b x", "c x"),
			settings: alternatives,
			want: []string{
				"pass o/c", "", "fail o/a", "unsupported: kfunc f came with Linux 6.2, this kernel is 6.1\nof the alternatives none loads here",
				"fail o/b", "of the alternatives none loads here",
			},
		},
		"alternatives that are all left out": {
			engine:   libbpf(nil, "a x", "b x", "c x"),
			settings: wire.ObjectSettings{Alternatives: alternatives.Alternatives, Programs: []string{"c"}},
			want:     []string{"pass o/c", "", "fail o/alternatives:a|b", "none of these was loaded"},
		},
		"alternatives in another object": {
			engine: libbpf(map[string]error{"a": refused}, "a x", "b x"), settings: wire.ObjectSettings{Alternatives: [][]string{{"o/a", "other/a"}}},
			want: []string{"pass o/b", "", "fail o/a", "refused", "fail (settings)", "program other/a: no object has it"},
		},
		"programs that look like alternatives": {
			engine: libbpf(map[string]error{"a": refused, "n___old": refused}, "a fentry/x", "b kprobe/x", "n___new y", "n___old y"),
			want: []string{
				"pass o/b", "", "pass o/n___new", "", "fail o/a", "one of these may be enough: --alternatives 'a | b'",
				"fail o/n___old", "--alternatives 'n___new | n___old'",
			},
		},
		"programs that are chosen": {
			engine: libbpf(nil, "a x", "ab ?x", "b x"), settings: wire.ObjectSettings{Programs: []string{"!o/a", "a*"}},
			want: []string{"pass o/ab", ""},
		},
		"settings that mean nothing": {
			engine: libbpf(nil, "a x"), object: wire.Object{Path: "testdata/trace.bpf.o"},
			settings: wire.ObjectSettings{
				Programs: []string{"!z"}, Maps: []wire.MapSetting{{Name: "m"}}, Variants: []wire.Variant{{{Name: "v[1]", Value: "1"}}},
				Targets: []wire.TargetOfProg{{Program: "t", Section: "x"}},
			},
			want: []string{"pass o/a", "", "fail (settings)", "map m: no object has it; program t: no object has it; program z: no object has it; variable v[1]: no object has it"},
		},
		"whole": {
			engine: libbpf(nil, "a x", "b ?x", "c x"), load: wire.LoadWhole,
			want: []string{"pass o", "loaded 2 together, 1 left out", "pass o/a", "", "skip o/b", "optional", "pass o/c", ""},
		},
		"whole, and one fails": {
			engine: libbpf(map[string]error{"b": refused}, "a x", "b x", "c x"), load: wire.LoadWhole,
			want: []string{
				"fail o", "the object did not load: b: refused",
				"skip o/a", "not tried: o did not load, because of b", "fail o/b", "refused", "skip o/c", "because of b",
			},
		},
		"whole, and one is for no kernel": {
			engine: libbpf(map[string]error{"b": skipError("no map has it")}, "a x", "b x"), load: wire.LoadWhole,
			want: []string{"fail o", "the object did not load: b: no map has it", "skip o/a", "because of b", "skip o/b", "no map has it"},
		},
		"whole, and this kernel cannot have one": {
			engine: libbpf(map[string]error{"b": &unsupportedError{what: "kfunc f", version: "6.2", running: "6.1"}}, "a x", "b x"), load: wire.LoadWhole,
			want: []string{"fail o", "the object did not load: b: unsupported: kfunc f", "skip o/a", "because of b", "skip o/b", "unsupported"},
		},
		"notes": {
			engine: &fakeEngine{name: "libbpf 1", bad: map[string]error{"a": refused}, all: programsOf("a x", "b x", "c ?x"), note: "defaults"},
			want:   []string{"fail o/a", "refused\ndefaults\n", "pass o/b", "defaults\n", "skip o/c", "as optional\n"},
		},
		"whole of optional programs": {
			engine: libbpf(nil, "a ?x"), load: wire.LoadWhole,
			want: []string{"skip o", "none of its programs is chosen", "skip o/a", "optional", "fail (programs)", "no program was loaded"},
		},
		"optional programs": {
			engine: libbpf(nil, "a ?x"), want: []string{"skip o/a", "optional", "fail (programs)", "no program was loaded"},
		},
		"nothing but what this kernel cannot have": {
			engine: libbpf(map[string]error{"a": &unsupportedError{what: "kfunc f", version: "6.2", running: "6.1"}}, "a x"),
			want:   []string{"skip o/a", "unsupported"},
		},
		"whole with struct_ops": {
			engine: &fakeEngine{name: "libbpf 1", all: programsOf("a syscall"), ops: map[string]error{"m": nil}}, load: wire.LoadWhole, attach: true,
			want: []string{"pass o", "loaded 1 together\nmap m: registered", "pass o/a", "loaded only"},
		},
		"whole with struct_ops that the kernel refuses": {
			engine: &fakeEngine{name: "libbpf 1", all: programsOf("a syscall"), ops: map[string]error{"m": refused, "n": nil}}, load: wire.LoadWhole, attach: true,
			want: []string{"fail o", "loaded, and not attached: map m: refused", "pass o/a", "loaded only"},
		},
		"both, whole, and one leaves out what is optional": {
			engine:   libbpf(nil, "a x", "b ?x"),
			goEngine: &fakeEngine{name: "ebpf-go v1", all: []program{programsOf("a x")[0], programsOf("b x")[0]}}, load: wire.LoadWhole,
			want: []string{"pass o", "", "pass o/a", "", "pass o/b", `libbpf 1: not loaded: its section "?x" marks it as optional`},
		},
		"alternatives of which one crashes the loader": {
			engine: libbpf(map[string]error{"a": &unknownError{errors.New("libbpf crashed")}}, "a x", "b x"), settings: alternatives,
			want: []string{"fail o/a", "libbpf crashed", "pass o/b", ""},
		},
		"alternatives with both, and one does not open it": {
			engine: libbpf(nil, "a x", "b x"), goEngine: &fakeEngine{name: "ebpf-go v1", err: &unsupportedError{what: "BTF", version: "6.2", running: "6.1"}}, settings: alternatives,
			want: []string{"fail o/a", "not with ebpf-go v1, because unsupported", "fail o/b", "not with ebpf-go v1"},
		},
		"a flavour and its base": {
			engine: libbpf(map[string]error{"n": refused, "n_2": refused}, "n x", "n___old x", "n_2 x"),
			want:   []string{"fail o/n_2", "refused", "pass o/n___old", "", "fail o/n", "one of these may be enough: --alternatives 'n | n___old'"},
		},
		"whole with alternatives": {
			engine: libbpf(map[string]error{"a": refused}, "a x", "b x", "c x"), load: wire.LoadWhole,
			settings: wire.ObjectSettings{Alternatives: [][]string{{"a", "b", "c"}}},
			want: []string{
				"pass o", "loaded 1 together", "pass o/b", "", "skip o/c", "not needed: b loads here", "skip o/a", "not needed: o/b loads here",
			},
		},
		"whole with alternatives of which none loads": {
			engine: libbpf(map[string]error{"a": refused, "b": refused}, "a x", "b x", "c x"), load: wire.LoadWhole, settings: alternatives,
			want: []string{
				"fail o", "none of these loads: a | b",
				"skip o/c", "did not load, because of a | b", "fail o/a", "refused", "fail o/b", "refused",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.object.Name, tt.object.Loader = "o", wire.LoaderLibbpf
			if tt.goEngine != nil {
				tt.object.Loader = wire.LoaderBoth
			}
			checkTests(t, wire.Objects{
				Objects: []wire.Object{tt.object}, Load: cmp.Or(tt.load, wire.LoadEach), Attach: tt.attach, Unsupported: wire.TestSkip, Settings: tt.settings,
			}, map[string]engine{wire.LoaderLibbpf: tt.engine, wire.LoaderGo: tt.goEngine}, tt.want)
		})
	}
}

// Alternatives of different objects are each other's, and no more of the objects.
func TestAlternativesAcrossObjects(t *testing.T) {
	refused := errors.New("refused")
	across := [][]string{{"a/x", "b/y"}}
	for name, tt := range map[string]struct {
		load string
		a, b *fakeEngine
		set  wire.ObjectSettings
		want []string
	}{
		"each": {
			wire.LoadEach,
			&fakeEngine{bad: map[string]error{"x": refused}, all: programsOf("other z", "x fentry/f")},
			&fakeEngine{all: programsOf("y kprobe/f")},
			wire.ObjectSettings{Alternatives: across},
			[]string{"pass a/other", "", "pass b/y", "", "skip a/x", "not needed: b/y loads here"},
		},
		"whole": {
			wire.LoadWhole,
			&fakeEngine{bad: map[string]error{"x": refused}, all: programsOf("other z", "x fentry/f")},
			&fakeEngine{all: programsOf("y kprobe/f")},
			wire.ObjectSettings{Alternatives: across},
			[]string{"pass a", "loaded 1 together", "pass a/other", "", "pass b", "", "pass b/y", "", "skip a/x", "not needed: b/y loads here"},
		},
		"whole, and another program fails": {
			wire.LoadWhole,
			&fakeEngine{bad: map[string]error{"x": refused, "other": refused}, all: programsOf("other z", "x fentry/f")},
			&fakeEngine{all: programsOf("y kprobe/f")},
			wire.ObjectSettings{Alternatives: across},
			[]string{"fail a", "did not load: other: refused", "fail a/other", "refused", "pass b", "", "pass b/y", "", "skip a/x", "not needed: b/y loads here"},
		},
		"whole, and none loads": {
			wire.LoadWhole,
			&fakeEngine{bad: map[string]error{"x": refused}, all: programsOf("other z", "x fentry/f")},
			&fakeEngine{bad: map[string]error{"y": refused}, all: programsOf("y kprobe/f")},
			wire.ObjectSettings{Alternatives: across},
			[]string{"pass a", "", "pass a/other", "", "skip b", "none of its programs is chosen", "fail a/x", "refused", "fail b/y", "refused"},
		},
		"whole, of one object": {
			wire.LoadWhole,
			&fakeEngine{bad: map[string]error{"x": refused}, all: programsOf("x fentry/f", "z kprobe/f")},
			&fakeEngine{all: programsOf("y kprobe/f")},
			wire.ObjectSettings{Alternatives: [][]string{{"a/x", "a/z"}}},
			[]string{"pass a", "", "pass a/z", "", "skip a/x", "not needed: a/z loads here", "pass b", "", "pass b/y", ""},
		},
		"whole, programs of one object chosen": {
			wire.LoadWhole,
			&fakeEngine{bad: map[string]error{"x": refused}, all: programsOf("x fentry/f")},
			&fakeEngine{all: programsOf("y kprobe/f")},
			wire.ObjectSettings{Programs: []string{"b/*"}},
			[]string{"skip a", "none of its programs is chosen", "pass b", "", "pass b/y", ""},
		},
		"an object that does not open": {
			wire.LoadEach,
			&fakeEngine{bad: map[string]error{"x": &unknownError{errors.New("libbpf crashed")}}, all: programsOf("x fentry/f")},
			&fakeEngine{all: programsOf("y kprobe/f")},
			wire.ObjectSettings{Alternatives: across},
			[]string{"fail a/x", "libbpf crashed", "pass b/y", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			checkTests(t, wire.Objects{
				Objects: []wire.Object{{Name: "a", Path: "a", Loader: wire.LoaderLibbpf}, {Name: "b", Path: "b", Loader: wire.LoaderLibbpf}},
				Load:    tt.load, Unsupported: wire.TestFail, Settings: tt.set,
			}, map[string]engine{wire.LoaderLibbpf: fakeEngines{"a": tt.a, "b": tt.b}}, tt.want)
		})
	}
}

// Tests that wait for others hold no log of theirs.
func TestPendingIsSmall(t *testing.T) {
	log := strings.Repeat("0: (b7) r0 = 0\n", 1000)
	e := &fakeEngine{name: "libbpf 1", bad: map[string]error{}, all: programsOf("a fentry/f", "b kprobe/f")}
	for _, p := range e.all {
		e.bad[p.name] = fmt.Errorf("load: %w", &rejectedError{reason: errors.New("refused"), log: log})
	}
	l := newLoader(wire.Objects{Objects: []wire.Object{{Name: "o", Loader: wire.LoaderLibbpf}}, Load: wire.LoadEach, Unsupported: wire.TestFail}, func(result) {}, func(string, bool) {})
	l.engines = map[string]engine{wire.LoaderLibbpf: e}
	kept := 0
	l.running = func(string, bool) {
		for _, p := range l.pending {
			var r *rejectedError
			if kept++; p.log != "" || errors.As(p.err, &r) {
				t.Errorf("%s is held with its log", p.Name)
			}
		}
	}
	l.all()
	if kept == 0 || l.bad != 2 {
		t.Errorf("%d looks, %d failed", kept, l.bad)
	}
}

// An inner map has the size that its template is created with.
func TestInnerOfDefaultSize(t *testing.T) {
	l := newLoader(wire.Objects{}, func(result) {}, func(string, bool) {})
	settings := wire.ObjectSettings{Maps: []wire.MapSetting{{Name: "outer", Inner: "empty"}, {Name: "empty", ValueSize: 16}}}
	o, err := newGoEngine(l).open("libbpf/testdata/settings.bpf.o", settings)
	if err != nil {
		t.Fatal(err)
	}
	inner := o.(*goObject).spec.Maps["outer"].InnerMap
	if inner == nil || inner.MaxEntries != 1 || inner.ValueSize != 16 || len(o.notes()) != 1 {
		t.Errorf("%+v, notes %q", inner, o.notes())
	}
}

// Values of variables are of those objects that have them.
func TestVariants(t *testing.T) {
	v := func(name string) wire.Variable { return wire.Variable{Name: name, Value: "1"} }
	s := newSettings(wire.ObjectSettings{
		Variants: []wire.Variant{{v("no_such"), v("maps")}, {v("set/config.on"), v("net/config")}, {v("no_such"), v("config[2]")}, {}},
		Maps:     []wire.MapSetting{{Name: "set/.rodata"}, {Name: "other/outer"}, {Name: "config"}},
	})
	object := wire.Object{Name: "set", Path: "libbpf/testdata/settings.bpf.o"}
	got, err := s.of(object)
	if err != nil {
		t.Fatal(err)
	}
	m := []wire.MapSetting{{Name: ".rodata"}}
	want := []wire.ObjectSettings{
		{Maps: m, Variants: []wire.Variant{nil}},
		{Maps: m, Variants: []wire.Variant{{v("config.on")}}},
		{Maps: m, Variants: []wire.Variant{{v("config[2]")}}},
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := gocmp.Diff([]string{
		"map config: no object has it", "map other/outer: no object has it", "variable maps: no object has it",
		"variable net/config: no object has it", "variable no_such: no object has it",
	}, s.unused()); d != "" {
		t.Error(d)
	}
	if got := variantLabel(want[1].Variants[0], 1); got != " [config.on=1]" {
		t.Errorf("label %q", got)
	}
	if got := variantLabel(slices.Repeat(want[1].Variants[0], 20), 1); got != " [variant 2]" {
		t.Errorf("label %q", got)
	}
	// What cannot be read may have them.
	object.Path = filepath.Join(t.TempDir(), "o")
	if err := os.WriteFile(object.Path, []byte("\x7fELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.of(object); err == nil {
		t.Errorf("no object has settings %v", got)
	}
}

func TestStatistics(t *testing.T) {
	for name, tt := range map[string]struct {
		log                 string
		states, peak, stack int
	}{
		"5.10":    {"verification time 369 usec\nstack depth 16+8\nprocessed 10 insns (limit 1000000) max_states_per_insn 1 total_states 7 peak_states 5 mark_read 1\n", 7, 5, 24},
		"none":    {"processed 10 insns", 0, 0, 0},
		"hostile": {"stack depth -1+99999999999999999999\nprocessed 10 insns (limit 1) total_states 99999999999999999999 peak_states -1\n", 0, 0, 0},
	} {
		states, peak, stack := statistics(strings.Split(tt.log, "\n"))
		if states != tt.states || peak != tt.peak || stack != tt.stack {
			t.Errorf("%s: %d, %d, %d", name, states, peak, stack)
		}
	}
}

// Numbers of a hostile log are none that a report cannot take.
func FuzzLog(f *testing.F) {
	f.Add("stack depth 16+8\nprocessed 10 insns (limit 1000000) max_states_per_insn 1 total_states 7 peak_states 5 mark_read 1\n")
	f.Add("BPF program is too large. Processed 1000001 insn\n12: (05) goto pc-2\n")
	f.Add("stack depth -1+4294967295\nprocessed -1 insns (limit 1) total_states 18446744073709551616 peak_states 1\n")
	f.Fuzz(func(t *testing.T, log string) {
		lines := strings.Split(log, "\n")
		states, peak, stack := statistics(lines)
		if insns := processed(lines); insns < 0 || states < 0 || peak < 0 || stack < 0 {
			t.Errorf("%d insns, %d states, %d at most, stack %d", insns, states, peak, stack)
		}
		if strings.Contains(verdictLine(lines), "\n") || lastInsn(lines) < -1 {
			t.Errorf("%q, %d", verdictLine(lines), lastInsn(lines))
		}
	})
}

// A program loaded for another section is what that section makes of it.
func TestSectionProgram(t *testing.T) {
	for section, want := range map[string]ebpf.ProgramSpec{
		"fentry.s/do_exit": {Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: "do_exit", Flags: 1 << 4},
		"kprobe/do_exit":   {Type: ebpf.Kprobe, AttachTo: "do_exit"},
		"xdp.frags":        {Type: ebpf.XDP, AttachType: ebpf.AttachXDP, Flags: 1 << 5},
		"nothing":          {},
	} {
		got, err := sectionProgram(section)
		if err != nil {
			t.Errorf("%s: %v", section, err)
			continue
		}
		if got.Type != want.Type || got.AttachType != want.AttachType || got.AttachTo != want.AttachTo || got.Flags != want.Flags {
			t.Errorf("%s: %v", section, got)
		}
	}
}

func TestWayTo(t *testing.T) {
	prefix := goarch.Lookup(runtime.GOARCH).Syscall
	for _, same := range [][]string{
		{"fentry/x", "kprobe/x", "fentry.s/x", "?kprobe.multi/x"},
		{"fexit/x", "kretprobe/x"},
		{"tp_btf/sched_switch", "raw_tp/sched_switch", "raw_tracepoint/sched_switch", "tp/sched/sched_switch", "tracepoint/sched/sched_switch"},
		{"ksyscall/openat", "kprobe/" + prefix + "sys_openat", "tp/syscalls/sys_enter_openat"},
		{"kretsyscall/openat", "kretprobe/" + prefix + "sys_openat", "tracepoint/syscalls/sys_exit_openat"},
	} {
		_, first := wayTo(same[0])
		for _, s := range same {
			if _, what := wayTo(s); what != first || what == "" {
				t.Errorf("%s is attached to %q, %s to %q", s, what, same[0], first)
			}
		}
	}
	for _, s := range []string{"xdp", "kprobe", "kprobe/x+4", "kprobe.multi/x*", "lsm/x", ""} {
		if _, what := wayTo(s); what != "" {
			t.Errorf("%s: %q", s, what)
		}
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
