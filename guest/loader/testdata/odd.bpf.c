// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What objects of libbpf's may hold, and what no loader can make sense of. */
#include "kernel.h"
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} pinned SEC(".maps");

SEC("kprobe/do_exit")
int uses_pinned(void *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&pinned, &key) != 0;
}

SEC("mysection")
int unknown_section(void *ctx)
{
	return 0;
}

SEC("?fentry/no_such_function")
int optional(void *ctx)
{
	return 0;
}

SEC("freplace/other")
int replacement(void *ctx)
{
	return 0;
}

/* No kernel lets this type call it. */
SEC("socket")
int wrong_helper(void *ctx)
{
	return bpf_xdp_adjust_head(ctx, 0);
}

SEC("kprobe/no_such_function")
int no_such_kprobe(void *ctx)
{
	return 0;
}

SEC("tracepoint/sched/no_such_event")
int no_such_tracepoint(void *ctx)
{
	return 0;
}

/* As the kernel has it, and of its members only those that it asks for. */
struct tcp_congestion_ops {
	__u32 (*ssthresh)(void *sk);
	__u32 (*undo_cwnd)(void *sk);
	void (*cong_avoid)(void *sk, __u32 ack, __u32 acked);
	char name[16];
};

SEC("struct_ops/ssthresh")
__u32 BPF_PROG(ssthresh, void *sk)
{
	return 2;
}

SEC("struct_ops/undo_cwnd")
__u32 BPF_PROG(undo_cwnd, void *sk)
{
	return 2;
}

SEC("struct_ops/cong_avoid")
void BPF_PROG(cong_avoid, void *sk, __u32 ack, __u32 acked)
{
}

SEC("struct_ops/of_no_map")
__u32 BPF_PROG(of_no_map, void *sk)
{
	return 2;
}

SEC(".struct_ops.link")
struct tcp_congestion_ops ops = {
	.ssthresh = (void *)ssthresh,
	.undo_cwnd = (void *)undo_cwnd,
	.cong_avoid = (void *)cong_avoid,
	.name = "bkc",
};

SEC("kprobe/do_exit")
int last(void *ctx)
{
	return 0;
}
