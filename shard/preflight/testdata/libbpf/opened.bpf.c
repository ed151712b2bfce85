// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What libbpf opens and ebpf-go refuses to, and what each makes of a map's size. */
#include "../kernel.h"

#pragma clang diagnostic ignored "-Wc2x-extensions" /* a parameter without a name */

typedef unsigned int u32;

extern u32 LINUX_KERNEL_VERSION __kconfig; /* a typedef */
extern int CONFIG_NO_SUCH_OPTION __kconfig __weak;
extern const void init_pid_ns __ksym;
extern const int bpf_prog_active __ksym; /* a variable of each processor, with its type */

int counter SEC(".bss.counter");
int limit SEC(".data.limit") = 7;
__u64 page SEC(".addr_space.1");

const volatile int level = 1;
const volatile struct {
	char name[4];
	short list[3];
} chosen = {};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 0); /* the application sets it */
	__type(key, int);
	__type(value, __u64);
} sized_later SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 5000);
} odd_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, int);
	__type(value, int);
} bare SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, __u64);
} maybe SEC(".maps") __weak;

/* As the object of another version has it, and as this one. */
struct task_struct *bpf_task_acquire___old(struct task_struct *p, int flags) __ksym __weak;
struct task_struct *bpf_task_acquire___new(struct task_struct *p) __ksym __weak;
void bpf_task_release(struct task_struct *p) __ksym __weak;

static __noinline int unnamed(int) { asm volatile(""); return 0; }

SEC("tp_btf/sched_process_exit")
int flavours(__u64 *ctx)
{
	struct task_struct *p = (void *)ctx[0];

	if (&bpf_task_acquire___old)
		p = bpf_task_acquire___old(p, 0);
	else if (&bpf_task_acquire___new)
		p = bpf_task_acquire___new(p);
	else
		return 0;
	if (p)
		bpf_task_release(p);
	return 0;
}

SEC("kprobe/do_exit")
int variables(void *ctx)
{
	int zero = 0;

	counter += limit + unnamed(1);
	if (CONFIG_NO_SUCH_OPTION)
		counter++;
	bpf_map_lookup_elem(&maybe, &zero);
	return LINUX_KERNEL_VERSION > (long)&init_pid_ns - (long)&bpf_prog_active;
}

SEC("kprobe/do_exit")
int in_arena(void *ctx)
{
	return page != 0;
}

SEC("kprobe/do_exit")
int by_level(void *ctx)
{
	if (level > 3 || chosen.list[2] < 0 || chosen.name[0] == 'x')
		return bpf_core_type_id_kernel(struct no_such_struct___x { int x; });
	return 0;
}

SEC("kprobe/do_exit")
int later(void *ctx)
{
	int zero = 0;

	return !bpf_map_lookup_elem(&sized_later, &zero);
}

SEC("kprobe/do_exit")
int ring(void *ctx)
{
	return bpf_ringbuf_query(&odd_ring, 0);
}

SEC("kprobe/do_exit")
int inner(void *ctx)
{
	int zero = 0;

	return !bpf_map_lookup_elem(&bare, &zero);
}

SEC("fentry")
int no_target(void *ctx) { return 0; }

SEC("uprobe.multi//bin/sh:main")
int many_uprobes(void *ctx) { return 0; }

SEC("kprobe.multi/vfs_x")
int many_kprobes(void *ctx) { return 0; }

SEC("fentry/vfs_x")
int untraced(void *ctx) { return 0; }

SEC("kprobe/vfs_x")
int untraced_kprobe(void *ctx) { return 0; }

SEC("?kprobe/do_exit")
int on_demand(void *ctx) { return 0; }

SEC("tp/syscalls/sys_enter_open") /* which arm64 has not */
int open_event(void *ctx) { return 0; }

SEC("xdp/entry")
int loose(void *ctx) { return 2; }

SEC("struct_ops")
int started(__u64 *ctx) { return 0; }

struct test_ops {
	int (*start)(void);
	int (*stop)(void);
};

SEC(".struct_ops")
struct test_ops ops = {.start = (void *)started};
