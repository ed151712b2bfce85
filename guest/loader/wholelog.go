package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// wholeLogSize is how much of a verifier's log is kept. The longest path
// through a program takes a few megabytes; what does not fit is a loop that the
// verifier followed to its limit.
const wholeLogSize = 16 << 20

// wholeLogLevel asks for each instruction on the path that is rejected.
const wholeLogLevel = ebpf.LogLevelBranch | ebpf.LogLevelStats

// errNotLoaded says that load asked the kernel for nothing.
var errNotLoaded = errors.New("the program did not get as far as the verifier")

// wholeLog runs load, which loads one program at wholeLogLevel, and returns
// what the verifier logged. cut says that the log is longer than wholeLogSize:
// kernels from 6.4 keep its end, older ones its beginning.
//
// The library answers a full log by loading again with a larger buffer, up to
// 1 GiB, which a VM does not have, and each time costs a whole verification.
// So the load runs on a thread whose bpf(BPF_PROG_LOAD) calls stop in a
// seccomp filter (from Linux 5.5): the first one goes on with a buffer of ours
// in place of the library's, and those after it are refused.
func wholeLog(load func() error) (log string, cut bool, err error) {
	buf, err := unix.Mmap(-1, 0, wholeLogSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return "", false, fmt.Errorf("memory for the verifier's log: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(buf)) }()

	over := make([]int, 2) // closed by the loading side when it is done
	if err := unix.Pipe2(over, unix.O_CLOEXEC); err != nil {
		return "", false, err
	}
	defer unix.Close(over[0])
	listener := make(chan int, 1)
	loaded := make(chan error, 1)
	go func() {
		defer unix.Close(over[1])
		// The thread keeps its filter, so it ends with this goroutine.
		runtime.LockOSThread()
		fd, err := interceptLoads()
		listener <- fd
		if err == nil {
			err = load()
		}
		loaded <- err
	}()
	fd := <-listener
	if fd < 0 {
		return "", false, fmt.Errorf("intercept the load: %w", <-loaded)
	}
	calls, err := answerLoads(fd, over[0], buf)
	// Without a listener no call waits for an answer any more.
	err = errors.Join(err, unix.Close(fd))
	loadErr := <-loaded
	if err != nil {
		return "", false, fmt.Errorf("answer the load: %w", err)
	}
	if calls == 0 {
		return "", false, errors.Join(errNotLoaded, loadErr)
	}
	end := bytes.IndexByte(buf, 0)
	if end < 0 {
		end = len(buf)
	}
	return string(buf[:end]), calls > 1 || end >= len(buf)-1, loadErr
}

// seccompNotif and seccompNotifResp are struct seccomp_notif and struct
// seccomp_notif_resp of include/uapi/linux/seccomp.h.
type seccompNotif struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type seccompNotifResp struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// interceptLoads puts a filter on the calling thread that stops at each
// bpf(BPF_PROG_LOAD), and returns the file that tells of them; -1 with an error.
func interceptLoads() (int, error) {
	const (
		nrOffset   = 0  // struct seccomp_data: nr
		argsOffset = 16 // args, each 64 bits, little-endian here
	)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nrOffset},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_BPF, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: argsOffset},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.BPF_PROG_LOAD, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// answerLoads answers the calls that fd tells of until over is closed, and
// returns how many of them asked for a log at wholeLogLevel.
func answerLoads(fd, over int, buf []byte) (calls int, err error) {
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(over), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return calls, err
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			if fds[1].Revents != 0 {
				return calls, nil
			}
			continue
		}
		var n seccompNotif
		if errno := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); errno != 0 {
			if errno == unix.EINTR || errno == unix.ENOENT {
				continue
			}
			return calls, errno
		}
		answer := seccompNotifResp{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		logs, err := redirectLog(uintptr(n.args[1]), n.args[2], buf, calls == 0)
		if err != nil {
			return calls, err
		}
		if logs {
			calls++
		}
		if calls > 1 {
			answer = seccompNotifResp{id: n.id, error: -int32(unix.ENOMEM)}
		}
		if errno := ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer)); errno != 0 && errno != unix.ENOENT {
			return calls, errno
		}
	}
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return errno
}

// redirectLog looks at the attributes of a BPF_PROG_LOAD at addr in this
// process, and says whether they ask for a log at wholeLogLevel. It puts buf in
// the place of the log's buffer when change is set.
func redirectLog(addr uintptr, size uint64, buf []byte, change bool) (bool, error) {
	// union bpf_attr: log_level and log_size, 32 bits, log_buf, 64 bits.
	const offset, length = 24, 16
	if size < offset+length {
		return false, nil
	}
	var attr [length]byte
	local := []unix.Iovec{{Base: &attr[0], Len: length}}
	remote := []unix.RemoteIovec{{Base: addr + offset, Len: length}}
	// By the system call, as there is no safe pointer to make of addr.
	if n, err := unix.ProcessVMReadv(os.Getpid(), local, remote, 0); err != nil || n != length {
		return false, fmt.Errorf("read the load's attributes: %d bytes, %w", n, err)
	}
	if binary.NativeEndian.Uint32(attr[0:]) != uint32(wholeLogLevel) {
		return false, nil
	}
	if !change {
		return true, nil
	}
	binary.NativeEndian.PutUint32(attr[4:], uint32(len(buf)))
	binary.NativeEndian.PutUint64(attr[8:], uint64(uintptr(unsafe.Pointer(&buf[0]))))
	if n, err := unix.ProcessVMWritev(os.Getpid(), local, remote, 0); err != nil || n != length {
		return false, fmt.Errorf("write the load's attributes: %d bytes, %w", n, err)
	}
	return true, nil
}
