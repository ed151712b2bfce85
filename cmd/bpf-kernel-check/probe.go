package main

import (
	"context"
	"sync"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// probe is what a run has to know of this machine before its first VM. Each
// answer takes some hundredths of a second and needs no other, so they are
// found out side by side, and while the kernels are listed.
type probe struct {
	arch  qemu.Arch
	asked qemu.Accel
	done  chan struct{} // closed when all below is there

	bin     string // of QEMU
	version string
	digest  string
	binErr  error // of the three above

	accel    qemu.Accel
	why      string
	accelErr error

	sandbox, firmware string

	tsc int

	init    []byte
	initErr error
}

// startProbe begins. What it starts ends with ctx.
func startProbe(ctx context.Context, arch qemu.Arch, accel qemu.Accel) *probe {
	p := &probe{arch: arch, asked: accel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		var all sync.WaitGroup
		defer func() {
			all.Wait()
			if arch.Firmware[p.accel] == "" { // it is TCG's
				p.firmware = ""
			}
		}()
		all.Go(func() { p.init, p.initErr = guest.Program(ctx, arch.Name, guest.Init) })
		if p.bin, p.binErr = qemu.Find(arch); p.binErr != nil {
			return
		}
		all.Go(func() { p.accel, p.why, p.accelErr = qemu.Choose(ctx, accel, arch, qemu.DefaultKVM) })
		all.Go(func() { p.sandbox, p.firmware = qemu.Abilities(ctx, p.bin, arch, qemu.TCG) })
		all.Go(func() { p.tsc = qemu.TSC() })
		all.Go(func() {
			if p.version, p.binErr = qemu.Version(ctx, p.bin); p.binErr == nil {
				p.digest, p.binErr = qemu.Digest(p.bin, p.version)
			}
		})
	}()
	return p
}

// wait waits until everything is known.
func (p *probe) wait() { <-p.done }

// startProbe has the answers for an architecture looked for while others do
// their work. One that cannot be booted is told of later.
func (c *command) startProbe(ctx context.Context, arch string, accel qemu.Accel) {
	if a, err := qemu.LookupArch(arch); err == nil {
		c.probing = startProbe(ctx, a, accel)
	}
}

// probed is the probe that was begun, or one that begins now.
func (c *command) probed(ctx context.Context, arch qemu.Arch, accel qemu.Accel) *probe {
	if c.probing == nil || c.probing.arch.Name != arch.Name || c.probing.asked != accel {
		c.probing = startProbe(ctx, arch, accel)
	}
	return c.probing
}

// endProbe waits until nothing that startProbe began is left running.
func (c *command) endProbe() {
	if c.probing != nil {
		c.probing.wait()
	}
}
