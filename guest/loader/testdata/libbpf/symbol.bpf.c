// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The address of a kernel symbol without a type. */
#include "../kernel.h"

extern const void bpf_link_fops __ksym;

__u64 address;

SEC("kprobe/do_exit")
int symbol(void *ctx)
{
	address = (__u64)&bpf_link_fops;
	return 0;
}
