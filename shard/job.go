package shard

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/resultcache"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// job is a kernel on its way through a run.
type job struct {
	fetched
	modules string         // archive of the kernel's modules; "" for none
	reused  *report.Result // the result of an earlier VM that stands for this one's
	slot    *slot

	root   rootWay
	config image.Config // of the kernel, for the root; nil if it is not known

	// Set when the image is unpacked, which a restored VM does not need.
	own    *wire.Job // of the next VM, in place of the payload's; nil: that
	boot   string    // what QEMU starts: an ELF file, or the image as it is
	initrd string
	facts  report.Facts

	vmlinux, ownInitrd, jobInitrd string // files of this job alone, which need not be there
	isELF                         bool   // vmlinux is there
}

// cleanup removes the job's files.
func (j *job) cleanup() {
	os.Remove(j.vmlinux)
	os.Remove(j.ownInitrd)
	os.Remove(j.jobInitrd)
}

// work is the job of the next VM.
func (r *run) work(j *job) wire.Job {
	if j.own != nil {
		return *j.own
	}
	return r.Payload.Job
}

// initrdWithJob is the kernel's initramfs with the job of the next VM: what comes
// last in it replaces what is before.
func (r *run) initrdWithJob(j *job) (string, error) {
	if j.own == nil {
		return j.initrd, nil
	}
	archive := j.jobInitrd + ".job"
	defer os.Remove(archive)
	err := kernel.WriteAtomic(archive, 0o600, func(w io.Writer) error { return guest.WriteJob(w, *j.own) })
	if err == nil {
		err = concatenate(j.jobInitrd, j.initrd, archive)
	}
	if err != nil {
		return "", fmt.Errorf("write the initramfs of %s: %w", j.image.ID(), err)
	}
	return j.jobInitrd, nil
}

// unpackELF unpacks the kernel to j.vmlinux, unless that was done.
func (j *job) unpackELF(ctx context.Context) error {
	if j.isELF {
		return nil
	}
	err := j.image.Vmlinux(ctx, j.vmlinux)
	j.isELF = err == nil
	return err
}

// asShipped says whether QEMU starts the image as it is.
func (j *job) asShipped() bool { return j.boot == j.image.Kernel }

// unpack makes of a fetched kernel what QEMU boots or restores.
func (r *run) unpack(ctx context.Context, f fetched) *job {
	start := time.Now()
	in := func(name string) string { return filepath.Join(r.Scratch, fmt.Sprintf("%s-%d", name, f.index)) }
	j := &job{fetched: f, vmlinux: in("vmlinux"), ownInitrd: in("initramfs"), jobInitrd: in("initramfs-job")}
	if j.err != nil {
		return j
	}
	if a := j.image.Arch; a != "" && a != r.Arch.Name {
		j.err = fmt.Errorf("the kernel is for %s, the payload for %s", a, r.Arch.Name)
		return j
	}
	for _, m := range r.Payload.Own {
		if why := m.Unfit(j.image.Release); why != "" {
			j.err = errors.New(why)
			return j
		}
	}
	if r.HasRoot() {
		if j.err = r.wantRoot(ctx, j); j.err != nil {
			return j
		}
	}
	if names := append(j.root.modules, r.Payload.FirstModules()...); (len(names) > 0 || r.Payload.OnDemand.Wants() != nil) && j.image.HasModules() || r.readsConfig && j.image.Config != "" || r.BTF != nil {
		j.modules, j.err = r.modulesArchive(ctx, j.image, names)
	}
	if j.err == nil && r.HasRoot() {
		j.err = r.findRoot(ctx, j)
	}
	if j.err == nil {
		j.reused = r.findReused(ctx, j)
	}
	switch {
	case j.err != nil || j.reused != nil:
	case r.snapshots != nil && r.snapshots.Has(j.image):
		r.readFacts(ctx, j, "")
	default:
		j.err = r.unpackImage(ctx, j)
	}
	j.took += time.Since(start)
	return j
}

