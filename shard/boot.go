package shard

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/snapshot"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// How a VM was booted, for report.Result's Boot.
const (
	bootedCold = "cold"
	bootedWarm = "warm"
)

// handedOver is what a restored guest takes of its payload in a second, in bytes,
// on a machine that is busy.
const handedOver = 4 << 20

// outcome is what one attempt showed.
type outcome struct {
	vm.Verdict
	observed vm.Observation
	how      string        // bootedCold, bootedWarm, or the former and why
	machine  string        // QEMU's name of it
	saved    time.Duration // how long the snapshot took; 0 if there was one
}

// boot makes one attempt: it starts a VM and judges it. A VM that told nothing
// because of the fast method by which it was started is started again by a
// slower one. ready is called when init is up.
func (r *run) boot(ctx context.Context, j *job, consolePath string, mode vm.BootMode, ready func()) (outcome, error) {
	if !j.slot.Acquire(ctx) { // a payload that has ended gave it up
		return outcome{}, ctx.Err()
	}
	if err := os.MkdirAll(filepath.Dir(consolePath), 0o755); err != nil {
		return outcome{}, fmt.Errorf("make the results directory: %w", err)
	}
	con, err := os.Create(consolePath)
	if err != nil {
		return outcome{}, fmt.Errorf("create the console's file: %w", err)
	}
	out, err := r.startVM(ctx, j, con, mode, ready)
	if cerr := con.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("write the console's file: %w", cerr)
	}
	if err == nil {
		out.Verdict = out.observed.Judge()
	}
	return out, err
}

func (r *run) startVM(ctx context.Context, j *job, con *os.File, mode vm.BootMode, ready func()) (outcome, error) {
	var nonce [16]byte
	if _, err := io.ReadFull(r.Random, nonce[:]); err != nil {
		return outcome{}, fmt.Errorf("make a nonce: %w", err)
	}
	work := r.work(j)
	w := vm.Watch{
		Case:  vm.Case{ID: j.entry.ID(), Allowed: r.Allowed, Payload: len(work.Args)+len(work.Programs) > 0, SkipsPass: r.Payload.SkipsPass},
		Nonce: hex.EncodeToString(nonce[:]), Console: con, Ready: ready, Done: j.slot.Release,
		Collects: work.Collects(),
	}
	for _, p := range work.Programs {
		w.Programs = append(w.Programs, vm.Program{Name: p.Name, Timeout: cmp.Or(p.Timeout, work.Timeout)})
	}
	for _, p := range r.Payload.Job.Programs {
		w.Others = append(w.Others, p.Name)
	}
	if r.Stream != nil {
		w.Stream = r.Stream(w.ID)
	}
	how := bootedCold
	if r.restores(j, mode) {
		out, why := r.restoreVM(ctx, j, w)
		switch {
		case why == "":
			return out, nil
		case ctx.Err() != nil:
			return out, ctx.Err()
		case r.Boot == BootWarm:
			return out, errors.New("not booted, since only a warm boot is asked for: " + why)
		}
		how += " after " + report.OneLine(why, 200)
		if err := empty(con); err != nil {
			return out, err
		}
	}
	if err := r.unpackImage(ctx, j); err != nil {
		return outcome{}, err
	}
	if mode.Method == vm.Fastest {
		mode.Method = vm.Usual
	}
	o, machine, err := r.bootVM(ctx, j, w, mode)
	if r.snapshots != nil && err == nil && o.SawInit() {
		r.snapshots.NoteBooted(ctx, j.image)
	}
	return outcome{observed: o, how: how, machine: machine}, err
}

// bootVM boots a kernel by a method and watches the VM.
func (r *run) bootVM(ctx context.Context, j *job, w vm.Watch, mode vm.BootMode) (o vm.Observation, machine string, err error) {
	initrd, err := r.initrdWithJob(j)
	if err != nil {
		return o, "", err
	}
	m := j.withRoot(r.baseMachine(j.image, mode.Accel))
	m.Kernel, m.Initrd, m.Nonce, m.Net, m.PlainCPU = j.boot, initrd, w.Nonce, r.Net, mode.PlainCPU
	w.Limits = r.bootLimits().Limits(r.limits(&w, j.image, mode.Accel), mode.Method)
	if mode.Method != vm.Conservative {
		m.Firmware = r.firmware(j, mode.Accel)
	}
	switch mode.Method {
	case vm.Trial:
		m.Append = append(m.Append, strings.Fields(r.Arch.EarlyCon+" loglevel=6")...) // the banner is a sign of life
	case vm.Conservative:
		m.Conservative = true
		m.Append = append(m.Append, strings.Fields(r.Arch.EarlyCon+" ignore_loglevel")...)
		if !r.Arch.NoCompressedKernel {
			m.Kernel = j.image.Kernel
		}
	}
	o, err = w.Observe(ctx, func(ctx context.Context, console, results io.Writer) (qemu.Exit, error) {
		in, done, err := openStream(w)
		if err != nil {
			return qemu.Exit{}, err
		}
		defer done()
		m.Input = in
		return qemu.Run(ctx, r.QEMU, m, console, results)
	})
	return o, m.Name(), err
}

