package main

import (
	"os"

	"golang.org/x/sys/unix"
)

const serverPort = 2048

func tcpv4Connect(self object, _ []string, _ *os.File) (object, error) {
	return connect(self, unix.AF_INET, &unix.SockaddrInet4{Port: serverPort, Addr: [4]byte{127, 0, 0, 1}})
}

func tcpv6Connect(self object, _ []string, _ *os.File) (object, error) {
	return connect(self, unix.AF_INET6, &unix.SockaddrInet6{Port: serverPort, Addr: [16]byte{15: 1}})
}

// connect has one process make both ends of a connection over the loopback.
// The client is closed first.
func connect(self object, family int, server unix.Sockaddr) (object, error) {
	listener, err := listen(family, server)
	if err != nil {
		return nil, err
	}
	defer unix.Close(listener)
	client, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, wrap("make a client socket", err)
	}
	accepted := -1
	// The client's end first; the deferred call then closes the server's.
	defer func() { unix.Close(accepted) }()
	defer unix.Close(client)
	// The handshake is the kernel's work, so this returns before accept.
	if err := unix.Connect(client, server); err != nil {
		return nil, wrap("connect", err)
	}
	if accepted, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC); err != nil {
		return nil, wrap("accept", err)
	}
	local, err := unix.Getsockname(client)
	if err != nil {
		return nil, wrap("read the client's port", err)
	}
	var netns unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &netns); err != nil {
		return nil, wrap("read the network namespace", err)
	}
	return object{
		"pid_info":    self,
		"client_port": port(local),
		"server_port": serverPort,
		"netns":       netns.Ino,
	}, nil
}

func listen(family int, at unix.Sockaddr) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, wrap("make a server socket", err)
	}
	err = wrap("share the address", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	if err == nil && family == unix.AF_INET6 {
		// The IPv4 generator may have the same port at the same time.
		err = wrap("keep to IPv6", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	}
	if err == nil {
		err = wrap("bind to port 2048", unix.Bind(fd, at))
	}
	if err == nil {
		err = wrap("listen", unix.Listen(fd, 1))
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

func port(a unix.Sockaddr) int {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return a.Port
	case *unix.SockaddrInet6:
		return a.Port
	}
	return 0
}
