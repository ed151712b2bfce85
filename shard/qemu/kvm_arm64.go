package qemu

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"
)

// From linux/kvm.h and asm/kvm.h, as arm64 has them.
const (
	exitWanted         = 6   // KVM_EXIT_MMIO
	ipaSizeCap         = 165 // KVM_CAP_ARM_VM_IPA_SIZE
	kvmPreferredTarget = 0x8020aeaf
	kvmInitCPU         = 0x4020aeae
	kvmSetOneReg       = 0x4010aeac
	regPC              = 0x6030000000100040
)

// loop ends with a store to where there is no memory, which leaves the VM, and
// goes on from its start when the vCPU runs again.
func loop() []byte {
	var b []byte
	for _, insn := range []uint32{
		// With the instruction cache off, as after a reset, hardware is slow too.
		0xd5381002,                        // mrs x2, sctlr_el1
		0xb2740042,                        // orr x2, x2, #0x1000
		0xd5181002,                        // msr sctlr_el1, x2
		0xd5033fdf,                        // isb
		0xd2800000 | loopRounds&0xffff<<5, // mov x0, #low
		0xf2a00000 | loopRounds>>16<<5,    // movk x0, #high, lsl #16
		0xf1000400,                        // subs x0, x0, #1
		0x54ffffe1,                        // b.ne to the subs
		0xd2a12001,                        // mov x1, #0x9000000
		0xb9000020,                        // str w0, [x1]
		0x17fffff6,                        // b to the start
	} {
		b = binary.LittleEndian.AppendUint32(b, insn)
	}
	return b
}

// prepareCPU makes the vCPU one of the host's kind and points it at the loop.
func prepareCPU(vm, cpu int) error {
	var init [8]uint32 // struct kvm_vcpu_init: target, features
	if _, err := ioctl(vm, kvmPreferredTarget, uintptr(unsafe.Pointer(&init))); err != nil {
		return fmt.Errorf("ask for the vCPU's kind: %w", err)
	}
	if _, err := ioctl(cpu, kvmInitCPU, uintptr(unsafe.Pointer(&init))); err != nil {
		return fmt.Errorf("make the vCPU of the host's kind: %w", err)
	}
	// The kernel gets its address as a number, so it must not move.
	pc := new(uint64)
	*pc = loopAt
	var pin runtime.Pinner
	pin.Pin(pc)
	defer pin.Unpin()
	reg := struct{ id, addr uint64 }{regPC, uint64(uintptr(unsafe.Pointer(pc)))}
	if _, err := ioctl(cpu, kvmSetOneReg, uintptr(unsafe.Pointer(&reg))); err != nil {
		return fmt.Errorf("set the vCPU's program counter: %w", err)
	}
	return nil
}

// rewind has nothing to do: the loop does it.
func rewind(int) error { return nil }
