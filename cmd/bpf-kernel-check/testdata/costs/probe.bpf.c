// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// Of vm-costs.txtar. A longer loop, unrolled, costs many times the instructions.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sums SEC(".maps");

SEC("raw_tracepoint/sched_process_exec")
int handle_exec(void *ctx)
{
	__u32 zero = 0;
	volatile __u64 sum = 0;
	__u64 *total;

#ifdef UNROLLED
#pragma unroll
	for (int i = 0; i < 8; i++)
		for (int j = 0; j < 12000; j++)
			sum += j;
#else
	for (int i = 0; i < 1000; i++)
		sum += i;
#endif
	total = bpf_map_lookup_elem(&sums, &zero);
	if (total)
		*total = sum;
	return 0;
}

SEC("raw_tracepoint/sched_process_exit")
int handle_exit(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