// restores says whether a kernel's VM is to be restored. What is in doubt is
// booted from the start.
func (r *run) restores(j *job, mode vm.BootMode) bool {
	if r.snapshots == nil || mode.Method == vm.Trial || mode.PlainCPU || mode.Accel != r.Accel {
		return false
	}
	return r.Boot == BootWarm || mode.Method == vm.Fastest && r.snapshots.Wants(j.image)
}

// restoreVM restores a kernel's VM and watches it. why says why nothing came of
// it; the console's file has to be emptied then.
func (r *run) restoreVM(ctx context.Context, j *job, w vm.Watch) (out outcome, why string) {
	out = outcome{how: bootedWarm, machine: r.Arch.Machine}
	s, err := r.snapshots.Get(ctx, j.image, func() (string, error) {
		err := r.unpackImage(ctx, j)
		return j.boot, err
	})
	var no *snapshot.NotSupportedError
	switch {
	case errors.As(err, &no):
		return out, "a VM that cannot be saved: " + no.Reason
	case err != nil:
		return out, "a VM that could not be saved: " + err.Error()
	}
	limits := r.limits(&w, j.image, r.Accel)
	boots := r.bootLimits()
	boots.Restored += time.Duration(r.Payload.Memory().Unpacked / handedOver * int64(time.Second))
	w.Limits = boots.Limits(limits, vm.Restored)
	w.Before = s.Console()
	var own json.RawMessage
	if j.own != nil {
		if own, err = json.Marshal(j.own); err != nil {
			return out, "the job: " + err.Error()
		}
	}
	o, err := w.Observe(ctx, func(ctx context.Context, console, results io.Writer) (qemu.Exit, error) {
		in, done, err := openStream(w)
		if err != nil {
			return qemu.Exit{}, err
		}
		defer done()
		return s.Restore(ctx, w.Nonce, j.modules, own, in, console, results)
	})
	out.observed, out.saved = o, s.Took
	if errors.As(err, &no) { // which is not the snapshot's fault
		return out, "a VM that could not be restored: " + no.Reason
	}
	switch {
	case err != nil:
		why = err.Error()
	case o.SawInit():
		return out, ""
	case o.BootTimedOut():
		why = fmt.Sprintf("no sign of init within %v", w.Limits.Boot)
	case !o.Exit.Clean():
		why = "QEMU: " + o.Exit.String()
	default:
		last := strings.TrimSpace(o.Tail)
		if last = last[strings.LastIndexByte(last, '\n')+1:]; last == "" {
			last = o.Exit.String()
		}
		why = last
	}
	if ctx.Err() == nil {
		s.Drop()
	}
	return out, "a failed restore: " + why
}

// openStream returns what a VM is sent, if its payload is.
func openStream(w vm.Watch) (in *os.File, done func(), err error) {
	if w.Stream == nil {
		return nil, func() {}, nil
	}
	in, err = w.Stream.Open(w.Nonce)
	return in, w.Stream.Close, err
}

// slowness is the factor by which the limits of a kernel's VM are longer than the
// run's: of the accelerator, and of what the kernel checks all the time.
func (r *run) slowness(im *kernel.Image, on qemu.Accel) time.Duration {
	n := max(1, vm.Slowness(on)/vm.Slowness(r.Accel))
	if im.Config != "" {
		if config, err := im.ReadConfig(""); err == nil && config.Checks() {
			n *= vm.ChecksSlowness
		}
	}
	return n
}

// limits are those of a VM, which gets those of its programs.
func (r *run) limits(w *vm.Watch, im *kernel.Image, on qemu.Accel) vm.Limits {
	n := r.slowness(im, on)
	w.Programs = slices.Clone(w.Programs)
	for i := range w.Programs {
		w.Programs[i].Timeout *= n
	}
	l := r.Limits
	if r.Payload.Job.Collects() {
		l.Grace += wire.CollectTime
	}
	return l.Times(n)
}

func (r *run) bootLimits() vm.BootLimits {
	if b := r.forTests.bootLimits; b != nil {
		return *b
	}
	return vm.DefaultBootLimits()
}

// empty throws away what was written to f.
func empty(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("empty the console's file: %w", err)
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}
