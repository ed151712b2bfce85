// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* A weak map, as libbpf's own header has them for USDT. */
#include "../kernel.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, int);
	__type(value, __u64);
} __bpf_usdt_specs SEC(".maps") __weak;

SEC("usdt")
int on_usdt(void *ctx)
{
	int key = 0;

	return bpf_map_lookup_elem(&__bpf_usdt_specs, &key) != 0;
}
