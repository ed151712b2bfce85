// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Targets that are there and cannot be attached to, and such that look so. */
#include "kernel.h"

/* More arguments than fit into registers: trampolines take them from 6.6 on. */
SEC("fentry/ip_make_skb")
int many_arguments(void *ctx)
{
	return 0;
}

/* A variable number of arguments. */
SEC("fentry/_printk")
int variadic(void *ctx)
{
	return 0;
}

/* Only copies made by the compiler, from 6.12 on with an entry in BTF. */
SEC("fentry/drop_buffers")
int only_copy(void *ctx)
{
	return 0;
}

SEC("kprobe/drop_buffers")
int only_copy_kprobe(void *ctx)
{
	return 0;
}

/* Sleepable: only functions that errors may be injected to, and some hooks. */
SEC("fentry.s/vfs_open")
int sleepable(void *ctx)
{
	return 0;
}

SEC("fentry.s/__x64_sys_close")
int sleepable_syscall(void *ctx)
{
	return 0;
}

SEC("lsm.s/file_open")
int sleepable_hook(void *ctx)
{
	return 0;
}

SEC("lsm.s/task_free")
int sleepable_hook_never(void *ctx)
{
	return 0;
}

SEC("fmod_ret/vfs_open")
int modify(void *ctx)
{
	return 0;
}

SEC("fmod_ret/__x64_sys_close")
int modify_syscall(void *ctx)
{
	return 0;
}

SEC("fmod_ret/security_file_open")
int modify_hook(void *ctx)
{
	return 0;
}

/* Functions that nothing may be attached to. */
SEC("kprobe/notifier_call_chain")
int forbidden(void *ctx)
{
	return 0;
}

SEC("kprobe/exc_page_fault")
int no_instrumentation(void *ctx)
{
	return 0;
}

SEC("fentry/exc_page_fault")
int no_instrumentation_fentry(void *ctx)
{
	return 0;
}

SEC("fentry/migrate_disable")
int recursive(void *ctx)
{
	return 0;
}

SEC("fexit/do_exit")
int never_returns(void *ctx)
{
	return 0;
}

/* Hooks that programs may not have from some version on, or that are not there. */
SEC("lsm/getprocattr")
int disabled_hook(void *ctx)
{
	return 0;
}

SEC("lsm/no_such_hook")
int no_such_hook(void *ctx)
{
	return 0;
}

SEC("lsm_cgroup/socket_create")
int cgroup_hook(void *ctx)
{
	return 1;
}

SEC("tp_btf/no_such_tracepoint")
int no_such_tp_btf(void *ctx)
{
	return 0;
}

SEC("raw_tp/no_such_tracepoint")
int no_such_raw_tp(void *ctx)
{
	return 0;
}

SEC("raw_tp/sys_enter")
int raw_tp(void *ctx)
{
	return 0;
}

SEC("raw_tp.w/sched_switch")
int raw_tp_writable(void *ctx)
{
	return 0;
}

SEC("tracepoint/sched/sched_process_exec")
int event(void *ctx)
{
	return 0;
}

SEC("iter/bpf_map")
int map_iterator(void *ctx)
{
	return 0;
}

SEC("iter/no_such_iterator")
int no_such_iterator(void *ctx)
{
	return 0;
}

SEC("kprobe.multi/vfs_*")
int pattern(void *ctx)
{
	return 0;
}

SEC("kprobe.session/vfs_open")
int session(void *ctx)
{
	return 0;
}

SEC("uprobe//bin/sh:main")
int user(void *ctx)
{
	return 0;
}

SEC("uprobe.s//bin/sh:main")
int user_sleepable(void *ctx)
{
	return 0;
}

SEC("usdt//bin/sh:provider:name")
int usdt(void *ctx)
{
	return 0;
}
