package host

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
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

	qemu.Features     // Firmware for TCG only
	TSC           int // kHz of the time stamp counter; 0 when unknown

	Init []byte // the guest's init program
}

// AccelError says that the requested accelerator cannot be used.
type AccelError struct{ Err error }

func (e *AccelError) Error() string { return e.Err.Error() }
func (e *AccelError) Unwrap() error { return e.Err }

// Probe looks at this machine for what VMs of arch need. Each answer takes some
// hundredths of a second, so they are found side by side, and the cache remembers
// what QEMU says of itself. The error is an *AccelError when only the accelerator
// that was asked for is missing.
func Probe(ctx context.Context, cache *kernel.Cache, arch qemu.Arch, accel qemu.Accel) (m Machine, err error) {
	if m.QEMU, err = qemu.Find(arch); err != nil {
		return m, err
	}
	var all sync.WaitGroup
	var qemuErr, accelErr, initErr error
	all.Go(func() { m.Init, initErr = guest.Program(ctx, arch.Name, guest.Init) })
	all.Go(func() { m.Accel, m.AccelWhy, accelErr = qemu.Choose(ctx, accel, arch, qemu.DefaultKVM) })
	all.Go(func() { m.TSC = qemu.TSC() })
	all.Go(func() {
		var known knownQEMU
		want := qemu.Features{Sandbox: qemu.Sandbox, Firmware: arch.Firmware[qemu.TCG]}
		qemuErr = cache.RememberOf(m.QEMU, fmt.Sprint(want, sinceBoot()), &known, func() (bool, error) {
			err := known.ask(ctx, m.QEMU, arch)
			// What it lacks may be a start that took too long, and a script starts
			// what it likes.
			return known.Features == want && !isScript(m.QEMU), err
		})
		m.Version, m.Digest, m.Features = known.Version, known.Digest, known.Features
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

// knownQEMU is what stays as it is while QEMU's program and this boot of the
// machine do.
type knownQEMU struct {
	Version string
	Digest  string
	qemu.Features
}

func (k *knownQEMU) ask(ctx context.Context, path string, arch qemu.Arch) (err error) {
	var all sync.WaitGroup
	all.Go(func() { k.Features = qemu.Probe(ctx, path, arch, qemu.TCG) })
	all.Go(func() {
		if k.Version, err = qemu.Version(ctx, path); err == nil {
			k.Digest, err = qemu.Digest(path, k.Version)
		}
	})
	all.Wait()
	return err
}

func isScript(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var start [2]byte
	_, err = io.ReadFull(f, start[:])
	return err == nil && string(start[:]) == "#!"
}

// sinceBoot names this boot of the machine, this user and the file system that
// is seen, which decide whether QEMU finds its firmware and may be sandboxed.
func sinceBoot() string {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	mounts, _ := os.Readlink("/proc/self/ns/mnt")
	return fmt.Sprintf("%s %s uid %d", bytes.TrimSpace(boot), mounts, os.Geteuid())
}
