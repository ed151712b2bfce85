// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* A list of a program's own objects: its types go to the kernel with the map. */
#include "../kernel.h"

struct bpf_list_head { __u64 a, b; } __attribute__((aligned(8)));
struct bpf_list_node { __u64 a, b, c; } __attribute__((aligned(8)));

struct item {
	struct bpf_list_node node;
	__u64 value;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, int);
	__type(value, struct list);
	__uint(max_entries, 1);
} lists SEC(".maps");

struct list {
	struct bpf_spin_lock lock;
	struct bpf_list_head head __attribute__((btf_decl_tag("contains:item:node")));
};

SEC("tc")
int kptr(void *ctx)
{
	int key = 0;

	return bpf_map_lookup_elem(&lists, &key) != 0;
}
