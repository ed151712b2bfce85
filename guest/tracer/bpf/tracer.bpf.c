// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The tracer's BPF programs, in one object; see probe.h and probes.go. */
#include "process.h"
#include "file.h"
#include "net.h"

/* The kernel knows no name for "Apache-2.0 OR GPL-2.0-only"; the helpers used
 * need the GPL side of it. */
char LICENSE[] SEC("license") = "GPL";
