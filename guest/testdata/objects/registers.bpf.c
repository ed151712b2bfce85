// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Reads arguments at the offsets of the architecture that it is built for. */
#include <linux/types.h>
#ifdef __TARGET_ARCH_arm64
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate;
};
#else
#include <linux/ptrace.h>
#endif
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

long sum;

SEC("kprobe/vfs_read")
int BPF_KPROBE(on_entry, void *file, void *buf)
{
	sum += (long)file + (long)buf;
	return 0;
}

SEC("kretprobe/vfs_read")
int BPF_KRETPROBE(on_return, long ret)
{
	sum += ret;
	return 0;
}

/* Its context is no registers. */
SEC("tracepoint/sched/sched_process_exec")
int on_tracepoint(__u64 *ctx)
{
	sum += ctx[1];
	return 0;
}
