// Package sections says what BPF programs are, by their section in an object.
package sections

import (
	"strings"

	"github.com/cilium/ebpf"
)

// Flags of programs.
const (
	Sleepable = 1 << 4 // BPF_F_SLEEPABLE
	Fragments = 1 << 5 // BPF_F_XDP_HAS_FRAGS
)

// table is that of libbpf 1.8. A name with + may have a slash and more behind it; with .s it is also one of programs that
// may sleep.
var table = []struct {
	names  string
	typ    ebpf.ProgramType
	attach ebpf.AttachType
}{
	{"socket", ebpf.SocketFilter, 0},
	{"sk_reuseport/migrate", ebpf.SkReuseport, ebpf.AttachSkReuseportSelectOrMigrate},
	{"sk_reuseport", ebpf.SkReuseport, ebpf.AttachSkReuseportSelect},
	{"kprobe+ kretprobe+ ksyscall+ kretsyscall+ uprobe.s+ uretprobe.s+ usdt.s+", ebpf.Kprobe, 0},
	{"kprobe.multi+ kretprobe.multi+", ebpf.Kprobe, ebpf.AttachTraceKprobeMulti},
	{"kprobe.session+", ebpf.Kprobe, ebpf.AttachTraceKprobeSession},
	{"uprobe.multi.s+ uretprobe.multi.s+", ebpf.Kprobe, ebpf.AttachTraceUprobeMulti},
	{"uprobe.session.s+", ebpf.Kprobe, 57}, // BPF_TRACE_UPROBE_SESSION
	{"tc/ingress tcx/ingress", ebpf.SchedCLS, ebpf.AttachTCXIngress},
	{"tc/egress tcx/egress", ebpf.SchedCLS, ebpf.AttachTCXEgress},
	{"tc classifier", ebpf.SchedCLS, 0},
	{"action", ebpf.SchedACT, 0},
	{"netkit/primary", ebpf.SchedCLS, ebpf.AttachNetkitPrimary},
	{"netkit/peer", ebpf.SchedCLS, ebpf.AttachNetkitPeer},
	{"tracepoint.s+ tp.s+", ebpf.TracePoint, 0},
	{"raw_tracepoint.s+ raw_tp.s+", ebpf.RawTracepoint, 0},
	{"raw_tracepoint.w+ raw_tp.w+", ebpf.RawTracepointWritable, 0},
	{"tp_btf.s+", ebpf.Tracing, ebpf.AttachTraceRawTp},
	{"fentry.s+", ebpf.Tracing, ebpf.AttachTraceFEntry},
	{"fexit.s+", ebpf.Tracing, ebpf.AttachTraceFExit},
	{"fmod_ret.s+", ebpf.Tracing, ebpf.AttachModifyReturn},
	{"fsession.s+", ebpf.Tracing, 58}, // BPF_TRACE_FSESSION, and three of many functions
	{"fentry.multi.s+", ebpf.Tracing, 59},
	{"fexit.multi.s+", ebpf.Tracing, 60},
	{"fsession.multi.s+", ebpf.Tracing, 61},
	{"freplace+", ebpf.Extension, 0},
	{"lsm.s+", ebpf.LSM, ebpf.AttachLSMMac},
	{"lsm_cgroup+", ebpf.LSM, ebpf.AttachLSMCgroup},
	{"iter.s+", ebpf.Tracing, ebpf.AttachTraceIter},
	{"syscall", ebpf.Syscall, 0},
	{"xdp/devmap xdp.frags/devmap", ebpf.XDP, ebpf.AttachXDPDevMap},
	{"xdp/cpumap xdp.frags/cpumap", ebpf.XDP, ebpf.AttachXDPCPUMap},
	{"xdp xdp.frags", ebpf.XDP, ebpf.AttachXDP},
	{"perf_event", ebpf.PerfEvent, 0},
	{"lwt_in", ebpf.LWTIn, 0},
	{"lwt_out", ebpf.LWTOut, 0},
	{"lwt_xmit", ebpf.LWTXmit, 0},
	{"lwt_seg6local", ebpf.LWTSeg6Local, 0},
	{"sockops", ebpf.SockOps, ebpf.AttachCGroupSockOps},
	{"sk_skb/stream_parser", ebpf.SkSKB, ebpf.AttachSkSKBStreamParser},
	{"sk_skb/stream_verdict", ebpf.SkSKB, ebpf.AttachSkSKBStreamVerdict},
	{"sk_skb/verdict", ebpf.SkSKB, ebpf.AttachSkSKBVerdict},
	{"sk_skb", ebpf.SkSKB, 0},
	{"sk_msg", ebpf.SkMsg, ebpf.AttachSkMsgVerdict},
	{"lirc_mode2", ebpf.LircMode2, ebpf.AttachLircMode2},
	{"flow_dissector", ebpf.FlowDissector, ebpf.AttachFlowDissector},
	{"cgroup_skb/ingress", ebpf.CGroupSKB, ebpf.AttachCGroupInetIngress},
	{"cgroup_skb/egress", ebpf.CGroupSKB, ebpf.AttachCGroupInetEgress},
	{"cgroup/skb", ebpf.CGroupSKB, 0},
	{"cgroup/sock_create cgroup/sock", ebpf.CGroupSock, ebpf.AttachCGroupInetSockCreate},
	{"cgroup/sock_release", ebpf.CGroupSock, ebpf.AttachCgroupInetSockRelease},
	{"cgroup/post_bind4", ebpf.CGroupSock, ebpf.AttachCGroupInet4PostBind},
	{"cgroup/post_bind6", ebpf.CGroupSock, ebpf.AttachCGroupInet6PostBind},
	{"cgroup/bind4", ebpf.CGroupSockAddr, ebpf.AttachCGroupInet4Bind},
	{"cgroup/bind6", ebpf.CGroupSockAddr, ebpf.AttachCGroupInet6Bind},
	{"cgroup/connect4", ebpf.CGroupSockAddr, ebpf.AttachCGroupInet4Connect},
	{"cgroup/connect6", ebpf.CGroupSockAddr, ebpf.AttachCGroupInet6Connect},
	{"cgroup/connect_unix", ebpf.CGroupSockAddr, ebpf.AttachCgroupUnixConnect},
	{"cgroup/sendmsg4", ebpf.CGroupSockAddr, ebpf.AttachCGroupUDP4Sendmsg},
	{"cgroup/sendmsg6", ebpf.CGroupSockAddr, ebpf.AttachCGroupUDP6Sendmsg},
	{"cgroup/sendmsg_unix", ebpf.CGroupSockAddr, ebpf.AttachCgroupUnixSendmsg},
	{"cgroup/recvmsg4", ebpf.CGroupSockAddr, ebpf.AttachCGroupUDP4Recvmsg},
	{"cgroup/recvmsg6", ebpf.CGroupSockAddr, ebpf.AttachCGroupUDP6Recvmsg},
	{"cgroup/recvmsg_unix", ebpf.CGroupSockAddr, ebpf.AttachCgroupUnixRecvmsg},
	{"cgroup/getpeername4", ebpf.CGroupSockAddr, ebpf.AttachCgroupInet4GetPeername},
	{"cgroup/getpeername6", ebpf.CGroupSockAddr, ebpf.AttachCgroupInet6GetPeername},
	{"cgroup/getpeername_unix", ebpf.CGroupSockAddr, ebpf.AttachCgroupUnixGetpeername},
	{"cgroup/getsockname4", ebpf.CGroupSockAddr, ebpf.AttachCgroupInet4GetSockname},
	{"cgroup/getsockname6", ebpf.CGroupSockAddr, ebpf.AttachCgroupInet6GetSockname},
	{"cgroup/getsockname_unix", ebpf.CGroupSockAddr, ebpf.AttachCgroupUnixGetsockname},
	{"cgroup/sysctl", ebpf.CGroupSysctl, ebpf.AttachCGroupSysctl},
	{"cgroup/getsockopt", ebpf.CGroupSockopt, ebpf.AttachCGroupGetsockopt},
	{"cgroup/setsockopt", ebpf.CGroupSockopt, ebpf.AttachCGroupSetsockopt},
	{"cgroup/dev", ebpf.CGroupDevice, ebpf.AttachCGroupDevice},
	{"struct_ops.s+", ebpf.StructOps, 0},
	{"sk_lookup", ebpf.SkLookup, ebpf.AttachSkLookup},
	{"netfilter", ebpf.Netfilter, ebpf.AttachNetfilter},
}

