package qemu

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// From linux/kvm.h, as x86-64 has them.
const (
	exitWanted  = 5 // KVM_EXIT_HLT
	ipaSizeCap  = 0 // x86 has none
	kvmGetSregs = 0x8138ae83
	kvmSetSregs = 0x4138ae84
	kvmSetRegs  = 0x4090ae82
)

// loop is real-mode code.
func loop() []byte {
	return []byte{
		0x66, 0xb9, loopRounds & 0xff, loopRounds >> 8 & 0xff, loopRounds >> 16 & 0xff, 0, // mov ecx, loopRounds
		0x66, 0x49, // dec ecx
		0x75, 0xfc, // jnz to the dec
		0xf4, // hlt
	}
}

// prepareCPU points the code segment at the loop. struct kvm_sregs starts with
// it: base at 0, selector at 12.
func prepareCPU(_, cpu int) error {
	var sregs [0x138]byte
	if _, err := ioctl(cpu, kvmGetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return fmt.Errorf("read the vCPU's registers: %w", err)
	}
	binary.NativeEndian.PutUint64(sregs[0:], loopAt)
	binary.NativeEndian.PutUint16(sregs[12:], loopAt>>4)
	if _, err := ioctl(cpu, kvmSetSregs, uintptr(unsafe.Pointer(&sregs))); err != nil {
		return fmt.Errorf("set the vCPU's registers: %w", err)
	}
	return nil
}

// rewind sets the vCPU to the loop's start.
func rewind(cpu int) error {
	var regs [18]uint64
	regs[16], regs[17] = 0, 2 // rip, rflags
	if _, err := ioctl(cpu, kvmSetRegs, uintptr(unsafe.Pointer(&regs))); err != nil {
		return fmt.Errorf("set the vCPU's registers: %w", err)
	}
	return nil
}
