package shard

import (
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
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Runner boots a plan's kernels and records what comes of each.
type Runner struct {
	Out     string // directory for the summary, the consoles and the shard file; exists
	Scratch string // directory for unpacked images and the initramfs, emptied afterwards; exists

	Arch    qemu.Arch
	QEMU    string // path of the binary
	Accel   qemu.Accel
	Memory  int // MiB of each VM; 0: qemu.DefaultMemory
	TSC     int // what qemu.TSC measured
	Jobs    int // VMs at a time
	Retries int // further attempts when nothing is known about a kernel; at most MaxRetries
	Limits  Limits

	Cache       *kernel.Cache
	InitProgram []byte // guest.Init for Arch
	Payload     guest.Payload

	Tool    string // version of this program, for the shard file
	RunID   string
	Attempt int
	HeadSHA string

	Now    func() time.Time
	Random io.Reader
	Report func(Event) // progress; called from several goroutines

	Boot       Boot   // the zero value boots cold
	QEMUDigest string // of QEMU's version and binary, for saved VMs

	initramfs []byte // of the kernels that bring no modules
	warm      *warmBoots
}

// MaxRetries is the most further attempts that a kernel gets.
const MaxRetries = 10

// State is what happens to a kernel at a moment.
type State uint8

// The states, in order.
const (
	Fetching State = iota + 1
	Waiting
	Booting
	Retrying
	Done
)

// Event tells of one kernel's progress.
type Event struct {
	ID     string
	State  State
	Result report.Kernel // when Done
	Took   time.Duration // when Done: from the start of its VM
	Reason string        // when Retrying
}

// job is a kernel on its way.
type job struct {
	entry   Entry
	image   *kernel.Image
	boot    string // image to give to QEMU
	initrd  string
	facts   report.Facts
	cleanup func()
	err     error
	fetch   time.Duration

	packed  bool   // only what a restore needs is unpacked
	modules string // archive of the kernel's modules; "": none
	index   int    // in the plan
}

// Run boots every kernel of the plan, the longest first as far as it is known.
// The results are in the plan's order, one for each kernel whatever happens: a
// kernel that was not reached when ctx ended is missing. The shard file grows
// as results come; the summary is written at the end. A plan without kernels is
// a shard that got none, and has a shard file too. An error means that the
// results could not be recorded.
func (r *Runner) Run(ctx context.Context, plan Plan) ([]report.Kernel, error) {
	var b []byte
	if len(plan.Entries) > 0 {
		var err error
		if b, err = guest.Initramfs(r.InitProgram, r.Payload); err != nil {
			return nil, fmt.Errorf("build the initramfs: %w", err)
		}
		if err = os.WriteFile(r.sharedInitrd(), b, 0o600); err != nil {
			return nil, fmt.Errorf("write the initramfs: %w", err)
		}
		r.initramfs = b
		if r.warm, err = r.newWarmBoots(); err != nil {
			return nil, err
		}
	}
	if err := r.clear(plan); err != nil {
		return nil, err
	}
	started := r.Now()
	sf, err := report.CreateShardFile(r.Out, r.Record(plan))
	if err != nil {
		return nil, err
	}

	results := make([]report.Kernel, len(plan.Entries))
	var mu sync.Mutex
	var recordErr error
	record := func(i int, k report.Kernel, took time.Duration) {
		mu.Lock()
		results[i] = k
		recordErr = errors.Join(recordErr, sf.Kernel(k))
		mu.Unlock()
		r.Report(Event{ID: k.ID, State: Done, Result: k, Took: took})
	}

	// Several are fetched side by side; one goroutine unpacks ahead of the VMs,
	// as far as there are VMs: unpacked images are large.
	type indexed struct {
		int
		job
	}
	ready := make(chan indexed)
	slots := make(chan struct{}, r.Jobs+1)
	go func() {
		defer close(ready)
		for o := range r.openAll(ctx, plan.Entries, longestFirst(plan.costs())) {
			select {
			case <-ctx.Done():
				return
			case slots <- struct{}{}:
			}
			j := r.unpack(ctx, o)
			r.Report(Event{ID: o.entry.ID(), State: Waiting})
			select {
			case <-ctx.Done():
				j.cleanup()
				return
			case ready <- indexed{o.index, j}:
			}
		}
	}()
	var workers sync.WaitGroup
	for range max(1, r.Jobs) {
		workers.Go(func() {
			for x := range ready {
				if ctx.Err() == nil {
					start := time.Now()
					if k, ok := r.one(ctx, x.job); ok {
						record(x.int, k, time.Since(start))
					}
				}
				x.cleanup()
				<-slots
			}
		})
	}
	workers.Wait()

	interrupted := false
	for i, e := range plan.Entries {
		if results[i].ID != "" {
			continue
		}
		interrupted = true
		results[i] = report.Kernel{ID: e.ID(), Digest: e.Ref.Digest, Verdict: report.Missing, Cause: &report.Cause{Title: "the run was interrupted before this kernel was done"}}
	}
	recordErr = errors.Join(recordErr, sf.Close(!interrupted), WriteSummary(r.Out, started, results))
	return results, recordErr
}

// Record is what the shard file says about a plan.
func (r *Runner) Record(plan Plan) report.Plan {
	part := plan.part()
	return report.Plan{
		Tool: r.Tool, List: part.List, Algorithm: string(part.Algorithm), Shard: part.Shard, Shards: part.Shards,
		RunID: r.RunID, Attempt: max(1, r.Attempt), HeadSHA: r.HeadSHA, Payload: r.Payload.Digest(), Arch: r.Arch.Name, Kernels: plan.IDs(),
	}
}

// longestFirst returns the indices of costs in falling order: a long kernel
// that comes last would have the other VMs wait for it.
func longestFirst(costs []time.Duration) []int {
	order := make([]int, len(costs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(costs[b], costs[a]) })
	return order
}

// WriteSummary writes the summary file of a run that began at started.
func WriteSummary(dir string, started time.Time, results []report.Kernel) error {
	var b strings.Builder
	if err := report.WriteSummary(&b, started, results); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, report.SummaryName), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return nil
}

