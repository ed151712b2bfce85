// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What came with a version: maps, sections, flags, kfuncs. */
#include "kernel.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF); /* 5.8 */
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE); /* 5.11 */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} task_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF); /* 6.1 */
	__uint(max_entries, 4096);
} user_ring SEC(".maps");

struct {
	__uint(type, 32); /* cgroup storage, 6.2 */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} cgroup_storage SEC(".maps");

struct {
	__uint(type, 33); /* arena, 6.9 */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 10);
} arena SEC(".maps");

SEC("kprobe/do_exit")
int submit(void *ctx)
{
	__u64 *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);

	if (e)
		bpf_ringbuf_discard(e, 0);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int storage(__u64 *ctx)
{
	return !bpf_task_storage_get(&task_storage, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

static long once(__u32 i, void *ctx)
{
	return 1;
}

SEC("kprobe/do_exit")
int loop(void *ctx)
{
	return bpf_loop(10, once, 0, 0);
}

SEC("xdp.frags") /* 5.18 */
int fragments(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp/devmap")
int devmap(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("tc")
int classify(struct __sk_buff *ctx)
{
	return 0;
}

SEC("tcx/ingress") /* 6.6 */
int tcx(struct __sk_buff *ctx)
{
	return 0;
}

SEC("sk_lookup")
int lookup(struct bpf_sk_lookup *ctx)
{
	return SK_PASS;
}

SEC("sk_reuseport")
int reuseport(struct sk_reuseport_md *ctx)
{
	return SK_PASS;
}

SEC("netfilter") /* 6.4 */
int netfilter_hook(void *ctx)
{
	return 1;
}

SEC("flow_dissector")
int dissect(struct __sk_buff *ctx)
{
	return 0;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return 1;
}

SEC("cgroup/connect_unix") /* 6.7 */
int connect_unix(struct bpf_sock_addr *ctx)
{
	return 1;
}

SEC("perf_event")
int event(void *ctx)
{
	return 0;
}

/* Kfuncs: as they are; a function that is none; one with a wider argument. */
extern void *bpf_cast_to_kern_ctx(void *obj) __ksym;
extern void schedule(void) __ksym;
extern void bpf_kfunc_of_tomorrow(void) __ksym __weak;
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

SEC("tc")
int kfunc(struct __sk_buff *ctx)
{
	return bpf_cast_to_kern_ctx(ctx) == 0;
}

SEC("tp_btf/sched_process_exit")
int no_kfunc(void *ctx)
{
	schedule();
	return 0;
}

SEC("tp_btf/sched_process_exit")
int weak_kfunc(void *ctx)
{
	if (bpf_kfunc_of_tomorrow)
		bpf_kfunc_of_tomorrow();
	return 0;
}

SEC("tp_btf/sched_process_exit")
int weak_kfunc_if_there(void *ctx)
{
	if (bpf_preempt_disable && bpf_preempt_enable) { /* 6.10 */
		bpf_preempt_disable();
		bpf_preempt_enable();
	}
	return 0;
}

SEC("tp_btf/sched_process_exit")
int weak_kfunc_unasked(void *ctx)
{
	bpf_kfunc_of_tomorrow();
	return 0;
}

struct bpf_cpumask {
	int usage;
};
extern struct bpf_cpumask *bpf_cpumask_create(void) __ksym; /* 6.3 */
extern void bpf_cpumask_release(struct bpf_cpumask *cpumask) __ksym;
extern void bpf_cpumask_set_cpu(__u64 cpu, struct bpf_cpumask *cpumask) __ksym; /* a __u32 */

SEC("tp_btf/sched_process_exit")
int kfunc_wider(void *ctx)
{
	struct bpf_cpumask *m = bpf_cpumask_create();

	if (m) {
		bpf_cpumask_set_cpu(0, m);
		bpf_cpumask_release(m);
	}
	return 0;
}
