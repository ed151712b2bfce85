package main

import (
	"context"
	"sync"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
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
	lean              bool

	tsc int

	init    []byte
	initErr error
}

// known is what stays as it is for as long as QEMU's Identity does.
type known struct {
	Version  string `json:"version"`
	Digest   string `json:"digest"`
	Sandbox  string `json:"sandbox"`
	Firmware string `json:"firmware"`
	Lean     bool   `json:"lean"`
	TSC      int    `json:"tsc"`
}

// startProbe begins. What it starts ends with ctx. cache remembers answers; nil:
// all are looked for.
func startProbe(ctx context.Context, cache *kernel.Cache, arch qemu.Arch, accel qemu.Accel) *probe {
	p := &probe{arch: arch, asked: accel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		var all sync.WaitGroup
		remember := func() {}
		defer func() {
			all.Wait()
			remember()
			if p.accel != qemu.TCG { // they are TCG's
				p.firmware, p.lean = "", false
			}
		}()
		all.Go(func() { p.init, p.initErr = guest.Program(ctx, arch.Name, guest.Init) })
		if p.bin, p.binErr = qemu.Find(arch); p.binErr != nil {
			return
		}
		all.Go(func() { p.accel, p.why, p.accelErr = qemu.Choose(ctx, accel, arch, qemu.DefaultKVM) })
		id, noted := qemu.Identity(p.bin, arch), "qemu-"+arch.Name
		var k known
		if cache != nil && id != "" && cache.Recall(noted, id, &k) {
			p.version, p.digest, p.sandbox, p.firmware, p.lean, p.tsc = k.Version, k.Digest, k.Sandbox, k.Firmware, k.Lean, k.TSC
			return
		}
		remember = func() {
			// What it has not may be a start that took too long.
			complete := p.binErr == nil && p.sandbox != "" && p.firmware == arch.Firmware[qemu.TCG] && p.lean == (arch.Lean.Machine != "") && (p.tsc != 0 || arch.TSC == "")
			if cache != nil && id != "" && complete && id == qemu.Identity(p.bin, arch) {
				// Without it the next run asks again.
				_ = cache.Remember(noted, id, known{p.version, p.digest, p.sandbox, p.firmware, p.lean, p.tsc})
			}
		}
		all.Go(func() { p.sandbox, p.firmware, p.lean = qemu.Abilities(ctx, p.bin, arch, qemu.TCG) })
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
		c.probing = startProbe(ctx, c.mayOpenCache(), a, accel)
	}
}

// mayOpenCache is the cache, or nil: why there is none is told of later.
func (c *command) mayOpenCache() *kernel.Cache {
	cache, err := c.openCache()
	if err != nil {
		return nil
	}
	return cache
}

// probed is the probe that was begun, or one that begins now.
func (c *command) probed(ctx context.Context, arch qemu.Arch, accel qemu.Accel) *probe {
	if c.probing == nil || c.probing.arch.Name != arch.Name || c.probing.asked != accel {
		c.endProbe() // of the one that is not wanted
		c.probing = startProbe(ctx, c.mayOpenCache(), arch, accel)
	}
	return c.probing
}

// endProbe waits until nothing that startProbe began is left running.
func (c *command) endProbe() {
	if c.probing != nil {
		c.probing.wait()
	}
}
