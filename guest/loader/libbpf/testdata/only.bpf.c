// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What libbpf loads, and other loaders did not. */
#include <linux/ptrace.h>
#include <stdbool.h>
#include "kernel.h"
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

typedef __u32 version_t;

extern version_t LINUX_KERNEL_VERSION __kconfig;
extern int CONFIG_NO_SUCH_OPTION __kconfig __weak;
extern const void bpf_prog_active __ksym;
extern int no_such_kfunc___flavor(int x) __ksym __weak;

int counter SEC(".bss.own");
int start SEC(".data.own") = 7;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 5000); /* no power of two of pages */
} odd_ring SEC(".maps");

SEC("kprobe/do_exit")
int kconfig(void *ctx)
{
	return LINUX_KERNEL_VERSION > 0 && CONFIG_NO_SUCH_OPTION;
}

SEC("raw_tp/sched_process_exit")
int ksym(void *ctx)
{
	return (long)&bpf_prog_active & 1;
}

SEC("raw_tp/sched_process_exit")
int weak_kfunc(void *ctx)
{
	return no_such_kfunc___flavor ? no_such_kfunc___flavor(1) : 0;
}

SEC("raw_tp/sched_process_exit")
int sections(void *ctx)
{
	counter++;
	return start;
}

SEC("raw_tp/sched_process_exit")
int ring(void *ctx)
{
	return bpf_ringbuf_output(&odd_ring, &start, sizeof(start), 0);
}

SEC("usdt")
int on_usdt(struct pt_regs *ctx)
{
	long x = 0;

	return bpf_usdt_arg(ctx, 0, &x);
}

SEC("xdp/entry")
int refused_section(void *ctx)
{
	return 0;
}

SEC("?raw_tp/sched_process_exit")
int optional(void *ctx)
{
	return 0;
}
