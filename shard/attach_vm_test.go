package shard

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// attachWants are the programs of testdata/attach: the kernel that brought them,
// or the first of those tested that is built with it, and what the result says from
// then on.
var attachWants = []struct{ since, name, output string }{
	{"5.10", "cong_avoid", "loaded only: needs the struct_ops map that it is a member of"},
	{"5.10", "on_action", "attached to an action"},
	{"5.10", "on_bind4", "attached to a cgroup as CGroupInet4Bind"},
	{"5.10", "on_bind6", "attached to a cgroup as CGroupInet6Bind"},
	{"5.10", "on_cgroup_skb", "attached to a cgroup as CGroupInetIngress"},
	{"5.10", "on_classifier", "attached to clsact of lo, egress"},
	{"5.10", "on_connect4", "attached to a cgroup as CGroupInet4Connect"},
	{"5.10", "on_connect6", "attached to a cgroup as CGroupInet6Connect"},
	{"6.7", "on_connect_unix", "attached to a cgroup as CgroupUnixConnect"},
	{"5.10", "on_device", "attached to a cgroup as CGroupDevice"},
	{"5.10", "on_flow_dissector", "attached to a network namespace"},
	{"5.10", "on_fmod_ret", "attached to fmod_ret security_file_open"},
	{"5.10", "on_getpeername4", "attached to a cgroup as CgroupInet4GetPeername"},
	{"6.7", "on_getpeername_unix", "attached to a cgroup as CgroupUnixGetpeername"},
	{"5.10", "on_getsockname6", "attached to a cgroup as CgroupInet6GetSockname"},
	{"6.7", "on_getsockname_unix", "attached to a cgroup as CgroupUnixGetsockname"},
	{"5.10", "on_getsockopt", "attached to a cgroup as CGroupGetsockopt"},
	{"5.10", "on_iter_bpf_map", "attached to iter bpf_map"},
	{"6.1", "on_iter_cgroup", "attached to iter cgroup"},
	{"5.10", "on_iter_map_elem", "attached to iter bpf_map_elem"},
	{"5.10", "on_iter_sk_storage", "attached to iter bpf_sk_storage_map"},
	{"5.10", "on_iter_sockmap", "attached to iter sockmap"},
	{"5.10", "on_iter_task", "attached to iter task"},
	{"6.2", "on_kprobe_multi", "attached to kprobe.multi vfs_open (1 functions)"},
	{"5.10", "on_kprobe_nowhere", "loaded only: needs something to attach to, which its section \"kprobe\" does not name: --target"},
	{"6.10", "on_kprobe_session", "attached to kprobe.session vfs_open (1 functions)"},
	{"6.2", "on_kretprobe_multi", "attached to kretprobe.multi vfs_op* ("},
	{"5.10", "on_kretsyscall", "attached to kretsyscall getpid"},
	{"5.10", "on_ksyscall", "attached to ksyscall getpid"},
	{"5.10", "on_lirc", "skip: unsupported: program type LircMode2 came with Linux 4.18"},
	{"5.10", "on_lsm_denies_bpf", "attached to lsm bpf"},
	{"5.10", "on_lsm_denies_open", "attached to lsm file_open"},
	{"5.10", "on_lsm_denies_sending", "attached to lsm socket_sendmsg"},
	{"5.10", "on_lsm_denies_threads", "attached to lsm task_alloc"},
	{"5.10", "on_lsm_sleepable", "attached to lsm.s bprm_committed_creds"},
	{"5.10", "on_lwt_in", "attached to a route as lwt_in"},
	{"5.10", "on_lwt_out", "attached to a route as lwt_out"},
	{"5.10", "on_lwt_seg6local", "attached to a route as lwt_seg6local"},
	{"5.10", "on_lwt_xmit", "attached to a route as lwt_xmit"},
	{"6.4", "on_netfilter", "attached to netfilter at NF_INET_LOCAL_IN for IPv4"},
	{"6.7", "on_netkit_peer", "attached to netkit as NetkitPeer"},
	{"6.7", "on_netkit_primary", "attached to netkit as NetkitPrimary"},
	{"5.10", "on_perf_event", "attached to perf_event of the software CPU clock"},
	{"5.10", "on_post_bind4", "attached to a cgroup as CGroupInet4PostBind"},
	{"5.10", "on_post_bind6", "attached to a cgroup as CGroupInet6PostBind"},
	{"5.10", "on_raw_tp", "attached to raw_tp sched_switch"},
	{"5.10", "on_recvmsg4", "attached to a cgroup as CGroupUDP4Recvmsg"},
	{"6.7", "on_recvmsg_unix", "attached to a cgroup as CgroupUnixRecvmsg"},
	{"5.10", "on_reuseport", "attached to a socket with SO_REUSEPORT"},
	{"5.10", "on_reuseport_migrate", "attached to a socket with SO_REUSEPORT"},
	{"5.10", "on_sendmsg4", "attached to a cgroup as CGroupUDP4Sendmsg"},
	{"6.7", "on_sendmsg_unix", "attached to a cgroup as CgroupUnixSendmsg"},
	{"5.10", "on_setsockopt", "attached to a cgroup as CGroupSetsockopt"},
	{"5.10", "on_sk_lookup", "attached to a network namespace"},
	{"5.10", "on_sk_msg", "attached to a sockmap as SkMsgVerdict"},
	{"5.10", "on_sk_skb", "attached to a sockmap as SkSKBStreamVerdict"},
	{"5.10", "on_skb_egress", "attached to a cgroup as CGroupInetEgress"},
	{"5.10", "on_skb_ingress", "attached to a cgroup as CGroupInetIngress"},
	{"5.13", "on_skb_verdict", "attached to a sockmap as SkSKBVerdict"},
	{"5.10", "on_sock_create", "attached to a cgroup as CGroupInetSockCreate"},
	{"5.10", "on_sock_release", "attached to a cgroup as CgroupInetSockRelease"},
	{"5.10", "on_socket_filter", "attached to a socket"},
	{"5.10", "on_sockops", "attached to a cgroup as CGroupSockOps"},
	{"5.10", "on_stream_parser", "attached to a sockmap as SkSKBStreamParser"},
	{"5.10", "on_stream_verdict", "attached to a sockmap as SkSKBStreamVerdict"},
	{"5.14", "on_syscall", "loaded only: needs a caller: its application runs it with BPF_PROG_RUN"},
	{"5.10", "on_sysctl", "attached to a cgroup as CGroupSysctl"},
	{"5.10", "on_tc", "attached to clsact of lo, ingress"},
	{"6.6", "on_tc_ingress", "attached to tcx as TCXIngress"},
	{"6.6", "on_tcx_egress", "attached to tcx as TCXEgress"},
	{"5.10", "on_tp", "attached to tp sched/sched_switch"},
	{"5.10", "on_uprobe", "attached to uprobe /probed:main.main"},
	{"5.10", "on_uprobe_misspelt", "fail: loaded, and not attached: uprobe /probed:no_such_function: /probed has no function no_such_function"},
	{"6.6", "on_uprobe_multi", "attached to uprobe.multi /probed:main.main"},
	{"5.10", "on_uprobe_no_file", "loaded only: needs /no/such/file in the guest: --file"},
	{"5.10", "on_uprobe_nowhere", "loaded only: needs a program to probe: --target"},
	{"5.10", "on_uprobe_self", "loaded only: needs its application, which it probes: --target"},
	{"5.10", "on_uretprobe", "attached to uretprobe /probed:main.main"},
	{"6.6", "on_uretprobe_multi", "attached to uretprobe.multi /probed:main.main"},
	{"5.10", "on_usdt", "loaded only: needs libbpf to attach it: --loader libbpf"},
	{"5.10", "on_xdp", "attached to veth, in driver mode"},
	{"5.10", "on_xdp_cpumap", "attached to an entry of a cpumap"},
	{"5.10", "on_xdp_devmap", "attached to an entry of a devmap"},
	{"5.18", "on_xdp_frags", "attached to veth, in driver mode"},
	{"5.10", "ssthresh", "loaded only: needs the struct_ops map that it is a member of"},
	{"5.10", "undo_cwnd", "loaded only: needs the struct_ops map that it is a member of"},
	{"6.4", "map:linked", "registered, and taken back"},
}

