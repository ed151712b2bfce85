// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* One of each class of dependency. */
#include "../kernel.h"

extern _Bool CONFIG_BPF_LSM __kconfig;
extern int LINUX_KERNEL_VERSION __kconfig;
extern void *bpf_task_acquire(void *p) __ksym;

struct fixed { /* nothing relocates it */
	int a, b;
};

SEC("fentry/do_unlinkat")
int relocated(unsigned long long *ctx)
{
	struct task_struct___new *p = (void *)ctx[0];
	struct fixed *f = (void *)ctx[1];

	return p->__state + f->b + bpf_core_enum_value(enum bpf_func_id___x, BPF_FUNC_strncmp___x);
}

SEC("fentry/do_exit")
int kfunc(unsigned long long *ctx)
{
	return bpf_task_acquire((void *)ctx[0]) != 0;
}

SEC("kprobe/do_exit")
int option(void *ctx)
{
	return CONFIG_BPF_LSM;
}

SEC("kprobe/ovl_open")
int module(void *ctx)
{
	return 0;
}

SEC("tracepoint/sched/sched_process_exec")
int event(int *ctx)
{
	return ctx[4];
}

const volatile int setting; /* the author's loader may set it */

SEC("kprobe/do_exit")
int version(void *ctx)
{
	if (setting)
		return *(volatile int *)ctx;
	return LINUX_KERNEL_VERSION > 0x60000;
}

SEC("kprobe/do_exit")
int patch(void *ctx)
{
	if (LINUX_KERNEL_VERSION > 0x060107)
		return *(volatile int *)ctx;
	return 0;
}

SEC("kprobe/do_exit")
int one_patch(void *ctx)
{
	if (LINUX_KERNEL_VERSION == 0x06010a)
		return *(volatile int *)ctx;
	return 0;
}
