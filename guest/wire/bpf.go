package wire

import "fmt"

// MaxBPF is how many BPF programs a payload's report holds.
const MaxBPF = 10_000

// bpfTypes are the types of BPF programs by their number in the kernel's ABI.
var bpfTypes = [...]string{
	"unspec", "socket_filter", "kprobe", "sched_cls", "sched_act", "tracepoint", "xdp", "perf_event", "cgroup_skb", "cgroup_sock",
	"lwt_in", "lwt_out", "lwt_xmit", "sock_ops", "sk_skb", "cgroup_device", "sk_msg", "raw_tracepoint", "cgroup_sock_addr",
	"lwt_seg6local", "lirc_mode2", "sk_reuseport", "flow_dissector", "cgroup_sysctl", "raw_tracepoint_writable", "cgroup_sockopt",
	"tracing", "struct_ops", "ext", "lsm", "sk_lookup", "syscall", "netfilter",
}

// BPFType is the name of a type of BPF programs (BPF_PROG_TYPE_*), as in "bpftool
// prog".
func BPFType(number uint32) string {
	if number < uint32(len(bpfTypes)) {
		return bpfTypes[number]
	}
	return fmt.Sprintf("type_%d", number)
}
