// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What came after 5.10: a map type (5.16), a helper (5.17), a program type (5.14). */
#include "kernel.h"

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 16);
	__type(value, __u64);
} bloom SEC(".maps");

SEC("kprobe/do_exit")
int map_type(void *ctx)
{
	__u64 v = 1;

	return bpf_map_push_elem(&bloom, &v, BPF_ANY);
}

SEC("kprobe/do_exit")
int helper(void *ctx)
{
	char s[4] = "abc";

	return bpf_strncmp(s, sizeof(s), "abc");
}

SEC("syscall")
int program_type(void *ctx)
{
	return 0;
}
