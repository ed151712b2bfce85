package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// networkKind is a kind of thing that netlink lists, and that goes by the message
// that lists it, as one to delete it.
type networkKind struct {
	what  string
	get   int    // RTM_GET*; RTM_DEL* is the one before it
	attrs []byte // that tell one from another, besides the header
	head  int    // bytes of the header that do
	links bool
}

// networkKinds are in the order in which they go. What the kernel makes by itself
// is none of them: addresses of the link, and its routes.
var networkKinds = []networkKind{
	{"network interface", unix.RTM_GETLINK, []byte{unix.IFLA_IFNAME}, 0, true},
	{"address", unix.RTM_GETADDR, []byte{unix.IFA_ADDRESS, unix.IFA_LOCAL}, 2, false},
	{"route", unix.RTM_GETROUTE, []byte{unix.RTA_DST, unix.RTA_SRC, unix.RTA_OIF, unix.RTA_GATEWAY, unix.RTA_PRIORITY, unix.RTA_TABLE}, 5, false},
	{"routing rule", unix.RTM_GETRULE, []byte{unix.FRA_DST, unix.FRA_SRC, unix.FRA_IIFNAME, unix.FRA_PRIORITY, unix.FRA_TABLE, unix.FRA_FWMARK}, 5, false},
}

// networkObject is one of a kind.
type networkObject struct {
	key   string
	name  string
	index uint32 // of an interface
	xdp   byte   // how a program is attached to it; 0: none is
	data  []byte
}

// list returns those that there are; none where the kernel does not tell.
func (k networkKind) list() (list []networkObject) {
	b, err := syscall.NetlinkRIB(k.get, unix.AF_UNSPEC)
	if err != nil {
		return nil
	}
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return nil
	}
	sizes := map[int]int{unix.RTM_GETLINK: unix.SizeofIfInfomsg, unix.RTM_GETADDR: unix.SizeofIfAddrmsg, unix.RTM_GETROUTE: unix.SizeofRtMsg, unix.RTM_GETRULE: unix.SizeofRtMsg}
	size := sizes[k.get]
	for _, m := range msgs {
		if int(m.Header.Type) != k.get-2 || len(m.Data) < size {
			continue
		}
		const scope, protocol, link, kernel, router = 3, 5, unix.RT_SCOPE_LINK, unix.RTPROT_KERNEL, unix.RTPROT_RA
		if by := m.Data[protocol]; k.get == unix.RTM_GETADDR && m.Data[scope] == link || k.get == unix.RTM_GETROUTE && (by == kernel || by == router) {
			continue
		}
		o := networkObject{key: fmt.Sprintf("%d %x", k.get, m.Data[:k.head]), data: m.Data}
		switch k.get {
		case unix.RTM_GETLINK:
			o.index, o.data = binary.NativeEndian.Uint32(m.Data[4:]), m.Data[:size]
			o.key += fmt.Sprint(" ", o.index)
		case unix.RTM_GETADDR:
			o.key += fmt.Sprint(" ", binary.NativeEndian.Uint32(m.Data[4:]))
		}
		attributes(m.Data[size:], func(kind uint16, v []byte) {
			switch {
			case k.links && kind == unix.IFLA_XDP:
				attributes(v, func(kind uint16, v []byte) {
					if kind == unix.IFLA_XDP_ATTACHED && len(v) > 0 {
						o.xdp = v[0]
					}
				})
			case k.links && kind == unix.IFLA_IFNAME:
				o.name = strings.TrimRight(string(v), "\x00")
			case !k.links && slices.Contains(k.attrs, byte(kind)):
				o.key += fmt.Sprintf(" %d:%x", kind, v)
				if (len(v) == 4 || len(v) == 16) && kind == 1 { // the destination, or the address
					o.name = ipString(v)
				}
			}
		})
		list = append(list, o)
	}
	return list
}

