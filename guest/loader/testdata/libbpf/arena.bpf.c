// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Memory that a program shares with its application. */
#include "../kernel.h"

struct {
	__uint(type, 33); /* BPF_MAP_TYPE_ARENA */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 10);
} arena SEC(".maps");

extern void *bpf_arena_alloc_pages(void *map, void *addr, __u32 pages, int node, __u64 flags) __ksym __weak;

SEC("syscall")
int use_arena(void *ctx)
{
	return bpf_arena_alloc_pages && bpf_arena_alloc_pages(&arena, 0, 1, -1, 0);
}
