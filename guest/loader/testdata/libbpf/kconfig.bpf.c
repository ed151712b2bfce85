// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* A setting that no kernel has. */
#include "../kernel.h"

extern int CONFIG_NO_SUCH_SETTING __kconfig __weak;

SEC("kprobe/do_exit")
int kconfig(void *ctx)
{
	return CONFIG_NO_SUCH_SETTING;
}