func ipString(b []byte) string {
	if len(b) == 4 {
		return fmt.Sprintf("%d.%d.%d.%d", b[0], b[1], b[2], b[3])
	}
	return fmt.Sprintf("%x", b)
}

// attributes calls do with each attribute of netlink.
func attributes(b []byte, do func(kind uint16, v []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		do(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:n])
		b = b[min(len(b), (n+3)&^3):]
	}
}

// putBackNetwork removes interfaces, addresses, routes and rules that came, and
// what is attached to interfaces that stay.
func (s *system) putBackNetwork() {
	for _, k := range networkKinds {
		for _, o := range k.list() {
			switch {
			case !s.network[o.key]:
				err := netlink(uint16(k.get-1), 0, o.data)
				if k.links && errors.Is(err, unix.EOPNOTSUPP) {
					s.network[o.key] = true // of a driver that came on demand: it stays with it
					continue
				}
				if !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EADDRNOTAVAIL) { // gone with another
					s.note(err, "%s %s", k.what, o.name)
				}
			case k.links:
				s.putBackLink(o)
			}
		}
	}
	if loopbackDown() {
		s.note(loopbackUp(), "network interface lo was down")
	}
}

// putBackLink takes XDP and the hooks of tc off an interface. Links of BPF are gone
// with who held them, or with their pins.
func (s *system) putBackLink(o networkObject) {
	if o.xdp != 0 {
		const driver, generic = 1, 2
		flags := map[byte]uint32{driver: 1 << 2, generic: 1 << 1}[o.xdp]
		u32 := func(kind uint16, v uint32) []byte {
			b := binary.NativeEndian.AppendUint16(nil, 8)
			return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint16(b, kind), v)
		}
		nested := append(u32(unix.IFLA_XDP_FD, ^uint32(0)), u32(unix.IFLA_XDP_FLAGS, flags)...)
		attr := binary.NativeEndian.AppendUint16(nil, uint16(4+len(nested)))
		attr = append(binary.NativeEndian.AppendUint16(attr, unix.IFLA_XDP|unix.NLA_F_NESTED), nested...)
		// One that is attached by a link goes with that, if not at once: see
		// stillLoaded.
		if netlink(unix.RTM_SETLINK, 0, append(slices.Clone(o.data), attr...)) == nil {
			s.note(nil, "XDP program on %s", o.name)
		}
	}
	for _, q := range []struct {
		what           string
		handle, parent uint32
	}{
		{"clsact", 0xffff0000, 0xfffffff1},     // TC_H_CLSACT, and TC_H_INGRESS
		{"queueing discipline", 0, 0xffffffff}, // TC_H_ROOT; the kernel's own has no handle and stays
	} {
		// struct tcmsg: family, interface, handle, parent, info
		tc := binary.NativeEndian.AppendUint32(make([]byte, 4), o.index)
		tc = binary.NativeEndian.AppendUint32(tc, q.handle)
		tc = binary.NativeEndian.AppendUint32(tc, q.parent)
		if netlink(unix.RTM_DELQDISC, 0, append(tc, 0, 0, 0, 0)) == nil {
			s.note(nil, "%s on %s", q.what, o.name)
		}
	}
}

func loopbackDown() bool {
	fd, err := controlSocket()
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr)
	}
	return err == nil && ifr.Uint16()&unix.IFF_UP == 0
}

