// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What does not load without the settings of an application. */
#include "kernel.h"

enum mode { MODE_BAD, MODE_GOOD };

struct inner {
	char name[8];
	__s16 numbers[3];
};

const volatile struct {
	enum mode mode;
	struct inner inner[2];
	_Bool on;
} config;

struct {
	__uint(type, BPF_MAP_TYPE_HASH); /* without a number of entries */
	__type(key, __u32);
	__type(value, __u32);
} empty SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} inner_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__uint(value_size, 4);
} outer SEC(".maps");

/* With another configuration the verifier finds the branch that it refuses. */
SEC("raw_tp/sched_process_exit")
int variables(void *ctx)
{
	const volatile struct inner *in = &config.inner[1];

	if (config.mode != MODE_GOOD || !config.on || in->name[0] != 'a' || in->name[1] || in->numbers[2] != -3)
		return *(volatile int *)1234;
	return 0;
}

SEC("raw_tp/sched_process_exit")
int maps(void *ctx)
{
	__u32 key = 0, value = 0;
	void *in = bpf_map_lookup_elem(&outer, &key);

	bpf_map_update_elem(&empty, &key, &value, 0);
	return in && bpf_map_lookup_elem(in, &key);
}

SEC("fentry")
int no_target(void *ctx)
{
	return 0;
}
