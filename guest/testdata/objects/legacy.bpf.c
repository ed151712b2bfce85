// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Defines its map as programs did before BTF. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__u32 type, key_size, value_size, max_entries, flags;
} counts SEC("maps") = {2, 4, 8, 1, 0};

SEC("socket")
int count(void *ctx)
{
	__u32 zero = 0;

	return !!bpf_map_lookup_elem(&counts, &zero);
}
