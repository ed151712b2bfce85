package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

const (
	release5  = "5.10.0-46-cloud-amd64"
	release61 = "6.1.0-57-cloud-amd64"
	release6  = "6.12.118+deb13-cloud-amd64"
	release7  = "7.2.13+deb14-cloud-amd64"
)

func on(release string) *loader { return &loader{kernel: kernelFacts{release: release}} }

// The logs' ends are from these kernels.
func TestExplainVerifier(t *testing.T) {
	for _, tt := range []struct{ release, log, want string }{
		{release5, "BPF_STX uses reserved fields", "unsupported: atomic instructions other than an addition came with Linux 5.12, this kernel is " + release5},
		{release5, "unknown opcode d7", "unsupported: byte swaps without a condition, of -mcpu=v4, came with Linux 6.6, this kernel is " + release5},
		{release5, "0: (bf) r1 = r10\nBPF_MOV uses reserved fields", "unsupported: moves with sign extension, of -mcpu=v4, came with Linux 6.6, this kernel is " + release5},
		{release6, "0: R1=ctx() R10=fp0\n; P(cast, RAW(0xbf, 0x1 | 0xa<<4, 1, 1)) @ insns.bpf.c:10\n0: (bf) r1 = r10\nBPF_MOV uses reserved fields", "rejected: BPF_MOV uses reserved fields (invalid argument)"},
		{release5, "1: (37) r1 /= 3\nBPF_ALU uses reserved fields", "unsupported: signed division, of -mcpu=v4, came with Linux 6.6, this kernel is " + release5},
		{release5, "BPF_LDX uses reserved fields", "unsupported: loads with sign extension, of -mcpu=v4, came with Linux 6.6, this kernel is " + release5},
		{release61, "BPF_LDX uses reserved fields", "unsupported: loads with sign extension, of -mcpu=v4, came with Linux 6.6, this kernel is " + release61},
		{release5, "unknown opcode 06", "unsupported: long jumps (gotol), of -mcpu=v4, came with Linux 6.6, this kernel is " + release5},
		{release61, "unknown opcode e5", "unsupported: bounded loops by may_goto came with Linux 6.9, this kernel is " + release61},
		{release61, "0: (7b) *(u64 *)(r10 -8) = r1         ; R1=ctx(off=0,imm=0) R10=fp0 fp-8_w=ctx\n1: BUG_db\nBPF_ATOMIC uses invalid atomic opcode 100", "unsupported: atomic loads and stores (load-acquire, store-release) came with Linux 6.15, this kernel is " + release61},
		{release7, "1: BUG_db\nBPF_ATOMIC uses invalid atomic opcode 77", "rejected: BPF_ATOMIC uses invalid atomic opcode 77 (invalid argument)"},
		{release7, "unknown opcode ff", "rejected: unknown opcode ff (invalid argument)"},
		{release5, "0: (85) call unknown#158\ninvalid func unknown#158", "unsupported: helper bpf_get_current_task_btf for program type Kprobe came with Linux 5.11, this kernel is " + release5},
		{release61, "0: (85) call unknown#211\ninvalid func unknown#211", "unsupported: helper bpf_cgrp_storage_delete for program type Kprobe came with Linux 6.2, this kernel is " + release61},
		{release5, "0: (85) call bpf_xdp_adjust_head#44\nunknown func bpf_xdp_adjust_head#44", "this kernel, " + release5 + ", has no helper bpf_xdp_adjust_head for program type Kprobe"},
		{release6, "0: (85) call bpf_xdp_adjust_head#44\nprogram of this type cannot use helper bpf_xdp_adjust_head#44", "this kernel, " + release6 + ", has no helper bpf_xdp_adjust_head for program type Kprobe"},
		{release7, "0: (85) call unknown#9999\ninvalid func unknown#9999", "this kernel, " + release7 + ", has no helper number 9999 for program type Kprobe"},
		{release61, "1: (85) call unknown#233685214\ninvalid func unknown#233685214", "this kernel, " + release61 + ", has no kfunc that the program calls"},
		{release61, "1: (85) call unknown#2002000001\ninvalid func unknown#2002000001", "this kernel, " + release61 + ", has no kfunc that the program calls"},
		{release61, "1: <invalid kfunc call>\nkfunc 'bpf_task_acquire' is referenced but wasn't resolved\nprocessed 2 insns (limit 1000000)", "unsupported: kfunc bpf_task_acquire came with Linux 6.2, this kernel is " + release61},
		{release61, "1: <invalid kfunc call>\nkfunc 'bpf_no_such_kfunc' is referenced but wasn't resolved", "this kernel, " + release61 + ", has no kfunc bpf_no_such_kfunc"},
		{release6, "0: R1=ctx() R10=fp0\n; SEC(\"tp_btf/task_newtask\") int weak_none(__u64 *ctx) { return bpf_no_such_kfunc(1); } @ kfunc_weak.bpf.c:6\n0: (b7) r1 = 1                        ; R1_w=1\n1: <invalid kfunc call>\nkfunc 'bpf_no_such_kfunc' is referenced but wasn't resolved", "this kernel, " + release6 + ", has no kfunc bpf_no_such_kfunc"},
		{release6, "1: <invalid BPF map reference>\nBPF map 'events' is referenced but wasn't created", "rejected: it uses map events, which was not created"},
		{release6, "calling kernel function bpf_task_acquire is not allowed", "rejected: this kernel, " + release6 + ", has kfunc bpf_task_acquire not for program type Kprobe"},
		{release6, "1: <invalid CO-RE relocation>\nfailed to resolve CO-RE relocation <byte_off> [7] struct task_struct.no_such (0:1 @ offset 4)", "CO-RE: struct task_struct.no_such is not what the program expects (byte_off)"},
		{release6, "1: (85) call unknown#195896080\ninvalid func unknown#195896080", "CO-RE: a relocation has no match in this kernel's types"},
		{release6, "; instruction poisoned by CO-RE\n0: (18) r10 = 0xbad2310\nframe pointer is read only", "CO-RE: a relocation has no match in this kernel's types"},
		{release6, "Tracing programs must provide btf_id", `its section "kprobe/do_exit" names nothing to attach to`},
		{release6, "do_exit() is not modifiable", "rejected: do_exit() is not modifiable (invalid argument)"},
		{release6, "1: (61) r0 = *(u32 *)(r0 +0)\nR0 invalid mem access 'scalar'", "rejected: R0 invalid mem access 'scalar' (invalid argument)"},
	} {
		lines := strings.Split(tt.log+"\nprocessed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0", "\n")
		got := on(tt.release).explain(failure{section: "kprobe/do_exit", typ: ebpf.Kprobe, err: fmt.Errorf("load: %w", unix.EINVAL), log: lines})
		if got.Error() != tt.want {
			t.Errorf("%s, %q:\n got %q\nwant %q", tt.release, tt.log, got, tt.want)
		}
		var u *unsupportedError
		if errors.As(got, &u) != strings.HasPrefix(tt.want, "unsupported:") {
			t.Errorf("%q: %T", tt.log, got)
		}
	}
}

