package shard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Boot is how VMs come to the point where init runs a payload.
type Boot uint8

// The ways to boot.
const (
	BootUnknown Boot = iota
	BootAuto         // from a saved VM where there can be one
	BootCold         // always from the kernel's first instruction
	BootWarm         // as auto, and what cannot be saved is not tested
)

var bootNames = [...]string{"unknown", "auto", "cold", "warm"}

func (b Boot) String() string {
	if int(b) < len(bootNames) {
		return bootNames[b]
	}
	return fmt.Sprintf("Boot(%d)", uint8(b))
}

// ParseBoot reads auto, cold or warm.
func ParseBoot(s string) (Boot, error) {
	if i := slices.Index(bootNames[:], s); i > 0 {
		return Boot(i), nil
	}
	return BootUnknown, fmt.Errorf("boot %q: want auto, cold or warm", s)
}

// NoWarmBoots says why a runner's VMs cannot be restored from saved ones; empty:
// they can.
func NoWarmBoots(a qemu.Arch, accel qemu.Accel, net bool) string {
	switch {
	case net:
		return "a network card is no part of a saved VM"
	case a.Name != "amd64":
		return "VMs are saved for amd64 only, by what x86 has to hand files to a running guest"
	case accel != qemu.TCG:
		// A VM that is saved under KVM has the host's processor in it, and the
		// next host has another.
		return "VMs are saved under TCG only"
	}
	return ""
}

// How a VM was booted, for report.Kernel's Boot.
const (
	bootedCold = "cold"
	bootedWarm = "warm"
)

// restoreLimit bounds the time until a restored guest says that it is up. It
// takes half a second on an idle machine.
const restoreLimit = 20 * time.Second

// warmBoots restores VMs that were saved when init was ready, and makes those
// that are not in the cache.
type warmBoots struct {
	r    *Runner
	must bool // what cannot be saved is not tested

	base    string        // archive with init, once make has made it
	none    string        // stands for it where a VM has it in memory
	stub    string        // stands for kernels with a PVH entry
	payload string        // archive
	digest  func() string // of base
	make    func() error
	handed  wire.HandoverPackage // payload
}

