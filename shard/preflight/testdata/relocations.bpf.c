// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Relocations as programs that live with many versions have them. */
#include "kernel.h"

extern int LINUX_KERNEL_VERSION __kconfig;

const volatile int never = 0;
const volatile int always = 1;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_iattrs; /* not complete */

struct sock_common {
	unsigned short skc_family;
	unsigned char skc_reuse : 4;
};

struct task_struct___bits {
	unsigned in_execve : 1;
	unsigned no_such_bit : 1;
};

struct no_such_struct {
	int member;
};

struct mnt_idmap___any { /* from 6.2 on */
	int x;
};

struct io_uring_sqe___old { /* never */
	int no_such_member;
};

#pragma clang attribute pop

typedef int no_such_typedef;

enum zone_stat_item___any {
	NR_FREE_PAGES___any,
	NO_SUCH_ITEM___any = 77,
};

enum no_such_enum {
	NO_SUCH_VALUE,
};

SEC("kprobe/do_exit")
int bits(void *ctx)
{
	struct task_struct___bits *t = (void *)bpf_get_current_task();

	return BPF_CORE_READ_BITFIELD_PROBED(t, in_execve);
}

SEC("kprobe/do_exit")
int no_bits(void *ctx)
{
	struct task_struct___bits *t = (void *)bpf_get_current_task();

	return BPF_CORE_READ_BITFIELD_PROBED(t, no_such_bit);
}

SEC("kprobe/do_exit")
int bits_if_there(void *ctx)
{
	struct task_struct___bits *t = (void *)bpf_get_current_task();

	if (!bpf_core_field_exists(t->no_such_bit))
		return 0;
	return BPF_CORE_READ_BITFIELD_PROBED(t, no_such_bit);
}

SEC("kprobe/do_exit")
int value(void *ctx)
{
	return bpf_core_enum_value(enum zone_stat_item___any, NR_FREE_PAGES___any);
}

SEC("kprobe/do_exit")
int no_value(void *ctx)
{
	return bpf_core_enum_value(enum zone_stat_item___any, NO_SUCH_ITEM___any);
}

SEC("kprobe/do_exit")
int value_if_there(void *ctx)
{
	if (bpf_core_enum_value_exists(enum zone_stat_item___any, NO_SUCH_ITEM___any))
		return bpf_core_enum_value(enum zone_stat_item___any, NO_SUCH_ITEM___any);
	if (bpf_core_enum_value_exists(enum no_such_enum, NO_SUCH_VALUE))
		return bpf_core_enum_value(enum no_such_enum, NO_SUCH_VALUE);
	return 0;
}

SEC("kprobe/do_exit")
int types(void *ctx)
{
	int n = 0;

	if (bpf_core_type_exists(struct mnt_idmap___any))
		n = bpf_core_type_size(struct mnt_idmap___any);
	if (bpf_core_type_exists(no_such_typedef))
		n += bpf_core_type_size(no_such_typedef);
	if (bpf_core_type_exists(struct no_such_struct))
		n += bpf_core_type_size(struct no_such_struct);
	return n;
}

SEC("kprobe/do_exit")
int size(void *ctx)
{
	return bpf_core_type_size(struct mnt_idmap___any);
}

SEC("kprobe/do_exit")
int never_read(void *ctx)
{
	struct no_such_struct *s = (void *)bpf_get_current_task();

	if (never)
		return BPF_CORE_READ(s, member);
	return 0;
}

SEC("kprobe/do_exit")
int always_read(void *ctx)
{
	struct no_such_struct *s = (void *)bpf_get_current_task();

	if (always)
		return BPF_CORE_READ(s, member);
	return 0;
}

/* uname does not always tell the last number, and loaders know it. */
SEC("kprobe/do_exit")
int by_version(void *ctx)
{
	struct no_such_struct *s = (void *)bpf_get_current_task();

	if (LINUX_KERNEL_VERSION < KERNEL_VERSION(5, 4, 0))
		return BPF_CORE_READ(s, member);
	return 0;
}

SEC("kprobe/do_exit")
int by_patch(void *ctx)
{
	struct no_such_struct *s = (void *)bpf_get_current_task();
	int version = LINUX_KERNEL_VERSION;

	if ((version & 0xff) < 2)
		return BPF_CORE_READ(s, member);
	return 0;
}

/* The verifier goes round a loop with what it knows. */
SEC("kprobe/do_exit")
int by_loop(void *ctx)
{
	struct no_such_struct *s = (void *)bpf_get_current_task();
	__u64 version = LINUX_KERNEL_VERSION;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 5; i++)
		asm volatile("%0 += 3" : "+r"(version));
	if (version == KERNEL_VERSION(6, 12, 105) + 15)
		return BPF_CORE_READ(s, member);
	return 0;
}

SEC("kprobe/do_exit")
int behind_loop(void *ctx)
{
	struct no_such_struct *s = (void *)bpf_get_current_task();
	__u64 sum = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 5; i++)
		asm volatile("%0 += 3" : "+r"(sum));
	if (sum)
		return BPF_CORE_READ(s, member);
	return 0;
}

/* Up to 6.7 the verifier looks into global functions that nothing calls. */
__attribute__((noinline)) int global_read(void)
{
	struct no_such_struct *s = (void *)bpf_get_current_task();

	return BPF_CORE_READ(s, member);
}

static __attribute__((noinline)) int static_read(struct no_such_struct *s)
{
	return BPF_CORE_READ(s, member);
}

SEC("kprobe/do_exit")
int global_if_there(void *ctx)
{
	if (bpf_core_type_exists(struct no_such_struct))
		return global_read();
	return 0;
}

SEC("kprobe/do_exit")
int static_if_there(void *ctx)
{
	if (bpf_core_type_exists(struct no_such_struct))
		return static_read((void *)bpf_get_current_task());
	return 0;
}

SEC("kprobe/do_exit")
int in_static(void *ctx)
{
	return static_read((void *)bpf_get_current_task());
}

SEC("kprobe/do_exit")
int in_global(void *ctx)
{
	return global_read();
}
