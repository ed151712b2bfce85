//go:build amd64 || arm64

package qemu

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/kvm.h, the same on both architectures. What else differs stands in
// the architecture's own file: loop, prepareCPU, rewind and exitWanted.
const (
	kvmAPI      = 12
	kvmRunSize  = 4096 // of what we read of struct kvm_run: exit_reason at 8
	kvmCreateVM = 0xae01
	kvmGetAPI   = 0xae00
	kvmCheck    = 0xae03 // KVM_CHECK_EXTENSION
	kvmCPU      = 0xae41
	kvmMmapSize = 0xae04
	kvmSetMem   = 0x4020ae46
	kvmRun      = 0xae80

	loopAt  = 0x10000 // the guest's address of the loop
	loopMem = 0x10000 // bytes: a page, however large the host's are
)

// timeLoop makes a VM with a few instructions that count down and then leave
// the VM, and returns how long that took: the best of three, or the first that
// is fast enough.
func timeLoop(kvm int) (time.Duration, error) {
	if v, err := ioctl(kvm, kvmGetAPI, 0); err != nil || v != kvmAPI {
		return 0, fmt.Errorf("API version %d (%v), want %d", v, err, kvmAPI)
	}
	kind := vmType(ipaSizeCap, func(ext uintptr) (int, error) { return ioctl(kvm, kvmCheck, ext) })
	vm, err := ioctl(kvm, kvmCreateVM, kind)
	if err != nil {
		return 0, fmt.Errorf("make a VM: %w", err)
	}
	defer unix.Close(vm)
	mem, err := unix.Mmap(-1, 0, loopMem, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return 0, fmt.Errorf("map memory: %w", err)
	}
	defer func() { _ = unix.Munmap(mem) }()
	copy(mem, loop())
	region := struct {
		slot, flags      uint32
		guest, size, usr uint64
	}{guest: loopAt, size: loopMem, usr: uint64(uintptr(unsafe.Pointer(&mem[0])))}
	if _, err := ioctl(vm, kvmSetMem, uintptr(unsafe.Pointer(&region))); err != nil {
		return 0, fmt.Errorf("give the VM memory: %w", err)
	}
	cpu, err := ioctl(vm, kvmCPU, 0)
	if err != nil {
		return 0, fmt.Errorf("make a vCPU: %w", err)
	}
	defer unix.Close(cpu)
	size, err := ioctl(kvm, kvmMmapSize, 0)
	if err != nil || size < kvmRunSize {
		return 0, fmt.Errorf("size of the vCPU's state is %d (%v)", size, err)
	}
	run, err := unix.Mmap(cpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 0, fmt.Errorf("map the vCPU's state: %w", err)
	}
	defer func() { _ = unix.Munmap(run) }()
	if err := prepareCPU(vm, cpu); err != nil {
		return 0, err
	}
	best := time.Duration(-1)
	for n := 0; n < 3 && (best < 0 || best > loopLimit); n++ {
		if err := rewind(cpu); err != nil {
			return 0, err
		}
		start := time.Now()
		if _, err := ioctl(cpu, kvmRun, 0); err != nil {
			return 0, fmt.Errorf("run the vCPU: %w", err)
		}
		if took := time.Since(start); best < 0 || took < best {
			best = took
		}
		if reason := binary.NativeEndian.Uint32(run[8:]); reason != exitWanted {
			return 0, fmt.Errorf("the guest ended for reason %d, want %d", reason, exitWanted)
		}
	}
	return best, nil
}

// vmType is the type of a VM to make. On arm64 it is the number of the guest's
// physical address bits: type 0 stands for 40, and hosts that have fewer refuse
// it.
func vmType(ipaSize uintptr, check func(ext uintptr) (int, error)) uintptr {
	if ipaSize == 0 {
		return 0
	}
	if n, err := check(ipaSize); err == nil && n > 0 {
		return uintptr(n)
	}
	return 0 // a kernel that does not know the question has 40
}

// ioctl is interrupted by the Go runtime's signals, and goes on.
//
//go:uintptrescapes
func ioctl(fd int, req, arg uintptr) (int, error) {
	return uninterrupted(func() (uintptr, unix.Errno) {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, arg)
		return r, errno
	})
}

func uninterrupted(call func() (uintptr, unix.Errno)) (int, error) {
	for {
		switch r, errno := call(); errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
