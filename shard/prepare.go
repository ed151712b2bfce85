package shard

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Prepared is one kernel as Run would boot it.
type Prepared struct {
	Image   *kernel.Image
	Machine qemu.Machine // lacks a nonce
	Vmlinux string       // the kernel as an ELF file, in the scratch directory; "" where it cannot be had
	Facts   report.Facts // that are known without booting it
}

// Prepare makes one kernel ready for a VM: the same image, initramfs, modules
// and machine as in Run. Its files are in r.Scratch.
func (r *Runner) Prepare(ctx context.Context, e plan.Entry) (Prepared, error) {
	start := time.Now()
	im, err := e.Source.Open(ctx, e.Ref)
	if err != nil {
		return Prepared{}, err
	}
	r.initramfs = sync.OnceValues(r.writeInitramfs)
	j := r.unpack(ctx, opened{entry: e, image: im, took: time.Since(start)})
	if j.err != nil {
		return Prepared{}, j.err
	}
	p := Prepared{
		Image: im, Facts: j.facts,
		Machine: qemu.Machine{Arch: r.Arch, Accel: r.Accel, Memory: r.Memory, TSC: r.TSC, Kernel: j.boot, Initrd: j.initrd, Firmware: r.firmware(j, r.Accel), Avoid: r.avoids(im)},
	}
	if vmlinux := filepath.Join(r.Scratch, "vmlinux-0"); fileExists(vmlinux) {
		p.Vmlinux = vmlinux
	}
	return p, nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