func TestExplainLibbpf(t *testing.T) {
	maps := map[string]*ebpf.MapSpec{"ops": {Type: ebpf.StructOpsMap, Flags: unix.BPF_F_LINK}, "other": {Type: ebpf.StructOpsMap}, "outer": {Type: ebpf.HashOfMaps}}
	for _, tt := range []struct{ messages, want string }{
		{"libbpf: prog 'p': missing BPF prog type, check ELF section name 'xdp/entry'\nprog 'p': failed to load: -EINVAL", `its section "xdp/entry" says no program type that libbpf knows: want one of its names, such as kprobe/do_exit`},
		{"prog 'p': failed to find kernel BTF type ID of 'no_such_function': -ESRCH\nprog 'p': failed to prepare load attributes: -ESRCH", "this kernel's BTF has no function or hook to attach to: no_such_function, which exists, but is notrace"},
		{"prog 'p': no BTF-based attach target is specified, use bpf_program__set_attach_target()", `its section "fentry/f" names nothing to attach to`},
		{"prog 'p': SEC(\"struct_ops\") program isn't referenced anywhere, did you forget to use it?", "no struct_ops map of the object has it as a member"},
		{"extern (func ksym) 'bpf_rcu_read_lock': not found in kernel or module BTFs\nfailed to load object 'x'", "unsupported: kfunc bpf_rcu_read_lock came with Linux 6.2, this kernel is " + release5},
		{"extern (func ksym) 'f': func_proto [7] incompatible with vmlinux [1234]", "kfunc f has another prototype in this kernel's vmlinux"},
		{"extern (var ksym) 'v': not found in kernel BTF", "this kernel's BTF has no variable v"},
		{"extern (var ksym) 'v': incompatible types, expected [4] int int, but kernel has [7] struct rq", "the kernel's variable v is of type struct rq, not int int"},
		{"extern 'CONFIG_NO_SUCH' (strong): not resolved", "this kernel's configuration does not set CONFIG_NO_SUCH"},
		{"extern 'no_such_symbol' (strong): not resolved", "this kernel has no symbol no_such_symbol"},
		{"extern 'v' (weak): not resolved, defaulting to zero\nprog 'p': BPF program load failed: -EPERM", "rejected: operation not permitted"},
		{"struct_ops init_kern: struct sched_ext_ops is not found in kernel BTF", "unsupported: struct_ops sched_ext_ops came with Linux 6.12, this kernel is " + release5},
		{"struct_ops init_kern: struct bpf_struct_ops_no_such is not found in kernel BTF", "this kernel, " + release5 + ", has no struct_ops no_such"},
		{"struct_ops init_kern ops: Cannot find member x in kernel BTF", "this kernel, " + release5 + ", has no member x of struct_ops map ops"},
		{"map 'ops': failed to create: -EINVAL", "unsupported: section .struct_ops.link came with Linux 6.4, this kernel is " + release5},
		{"map 'other': failed to create: -EINVAL", "map other cannot be created: EINVAL"},
		{"map 'outer': failed to create: -EINVAL", "map outer cannot be created: EINVAL; where the application sets its inner map, give --map outer:inner=MAP"},
		{"map 'third': failed to create: -E2BIG", "map third cannot be created: E2BIG"},
		{"Error loading .BTF into kernel: -EINVAL. BTF is mandatory, can't proceed.", "the kernel does not take the object's BTF: -EINVAL"},
		{"Error loading .BTF into kernel: -EINVAL. BTF is optional, ignoring.\nprog 'p': BPF program load failed: -EPERM", "rejected: operation not permitted"},
		{"elf: legacy map definitions in 'maps' section are not supported by libbpf v1.0+", `the object defines maps in a section "maps", which libbpf 1.0 and later refuse: define them in ".maps"`},
		{"sec 'xdp': program 'p' is static and not supported", `the object has a static program, p in section "xdp", which libbpf does not take`},
		{"something new\nprog 'p': failed to load: -EINVAL", "libbpf: something new"},
		{"BTF loading error: -EINVAL\n-- BEGIN BTF LOAD LOG ---\nmagic: 0xeb9f\n[21] ARRAY (anon) type_id=2 index_type_id=4 nr_elems=1073741824 Array size overflows U32_MAX\n-- END BTF LOAD LOG --\nError loading .BTF into kernel: -EINVAL. BTF is optional, ignoring.\nmap 'third': failed to create: -EINVAL", "map third cannot be created: EINVAL"},
		{"BTF loading error: -EINVAL\n-- BEGIN BTF LOAD LOG ---\nmagic: 0xeb9f\n[21] ARRAY (anon) Array size overflows U32_MAX\n-- END BTF LOAD LOG --\nError loading .BTF into kernel: -EINVAL. BTF is mandatory, can't proceed.", "the kernel does not take the object's BTF: -EINVAL: [21] ARRAY (anon) Array size overflows U32_MAX"},
		{"prog 'syscall_new': BPF program load failed: -EINVAL", "rejected: operation not permitted"},
	} {
		l := on(release5)
		l.kernel.symbols = func() []byte { return []byte("ffffffff T no_such_function\n") }
		l.kernel.traceable = func() []byte { return []byte("do_exit\n") }
		got := l.explain(failure{section: "fentry/f", typ: ebpf.Tracing, maps: maps, err: fmt.Errorf("load the program: %w", unix.EPERM), messages: strings.Split(tt.messages, "\n")})
		if got.Error() != tt.want {
			t.Errorf("%q:\n got %q\nwant %q", tt.messages, got, tt.want)
		}
	}
}