// unpackImage makes what a kernel is booted from, unless that was done.
func (r *run) unpackImage(ctx context.Context, j *job) error {
	if j.boot != "" {
		return nil
	}
	boot, elf := j.image.Kernel, ""
	switch err := j.unpackELF(ctx); {
	case errors.Is(err, image.ErrNoVmlinux):
		if r.Arch.NoCompressedKernel {
			elf = boot
			if f := j.image.Info.Format; f != image.FormatImage {
				return fmt.Errorf("the %s is compressed by %s, and QEMU starts no compressed kernel on %s: give an image that is not compressed", f, cmp.Or(string(j.image.Info.Compression), "what is not known"), r.Arch.Name)
			}
		}
	case err != nil:
		return err
	case r.Arch.NoCompressedKernel && j.image.Info.Format == image.FormatVmlinux:
		return fmt.Errorf("QEMU starts no ELF vmlinux on %s: give arch/%s/boot/Image of the same build", r.Arch.Name, r.Arch.Name)
	default:
		elf = j.vmlinux
		// Without the note QEMU refuses an ELF kernel.
		if pvh, err := image.HasPVH(elf); r.Arch.NoCompressedKernel || err == nil && pvh {
			boot = elf
		}
	}
	if _, err := r.initramfs(); err != nil {
		return err
	}
	initrd := r.sharedInitrd()
	// The initramfs comes last: its last file has to be the last of all.
	archives := []string{initrd}
	if j.modules != "" {
		archives = append([]string{j.modules}, archives...)
	}
	if j.root.kind == wire.RootArchive {
		archives = append([]string{j.root.file}, archives...)
	}
	if len(archives) > 1 {
		initrd = j.ownInitrd
		if err := concatenate(initrd, archives...); err != nil {
			return fmt.Errorf("write the initramfs of %s: %w", j.image.ID(), err)
		}
	}
	r.readFacts(ctx, j, elf)
	j.boot, j.initrd = boot, initrd
	return nil
}

// readFacts reads what the kernel's files say. elf is the unpacked kernel, or "".
func (r *run) readFacts(ctx context.Context, j *job, elf string) {
	j.facts = hostFacts(j.image)
	r.preflight.look(ctx, j.image, r.Cache, r.Scratch, elf, &j.facts)
}

// sharedInitrd is the initramfs of the kernels that bring no modules.
func (r *run) sharedInitrd() string { return filepath.Join(r.Scratch, "initramfs.cpio") }

