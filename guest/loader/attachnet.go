package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// network is a thread in a network namespace of its own, which has devices to
// attach to. All of it goes away with the loader.
type network struct {
	calls   chan func()
	err     error            // why lo could not be set up
	free    map[string][]int // devices that are not in use, by their kind
	devices int              // how many were made
	filters uint32           // the same of filters
}

func newNetwork() *network {
	n := &network{calls: make(chan func()), free: map[string][]int{}}
	go func() {
		// Never unlocked: nothing else is to run in this namespace.
		runtime.LockOSThread()
		// A kernel without network namespaces has one network for all, and the
		// VM is thrown away.
		_ = unix.Unshare(unix.CLONE_NEWNET)
		for f := range n.calls {
			f()
		}
	}()
	n.do(func() {
		n.err = rtnetlink(unix.RTM_NEWLINK, 0, ifinfo(lo, unix.IFF_UP))
	})
	return n
}

// do runs f in the namespace.
func (n *network) do(f func()) {
	done := make(chan struct{})
	n.calls <- func() {
		defer close(done)
		f()
	}
	<-done
}

// attach attaches a program to a device or to the namespace. An error may be
// needsMore.
func (n *network) attach(prog *ebpf.Program, ps *programInfo) (where string, detach func() error, err error) {
	var inside func() error
	n.do(func() {
		if err = n.err; err != nil {
			err = fmt.Errorf("set up the loopback device: %w", err)
			return
		}
		where, inside, err = n.attachInside(prog, ps)
	})
	if err != nil {
		return where, nil, err
	}
	return where, func() (err error) {
		n.do(func() { err = inside() })
		return err
	}, nil
}

func (n *network) attachInside(prog *ebpf.Program, ps *programInfo) (where string, detach func() error, err error) {
	var lnk link.Link
	switch ps.typ {
	case ebpf.XDP:
		return n.attachXDP(prog, ps)
	case ebpf.SchedACT:
		where = "an action"
		detach, err = whileThere(unix.RTM_NEWACTION, unix.RTM_DELACTION, tcAction(prog))
		return where, detach, withoutModule(err, "act_bpf")
	case ebpf.LWTIn, ebpf.LWTOut, ebpf.LWTXmit, ebpf.LWTSeg6Local:
		where = "a route as " + ps.kind()
		detach, err = whileThere(unix.RTM_NEWROUTE, unix.RTM_DELROUTE, route(prog, ps.typ))
		return where, detach, err
	case ebpf.SchedCLS:
		switch at := ps.attachType; {
		case at == ebpf.AttachNetkitPrimary || at == ebpf.AttachNetkitPeer:
			where = "netkit as " + at.String()
			index, release, err := n.device("netkit", 0)
			if err != nil {
				return where, nil, err
			}
			lnk, err := link.AttachNetkit(link.NetkitOptions{Program: prog, Interface: index, Attach: at})
			if err != nil {
				release()
				return where, nil, err
			}
			return where, func() error { defer release(); return lnk.Close() }, nil
		case at == ebpf.AttachTCXIngress || at == ebpf.AttachTCXEgress:
			where = "tcx as " + at.String()
			lnk, err = link.AttachTCX(link.TCXOptions{Program: prog, Interface: lo, Attach: at})
			if errors.Is(err, ebpf.ErrNotSupported) && strings.HasPrefix(ps.section, "tc/") {
				// Older than tcx: what SEC("tc/ingress") was for then.
				return n.attachFilter(prog, at == ebpf.AttachTCXEgress)
			}
		default:
			return n.attachFilter(prog, strings.Contains(ps.section, "egress"))
		}
	case ebpf.FlowDissector: // links came later
		opts := link.RawAttachProgramOptions{Program: prog, Attach: ebpf.AttachFlowDissector}
		return "a network namespace", func() error {
			return link.RawDetachProgram(link.RawDetachProgramOptions(opts))
		}, link.RawAttachProgram(opts)
	case ebpf.SkLookup:
		where = "a network namespace"
		var ns *os.File
		if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return where, nil, err
		}
		defer ns.Close()
		lnk, err = link.AttachNetNs(int(ns.Fd()), prog)
	case ebpf.Netfilter:
		where = "netfilter at NF_INET_LOCAL_IN for IPv4"
		lnk, err = link.AttachNetfilter(link.NetfilterOptions{
			Program: prog, ProtocolFamily: link.NetfilterProtoIPv4, Hook: link.NetfilterInetLocalIn, Priority: -128,
		})
	}
	if err != nil {
		return where, nil, err
	}
	return where, lnk.Close, nil
}

