// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Sections that ebpf-go takes and libbpf 1.x does not. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp/entry")
int entry(void *ctx)
{
	return 2;
}

SEC("socket1")
int numbered(void *ctx)
{
	return 0;
}

SEC("xdp.frags/devmap")
int known(void *ctx)
{
	return 2;
}

SEC("?tc/ingress")
int optional(void *ctx)
{
	return 0;
}
