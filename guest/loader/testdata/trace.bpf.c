// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Tracing programs that every kernel with BTF takes. */
#include "kernel.h"

int count;

SEC("kprobe/do_exit")
int on_kprobe(void *ctx)
{
	__sync_fetch_and_add(&count, 1);
	return 0;
}

SEC("kretprobe/do_exit")
int on_kretprobe(void *ctx)
{
	return 0;
}

SEC("tracepoint/sched/sched_process_exec")
int on_tracepoint(void *ctx)
{
	return 0;
}

SEC("raw_tracepoint/sched_process_fork")
int on_raw_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0];

	return BPF_CORE_READ(parent, tgid) == 1;
}

SEC("tp_btf/sched_process_exit")
int on_tp_btf(void *ctx)
{
	return 0;
}

SEC("fentry/security_file_open")
int on_fentry(void *ctx)
{
	return 0;
}

SEC("fexit/security_file_open")
int on_fexit(void *ctx)
{
	return 0;
}
