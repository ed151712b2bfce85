package wire

import "slices"

// MapTypes are the names of the types of maps that MapSetting takes, as "bpftool
// map" has them, each at its number in the kernel (enum bpf_map_type).
func MapTypes() []string {
	return []string{
		"unspec", "hash", "array", "prog_array", "perf_event_array", "percpu_hash", "percpu_array", "stack_trace",
		"cgroup_array", "lru_hash", "lru_percpu_hash", "lpm_trie", "array_of_maps", "hash_of_maps", "devmap", "sockmap",
		"cpumap", "xskmap", "sockhash", "cgroup_storage", "reuseport_sockarray", "percpu_cgroup_storage", "queue", "stack",
		"sk_storage", "devmap_hash", "struct_ops", "ringbuf", "inode_storage", "task_storage", "bloom_filter",
		"user_ringbuf", "cgrp_storage", "arena", "insn_array", "rhash",
	}
}

// MapType returns the number of a type of map; ok is false for a name that is none.
func MapType(name string) (number uint32, ok bool) {
	i := slices.Index(MapTypes(), name)
	return uint32(max(i, 0)), i > 0
}
