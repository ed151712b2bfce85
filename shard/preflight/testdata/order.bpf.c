// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Constants of each size: read in another order of bytes they have other values. */
#include "kernel.h"

const volatile __u16 two = 0x0102;
const volatile __u32 four = 0x01020304;
const volatile __u64 eight = 0x0102030405060708;
const volatile __u32 set = 1;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct no_such_struct {
	int member;
};

#pragma clang attribute pop

SEC("kprobe/do_exit")
int constants(void *ctx)
{
	struct no_such_struct *s = (void *)bpf_get_current_task();

	if (two != 0x0102 || four != 0x01020304 || eight != 0x0102030405060708)
		return BPF_CORE_READ(s, member);
	return 0;
}

SEC("kprobe/do_exit")
int variable(void *ctx)
{
	struct no_such_struct *s = (void *)bpf_get_current_task();

	if (set != 0x0a0b)
		return BPF_CORE_READ(s, member);
	return 0;
}
