// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * What an application's loader has to set before any of it loads, as that of
 * EventProbe and of libbpf-tools does.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

enum mode { MODE_OFF, MODE_SAFE, MODE_WILD };

struct config {
	int pid;
	union {
		unsigned short ports[4];
		unsigned long long all;
	};
	char comm[16];
	int bits : 3;
};

const volatile struct config cfg = {};
const volatile enum mode mode = MODE_WILD;
const volatile bool verbose = false;
long long hits;

/* The application sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 0);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

SEC("kprobe/do_exit")
int emit(void *ctx)
{
	__u64 *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return 0;
	*e = cfg.pid + verbose;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/* The verifier takes it only if mode is none of MODE_WILD. */
SEC("kprobe/do_exit")
int guarded(void *ctx)
{
	__u64 n = bpf_ktime_get_ns();
	__u32 key = 0;
	__u64 *v;

	v = bpf_map_lookup_elem(&counts, &key);
	if (v)
		*v += 1;
	if (mode == MODE_WILD)
		return *(volatile int *)n;
	hits++;
	return 0;
}

/* One of two, as kernels have the function or another. */
SEC("fentry/no_such_function")
int on_exit_fentry(void *ctx)
{
	return 0;
}

SEC("kprobe/do_exit")
int on_exit_kprobe(void *ctx)
{
	return 0;
}

/* Its target is known when the application runs. */
SEC("fentry/no_such_target")
int later(void *ctx)
{
	return 0;
}

/* That nobody wants here. */
SEC("fentry/no_such_function_either")
int unwanted(void *ctx)
{
	return 0;
}