// attachXDP attaches to a veth device in its driver, or where that is not
// possible in generic mode. A program that is an entry of a map is put there.
func (n *network) attachXDP(prog *ebpf.Program, ps *programInfo) (where string, detach func() error, err error) {
	entry := func(typ ebpf.MapType, first uint32) (string, func() error, error) {
		where := "an entry of a " + strings.ToLower(typ.String())
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: typ, KeySize: 4, ValueSize: 8, MaxEntries: 1})
		if err != nil {
			return where, nil, fmt.Errorf("make a map for it: %w", err)
		}
		if err := m.Put(uint32(0), [2]uint32{first, uint32(prog.FD())}); err != nil {
			return where, nil, errors.Join(err, m.Close())
		}
		return where, func() error { return errors.Join(m.Delete(uint32(0)), m.Close()) }, nil
	}
	switch ps.attachType {
	case ebpf.AttachXDPDevMap:
		return entry(ebpf.DevMap, lo)
	case ebpf.AttachXDPCPUMap:
		const packets = 64 // of its queue
		return entry(ebpf.CPUMap, packets)
	}

	mtu := 1500
	if ps.flags&unix.BPF_F_XDP_HAS_FRAGS != 0 {
		mtu = 9000 // does not fit one page: no program without frags may go there
	}
	// By netlink, which is older than links for XDP.
	set := func(index int, flags uint32) (func() error, error) {
		request := func(fd uint32) error {
			return rtnetlink(unix.RTM_SETLINK, 0, append(ifinfo(index, unix.IFF_UP),
				attribute(unix.IFLA_XDP, attribute(unix.IFLA_XDP_FD, number(fd)), attribute(unix.IFLA_XDP_FLAGS, number(flags)))...))
		}
		return func() error { return request(math.MaxUint32) }, request(uint32(prog.FD()))
	}
	index, release, noDevice := n.device("veth", mtu)
	if noDevice == nil {
		detach, err := set(index, unix.XDP_FLAGS_DRV_MODE)
		if err == nil {
			return "veth, in driver mode", func() error { defer release(); return detach() }, nil
		}
		release()
		if !errors.Is(err, unix.EOPNOTSUPP) {
			return "veth, in driver mode", nil, err
		}
	}
	detach, err = set(lo, unix.XDP_FLAGS_SKB_MODE)
	return "lo, in generic mode", detach, err
}

// device is one of a pair of devices of a kind, which is not in use until
// release is called. An MTU of 0 is the kind's own.
func (n *network) device(kind string, mtu int) (index int, release func(), err error) {
	key := fmt.Sprint(kind, mtu)
	release = func() { n.free[key] = append(n.free[key], index) }
	if free := n.free[key]; len(free) > 0 {
		index, n.free[key] = free[0], free[1:]
		return index, release, nil
	}
	end := func(index int, flags uint32) []byte {
		b := slices.Concat(ifinfo(index, flags), attribute(unix.IFLA_IFNAME, fmt.Appendf(nil, "bkc%d\x00", index)))
		if mtu > 0 {
			b = append(b, attribute(unix.IFLA_MTU, number(uint32(mtu)))...)
		}
		return b
	}
	index = 100 + 2*n.devices
	// The other end cannot be up before this one is there.
	peer := attribute(1, end(index+1, 0)) // VETH_INFO_PEER and IFLA_NETKIT_PEER_INFO
	pair := slices.Concat(end(index, unix.IFF_UP), attribute(unix.IFLA_LINKINFO,
		attribute(unix.IFLA_INFO_KIND, []byte(kind)), attribute(unix.IFLA_INFO_DATA, peer)))
	if err := rtnetlink(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, pair); err != nil {
		return 0, nil, fmt.Errorf("make a %s device: %w", kind, err)
	}
	n.devices++
	return index, release, nil
}

// attachFilter attaches with a filter of cls_bpf to lo's qdisc clsact.
func (n *network) attachFilter(prog *ebpf.Program, egress bool) (where string, detach func() error, err error) {
	const clsact, minIngress, minEgress = 0xfffffff1, 0xfffffff2, 0xfffffff3
	tc := func(handle, parent, info uint32, kind string) []byte { // struct tcmsg
		return slices.Concat(number(0), number(lo), number(handle), number(parent), number(info), attribute(1, []byte(kind+"\x00")))
	}
	where = "clsact of lo, ingress"
	parent := uint32(minIngress)
	if egress {
		where, parent = "clsact of lo, egress", minEgress
	}
	err = rtnetlink(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL, tc(0xffff0000, clsact, 0, "clsact"))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return where, nil, withoutModule(err, "sch_ingress")
	}
	n.filters++                                                                     // its priority tells it from others
	const allProtocols = 0x0300                                                     // ETH_P_ALL, as the network has it
	filter := append(tc(0, parent, n.filters<<16|allProtocols, "bpf"), attribute(2, // TCA_OPTIONS
		attribute(6, number(uint32(prog.FD()))), // TCA_BPF_FD
		attribute(7, []byte("bkc\x00")),         // TCA_BPF_NAME
		attribute(8, number(1)))...)             // TCA_BPF_FLAGS: TCA_BPF_FLAG_ACT_DIRECT
	detach, err = whileThere(unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER, filter)
	return where, detach, withoutModule(err, "cls_bpf")
}

