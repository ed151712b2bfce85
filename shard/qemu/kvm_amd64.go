package qemu

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/kvm.h, as x86-64 has them.
const (
	kvmAPI      = 12
	kvmRunSize  = 4096 // of what we read of struct kvm_run: exit_reason at 8
	exitHlt     = 5
	kvmCreateVM = 0xae01
	kvmGetAPI   = 0xae00
	kvmCPU      = 0xae41
	kvmMmapSize = 0xae04
	kvmSetMem   = 0x4020ae46
	kvmGetSregs = 0x8138ae83
	kvmSetSregs = 0x4138ae84
	kvmSetRegs  = 0x4090ae82
	kvmRun      = 0xae80
)

// timeLoop makes a VM with one page of real-mode code that counts down and
// halts, and returns how long that took: the best of three.
func timeLoop(kvm int) (time.Duration, error) {
	if v, err := ioctl(kvm, kvmGetAPI, 0); err != nil || v != kvmAPI {
		return 0, fmt.Errorf("API version %d (%v), want %d", v, err, kvmAPI)
	}
	vm, err := ioctl(kvm, kvmCreateVM, 0)
	if err != nil {
		return 0, fmt.Errorf("make a VM: %w", err)
	}
	defer unix.Close(vm)
	mem, err := unix.Mmap(-1, 0, 0x1000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return 0, fmt.Errorf("map memory: %w", err)
	}
	defer func() { _ = unix.Munmap(mem) }()
	copy(mem, []byte{
		0x66, 0xb9, loopRounds & 0xff, loopRounds >> 8 & 0xff, loopRounds >> 16 & 0xff, 0, // mov ecx, loopRounds
		0x66, 0x49, // dec ecx
		0x75, 0xfc, // jnz to the dec
		0xf4, // hlt
	})
	region := struct {
		slot, flags      uint32
		guest, size, usr uint64
	}{guest: 0x1000, size: 0x1000, usr: uint64(uintptr(unsafe.Pointer(&mem[0])))}
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

	// struct kvm_sregs starts with the code segment: base at 0, selector at 12.
	var sregs [0x138]byte
	if _, err := ioctl(cpu, kvmGetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return 0, fmt.Errorf("read the vCPU's registers: %w", err)
	}
	clear(sregs[0:8])
	clear(sregs[12:14])
	if _, err := ioctl(cpu, kvmSetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return 0, fmt.Errorf("set the vCPU's registers: %w", err)
	}
	best := time.Duration(-1)
	for range 3 {
		var regs [18]uint64
		regs[16], regs[17] = 0x1000, 2 // rip, rflags
		if _, err := ioctl(cpu, kvmSetRegs, uintptr(unsafe.Pointer(&regs))); err != nil {
			return 0, fmt.Errorf("set the vCPU's registers: %w", err)
		}
		start := time.Now()
		for {
			if _, err := ioctl(cpu, kvmRun, 0); !errors.Is(err, unix.EINTR) {
				if err != nil {
					return 0, fmt.Errorf("run the vCPU: %w", err)
				}
				break
			}
		}
		if took := time.Since(start); best < 0 || took < best {
			best = took
		}
		if reason := *(*uint32)(unsafe.Pointer(&run[8])); reason != exitHlt {
			return 0, fmt.Errorf("the guest ended for reason %d, want %d", reason, exitHlt)
		}
	}
	return best, nil
}

func ioctl(fd int, req, arg uintptr) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), req, arg)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}
