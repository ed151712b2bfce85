package vm

import (
	"time"

	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// BootMode is how a VM starts.
type BootMode struct {
	Accel    qemu.Accel
	Method   Method
	PlainCPU bool // a plain old CPU: what the usual one showed may be the emulator's doing
}

// Method is how a kernel comes to the point where init runs.
type Method uint8

// The methods. Fastest asks for the first of the next two that serves the
// kernel.
const (
	MethodUnknown Method = iota
	Fastest
	Restored     // from a snapshot
	Usual        // the unpacked kernel on the usual machine
	Trial        // as Usual, and the kernel prints early: KVM is in doubt
	Conservative // the image as it was shipped on the CPU that every kernel starts on, all messages printed
)

// BootLimits bound the time until init is up in methods that another follows.
type BootLimits struct {
	Restored             time.Duration
	TrialSign, TrialBoot time.Duration // until the kernel prints anything, and until init is up
}

// DefaultBootLimits are for busy machines. On an idle one a restored guest is up
// in half a second. Hardware is past the kernel's banner in
// 0.1 s and starts init in 1 s; QEMU's start from a cold disk takes seconds more.
func DefaultBootLimits() BootLimits {
	return BootLimits{Restored: 20 * time.Second, TrialSign: 10 * time.Second, TrialBoot: 20 * time.Second}
}

// Limits returns l as they are for a method.
func (b BootLimits) Limits(l Limits, m Method) Limits {
	switch m {
	case Restored:
		l.Boot = min(l.Boot, b.Restored)
	case Trial:
		l.Sign, l.Boot = b.TrialSign, min(l.Boot, b.TrialBoot)
	}
	return l
}
