package sections

import (
	"testing"

	"github.com/cilium/ebpf"
)

func TestPrefix(t *testing.T) {
	for section, want := range map[string]string{
		"xdp": "", "xdp/devmap": "", "?xdp": "", "xdp/entry": "xdp", "?xdp/entry": "xdp", "xdp_prog": "xdp", "xdp.frags/x": "xdp.frags",
		"socket1": "socket", "socket/tail": "socket", "classifier/1": "classifier", "tc/entry": "tc", "cgroup/sock_release/x": "cgroup/sock_release", "tcx": "tc", "cgroup/skb1": "cgroup/skb",
		"kprobe/do_exit": "", "kprobe1": "", "mysection": "", "static": "", "": "", "struct_ops/x": "",
	} {
		if got := Prefix(section); got != want {
			t.Errorf("%q: %q, want %q", section, got, want)
		}
	}
}

func TestProgram(t *testing.T) {
	for section, want := range map[string]ebpf.ProgramSpec{
		"?fentry.s/vfs_x":  {Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, Flags: Sleepable},
		"xdp.frags/devmap": {Type: ebpf.XDP, AttachType: ebpf.AttachXDPDevMap, Flags: Fragments},
		"tc/egress":        {Type: ebpf.SchedCLS, AttachType: ebpf.AttachTCXEgress},
		"syscall":          {Type: ebpf.Syscall, Flags: Sleepable},
		"kprobe.s/x":       {},
		"xdp/entry":        {},
		"kprobe1":          {},
	} {
		got := Program(section)
		if got.Type != want.Type || got.AttachType != want.AttachType || got.Flags != want.Flags {
			t.Errorf("%s: %v, %v, %#x", section, got.Type, got.AttachType, got.Flags)
		}
	}
}
