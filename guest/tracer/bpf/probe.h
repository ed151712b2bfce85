/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * One handler, three programs. A handler reads the probed function's arguments
 * by ARG and its result by RET and is wrapped as
 *
 *   fentry/fexit        where BPF trampolines work: cheapest, all arguments
 *                       are there at the exit too;
 *   kprobe              elsewhere (arm64 before 6.4), for an entry;
 *   kprobe + kretprobe  elsewhere, for an exit: the entry saves the arguments.
 *
 * The loader chooses; see probes.go.
 */
#ifndef TRACER_PROBE_H
#define TRACER_PROBE_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define INLINE static __always_inline

struct call {
	u64 sp;
	u64 arg[6];
	u64 ret;
};

struct call_key {
	u64 pid_tgid;
	u64 fn;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

#define REG(r, at) ((at) == NOWHERE ? 0 : *(u64 *)((void *)(r) + (at)))

INLINE void read_regs(struct pt_regs *r, struct call *c)
{
	c->sp = REG(r, SP);
	c->arg[0] = REG(r, ARG0);
	c->arg[1] = REG(r, ARG1);
	c->arg[2] = REG(r, ARG2);
	c->arg[3] = REG(r, ARG3);
	c->arg[4] = REG(r, ARG4);
	c->arg[5] = REG(r, ARG5);
	c->ret = REG(r, RESULT);
}
#define SYSCALL_REG0(r) ((void *)(r) + SYSCALL0)
#define SYSCALL_REG1(r) ((void *)(r) + ARG1)
#define SYSCALL_REG2(r) ((void *)(r) + ARG2)

/*
 * The i-th slot of a tracing program's context. Every slot is a load of its
 * own at a constant offset, kept apart by the empty asm: the verifier refuses
 * a context pointer that was computed, and i is often a constant only for it,
 * not for the compiler (layout below).
 */
INLINE u64 slot(u64 *ctx, u32 i)
{
	u64 v;

#define SLOT(n)                                                        \
	if (i == n) {                                                  \
		asm volatile("%0 = *(u64 *)(%1 + %2)"                  \
			     : "=r"(v) : "r"(ctx), "i"(n * 8));        \
		return v;                                              \
	}
	SLOT(0) SLOT(1) SLOT(2) SLOT(3) SLOT(4) SLOT(5) SLOT(6)
#undef SLOT
	return 0;
}

/* Takes a pointer's type away from the verifier, which allows no arithmetic
 * on those it knows: through the stack, as it forgets types that are spilled
 * in parts. */
INLINE u64 scalar(u64 v)
{
	u32 half[2];

	bpf_probe_read_kernel(half, sizeof(half), &v);
	return BIG_ENDIAN ? half[1] | (u64)half[0] << 32 : half[0] | (u64)half[1] << 32;
}

/* The stack pointer at a kretprobe. */
INLINE u64 return_sp(struct pt_regs *r)
{
#ifdef RETURN_REGS_SIZE
	return scalar((u64)r) + RETURN_REGS_SIZE;
#else
	return REG(r, SP);
#endif
}

#define ARG(i) (c ? c->arg[i] : slot(ctx, i))
/* n: the number of arguments, the result's slot in an fexit context. */
#define RET(n) ((long)(c ? c->ret : slot(ctx, n)))

INLINE void save_call(struct pt_regs *regs, u64 fn)
{
	struct call_key key = { bpf_get_current_pid_tgid(), fn };
	struct call now = {}, *old;

	read_regs(regs, &now);
	/* A call within the call (overlayfs does this): the outer one counts.
	 * An entry whose exit was missed lies at or below this frame. */
	old = bpf_map_lookup_elem(&calls, &key);
	if (old && old->sp > now.sp)
		return;
	bpf_map_update_elem(&calls, &key, &now, BPF_ANY);
}

INLINE struct call *saved_call(struct pt_regs *regs, struct call_key *key)
{
	struct call *c = bpf_map_lookup_elem(&calls, key);

	if (!c || return_sp(regs) < c->sp)
		return NULL;
	c->ret = REG(regs, RESULT);
	return c;
}

#define PROBE_ENTRY(fn)                                                \
	SEC("fentry/" #fn) int fentry_##fn(u64 *ctx)                   \
	{                                                              \
		return on_##fn(ctx, NULL);                             \
	}                                                              \
	SEC("kprobe/" #fn) int kprobe_##fn(struct pt_regs *ctx)        \
	{                                                              \
		struct call c = {};                                    \
		read_regs(ctx, &c);                                    \
		return on_##fn(NULL, &c);                              \
	}

#define PROBE_EXIT(fn)                                                 \
	SEC("fexit/" #fn) int fexit_##fn(u64 *ctx)                     \
	{                                                              \
		return on_##fn(ctx, NULL);                             \
	}                                                              \
	SEC("kprobe/" #fn) int kentry_##fn(struct pt_regs *ctx)        \
	{                                                              \
		save_call(ctx, FN_##fn);             \
		return 0;                                              \
	}                                                              \
	SEC("kretprobe/" #fn) int kexit_##fn(struct pt_regs *ctx)      \
	{                                                              \
		struct call_key key = { bpf_get_current_pid_tgid(), FN_##fn }; \
		struct call *c = saved_call(ctx, &key);                \
		if (c) {                                               \
			on_##fn(NULL, c);                              \
			bpf_map_delete_elem(&calls, &key);             \
		}                                                      \
		return 0;                                              \
	}

/* Keys of the saved calls. */
enum fn {
	FN_do_dentry_open,
	FN_vfs_unlink_exit,
	FN_vfs_rename_exit,
	FN_chmod_common,
	FN_chown_common,
	FN_do_truncate,
	FN_vfs_write,
	FN_vfs_writev,
	FN_vfs_setxattr,
	FN_vfs_removexattr,
	FN_setsid,
	FN_inet_csk_accept,
};

/*
 * Where functions changed their signature, the loader reads the running
 * kernel's from BTF and sets these before loading; the verifier then drops the
 * branches of the other versions.
 */
struct layout {
	u32 unlink_dentry, unlink_args;
	u32 rename_old, rename_args; /* rename_args 1: struct renamedata */
	u32 truncate_dentry, truncate_file, truncate_args;
	u32 setxattr_dentry, setxattr_args;
	u32 removexattr_dentry, removexattr_args;
	u32 setsid_args;
	u32 accept_args;
};
const volatile struct layout layout = {};

/* The tracer itself, whose writes would otherwise make events for ever. */
const volatile u32 self_tgid = 0;

/* Whether PROCESS_PTRACE tells of a tracer's children and itself, and of others. */
const volatile bool ptrace_family = false, ptrace_others = true;

INLINE bool is_self(void)
{
	return bpf_get_current_pid_tgid() >> 32 == self_tgid;
}

#endif