// The library's own errors, as its functions build them.
func TestExplainLibrary(t *testing.T) {
	on7 := on(release7)
	onLinux := fmt.Errorf("%w on linux", ebpf.ErrNotSupported)
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("program p: fixing up kfuncs: %w", fmt.Errorf("kfunc %q: %w", "f", ebpf.ErrNotSupported)), "this kernel, " + release7 + ", has no kfunc f"},
		{errors.New(`program p: fixing up kfuncs: kfunc "bpf_rcu_read_lock": type mismatch between Int:"int"[signed size=4] and Void: incompatible types`), `kfunc bpf_rcu_read_lock has another prototype on this kernel: type mismatch between Int:"int"[signed size=4] and Void: incompatible types`},
		{errors.New(`program p: resolve .kconfig: config option "CONFIG_NO_SUCH" does not exist on this kernel`), "this kernel's configuration does not set CONFIG_NO_SUCH"},
		{fmt.Errorf("map type %s: %w", "X", onLinux), "this kernel, " + release7 + ", has no map type X"},
		{fmt.Errorf("program p: %w", onLinux), "program p: not supported on linux"},
		{onLinux, "not supported on linux"},
		{fmt.Errorf("link: %w", fmt.Errorf("bpf_link_kprobe_multi not supported (requires >= v5.18)%w", quiet{ebpf.ErrNotSupported})), "unsupported: bpf_link_kprobe_multi came with Linux 5.18, and this kernel, " + release7 + ", is built without it"},
	} {
		if got := on7.explain(failure{err: tt.err}); got.Error() != tt.want {
			t.Errorf("%q:\n got %q\nwant %q", tt.err, got, tt.want)
		}
	}
}

