// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Options of the kernel's build, which loaders find below /boot. */
#include "kernel.h"

extern unsigned long CONFIG_HZ __kconfig;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct no_such_struct {
	int member;
};

#pragma clang attribute pop

SEC("kprobe/do_exit")
int by_config(void *ctx)
{
	struct no_such_struct *s = (void *)bpf_get_current_task();

	if (CONFIG_HZ == 12345)
		return BPF_CORE_READ(s, member);
	return 0;
}
