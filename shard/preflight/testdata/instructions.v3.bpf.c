// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Instructions of later versions. */
#include "kernel.h"

__u64 counter;

/* 5.12: atomics that return a value. */
SEC("kprobe/do_exit")
int fetch(void *ctx)
{
	return __sync_fetch_and_add(&counter, 1) == 7;
}

SEC("kprobe/do_exit")
int exchange(void *ctx)
{
	return __sync_val_compare_and_swap(&counter, 1, 2) == 1;
}

/* Ever since. */
SEC("kprobe/do_exit")
int add(void *ctx)
{
	__sync_fetch_and_add(&counter, 1);
	return 0;
}

/* 5.13: functions as arguments, here of a helper that is older. */
static long each(void *map, __u32 *key, __u64 *value, void *ctx)
{
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

SEC("kprobe/do_exit")
int callback(void *ctx)
{
	return bpf_for_each_map_elem(&numbers, each, 0, 0);
}