// Program is a program of a section, of an unspecified type where libbpf does not
// know the section.
func Program(section string) *ebpf.ProgramSpec {
	ps := &ebpf.ProgramSpec{SectionName: section}
	section = strings.TrimPrefix(section, "?")
	kind, _, _ := strings.Cut(section, "/")
	awake, sleeps := strings.CutSuffix(kind, ".s")
	for _, d := range table {
		for name := range strings.FieldsSeq(d.names) {
			base, open := strings.CutSuffix(name, "+")
			base, sleepable := strings.CutSuffix(base, ".s")
			if section != base && !(open && (kind == base || sleepable && sleeps && awake == base)) {
				continue
			}
			ps.Type, ps.AttachType = d.typ, d.attach
			if sleepable && sleeps || d.typ == ebpf.Syscall {
				ps.Flags |= Sleepable
			}
			if strings.HasPrefix(section, "xdp.frags") {
				ps.Flags |= Fragments
			}
			return ps
		}
	}
	return ps
}

// Prefix is the section that ebpf-go, which compares no more than the beginning,
// reads in a longer name that libbpf does not know, such as xdp in xdp/entry; ""
// if there is none.
func Prefix(name string) (found string) {
	name = strings.TrimPrefix(name, "?")
	for _, d := range table {
		for s := range strings.FieldsSeq(d.names) {
			switch {
			case s == name:
				return ""
			case !strings.HasSuffix(s, "+") && len(s) > len(found) && strings.HasPrefix(name, s):
				found = s
			}
		}
	}
	return found
}
