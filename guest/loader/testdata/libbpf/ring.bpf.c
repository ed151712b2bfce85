// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* A ring buffer of a size that no kernel takes: libbpf rounds it up. */
#include "../kernel.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1000);
} events SEC(".maps");

SEC("kprobe/do_exit")
int ring(void *ctx)
{
	__u64 x = 0;

	return bpf_ringbuf_output(&events, &x, sizeof(x), 0);
}
