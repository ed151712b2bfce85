// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* XDP and cgroup programs. */
#include "kernel.h"

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
	return 1;
}

SEC("socket")
int filter(struct __sk_buff *skb)
{
	return 0;
}