// netlink sends a message of rtnetlink and returns what the kernel says to it.
func netlink(kind, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	msg = binary.NativeEndian.AppendUint16(msg, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	msg = append(append(msg, make([]byte, 8)...), body...)
	if err := unix.Sendto(fd, msg, 0, to); err != nil {
		return err
	}
	b := make([]byte, 64<<10)
	n, _, err := unix.Recvfrom(fd, b, 0)
	if err != nil || n < unix.SizeofNlMsghdr+4 {
		return errors.Join(err, errors.New("the kernel does not answer"))
	}
	if code := int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}

// bpf is bpf(2).
func bpf(cmd uintptr, attr []byte) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// bpfPrograms are the ids of all BPF programs.
func bpfPrograms() (ids []uint32) {
	for id := uint32(0); ; ids = append(ids, id) {
		attr := make([]byte, 12) // start, next, flags
		binary.NativeEndian.PutUint32(attr, id)
		if _, err := bpf(unix.BPF_PROG_GET_NEXT_ID, attr); err != nil || len(ids) > 10_000 {
			return ids
		}
		id = binary.NativeEndian.Uint32(attr[4:])
	}
}

// bpfProgram opens a program, and returns its name.
func bpfProgram(id uint32) (fd int, name string) {
	fd, err := bpfOpen(unix.BPF_PROG_GET_FD_BY_ID, id)
	if err != nil {
		return -1, ""
	}
	info := new(bpfInfo)
	if info.ask(fd, false) == nil {
		name = info.name()
	}
	return fd, name
}

// detachPrograms detaches what holds no one: programs on the control groups that
// stay, and on the tcx hooks of the interfaces that do.
func (s *system) detachPrograms() {
	const attachTypes, tcxIngress, tcxEgress, most = 64, 46, 47, 64
	detach := func(target, kind uint32, where string) {
		ids := make([]uint32, most)
		var pin runtime.Pinner // their address is in query
		pin.Pin(&ids[0])
		defer pin.Unpin()
		query := make([]byte, 32) // target, type, flags, flags, ids, their number
		binary.NativeEndian.PutUint32(query, target)
		binary.NativeEndian.PutUint32(query[4:], kind)
		binary.NativeEndian.PutUint64(query[16:], uint64(uintptr(unsafe.Pointer(&ids[0]))))
		binary.NativeEndian.PutUint32(query[24:], most)
		if _, err := bpf(unix.BPF_PROG_QUERY, query); err != nil {
			return
		}
		for _, id := range ids[:min(binary.NativeEndian.Uint32(query[24:]), most)] {
			fd, name := bpfProgram(id)
			if s.programs[id] || fd < 0 {
				continue
			}
			attr := make([]byte, 12) // target, program, type
			binary.NativeEndian.PutUint32(attr, target)
			binary.NativeEndian.PutUint32(attr[4:], uint32(fd))
			binary.NativeEndian.PutUint32(attr[8:], kind)
			_, err := bpf(unix.BPF_PROG_DETACH, attr)
			unix.Close(fd)
			if err == nil { // or it goes with its link, if not at once
				s.note(nil, "BPF program %s on %s", name, where)
			}
		}
	}
	for _, dir := range cgroups() {
		if !s.entries[dir] {
			continue // it goes
		}
		if f, err := os.Open(dir); err == nil {
			for kind := range uint32(attachTypes) {
				if kind != tcxIngress && kind != tcxEgress {
					detach(uint32(f.Fd()), kind, "cgroup "+dir)
				}
			}
			f.Close()
		}
	}
	for _, index := range s.links {
		detach(index, tcxIngress, fmt.Sprint("interface ", index))
		detach(index, tcxEgress, fmt.Sprint("interface ", index))
	}
}

// stillLoaded names the BPF programs that are there still, once the kernel had time
// to free those that nothing holds: links and network namespaces go by work queues.
func (s *system) stillLoaded() {
	const pause, most = 100 * time.Millisecond, 5 * time.Second
	came := func(id uint32) bool { return !s.programs[id] }
	for end := time.Now().Add(most); slices.ContainsFunc(bpfPrograms(), came) && time.Now().Before(end); {
		time.Sleep(pause)
	}
	for _, id := range bpfPrograms() {
		if !came(id) {
			continue
		}
		if fd, name := bpfProgram(id); fd >= 0 {
			unix.Close(fd)
			s.spoil(fmt.Sprintf("BPF program %d (%s), which something in the kernel still holds", id, name))
		}
	}
}