// unpack makes of an opened kernel what QEMU boots or restores.
func (r *Runner) unpack(ctx context.Context, o opened) job {
	start := time.Now()
	j := job{entry: o.entry, image: o.image, err: o.err, cleanup: func() {}, initrd: r.sharedInitrd(), fetch: o.took, index: o.index}
	if j.err != nil {
		return j
	}
	if a := j.image.Arch; a != "" && a != r.Arch.Name {
		j.err = fmt.Errorf("the kernel is for %s, the payload for %s", a, r.Arch.Name)
		return j
	}
	j.cleanup = func() {
		os.Remove(r.vmlinux(j))
		os.Remove(r.ownInitrd(j))
	}
	if len(r.Payload.Modules) > 0 && j.image.HasModules() {
		j.modules, j.err = r.modulesArchive(ctx, j.image)
	}
	switch {
	case j.err != nil:
	case r.warm.has(j.image):
		j.packed = true
		j.facts = hostFacts(ctx, j.image, r.Cache, "", r.Payload.Targets)
	default:
		j = r.unpackImage(ctx, j)
	}
	j.fetch += time.Since(start)
	return j
}

func (r *Runner) vmlinux(j job) string {
	return filepath.Join(r.Scratch, fmt.Sprintf("vmlinux-%d", j.index))
}

func (r *Runner) ownInitrd(j job) string {
	return filepath.Join(r.Scratch, fmt.Sprintf("initramfs-%d", j.index))
}

// unpackImage makes what a kernel is booted from.
func (r *Runner) unpackImage(ctx context.Context, j job) job {
	j.packed = false
	j.boot = j.image.Kernel
	vmlinux := r.vmlinux(j)
	unpacked := ""
	switch err := j.image.Vmlinux(ctx, vmlinux); {
	case errors.Is(err, kernel.ErrNoVmlinux):
	case err != nil:
		j.err = err
	default:
		unpacked = vmlinux
		// Without the note QEMU refuses an ELF kernel.
		if pvh, err := kernel.HasPVH(vmlinux); err == nil && pvh {
			j.boot = vmlinux
		}
	}
	if j.err == nil && j.modules != "" {
		if j.err = r.withModules(j); j.err == nil {
			j.initrd = r.ownInitrd(j)
		}
	}
	if j.err == nil {
		j.facts = hostFacts(ctx, j.image, r.Cache, unpacked, r.Payload.Targets)
	}
	return j
}

