package host

import (
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

// Probe looks at this machine in the background. Each answer takes some
// hundredths of a second, so they are found side by side, while the kernels are
// listed.
type Probe struct {
	arch  qemu.Arch
	asked qemu.Accel
	done  chan struct{}

	machine                    Machine
	qemuErr, accelErr, initErr error
}

// StartProbe starts to look for what VMs of arch need. It stops when ctx ends.
func StartProbe(ctx context.Context, arch qemu.Arch, accel qemu.Accel) *Probe {
	p := &Probe{arch: arch, asked: accel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.run(ctx)
		if p.machine.Accel != qemu.TCG { // both are TCG's alone
			p.machine.Firmware = ""
		}
	}()
	return p
}

// For reports whether the probe is for this architecture and accelerator.
func (p *Probe) For(arch qemu.Arch, accel qemu.Accel) bool {
	return p.arch.Name == arch.Name && p.asked == accel
}

// Wait waits until everything is known. It returns an *AccelError when only the
// requested accelerator is missing.
func (p *Probe) Wait() (Machine, error) {
	<-p.done
	switch {
	case p.qemuErr != nil:
		return p.machine, p.qemuErr
	case p.accelErr != nil:
		return p.machine, &AccelError{p.accelErr}
	}
	return p.machine, p.initErr
}

func (p *Probe) run(ctx context.Context) {
	m := &p.machine
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { m.Init, p.initErr = guest.Program(ctx, p.arch.Name, guest.Init) })
	if m.QEMU, p.qemuErr = qemu.Find(p.arch); p.qemuErr != nil {
		return
	}
	all.Go(func() { m.Accel, m.AccelWhy, p.accelErr = qemu.Choose(ctx, p.asked, p.arch, qemu.DefaultKVM) })
	all.Go(func() { m.Features = qemu.Probe(ctx, m.QEMU, p.arch, qemu.TCG) })
	all.Go(func() { m.TSC = qemu.TSC() })
	all.Go(func() {
		if m.Version, p.qemuErr = qemu.Version(ctx, m.QEMU); p.qemuErr == nil {
			m.Digest, p.qemuErr = qemu.Digest(m.QEMU, m.Version)
		}
	})
}