// attachBefore is what the result says on older kernels. The others are skipped
// as unsupported.
var attachBefore = map[string]string{
	"on_iter_cgroup": "fail: this kernel's BTF has no function or hook to attach to: cgroup",
	"on_tc_ingress":  "pass: attached to clsact of lo, ingress",
}

// attachByLibbpf is what the result says with libbpf, where that differs.
var attachByLibbpf = map[string]string{
	"on_classifier": `fail: libbpf 1.8 does not know the section "classifier/egress"`,
	"on_usdt":       "fail: loaded, and not attached: usdt /probed:provider:name: ", // it has none of usdt.bpf.h's maps
}

// Each kind of program is attached and detached again, or the result says what
// it lacks.
func TestAttach(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	// Not stripped: its functions are probed.
	probed := filepath.Join(t.TempDir(), "probed")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", probed, "./testdata/ondemand")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	b, err := os.ReadFile(probed)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ version, loader, source, glob string }{
		{"5.10", wire.LoaderGo, "debian:bullseye:cloud-amd64", "debian/5.10.*"},
		{"6.1", wire.LoaderGo, "debian:bookworm:cloud-amd64", "debian/6.1.*"},
		{"6.12", wire.LoaderGo, "debian:trixie:cloud-amd64", "debian/6.12.*"},
		{"7.2", wire.LoaderGo, "debian:sid:cloud-amd64", "debian/7.*"},
		// On older ones libbpf cannot create the object's maps.
		{"6.12", wire.LoaderLibbpf, "debian:trixie:cloud-amd64", "debian/6.12.*"},
		{"7.2", wire.LoaderLibbpf, "debian:sid:cloud-amd64", "debian/7.*"},
	} {
		t.Run(tt.version+" "+tt.loader, func(t *testing.T) {
			t.Parallel()
			p, err := guest.ObjectsPayload(t.Context(), "amd64", readObjects(t, []string{"../guest/loader/testdata/attach/attach.bpf.o"}), wire.Objects{Loader: tt.loader, Load: wire.LoadEach, Attach: true, Unsupported: wire.TestSkip}, 20*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			p.Files = append(p.Files, guest.File{Path: "/probed", Mode: 0o755, Data: b})
			k, _ := l.run(t, l.runner(t, p), newestOf(t, tt.source, tt.glob))
			got := map[string]string{}
			for _, test := range k.Tests {
				got[strings.TrimPrefix(test.Name, "attach/")] = test.Verdict + ": " + test.Output
			}
			for _, w := range attachWants {
				want := "pass: " + w.output
				switch {
				case tt.loader == wire.LoaderLibbpf && attachByLibbpf[w.name] != "":
					want = attachByLibbpf[w.name]
				case report.CompareVersions(tt.version, w.since) < 0:
					want = cmp.Or(attachBefore[w.name], "skip: unsupported: ")
				case strings.HasPrefix(w.output, "fail: "), strings.HasPrefix(w.output, "skip: "):
					want = w.output
				}
				if !strings.HasPrefix(got[w.name], want) {
					t.Errorf("%s: %q, want %q", w.name, got[w.name], want)
				}
				delete(got, w.name)
			}
			for name, output := range got {
				t.Errorf("%s: not expected: %q", name, output)
			}
			if len(k.Modules) > 0 {
				t.Errorf("modules that were asked for and not given: %q", k.Modules)
			}
		})
	}
}
