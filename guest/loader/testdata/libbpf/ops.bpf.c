// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Operations in a section without link. */
#include "../kernel.h"
#include <bpf/bpf_tracing.h>

struct tcp_congestion_ops {
	__u32 (*ssthresh)(void *sk);
	__u32 (*undo_cwnd)(void *sk);
	void (*cong_avoid)(void *sk, __u32 ack, __u32 acked);
	char name[16];
};

SEC("struct_ops")
__u32 BPF_PROG(plain_ssthresh, void *sk)
{
	return 2;
}

SEC("struct_ops")
__u32 BPF_PROG(plain_undo, void *sk)
{
	return 2;
}

SEC("struct_ops")
void BPF_PROG(plain_avoid, void *sk, __u32 ack, __u32 acked)
{
}

SEC(".struct_ops")
struct tcp_congestion_ops plain = {
	.ssthresh = (void *)plain_ssthresh,
	.undo_cwnd = (void *)plain_undo,
	.cong_avoid = (void *)plain_avoid,
	.name = "bkc_plain",
};