func TestLibbpfRelocationInWords(t *testing.T) {
	kernel := load(t, "rejected").Types // stands in for a kernel's
	for in, want := range map[string]string{
		"<byte_off> [7] struct task_struct.gone (0:1 @ offset 4)":                   "struct task_struct has no gone on this kernel",
		"<byte_off> [7] struct task_struct.no_such_member (0:0 @ offset 0)":         "struct task_struct has another no_such_member on this kernel (byte_off)",
		"<byte_off> [7] struct task_struct___old.gone.b (0:1 @ offset 4)":           "struct task_struct has no gone.b on this kernel",
		"<byte_off> [7] struct task_struct.gone[1].b (0:0:1:0 @ offset 4)":          "struct task_struct has no gone[1].b on this kernel",
		"<byte_off> [7] struct task_struct[1].gone (1:0 @ offset 4)":                "struct task_struct has no gone on this kernel",
		"<lshift_u64> [7] struct task_struct.bits (0:1 @ offset 4.3)":               "struct task_struct has no bits on this kernel",
		"<enumval_value> [12] enum bpf_map_type___l::BPF_MAP_TYPE_NO_SUCH = 99":     "this kernel has no enum bpf_map_type",
		"<type_size> [4] struct gone":                                               "this kernel has no struct gone",
		"<type_size> [4] struct task_struct":                                        "struct task_struct is not what the program expects (type_size)",
		"<byte_off> [7] struct task_struct.a.b.c.d... and more that libbpf has cut": "<byte_off> [7] struct task_struct.a.b.c.d... and more that libbpf has cut",
	} {
		if got := describeLibbpfRelocation(in, kernel); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestKfuncAt(t *testing.T) {
	insns := asm.Instructions{
		asm.LoadImm(asm.R1, 1, asm.DWord), // two slots
		asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoKfuncCall, Constant: -1}.WithReference("bpf_obj_new_impl"),
		asm.Return(),
	}
	for offset, want := range map[int]string{0: "", 2: "bpf_obj_new_impl", 3: "", -1: ""} {
		if got := kfuncAt(insns, offset); got != want {
			t.Errorf("%d: %q, want %q", offset, got, want)
		}
	}
}

func TestFunctionNote(t *testing.T) {
	symbols := "0000000000000000 T do_exit\n0000000000000000 t __schedule\n0000000000000000 t bond_open\t[bonding]\n" +
		"0000000000000000 t gone.isra.0\n0000000000000000 t gone.cold\n0000000000000000 t cold_only.cold\n0000000000000000 D a_variable\n" +
		"0000000000000000 t both.part.0\n0000000000000000 T both\n0000000000000000 T last"
	k := kernelFacts{
		symbols:   func() []byte { return []byte(symbols) },
		traceable: func() []byte { return []byte("do_exit\nbond_open [bonding]\nboth\n") },
	}
	for name, want := range map[string]string{
		"do_exit": "", "bond_open": "", "both": "", "no_such": "", "do_exi": "", "a_variable": "", "cold_only": "", "": "",
		"__schedule": "exists, but is notrace", "last": "exists, but is notrace",
		"gone": "exists only as gone.isra.0, a copy that the compiler changed",
	} {
		if got := k.functionNote(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	k.traceable = func() []byte { return nil }
	if got := k.functionNote("__schedule"); got != "" {
		t.Errorf("without ftrace's list: %q", got)
	}
	if got := (kernelFacts{}).functionNote("__schedule"); got != "" {
		t.Errorf("without facts: %q", got)
	}
}

func TestKfuncVersion(t *testing.T) {
	for name, want := range map[string]string{"bpf_rcu_read_lock": "6.2", "bpf_arena_alloc_pages": "6.9", "bpf_no_such": "", "": ""} {
		if got := kfuncVersion(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// The first cause is named: old kernels look at functions that are called back before
// they look at who calls them.
func TestExplainCallback(t *testing.T) {
	for fn, want := range map[asm.BuiltinFunc]string{
		asm.FnLoop:          "unsupported: helper bpf_loop for program type Kprobe came with Linux 5.17, this kernel is " + release5,
		asm.FnGetPrandomU32: "rejected: number of funcs in func_info doesn't match number of subprogs (invalid argument)",
	} {
		got := on(release5).explain(failure{
			typ: ebpf.Kprobe, err: unix.EINVAL, log: []string{"number of funcs in func_info doesn't match number of subprogs"},
			insns: asm.Instructions{asm.FnMapLookupElem.Call(), fn.Call(), asm.Return()},
		})
		if got.Error() != want {
			t.Errorf("%v: %q, want %q", fn, got, want)
		}
	}
}

// Every failure has one reason, in one line.
func FuzzExplain(f *testing.F) {
	f.Add("1: (85) call unknown#195896080\ninvalid func unknown#195896080", "prog 'p': failed to load: -EINVAL")
	f.Add("failed to resolve CO-RE relocation <byte_off> [7] struct a.b (0:1 @ offset 4)", "map 'm': failed to create: -EINVAL")
	f.Add("", "extern (func ksym) 'f': not found in kernel or module BTFs")
	f.Fuzz(func(t *testing.T, log, messages string) {
		var types *btf.Spec
		got := on(release5).explain(failure{typ: ebpf.Kprobe, types: types, err: unix.EINVAL, log: strings.Split(log, "\n"), messages: strings.Split(messages, "\n")})
		if got == nil || got.Error() == "" || strings.Contains(got.Error(), "\n") {
			t.Errorf("%q", got)
		}
	})
}

// A kernel that does not compile programs says nothing of it with some errors.
func TestJITNote(t *testing.T) {
	for _, tt := range []struct {
		files map[string]string
		want  string
	}{
		{nil, ""}, // nothing is known
		{map[string]string{"somaxconn": "4096\n"}, "CONFIG_BPF_JIT"},
		{map[string]string{"bpf_jit_enable": "0\n"}, "is off"},
		{map[string]string{"bpf_jit_enable": "1\n"}, ""},
	} {
		root := t.TempDir()
		dir := filepath.Join(root, "proc/sys/net/core")
		for name, text := range tt.files {
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		note := jitNote(root)
		if (note == "") != (tt.want == "") || !strings.Contains(note, tt.want) {
			t.Errorf("%v: %q, want %q", tt.files, note, tt.want)
		}
		l := &loader{kernel: kernelFacts{jit: note}}
		if err := l.explain(failure{err: &ebpf.VerifierError{Cause: unix.ENOMEM}}); (note != "") != strings.Contains(err.Error(), "JIT") {
			t.Errorf("%v: %v", tt.files, err)
		}
		if err := l.explain(failure{err: &ebpf.VerifierError{Cause: unix.EPERM}}); strings.Contains(err.Error(), "JIT") {
			t.Errorf("%v: %v", tt.files, err)
		}
	}
}
