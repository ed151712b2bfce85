// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* One program for a function's entry and exit. */
#include "../kernel.h"

SEC("fsession/security_file_open")
int session(void *ctx)
{
	return 0;
}