// sharedInitrd is the initramfs of the kernels that bring no modules.
func (r *Runner) sharedInitrd() string { return filepath.Join(r.Scratch, "initramfs.cpio") }

// modulesArchive returns the path of the archive of the kernel's modules that
// the payload can use. It is made once for a kernel: finding a few modules takes
// a pass over hundreds of megabytes.
func (r *Runner) modulesArchive(ctx context.Context, im *kernel.Image) (string, error) {
	names := sha256.Sum256([]byte(strings.Join(r.Payload.Modules, "\n")))
	name := "modules-" + hex.EncodeToString(names[:8]) + ".cpio"
	return im.Derived(ctx, r.Cache, name, func(w io.Writer) error {
		found, err := im.Modules(ctx, r.Payload.Modules)
		if err != nil {
			return err
		}
		modules := make([]guest.Module, len(found))
		for i, m := range found {
			modules[i] = guest.Module(m)
		}
		return guest.WriteModules(w, modules)
	})
}

// withModules writes the initramfs followed by the archive of modules.
func (r *Runner) withModules(j job) error {
	modules, err := os.ReadFile(j.modules)
	if err != nil {
		return fmt.Errorf("read the modules of %s: %w", j.image.ID(), err)
	}
	if err := os.WriteFile(r.ownInitrd(j), append(r.initramfs[:len(r.initramfs):len(r.initramfs)], modules...), 0o600); err != nil {
		return fmt.Errorf("write the initramfs of %s: %w", j.image.ID(), err)
	}
	return nil
}

// one boots one kernel, again when nothing came of it, and judges. It returns
// false when ctx ended first.
func (r *Runner) one(ctx context.Context, j job) (report.Kernel, bool) {
	k := report.Kernel{ID: j.entry.ID(), Digest: j.entry.Ref.Digest, Phases: map[string]int64{}}
	if j.err != nil {
		if ctx.Err() != nil {
			return k, false
		}
		k.Verdict, k.Cause = report.Infra, &report.Cause{Title: report.OneLine(j.err.Error(), 300)}
		return k, true
	}
	k.Accel = r.Accel.String()
	k.Console = consolePath(j.entry)
	path := filepath.Join(r.Out, filepath.FromSlash(k.Console))
	r.Report(Event{ID: k.ID, State: Booting})
	for {
		k.Attempts++
		v, o, err := r.boot(ctx, j, path, k.Attempts > 1)
		if ctx.Err() != nil {
			return k, false
		}
		if err != nil {
			v = verdict{Verdict: report.Infra, cause: &report.Cause{Title: report.OneLine(err.Error(), 300)}}
		}
		k.Verdict, k.Cause, k.Tests = v.Verdict, v.cause, v.tests
		k.Phases = phases(o.records)
		k.Phases["fetch"] = j.fetch.Nanoseconds()
		k.Phases["vm"] = o.exit.Duration.Nanoseconds()
		k.Boot = o.how
		if o.how == bootedWarm {
			// The guest counts the boot that was saved.
			k.Phases["boot"] = o.booted.Nanoseconds()
		}
		if o.saved > 0 {
			k.Phases["save"] = o.saved.Nanoseconds()
		}
		k.Mounts, k.Modules = nil, nil
		r.keepFiles(&k, o.records)
		for _, rec := range o.records {
			switch {
			case rec.Hello != nil:
				k.Release = report.OneLine(rec.Hello.Release, 200)
			case rec.Kernel != nil:
				k.Facts = guestFacts(j.facts, rec.Kernel)
			case rec.Module != nil:
				k.Modules = append(k.Modules, report.OneLine(rec.Module.Name+": "+rec.Module.Error, 200))
			case rec.Mount != nil:
				k.Mounts = append(k.Mounts, report.OneLine(rec.Mount.Target+": "+rec.Mount.Error, 200))
			}
		}
		// Only what says nothing about the kernel is tried again: a failure
		// that goes away is still a failure.
		if v.Tested() || v.Verdict == report.Pass || k.Attempts > r.Retries {
			if k.Verdict != report.Pass {
				if err := headConsole(path, k); err != nil {
					k.Problems = append(k.Problems, report.OneLine(err.Error(), 300))
				}
			}
			return k, true
		}
		r.Report(Event{ID: k.ID, State: Retrying, Reason: v.cause.Title})
		if err := os.Rename(path, attemptPath(path, k.Attempts)); err != nil && !errors.Is(err, os.ErrNotExist) {
			k.Cause.Title += "; the console could not be kept: " + err.Error()
			return k, true
		}
	}
}

