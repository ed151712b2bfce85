package vm

import (
	"fmt"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Limits bound one VM. They stand in causal order: each is reached only when
// the one before it did not end the VM.
type Limits struct {
	Boot    time.Duration // until init is up
	Payload time.Duration // of the payload; init holds it and shows what hangs
	Grace   time.Duration // beyond Payload, for init to say so, before the VM is ended
	Off     time.Duration // from the end record until QEMU is gone
	Crash   time.Duration // from a panic or second lockup until QEMU is gone
	Silence time.Duration // without a sign of life from init, which gives one every wire.AlivePeriod; 0 for none
	Test    time.Duration // of each test that the payload names; init holds it; 0 for none

	Sign time.Duration // until the console shows anything, as part of Boot; 0 for none
}

// DefaultLimits are those for an accelerator, given the limits for booting and
// for the payload.
func DefaultLimits(a qemu.Accel, boot, payload time.Duration) Limits {
	l := Limits{Boot: boot, Payload: payload, Grace: 15 * time.Second, Off: 10 * time.Second, Crash: 3 * time.Second}
	n := Slowness(a)
	l.Grace, l.Off, l.Crash = n*l.Grace, n*l.Off, n*l.Crash
	return l
}

// Slowness is the factor for the limits of a VM: emulation slows all of it
// down.
func Slowness(a qemu.Accel) time.Duration {
	if a == qemu.TCG {
		return 3
	}
	return 1
}

// ChecksSlowness is the factor for a kernel that image.Config's Checks are true of. With
// KASAN and lockdep, emulated, booting took 4 to 8 times as long and exec 5 to 12 times.
const ChecksSlowness = 5

// Times are the limits n times as long.
func (l Limits) Times(n time.Duration) Limits {
	return Limits{Boot: n * l.Boot, Payload: n * l.Payload, Grace: n * l.Grace, Off: n * l.Off, Crash: n * l.Crash, Silence: n * l.Silence, Test: n * l.Test}
}

// MinSilence is the shortest limit for silence: with less a guest that is late
// by a moment would count as dead.
const MinSilence = 3 * wire.AlivePeriod

// ScaleParam is a kernel parameter that has init multiply its job's limits by n.
func ScaleParam(n time.Duration) string { return fmt.Sprintf("%s=%d", wire.ParamScale, n) }
