// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Variables in sections with names of their own. */
#include "../kernel.h"

int counter SEC(".bss.counters");
int limit SEC(".data.limits") = 3;

SEC("kprobe/do_exit")
int sections(void *ctx)
{
	if (counter < limit)
		counter++;
	return 0;
}
