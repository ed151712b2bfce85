// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* A parameter without a name, which the kernel's check of types refuses. */
#include "../kernel.h"

#pragma clang diagnostic ignored "-Wc2x-extensions"

static __attribute__((noinline)) int helper(int x, int)
{
	return x + bpf_get_prandom_u32();
}

SEC("kprobe/do_exit")
int unnamed(void *ctx)
{
	return helper(bpf_get_prandom_u32(), 2);
}
