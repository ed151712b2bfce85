// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* An LSM program: loads where the kernel is built with CONFIG_BPF_LSM. */
#include "kernel.h"

SEC("lsm/file_open")
int on_file_open(void *ctx)
{
	return 0;
}
