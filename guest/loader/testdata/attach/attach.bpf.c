// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* A program of each kind of section that is attached, or only loaded. */
#include "../kernel.h"
#include <bpf/bpf_tracing.h>

#define PROG(section, name, result) \
	SEC(section) \
	int on_##name(void *ctx) \
	{ \
		return result; \
	}

PROG("socket", socket_filter, 0)
PROG("sk_reuseport", reuseport, 1)
PROG("sk_reuseport/migrate", reuseport_migrate, 1)
PROG("ksyscall/getpid", ksyscall, 0)
PROG("kretsyscall/getpid", kretsyscall, 0)
PROG("kprobe.multi/vfs_open", kprobe_multi, 0)
PROG("kretprobe.multi/vfs_op*", kretprobe_multi, 0)
PROG("kprobe.session/vfs_open", kprobe_session, 0)
PROG("kprobe", kprobe_nowhere, 0)
PROG("uprobe", uprobe_nowhere, 0)
PROG("uprobe//probed:main.main", uprobe, 0)
PROG("uretprobe//probed:main.main", uretprobe, 0)
PROG("uprobe//probed:no_such_function", uprobe_misspelt, 0)
PROG("uprobe//no/such/file:main", uprobe_no_file, 0)
PROG("uprobe//proc/self/exe:trigger", uprobe_self, 0)
PROG("uprobe.multi//probed:main.main", uprobe_multi, 0)
PROG("uretprobe.multi//probed:main.main", uretprobe_multi, 0)
PROG("usdt//probed:provider:name", usdt, 0)
PROG("tp/sched/sched_switch", tp, 0)
PROG("raw_tp/sched_switch", raw_tp, 0)
PROG("perf_event", perf_event, 0)
PROG("tc", tc, 0)
PROG("classifier/egress", classifier, 0)
PROG("tc/ingress", tc_ingress, 0)
PROG("tcx/egress", tcx_egress, 0)
PROG("action", action, 0)
PROG("netkit/primary", netkit_primary, 0)
PROG("netkit/peer", netkit_peer, 0)
PROG("xdp", xdp, XDP_PASS)
PROG("xdp.frags", xdp_frags, XDP_PASS)
PROG("xdp/devmap", xdp_devmap, XDP_PASS)
PROG("xdp/cpumap", xdp_cpumap, XDP_PASS)
PROG("lwt_in", lwt_in, 0)
PROG("lwt_out", lwt_out, 0)
PROG("lwt_xmit", lwt_xmit, 0)
PROG("lwt_seg6local", lwt_seg6local, 0)
PROG("sockops", sockops, 0)
PROG("sk_skb/stream_parser", stream_parser, 0)
PROG("sk_skb/stream_verdict", stream_verdict, SK_PASS)
PROG("sk_skb/verdict", skb_verdict, SK_PASS)
PROG("sk_skb", sk_skb, SK_PASS)
PROG("sk_msg", sk_msg, SK_PASS)
PROG("lirc_mode2", lirc, 0)
PROG("flow_dissector", flow_dissector, 0)
PROG("sk_lookup", sk_lookup, SK_PASS)
PROG("netfilter", netfilter, 1)
PROG("syscall", syscall, 0)
PROG("cgroup_skb/ingress", skb_ingress, 1)
PROG("cgroup_skb/egress", skb_egress, 1)
PROG("cgroup/skb", cgroup_skb, 1)
PROG("cgroup/sock_create", sock_create, 0)
PROG("cgroup/sock_release", sock_release, 0)
PROG("cgroup/post_bind4", post_bind4, 0)
PROG("cgroup/post_bind6", post_bind6, 0)
PROG("cgroup/bind4", bind4, 0)
PROG("cgroup/bind6", bind6, 0)
PROG("cgroup/connect4", connect4, 0)
PROG("cgroup/connect6", connect6, 0)
PROG("cgroup/connect_unix", connect_unix, 0)
PROG("cgroup/sendmsg4", sendmsg4, 0)
PROG("cgroup/sendmsg_unix", sendmsg_unix, 0)
PROG("cgroup/recvmsg4", recvmsg4, 1)
PROG("cgroup/recvmsg_unix", recvmsg_unix, 1)
PROG("cgroup/getpeername4", getpeername4, 1)
PROG("cgroup/getpeername_unix", getpeername_unix, 1)
PROG("cgroup/getsockname6", getsockname6, 1)
PROG("cgroup/getsockname_unix", getsockname_unix, 1)
PROG("cgroup/sysctl", sysctl, 0)
PROG("cgroup/getsockopt", getsockopt, 0)
PROG("cgroup/setsockopt", setsockopt, 0)
PROG("cgroup/dev", device, 0)
PROG("fmod_ret/security_file_open", fmod_ret, 0)
PROG("lsm.s/bprm_committed_creds", lsm_sleepable, 0)
/* Each denies what anybody would do between attaching and detaching. */
PROG("lsm/bpf", lsm_denies_bpf, -1)
PROG("lsm/file_open", lsm_denies_open, -1)
PROG("lsm/task_alloc", lsm_denies_threads, -1)
PROG("lsm/socket_sendmsg", lsm_denies_sending, -1)
PROG("iter/task", iter_task, 0)
PROG("iter/bpf_map", iter_bpf_map, 0)
PROG("iter/cgroup", iter_cgroup, 0)
PROG("iter/bpf_map_elem", iter_map_elem, 0)
PROG("iter/bpf_sk_storage_map", iter_sk_storage, 0)
PROG("iter/sockmap", iter_sockmap, 0)

struct tcp_congestion_ops {
	__u32 (*ssthresh)(void *sk);
	__u32 (*undo_cwnd)(void *sk);
	void (*cong_avoid)(void *sk, __u32 ack, __u32 acked);
	char name[16];
};

SEC("struct_ops/ssthresh")
__u32 BPF_PROG(ssthresh, void *sk)
{
	return 2;
}

SEC("struct_ops/undo_cwnd")
__u32 BPF_PROG(undo_cwnd, void *sk)
{
	return 2;
}

SEC("struct_ops/cong_avoid")
void BPF_PROG(cong_avoid, void *sk, __u32 ack, __u32 acked)
{
}

SEC(".struct_ops.link")
struct tcp_congestion_ops linked = {
	.ssthresh = (void *)ssthresh,
	.undo_cwnd = (void *)undo_cwnd,
	.cong_avoid = (void *)cong_avoid,
	.name = "bkc_two",
};
