// Command ondemand asks a kernel for what distributions build as modules, and
// prints what came of it as TAP. Its arguments are the steps to take; none: all
// but the last.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	steps := []struct {
		name string
		do   func() error
	}{
		{"veth", func() error { return addLink("veth", "ve0") }},
		{"dummy", func() error { return addLink("dummy", "du0") }},
		{"bridge", func() error { return addLink("bridge", "br0") }},
		{"vxlan", func() error { return addLink("vxlan", "vx0", attr(1, u32(42))...) }}, // IFLA_VXLAN_ID
		{"tun", openTun},
		{"sctp", func() error { return openSocket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP) }},
		{"algif", openHash},
		{"overlay", mountOverlay},
		{"clsact", addClsact},
		{"cls_bpf", addFilter},
		{"together", together},
		{"modprobe", func() error { return run("modprobe", "-v", "sch_fq") }},
		{"modprobe-r", func() error { return run("modprobe", "-r", "sch_fq") }},
		{"modinfo", func() error { return run("modinfo", "vxlan") }},
		{"absent", absent},
		{"dummy1", func() error { _, err := net.InterfaceByName("dummy1"); return err }},
	}
	n := 0
	for i, s := range steps {
		if len(os.Args) == 1 && i == len(steps)-1 || len(os.Args) > 1 && !slices.Contains(os.Args[1:], s.name) {
			continue
		}
		n++
		if err := s.do(); err != nil {
			fmt.Printf("not ok %d - %s\n  ---\n  %v\n  ...\n", n, s.name, err)
			continue
		}
		fmt.Printf("ok %d - %s\n", n, s.name)
	}
	fmt.Printf("1..%d\n", n)
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// absent asks for what did not come along: the kernel says that it has it not.
func absent() error {
	if err := addLink("macsec", "ms0"); !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("a link of macsec: %v, want %v", err, unix.EOPNOTSUPP)
	}
	if err := run("modprobe", "no_such_module"); err == nil {
		return errors.New("modprobe loads a module that there is not")
	}
	return nil
}

// together asks for several modules at a time, which need the same ones.
func together() error {
	kinds := []string{"geneve", "gre", "ip6gre", "ipip", "sit", "wireguard", "ifb", "geneve"}
	errs := make([]error, len(kinds))
	var wg sync.WaitGroup
	for i, kind := range kinds {
		wg.Go(func() { errs[i] = run("modprobe", "rtnl-link-"+kind) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func openSocket(family, typ, proto int) error {
	fd, err := unix.Socket(family, typ, proto)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func openTun() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("tun0")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	return unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
}

func openHash() error {
	fd, err := unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrALG{Type: "hash", Name: "sha256"})
}

func mountOverlay() error {
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.MkdirAll("/tmp/o/"+d, 0o755); err != nil {
			return err
		}
	}
	return unix.Mount("overlay", "/tmp/o/merged", "overlay", 0, "lowerdir=/tmp/o/lower,upperdir=/tmp/o/upper,workdir=/tmp/o/work")
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// attr is an attribute of rtnetlink.
func attr(typ int, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = append(binary.NativeEndian.AppendUint16(b, uint16(typ)), data...)
	return append(b, make([]byte, -len(b)&3)...)
}

// request makes a request of rtnetlink and returns the kernel's answer.
func request(typ int, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b := u32(uint32(16 + len(body)))
	b = binary.NativeEndian.AppendUint16(b, uint16(typ))
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b = append(append(b, make([]byte, 8)...), body...)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 8192)
	n, err := unix.Read(fd, answer)
	switch {
	case err != nil:
		return err
	case n < 20 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR:
		return fmt.Errorf("an answer of %d bytes that is none", n)
	}
	if errno := int32(binary.NativeEndian.Uint32(answer[16:])); errno != 0 {
		return unix.Errno(-errno)
	}
	return nil
}

func addLink(kind, name string, data ...byte) error {
	info := attr(1, []byte(kind)) // IFLA_INFO_KIND
	if len(data) > 0 {
		info = append(info, attr(2, data)...) // IFLA_INFO_DATA
	}
	body := make([]byte, 16) // struct ifinfomsg
	body = append(body, attr(unix.IFLA_IFNAME, append([]byte(name), 0))...)
	return request(unix.RTM_NEWLINK, append(body, attr(unix.IFLA_LINKINFO, info)...))
}

// tcmsg is a struct tcmsg for the loopback device, and a kind.
func tcmsg(handle, parent, info uint32, kind string) ([]byte, error) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return nil, err
	}
	b := append(u32(0), u32(uint32(lo.Index))...)
	b = append(append(append(b, u32(handle)...), u32(parent)...), u32(info)...)
	return append(b, attr(1, append([]byte(kind), 0))...), nil // TCA_KIND
}

const (
	clsact  = 0xfffffff1 // TC_H_CLSACT
	ingress = 0xfffffff2 // its TC_H_MIN_INGRESS
)

func addClsact() error {
	b, err := tcmsg(0xffff0000, clsact, 0, "clsact")
	if err != nil {
		return err
	}
	return request(unix.RTM_NEWQDISC, b)
}

func addFilter() error {
	insns := []uint64{0xb7, 0x95} // r0 = 0; exit
	license := []byte("GPL\x00")
	load := struct {
		typ, n         uint32
		insns, license uint64
		rest           [96]byte
	}{typ: unix.BPF_PROG_TYPE_SCHED_CLS, n: 2, insns: uint64(uintptr(unsafe.Pointer(&insns[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	// The verifier gives up with EAGAIN when a signal comes, as Go's runtime sends
	// them to itself: loaders try again.
	var fd uintptr
	errno := unix.EAGAIN
	for range 10 {
		if fd, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load)); errno != unix.EAGAIN {
			break
		}
	}
	if errno != 0 {
		return fmt.Errorf("load the program: %w", errno)
	}
	defer unix.Close(int(fd))
	b, err := tcmsg(0, ingress, 1<<16|0x0300, "bpf") // of priority 1, for all protocols
	if err != nil {
		return err
	}
	options := append(attr(6, u32(uint32(fd))), attr(7, []byte("test\x00"))...) // TCA_BPF_FD, TCA_BPF_NAME
	options = append(options, attr(8, u32(1))...)                               // TCA_BPF_FLAGS: direct action
	return request(unix.RTM_NEWTFILTER, append(b, attr(2, options)...))         // TCA_OPTIONS
}
