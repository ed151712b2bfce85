package host

import (
	"context"
	"sync"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Machine is what a run must know about this machine before its first VM.
type Machine struct {
	QEMU    string // path of the program
	Version string // QEMU's
	Digest  string // of QEMU's program

	Accel    qemu.Accel
	AccelWhy string // why auto did not choose KVM

	Sandbox  string // QEMU's seccomp option; "" when its build has none
	Firmware string // a faster firmware for TCG; "" for QEMU's default
	MicroVM  bool   // whether TCG can use the microvm machine
	TSC      int    // kHz of the time stamp counter; 0 when unknown

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

// remembered is the part of Machine that holds as long as qemu.Identity does.
type remembered struct {
	Version  string `json:"version"`
	Digest   string `json:"digest"`
	Sandbox  string `json:"sandbox"`
	Firmware string `json:"firmware"`
	MicroVM  bool   `json:"lean"`
	TSC      int    `json:"tsc"`
}

// StartProbe starts to look for what VMs of arch need. It stops when ctx ends.
// Answers are kept in cache, which may be nil.
func StartProbe(ctx context.Context, cache *kernel.Cache, arch qemu.Arch, accel qemu.Accel) *Probe {
	p := &Probe{arch: arch, asked: accel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.run(ctx, cache)
		if p.machine.Accel != qemu.TCG { // both are TCG's alone
			p.machine.Firmware, p.machine.MicroVM = "", false
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

func (p *Probe) run(ctx context.Context, cache *kernel.Cache) {
	m := &p.machine
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { m.Init, p.initErr = guest.Program(ctx, p.arch.Name, guest.Init) })
	if m.QEMU, p.qemuErr = qemu.Find(p.arch); p.qemuErr != nil {
		return
	}
	all.Go(func() { m.Accel, m.AccelWhy, p.accelErr = qemu.Choose(ctx, p.asked, p.arch, qemu.DefaultKVM) })
	id, name := qemu.Identity(m.QEMU, p.arch), "qemu-"+p.arch.Name
	if id == "" {
		cache = nil
	}
	var known remembered
	if cache != nil && cache.Recall(name, id, &known) {
		m.Version, m.Digest, m.Sandbox, m.Firmware, m.MicroVM, m.TSC = known.Version, known.Digest, known.Sandbox, known.Firmware, known.MicroVM, known.TSC
		return
	}

	var asked sync.WaitGroup
	asked.Go(func() { m.Sandbox, m.Firmware, m.MicroVM = qemu.Abilities(ctx, m.QEMU, p.arch, qemu.TCG) })
	asked.Go(func() { m.TSC = qemu.TSC() })
	asked.Go(func() {
		if m.Version, p.qemuErr = qemu.Version(ctx, m.QEMU); p.qemuErr == nil {
			m.Digest, p.qemuErr = qemu.Digest(m.QEMU, m.Version)
		}
	})
	asked.Wait()
	// A missing ability may be a QEMU that was too slow to answer: ask again
	// next time.
	complete := p.qemuErr == nil && m.Sandbox != "" && m.Firmware == p.arch.Firmware[qemu.TCG] &&
		m.MicroVM == (p.arch.Lean.Machine != "") && (m.TSC != 0 || p.arch.TSC == "")
	if cache != nil && complete && id == qemu.Identity(m.QEMU, p.arch) {
		_ = cache.Remember(name, id, remembered{m.Version, m.Digest, m.Sandbox, m.Firmware, m.MicroVM, m.TSC}) // else the next run asks again
	}
}
