package host

import (
	"cmp"
	"context"
	"sync"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Machine is what a run must know about this machine before its first VM.
type Machine struct {
	QEMU    string // path of the program
	Version string // QEMU's
	Digest  string // of QEMU's program

	Accel    qemu.Accel
	AccelWhy string // why auto did not choose KVM

	qemu.Features     // Firmware for TCG only
	TSC           int // kHz of the time stamp counter; 0 when unknown

	Init []byte // the guest's init program
}

// AccelError says that the requested accelerator cannot be used.
type AccelError struct{ Err error }

func (e *AccelError) Error() string { return e.Err.Error() }
func (e *AccelError) Unwrap() error { return e.Err }

// Probe looks at this machine for what VMs of arch need. Each answer takes some
// hundredths of a second, so they are found side by side. The error is an
// *AccelError when only the accelerator that was asked for is missing.
func Probe(ctx context.Context, arch qemu.Arch, accel qemu.Accel) (m Machine, err error) {
	if m.QEMU, err = qemu.Find(arch); err != nil {
		return m, err
	}
	var all sync.WaitGroup
	var qemuErr, accelErr, initErr error
	all.Go(func() { m.Init, initErr = guest.Program(ctx, arch.Name, guest.Init) })
	all.Go(func() { m.Accel, m.AccelWhy, accelErr = qemu.Choose(ctx, accel, arch, qemu.DefaultKVM) })
	all.Go(func() { m.Features = qemu.Probe(ctx, m.QEMU, arch, qemu.TCG) })
	all.Go(func() { m.TSC = qemu.TSC() })
	all.Go(func() {
		if m.Version, qemuErr = qemu.Version(ctx, m.QEMU); qemuErr == nil {
			m.Digest, qemuErr = qemu.Digest(m.QEMU, m.Version)
		}
	})
	all.Wait()
	if m.Accel != qemu.TCG {
		m.Firmware = ""
	}
	if accelErr != nil {
		accelErr = &AccelError{accelErr}
	}
	return m, cmp.Or(qemuErr, accelErr, initErr)
}
