// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Maps of which the application says what they are. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

/* What the maps in outer are like. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} template SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} outer SEC(".maps");

/* The application shares it between objects. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} state SEC(".maps");

SEC("tracepoint/sched/sched_process_exit")
int on_exit(void *ctx)
{
	__u32 key = 0;
	__u64 *v;
	void *inner;

	bpf_map_delete_elem(&state, &key);
	inner = bpf_map_lookup_elem(&outer, &key);
	if (!inner)
		return 0;
	v = bpf_map_lookup_elem(inner, &key);
	return v ? *v : 0;
}
