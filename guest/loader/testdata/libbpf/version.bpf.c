// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The kernel's version as a typedef. */
#include "../kernel.h"

extern __u32 LINUX_KERNEL_VERSION __kconfig;

SEC("kprobe/do_exit")
int version(void *ctx)
{
	return LINUX_KERNEL_VERSION > 0x60000;
}