// withoutModule is err, or says that a module is not there to be loaded.
func withoutModule(err error, module string) error {
	if errors.Is(err, unix.ENOENT) {
		return needsMore("the module " + module + ", which this kernel lacks or was not given")
	}
	return err
}

// tcAction is an action of act_bpf.
func tcAction(prog *ebpf.Program) []byte {
	params := make([]byte, 20) // struct tc_act_bpf
	binary.NativeEndian.PutUint32(params, 1)
	// struct tcamsg, TCA_ACT_TAB, its first entry.
	return append(number(0), attribute(1, attribute(1,
		attribute(1, []byte("bpf\x00")), // TCA_ACT_KIND
		attribute(2, // TCA_ACT_OPTIONS
			attribute(2, params),                    // TCA_ACT_BPF_PARMS
			attribute(5, number(uint32(prog.FD()))), // TCA_ACT_BPF_FD
			attribute(6, []byte("bkc\x00"))),        // TCA_ACT_BPF_NAME
		attribute(3, number(1))))...) // TCA_ACT_INDEX, for taking it away
}

// route is a route whose packets a program of a lightweight tunnel sees.
func route(prog *ebpf.Program, typ ebpf.ProgramType) []byte {
	program := slices.Concat(attribute(1, number(uint32(prog.FD()))), attribute(2, []byte("bkc\x00"))) // LWT_BPF_PROG_FD, _NAME
	family, destination, kind := byte(unix.AF_INET), []byte{192, 0, 2, 1}, uint16(unix.LWTUNNEL_ENCAP_BPF)
	var tunnel []byte
	if typ == ebpf.LWTSeg6Local {
		family, kind = unix.AF_INET6, unix.LWTUNNEL_ENCAP_SEG6_LOCAL
		destination = append([]byte{0x20, 1, 0xd, 0xb8}, make([]byte, 12)...)
		tunnel = append(attribute(1, number(15)), attribute(8, program)...) // SEG6_LOCAL_ACTION_END_BPF, SEG6_LOCAL_BPF
	} else {
		place := map[ebpf.ProgramType]uint16{ebpf.LWTIn: 1, ebpf.LWTOut: 2, ebpf.LWTXmit: 3}[typ]
		tunnel = attribute(place, program)
	}
	b := []byte{family, byte(8 * len(destination)), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST, 0, 0, 0, 0}
	return slices.Concat(b, attribute(unix.RTA_DST, destination), attribute(unix.RTA_OIF, number(lo)),
		attribute(unix.RTA_ENCAP_TYPE, binary.NativeEndian.AppendUint16(nil, kind)), attribute(unix.RTA_ENCAP, tunnel))
}

// lo is the loopback device's index in every network namespace.
const lo = 1

// ifinfo is a struct ifinfomsg, whose flags may be IFF_UP.
func ifinfo(index int, flags uint32) []byte {
	return slices.Concat(number(0), number(uint32(index)), number(flags), number(unix.IFF_UP))
}

func number(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// attribute is an attribute of rtnetlink that holds others or data.
func attribute(typ uint16, data ...[]byte) []byte {
	all := slices.Concat(data...)
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(all)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), all...)
	return append(b, make([]byte, -len(b)&3)...)
}

// whileThere makes something by one request, which detach takes away by another
// of the same body.
func whileThere(create, remove uint16, body []byte) (detach func() error, err error) {
	if err := rtnetlink(create, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body); err != nil {
		return nil, err
	}
	return func() error { return rtnetlink(remove, 0, body) }, nil
}

// rtnetlink makes a request, and returns the kernel's error.
func rtnetlink(typ, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b := number(uint32(unix.NLMSG_HDRLEN + len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	b = slices.Concat(b, make([]byte, 8), body)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 16<<10)
	for {
		n, err := unix.Read(fd, answer)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n < unix.NLMSG_HDRLEN+4:
			return errors.New("the kernel's answer is too short")
		case binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR:
			continue // what was made, before the acknowledgement
		}
		if errno := -int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); errno != 0 {
			return unix.Errno(errno)
		}
		return nil
	}
}
