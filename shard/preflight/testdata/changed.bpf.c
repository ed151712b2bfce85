// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What is known to have changed between 5.10 and 7.x. */
#include "kernel.h"

int seen;

/* 5.14 renamed task_struct.state. */
SEC("kprobe/do_exit")
int state_old(void *ctx)
{
	struct task_struct___old *t = (void *)bpf_get_current_task();

	return BPF_CORE_READ(t, state) != 0;
}

SEC("kprobe/do_exit")
int state_new(void *ctx)
{
	struct task_struct___new *t = (void *)bpf_get_current_task();

	return BPF_CORE_READ(t, __state) != 0;
}

SEC("kprobe/do_exit")
int state_any(void *ctx)
{
	struct task_struct___new *t = (void *)bpf_get_current_task();
	struct task_struct___old *o = (void *)t;

	if (bpf_core_field_exists(t->__state))
		return BPF_CORE_READ(t, __state) != 0;
	return BPF_CORE_READ(o, state) != 0;
}

/* do_unlinkat is gone from 7.2 on. */
SEC("fentry/do_unlinkat")
int unlinkat(void *ctx)
{
	return 0;
}

SEC("kprobe/do_unlinkat")
int unlinkat_kprobe(void *ctx)
{
	return 0;
}

/* vfs_unlink(dir, dentry, delegated_inode) up to 5.11. */
SEC("fentry/vfs_unlink")
int unlink_three(__u64 *ctx)
{
	struct dentry *d = (void *)ctx[1];

	seen = BPF_CORE_READ(d, d_name.name) != 0;
	return 0;
}

/* From 5.12 on, something comes first. */
SEC("fentry/vfs_unlink")
int unlink_four(__u64 *ctx)
{
	struct dentry *d = (void *)ctx[2];

	seen = BPF_CORE_READ(d, d_name.name) != 0 && ctx[3];
	return 0;
}

SEC("kprobe/vfs_unlink")
int unlink_kprobe(struct pt_regs *ctx)
{
	struct dentry *d = (void *)PT_REGS_PARM2(ctx);

	return BPF_CORE_READ(d, d_name.name) != 0;
}

/* Up to 5.10 the request queue came first. */
SEC("tp_btf/block_rq_issue")
int rq_issue(__u64 *ctx)
{
	struct request *rq = (void *)ctx[1];

	return BPF_CORE_READ(rq, __data_len) != 0;
}

SEC("tp_btf/block_rq_issue")
int rq_issue_new(__u64 *ctx)
{
	struct request *rq = (void *)ctx[0];

	return BPF_CORE_READ(rq, __data_len) != 0;
}

/* A helper that came with 5.17, used where it is there. */
SEC("kprobe/do_exit")
int helper_if_there(void *ctx)
{
	char s[4] = "abc";

	if (bpf_core_enum_value_exists(enum bpf_func_id___x, BPF_FUNC_strncmp___x))
		return bpf_strncmp(s, sizeof(s), "abc");
	return 0;
}

SEC("kprobe/do_exit")
int enum_value(void *ctx)
{
	return bpf_core_enum_value(enum bpf_func_id___x, BPF_FUNC_strncmp___x) > 0;
}

/* Kfuncs of 6.2. */
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void init_pid_ns __ksym;

SEC("tp_btf/sched_process_exit")
int kfunc(void *ctx)
{
	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	return 0;
}

SEC("kprobe/do_exit")
int ksym(void *ctx)
{
	return (__u64)&init_pid_ns & 1;
}

/* A system call by its symbol, by its name, and as an event. */
SEC("kprobe/__x64_sys_unlinkat")
int syscall_symbol(void *ctx)
{
	return 0;
}

SEC("ksyscall/unlinkat")
int syscall_name(void *ctx)
{
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_unlinkat")
int syscall_event(void *ctx)
{
	return 0;
}

SEC("lsm/inode_unlink")
int lsm_hook(void *ctx)
{
	return 0;
}

SEC("iter/task")
int iterator(void *ctx)
{
	return 0;
}

/* In no kernel's vmlinux, but in a module. */
SEC("kprobe/ovl_open")
int in_module(void *ctx)
{
	return 0;
}
