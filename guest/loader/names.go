package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/cilium/ebpf/asm"
)

// calledHelper finds the helper that the verifier's reason is about. Kernels
// before 6.10 know it as invalid (no such number) or unknown (not for this type
// of program).
func calledHelper(line string) (name string, number int, ok bool) {
	m := regexp.MustCompile(`^(?:(?:invalid|unknown) func|program of this type cannot use helper) (\w+)#(\d+)$`).FindStringSubmatch(line)
	if m == nil {
		return "", 0, false
	}
	number, err := strconv.Atoi(m[2])
	if err != nil {
		return "", 0, false
	}
	if name = m[1]; name == "unknown" {
		if name = helperName(asm.BuiltinFunc(number)); strings.Contains(name, "(") {
			name = fmt.Sprintf("number %d", number)
		}
	}
	return name, number, true
}

// isKfunc says whether a helper's number is one that a loader puts in the place
// of a weak kfunc which the kernel does not have: ebpf-go this one, libbpf
// 2002000000 and its index.
func isKfunc(number int) bool {
	return number == 0xdedc0de || number/1_000_000 == 2002
}

// kfuncAt is the name of the kfunc that the instruction at an offset calls, ""
// when it is not known.
func kfuncAt(insns asm.Instructions, offset int) string {
	iter := insns.Iterate()
	for iter.Next() {
		if int(iter.Offset) == offset && iter.Ins.IsKfuncCall() {
			return iter.Ins.Reference()
		}
	}
	return ""
}

// missingInstruction names the kind of instruction that the verifier of a kernel
// does not know, and the version that brought it. "" when its line is about
// something else.
func missingInstruction(line, release string) (what, version string) {
	// In the order of the versions: the first that the kernel has not is meant.
	for _, x := range []struct{ line, what, version string }{
		{`BPF_STX uses reserved fields`, "atomic instructions other than an addition", "5.12"},
		{`BPF_CALL uses reserved fields`, "calls of kfuncs", "5.13"},
		{`BPF_LDX uses reserved fields|unknown opcode (?:81|89|91)`, "loads with sign extension, of -mcpu=v4,", "6.6"},
		{`BPF_MOV uses reserved fields`, "moves with sign extension, of -mcpu=v4,", "6.6"},
		{`BPF_MOV uses reserved fields`, "casts of address spaces, for arenas,", "6.9"},
		{`BPF_ALU uses reserved fields`, "signed division, of -mcpu=v4,", "6.6"},
		{`BPF_END uses reserved fields|unknown opcode d7`, "byte swaps without a condition, of -mcpu=v4,", "6.6"},
		{`unknown opcode 06|invalid BPF_JMP/JMP32 opcode 0`, "long jumps (gotol), of -mcpu=v4,", "6.6"},
		{`unknown opcode e5`, "bounded loops by may_goto", "6.9"},
		{`BPF_ATOMIC uses invalid atomic opcode (?:100|110)`, "atomic loads and stores (load-acquire, store-release)", "6.15"},
	} {
		if versionLess(release, x.version) && regexp.MustCompile(`^(?:`+x.line+`)$`).MatchString(line) {
			return x.what, x.version
		}
	}
	return "", ""
}

// kfuncVersion is the mainline version that brought a kfunc, "" when it is not
// in the table, which has only those that many programs call.
func kfuncVersion(name string) string {
	for _, x := range []struct{ version, names string }{
		{"6.2", "bpf_obj_new_impl bpf_obj_drop_impl bpf_list_pop_front bpf_cast_to_kern_ctx bpf_rdonly_cast bpf_rcu_read_lock bpf_rcu_read_unlock bpf_task_acquire bpf_task_release bpf_task_from_pid bpf_cgroup_acquire bpf_cgroup_release bpf_cgroup_ancestor"},
		{"6.3", "bpf_cpumask_create bpf_cpumask_release bpf_rbtree_remove bpf_rbtree_first bpf_xdp_metadata_rx_timestamp bpf_xdp_metadata_rx_hash"},
		{"6.4", "bpf_dynptr_from_skb bpf_dynptr_from_xdp bpf_dynptr_slice bpf_dynptr_slice_rdwr bpf_iter_num_new bpf_iter_num_next bpf_iter_num_destroy bpf_refcount_acquire_impl bpf_list_push_front_impl bpf_rbtree_add_impl"},
		{"6.5", "bpf_dynptr_adjust bpf_dynptr_clone bpf_dynptr_size bpf_sock_destroy"},
		{"6.7", "bpf_iter_task_new bpf_iter_task_next bpf_iter_task_destroy bpf_iter_css_new bpf_iter_css_next bpf_iter_css_destroy bpf_throw"},
		{"6.9", "bpf_arena_alloc_pages bpf_arena_free_pages"},
		{"6.10", "bpf_wq_init bpf_wq_start bpf_preempt_disable bpf_preempt_enable"},
	} {
		for _, n := range strings.Fields(x.names) {
			if n == name {
				return x.version
			}
		}
	}
	return ""
}

// structOpsVersion is the mainline version that brought a struct_ops, "" when it is
// older than the kernels tested here or not in the table.
func structOpsVersion(name string) string {
	return map[string]string{"hid_bpf_ops": "6.11", "sched_ext_ops": "6.12", "Qdisc_ops": "6.16"}[name]
}

// helperVersion is the mainline version that brought a helper, "" when it is
// older than the kernels tested here or not in the table. Numbers were given
// out in ascending order and end with 211, so the first of each version says it
// all. Source: the feature versions of the eBPF documentation project
// (isovalent/ebpf-docs), for 119 the date of its commit against the releases'.
func helperVersion(fn int) string {
	versions := []struct {
		first   int
		version string
	}{
		{109, "5.3"},
		{110, "5.4"},
		{111, "5.5"},
		{116, "5.6"},
		{119, "5.7"},
		{125, "5.8"},
		{136, "5.9"},
		{142, "5.10"},
		{156, "5.11"},
		{163, "5.12"},
		{164, "5.13"},
		{166, "5.14"},
		{169, "5.15"},
		{176, "5.16"},
		{180, "5.17"},
		{186, "5.18"},
		{194, "5.19"},
		{204, "6.0"},
		{208, "6.1"},
		{210, "6.2"},
		{212, ""},
	}
	v := ""
	for _, x := range versions {
		if fn >= x.first {
			v = x.version
		}
	}
	return v
}

// helperName is a helper's name in C: FnGetPrandomU32 is bpf_get_prandom_u32.
func helperName(fn asm.BuiltinFunc) string {
	var b strings.Builder
	b.WriteString("bpf")
	for _, r := range strings.TrimPrefix(fn.String(), "Fn") {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}