// writeInitramfs writes the initramfs of the kernels that bring no modules and
// returns its digest.
func (r *run) writeInitramfs() (string, error) {
	f, err := os.OpenFile(r.sharedInitrd(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("write the initramfs: %w", err)
	}
	sum := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<20)
	err = guest.WriteInitramfs(w, r.InitProgram, r.Payload)
	if err == nil {
		err = w.Flush()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("build the initramfs: %w", err)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// concatenate writes archives into one file.
func concatenate(to string, archives ...string) error {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	for _, archive := range archives {
		if err = appendFile(out, archive); err != nil {
			break
		}
	}
	return errors.Join(err, out.Close())
}

func appendFile(out *os.File, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := io.Copy(out, in) // in the kernel, where it can
	if rest := n % 4; err == nil && rest > 0 {
		_, err = out.Write(make([]byte, 4-rest)) // the next archive begins at a multiple of 4
	}
	return err
}

// findReused returns the result of an earlier VM that stands for the job's, or
// nil.
func (r *run) findReused(ctx context.Context, j *job) *report.Result {
	key, ok := r.reuseKey(ctx, j)
	if !ok {
		return nil
	}
	k := r.cached.Find(j.image, j.entry.Ref, key)
	if k == nil {
		return nil
	}
	k.Reproduce = r.reproduce(j.entry)
	if r.preflight.wants() {
		var f report.Facts
		if r.preflight.look(ctx, j.image, r.Cache, r.Scratch, "", &f); k.Facts != nil {
			k.Facts.Kind = f.Kind
		}
	}
	return k
}

// keepForReuse keeps a result for later runs, if it may stand for theirs.
func (r *run) keepForReuse(ctx context.Context, j *job, k report.Result) {
	if key, ok := r.reuseKey(ctx, j); ok {
		r.cached.Keep(ctx, j.image, key, k)
	}
}

// reuseKey names what a kernel's VM is made of. ok is false if results are not
// reused.
func (r *run) reuseKey(ctx context.Context, j *job) (key resultcache.Key, ok bool) {
	if r.cached == nil {
		return key, false
	}
	m := r.baseMachine(j.image, r.Accel)
	// Paths differ from run to run; their files' digests are in the key. Of the
	// clock's rate, which is never quite the same twice, only counts whether the
	// kernel is told. Whether it takes the firmware follows from its image.
	m.Kernel, m.Initrd, m.Nonce, m.TSC = "kernel", "initrd", "nonce", min(m.TSC, 1)
	m.Firmware, m.Net = r.Firmware, r.Net
	m = j.withRoot(m)
	if m.Disk != "" {
		m.Disk = "disk"
	}
	key = resultcache.Key{
		Program: r.Program, QEMU: r.QEMUDigest, ROMs: r.ROMs,
		ID: j.entry.ID(), Source: j.entry.Ref.Digest, Kernel: j.image.KernelDigest(), Info: j.image.Info,
		Machine: m.Args(), Limits: r.Limits, Boot: r.Boot.String(),
		ModuleNames: r.Payload.Modules, Targets: r.Payload.Targets, SkipsPass: r.Payload.SkipsPass,
		Allowed: r.Allowed.Entries(), Expected: r.Expect.Digest(), Payload: r.Payload.Digest(), Root: r.Payload.RootDigest,
	}
	var err error
	key.Initramfs, err = r.initramfs()
	if j.image.Config != "" && err == nil {
		key.Config, err = kernel.HashFile(ctx, j.image.Config)
	}
	if j.modules != "" && err == nil {
		key.Modules, err = kernel.HashFile(ctx, j.modules)
	}
	return key, err == nil
}

// baseMachine is what all VMs of a kernel on an accelerator have. What is not in
// it, nor in reuseKey, must not change what a VM does.
func (r *run) baseMachine(im *kernel.Image, on qemu.Accel) qemu.Machine {
	m := qemu.Machine{
		Arch: r.Arch, Accel: on, Memory: r.Memory, TSC: r.TSC, Sandbox: r.Sandbox,
		Append: slices.Clone(r.Append), CPUs: r.CPUs,
		// A kernel whose release is not known can do without what the emulator
		// does wrong: more of them are old than new.
		Avoid: r.Arch.Needs == "" || report.CompareVersions(im.Release, r.Arch.Needs) < 0,
	}
	if n := r.slowness(im, on); n > 1 {
		m.Append = append(m.Append, vm.ScaleParam(n))
	}
	return m
}

// firmware is the fast one for kernels with a PVH entry, which are all that it
// can start: it sets no PCI devices up.
func (r *run) firmware(j *job, on qemu.Accel) string {
	if on != r.Accel || r.Net || r.HasRoot() || j.asShipped() {
		return ""
	}
	return r.Firmware
}

// Prepared is one kernel as Run would boot it.
type Prepared struct {
	Image   *kernel.Image
	Machine qemu.Machine // lacks a nonce
	Vmlinux string       // the kernel as an ELF file, in the scratch directory; "" if it has none
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
	run := r.newRun()
	j := run.unpack(ctx, fetched{entry: e, image: im, took: time.Since(start)})
	if j.err != nil {
		return Prepared{}, j.err
	}
	p := Prepared{Image: im, Facts: j.facts, Machine: j.withRoot(run.baseMachine(im, r.Accel))}
	p.Machine.Kernel, p.Machine.Initrd, p.Machine.Firmware = j.boot, j.initrd, run.firmware(j, r.Accel)
	if _, err := os.Stat(j.vmlinux); err == nil {
		p.Vmlinux = j.vmlinux
	}
	return p, nil
}