// newWarmBoots writes what all VMs share. It returns nil when VMs boot cold.
func (r *Runner) newWarmBoots() (*warmBoots, error) {
	if r.Boot != BootAuto && r.Boot != BootWarm || NoWarmBoots(r.Arch, r.Accel, r.Net) != "" {
		return nil, nil
	}
	w := &warmBoots{
		r: r, must: r.Boot == BootWarm,
		base: filepath.Join(r.Scratch, "base.cpio"), none: filepath.Join(r.Scratch, "none.cpio"), stub: filepath.Join(r.Scratch, "stub"), payload: filepath.Join(r.Scratch, "payload.cpio"),
	}
	// The archive without init, and init: hashing the archive takes ten times
	// as long. A hash takes whatever it is given.
	w.digest = sync.OnceValue(func() string {
		sum := sha256.New()
		_ = guest.WriteBase(sum, nil)
		sum.Write(r.InitProgram)
		return hex.EncodeToString(sum.Sum(nil))
	})
	go w.digest() // while kernels are looked for
	for _, f := range []struct {
		path  string
		write func(io.Writer) error
	}{
		{w.none, func(f io.Writer) error { _, err := f.Write(make([]byte, 512)); return err }},
		{w.stub, qemu.WriteStub},
		{w.payload, func(f io.Writer) error { return guest.WritePayload(f, r.Payload) }},
	} {
		var b bytes.Buffer
		err := f.write(&b)
		if err == nil {
			err = os.WriteFile(f.path, b.Bytes(), 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", filepath.Base(f.path), err)
		}
		if f.path == w.payload {
			if w.handed, err = guest.HandOver(b.Bytes()); err != nil {
				return nil, err
			}
		}
	}
	w.make = sync.OnceValue(func() error {
		f, err := os.OpenFile(w.base, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err == nil {
			err = errors.Join(guest.WriteBase(f, r.InitProgram), f.Close())
		}
		if err != nil {
			return fmt.Errorf("write the archive with init: %w", err)
		}
		return nil
	})
	return w, nil
}

// machine is the VM that is saved and restored. boot is what QEMU starts of the
// kernel; pvh says that it has a PVH entry.
func (w *warmBoots) machine(im *kernel.Image, boot string, pvh bool) qemu.Machine {
	r := w.r
	m := qemu.Machine{
		Arch: r.Arch, Accel: r.Accel, Memory: r.Memory, TSC: r.TSC, Kernel: boot, Initrd: w.base, Saves: true,
		Sandbox: r.Sandbox, Append: slices.Clone(r.params), CPUs: r.cpus, Avoid: r.avoids(im),
	}
	if pvh {
		m.Firmware = r.Firmware
	}
	return m
}

// key names all that a saved VM was made from but the host's clock rate, which
// is never quite the same twice.
func (w *warmBoots) key(im *kernel.Image) string {
	m := w.machine(im, "kernel", true)
	m.TSC, m.Initrd = 0, "initrd"
	b, err := json.Marshal([]any{savedSchema, im.KernelDigest(), w.digest(), w.r.QEMUDigest, m.Args()})
	if err != nil { // strings always encode
		panic(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Names of what is kept beside a kernel in the cache, each with the key's start:
// its saved VM; a note that it was booted once, so that the next time it is worth
// to be saved; and why that cannot be done, so that it is not tried each time.
const (
	savedPrefix   = "vm-"
	seenPrefix    = "seen-vm-"
	refusedPrefix = "refused-vm-"

	savedVersions = 2 // of one kernel that are kept, such as for two versions of QEMU
)

func keptName(prefix, key string) string { return prefix + key[:16] }

// has says whether there seems to be a saved VM, so that nothing else of the
// kernel needs to be unpacked.
func (w *warmBoots) has(im *kernel.Image) bool {
	if w == nil {
		return false
	}
	_, ok := im.FindDerived(keptName(savedPrefix, w.key(im)))
	return ok && (len(w.r.Payload.Targets) == 0 || im.KnowsTargets())
}

// wants says whether a kernel's VM is to be restored: when it is saved, or is
// worth to be. Saving costs a fifth of a run with the tracer, so it waits until a
// kernel comes for the second time.
func (w *warmBoots) wants(im *kernel.Image) bool {
	if w == nil {
		return false
	}
	key := w.key(im)
	for _, prefix := range []string{savedPrefix, seenPrefix, refusedPrefix} {
		if _, ok := im.FindDerived(keptName(prefix, key)); ok {
			return true
		}
	}
	return w.must
}

// seen notes that a kernel has booted.
func (w *warmBoots) seen(ctx context.Context, im *kernel.Image) {
	// Without the note it is saved a run later.
	_, _ = im.Derived(ctx, w.r.Cache, keptName(seenPrefix, w.key(im)), func(io.Writer) error { return nil })
}

// refusal is why a kernel cannot be saved. Its text is one line.
type refusal struct{ why string }

func (e *refusal) Error() string { return e.why }

// saved returns the kernel's saved VM. When there is none, unpack is called for
// a job with the kernel unpacked, and the VM is made and kept.
func (w *warmBoots) saved(ctx context.Context, im *kernel.Image, unpack func() (job, error)) (*savedVM, error) {
	key := w.key(im)
	if path, ok := im.FindDerived(keptName(refusedPrefix, key)); ok {
		why, _ := os.ReadFile(path)
		return nil, &refusal{report.OneLine(string(why), 300)}
	}
	if path, ok := im.FindDerived(keptName(savedPrefix, key)); ok {
		vm, err := readSavedVM(path, key, w.keptRAM)
		if err == nil && sameClock(vm.head.TSC, w.r.TSC) {
			return vm, nil
		}
		if err == nil {
			vm.close()
		}
		if err := im.DropDerived(keptName(savedPrefix, key)); err != nil {
			return nil, fmt.Errorf("remove a saved VM that is of no use: %w", err)
		}
	}
	j, err := unpack()
	if err != nil {
		return nil, err
	}
	var vm *savedVM
	path, err := im.Derived(ctx, w.r.Cache, keptName(savedPrefix, key), func(f io.Writer) error {
		var err error
		if vm, err = w.save(ctx, j); err != nil {
			return err
		}
		vm.head.Key = key
		return vm.write(f)
	})
	if err != nil {
		var no *refusal
		if errors.As(err, &no) && ctx.Err() == nil {
			_, _ = im.Derived(ctx, w.r.Cache, keptName(refusedPrefix, key), func(f io.Writer) error {
				_, err := io.WriteString(f, no.why)
				return err
			})
		}
		return nil, err
	}
	im.KeepNewestDerived(savedPrefix, savedVersions)
	if vm != nil {
		return vm, nil
	}
	return readSavedVM(path, key, w.keptRAM) // another process made it meanwhile
}

// sameClock says whether a kernel that was told one rate of the time stamp
// counter can go on under another: the lockup watchdog goes by it, and does not
// mind a hundredth.
func sameClock(a, b int) bool { return a == b || max(a, b)-min(a, b) <= min(a, b)/100 }

// save boots a kernel to init's ready point and returns the VM.
func (w *warmBoots) save(ctx context.Context, j job) (*savedVM, error) {
	if err := w.make(); err != nil {
		return nil, err
	}
	saveCtx, cancel := context.WithTimeout(ctx, w.r.Limits.Boot)
	defer cancel()
	vm := &savedVM{head: savedHead{TSC: w.r.TSC, PVH: j.boot != j.image.Kernel}}
	m := w.machine(j.image, j.boot, vm.head.PVH)
	ram, err := m.NewRAM(w.r.Scratch)
	if err != nil {
		return nil, err
	}
	defer func() {
		if vm.ram == nil {
			ram.Close()
		}
	}()
	var state, packed, con bytes.Buffer
	z, err := compressState(&state)
	if err != nil {
		return nil, err
	}
	err = qemu.Save(saveCtx, w.r.QEMU, m, wire.ReadyLine, &capped{w: &con, left: maxSavedConsole}, z, ram)
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	var seen console.Scanner
	_, _ = seen.Write(con.Bytes())
	for _, f := range seen.Findings() {
		if f.Kind.Crash() {
			return nil, &refusal{"the kernel crashes before init is ready: " + report.OneLine(f.Title, 200)}
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case saveCtx.Err() != nil:
		return nil, &refusal{fmt.Sprintf("init was not ready within %v", w.r.Limits.Boot)}
	case errors.Is(err, qemu.ErrNotReady):
		return nil, &refusal{"init did not get ready: " + report.OneLine(lastLine(con.String()), 200)}
	case err != nil:
		return nil, err
	}
	if err := packRAM(&packed, ram); err != nil {
		return nil, err
	}
	vm.console, vm.state, vm.packed = con.Bytes(), state.Bytes(), packed.Bytes()
	vm.ram, vm.fresh = ram, true
	return vm, nil
}

// capped passes on what there is room for.
type capped struct {
	w    io.Writer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if _, err := c.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

func lastLine(s string) string {
	last := ""
	for l := range bytes.Lines([]byte(s)) {
		if t := bytes.TrimSpace(l); len(t) > 0 {
			last = string(t)
		}
	}
	return last
}

// boot restores a kernel's VM, hands it the payload, and watches it to its end.
// ok is false when nothing came of it, and why says the reason; the console's
// file has to be emptied then.
func (w *warmBoots) boot(ctx context.Context, j job, nonce string, con io.Writer, unpack func() (job, error)) (o observation, why string, ok bool) {
	start := time.Now()
	vm, err := w.saved(ctx, j.image, unpack)
	if err != nil {
		var no *refusal
		if errors.As(err, &no) {
			return o, "a VM that cannot be saved: " + no.why, false
		}
		return o, "a VM that could not be saved: " + err.Error(), false
	}
	defer vm.close()
	made := time.Since(start)
	o, err = w.restore(ctx, j, vm, nonce, con)
	switch {
	case err != nil:
		why = err.Error()
	case len(o.records) > 0:
		if vm.fresh {
			o.saved = made
		}
		return o, "", true
	case o.stopped == stopBoot:
		why = fmt.Sprintf("no sign of init within %v", min(restoreLimit, w.r.Limits.Boot))
	default:
		why = or(lastLine(o.tail), o.exit.String())
		if !o.exit.Clean() {
			why = "QEMU: " + o.exit.String()
		}
	}
	if ctx.Err() == nil {
		// The next run makes it anew.
		_ = j.image.DropDerived(keptName(savedPrefix, vm.head.Key))
	}
	return o, "a failed restore: " + why, false
}

// after is a reader of what comes when wait returns.
type after struct {
	wait func() error
	r    io.Reader
}

func (a *after) Read(p []byte) (int, error) {
	if err := a.wait(); err != nil {
		return 0, err
	}
	return a.r.Read(p)
}

func (w *warmBoots) restore(ctx context.Context, j job, vm *savedVM, nonce string, con io.Writer) (observation, error) {
	dir, err := os.MkdirTemp(w.r.Scratch, "handover-")
	if err != nil {
		return observation{}, fmt.Errorf("make a directory for the handover: %w", err)
	}
	defer os.RemoveAll(dir)
	h := wire.Handover{Nonce: nonce, Now: w.r.Now().UnixNano(), Entropy: make([]byte, 2*wire.MinEntropy)}
	if _, err := io.ReadFull(w.r.Random, h.Entropy); err != nil {
		return observation{}, fmt.Errorf("make entropy for the guest: %w", err)
	}
	m := w.machine(j.image, w.stub, vm.head.PVH)
	m.Initrd = w.none
	if !vm.head.PVH {
		m.Kernel = j.image.Kernel
	}
	m.TSC = vm.head.TSC
	archive := func(path string, p wire.HandoverPackage) {
		m.Files = append(m.Files, qemu.File{Name: fmt.Sprintf("%s%d", wire.HandoverArchive, len(h.Archives)), Path: path})
		h.Archives = append(h.Archives, p)
	}
	archive(w.payload, w.handed)
	if j.modules != "" {
		b, err := os.ReadFile(j.modules)
		var p wire.HandoverPackage
		if err == nil {
			p, err = guest.HandOver(b)
		}
		if err != nil {
			return observation{}, fmt.Errorf("read the modules of %s: %w", j.image.ID(), err)
		}
		archive(j.modules, p)
	}
	b := wire.PackHandover(h)
	if len(b) > wire.MaxHandover {
		return observation{}, fmt.Errorf("the payload has too many files for a restored VM: their list has %d bytes, more than %d", len(b), wire.MaxHandover)
	}
	path := filepath.Join(dir, "handover")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return observation{}, fmt.Errorf("write the handover: %w", err)
	}
	m.Files = append(m.Files, qemu.File{Name: wire.HandoverName, Path: path})

	state, err := vm.open()
	if err != nil {
		return observation{}, err
	}
	defer state.Close()
	var feed io.Reader = state
	if vm.ram == nil {
		var unpack func() error
		if vm.ram, unpack, err = w.memory(vm, m); err != nil {
			return observation{}, err
		}
		// While QEMU starts. It does not look at the memory before the state
		// has come.
		unpacked := make(chan error, 1)
		go func() { unpacked <- unpack() }()
		wait := sync.OnceValue(func() error { return <-unpacked })
		defer wait() // nothing of it goes on
		feed = &after{wait, state}
	}
	limits := w.r.Limits
	limits.ended = j.room.leave
	limits.Boot = min(limits.Boot, restoreLimit)
	return observeVM(ctx, nonce, false, limits, con, vm.console, func(ctx context.Context, console, results io.Writer) (qemu.Exit, error) {
		return qemu.Restore(ctx, w.r.QEMU, m, feed, vm.ram, console, results)
	})
}