// boot starts one VM and judges it. A second attempt takes the slow and sure
// way: the image as it was shipped, and everything the kernel has to say.
func (r *Runner) boot(ctx context.Context, j job, consolePath string, again bool) (verdict, observation, error) {
	if err := os.MkdirAll(filepath.Dir(consolePath), 0o755); err != nil {
		return verdict{}, observation{}, fmt.Errorf("make the results directory: %w", err)
	}
	con, err := os.Create(consolePath)
	if err != nil {
		return verdict{}, observation{}, fmt.Errorf("create the console's file: %w", err)
	}
	var nonce [16]byte
	if _, err := io.ReadFull(r.Random, nonce[:]); err != nil {
		con.Close()
		return verdict{}, observation{}, fmt.Errorf("make a nonce: %w", err)
	}
	how := bootedCold
	unpack := func() (job, error) {
		if j.packed {
			j = r.unpackImage(ctx, j)
		}
		return j, j.err
	}
	if !again && r.warm.wants(j.image) || r.warm != nil && r.warm.must {
		o, why, ok := r.warm.boot(ctx, j, hex.EncodeToString(nonce[:]), con, unpack)
		o.how = bootedWarm
		switch {
		case ok:
			return r.judged(o, con)
		case ctx.Err() != nil:
			con.Close()
			return verdict{}, o, ctx.Err()
		case r.warm.must:
			con.Close()
			return verdict{}, o, errors.New("not booted, since only a warm boot is asked for: " + why)
		}
		how = bootedCold + " after " + report.OneLine(why, 200)
		if err := emptyFile(con); err != nil {
			con.Close()
			return verdict{}, o, err
		}
	}
	if _, err := unpack(); err != nil {
		con.Close()
		return verdict{}, observation{}, err
	}
	m := qemu.Machine{
		Arch: r.Arch, Accel: r.Accel, Memory: r.Memory, TSC: r.TSC,
		Kernel: j.boot, Initrd: j.initrd, Nonce: hex.EncodeToString(nonce[:]),
	}
	if again {
		m.Kernel = j.image.Kernel
		m.Append = []string{"earlyprintk=" + r.Arch.Console, "ignore_loglevel"}
	}
	o, err := observe(ctx, r.QEMU, m, r.Limits, con)
	o.how = how
	if err != nil {
		con.Close()
		return verdict{}, o, err
	}
	if r.warm != nil && len(o.records) > 0 {
		r.warm.seen(ctx, j.image)
	}
	return r.judged(o, con)
}

// judged closes the console and judges.
func (r *Runner) judged(o observation, con io.Closer) (verdict, observation, error) {
	o.expected, o.skipPass = len(r.Payload.Job.Args) > 0, r.Payload.SkipsPass
	if err := con.Close(); err != nil {
		return verdict{}, o, fmt.Errorf("write the console's file: %w", err)
	}
	return judge(o), o, nil
}

// emptyFile throws away what was written to f.
func emptyFile(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("empty the console's file: %w", err)
	}
	_, err := f.Seek(0, io.SeekStart)
	return err
}
