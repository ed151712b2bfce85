// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Programs that no kernel takes, and a good one among them. */
#include "kernel.h"

SEC("kprobe/do_exit")
int endless_loop(void *ctx)
{
	__u64 i = bpf_ktime_get_ns();

	for (;;)
		i += bpf_get_prandom_u32();
	return i;
}

/* The verifier follows it up to its limit of a million instructions. */
SEC("kprobe/do_exit")
int long_loop(void *ctx)
{
	__u32 i;

	for (i = 0; i < 100000000; i++)
		asm volatile("" : "+r"(i));
	return 0;
}

/* Rejected after more instructions than most programs have. */
SEC("kprobe/do_exit")
int late_mistake(void *ctx)
{
	__u32 i;

	for (i = 0; i < 20000; i++)
		asm volatile("" : "+r"(i));
	return *(volatile int *)(__u64)bpf_ktime_get_ns();
}

SEC("kprobe/do_exit")
int no_such_member(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, no_such_member);
}

SEC("kprobe/do_exit")
int no_such_struct(void *ctx)
{
	struct no_such_struct *s = (void *)bpf_get_current_task();

	return BPF_CORE_READ(s, member);
}

SEC("fentry/no_such_function")
int no_such_function(void *ctx)
{
	return 0;
}

SEC("kprobe/do_exit")
int good(void *ctx)
{
	return 0;
}
