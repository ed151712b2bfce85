package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The addresses of QEMU's user-mode network, which are the same in every VM.
var (
	netAddress = [4]byte{10, 0, 2, 15}
	netMask    = [4]byte{255, 255, 255, 0}
	netGateway = [4]byte{10, 0, 2, 2}
)

// netResolver is /etc/resolv.conf.
const netResolver = "nameserver 10.0.2.3\n"

// networkUp brings up the machine's card.
func networkUp() error {
	cards, err := filepath.Glob("/sys/class/net/*/device")
	if err != nil || len(cards) == 0 {
		return errors.New("no driver took the network card: the kernel needs virtio_net and virtio_pci (on s390x S390_GUEST), built in or among its modules")
	}
	name := filepath.Base(filepath.Dir(cards[0]))
	fd, err := controlSocket()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, set := range []struct {
		req  uint
		addr [4]byte
	}{{unix.SIOCSIFADDR, netAddress}, {unix.SIOCSIFNETMASK, netMask}} {
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := ifr.SetInet4Addr(set.addr[:]); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, set.req, ifr); err != nil {
			return fmt.Errorf("set the address of %s: %w", name, err)
		}
	}
	if err := interfaceUp(fd, name); err != nil {
		return err
	}
	return wrap("route by "+name, defaultRoute(fd))
}

func loopbackUp() error {
	fd, err := controlSocket()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return interfaceUp(fd, "lo")
}

// controlSocket is what interfaces are set up by.
func controlSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	return fd, wrap("open a socket to set up the network", err)
}

func interfaceUp(fd int, name string) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return wrap("bring "+name+" up", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
}

// defaultRoute sends everything to the gateway: struct rtentry, as it is on
// machines of 64 bits.
func defaultRoute(fd int) error {
	const dst, gateway, genmask, flags, size = 8, 24, 40, 56, 120
	var rt [size]byte
	for _, at := range []int{dst, gateway, genmask} {
		binary.NativeEndian.PutUint16(rt[at:], unix.AF_INET)
	}
	copy(rt[gateway+4:], netGateway[:])
	binary.NativeEndian.PutUint16(rt[flags:], unix.RTF_UP|unix.RTF_GATEWAY)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&rt))); errno != 0 {
		return errno
	}
	return nil
}
