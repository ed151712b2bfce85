// Package shard does one job's work: it fetches each kernel of a plan, boots it
// in a VM, judges what came of it and records that in the shard file. It owns the
// order of work, the attempts and repeats of a kernel, and what goes into its
// result. It does not know how lists are made and cut (plan), how one VM is
// watched and judged (vm), how saved VMs (snapshot) and earlier results
// (resultcache) are kept, nor how shards are merged.
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
	"github.com/elastic/bpf-kernel-check/report/expect"
	"github.com/elastic/bpf-kernel-check/report/summary"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/btfhub"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/resultcache"
	"github.com/elastic/bpf-kernel-check/shard/snapshot"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// Config is what a run is asked to do.
type Config struct {
	Out string // directory for the summary, the consoles and the shard file; exists

	Arch         qemu.Arch
	Payload      guest.Payload
	PayloadFlags []string // flags of debug that give this payload, for the command that reproduces a result

	// ProgramFlags are PayloadFlags for one of the payload's programs alone, by its
	// name.
	ProgramFlags map[string][]string

	Memory      int // MiB of each VM; 0 for qemu.DefaultMemory
	Net         bool
	Jobs        int  // VMs at a time
	Retries     int  // further attempts when nothing is known about a kernel; at most MaxRetries
	Isolate     bool // each of the payload's programs has a VM of its own
	Repeats     int  // how often each kernel is run, at most MaxRepeats; 0 counts as 1
	Reruns      int  // how often the failed tests of a kernel run again, at most MaxReruns, and with one repeat only
	FlakyOK     bool // a test that passes in a rerun is no failure
	Limits      vm.Limits
	Boot        Boot // the zero value boots cold
	NoEmulation bool // without KVM nothing is tested

	Allowed *vm.Allowed     // splats that are no crash
	Expect  *expect.List    // failures that are expected
	Resumed *report.Resumed // results that are not asked for again
	Earlier []report.Result // the same of earlier calls of Run, which recorded only them

	// Reuse is the greatest age of an earlier result that stands for a kernel's
	// own; 0 boots every kernel. NoReuse says when it has no effect.
	Reuse time.Duration

	Tool    string // version of this program, for the shard file
	RunID   string
	Attempt int
	HeadSHA string

	// Stream returns what becomes of the input and output of a kernel's payload while
	// it runs, always the same for an id. nil unless the payload's job has Stream.
	Stream      func(id string) *vm.Stream
	ProgramName string // report.Plan's Program

	Root     Root     // file system of the guests; nil for none
	HostRoot bool     // the guests' root is this machine's
	CPUs     int      // of each VM; 0 for one
	Append   []string // further kernel parameters, see qemu.ParseParams

	BTF *btfhub.Files // types for kernels that have none, at wire.BTFPath; nil: there are none

	Index *index.Index // what is known of kernels without unpacking them; nil: there is none
	Kinds bool         // results tell of which kind kernels are, whatever the payload and without Index

	RootUnpacked int64 // bytes of memory that Root's files take where they are unpacked into it
	// Report is told of progress and, if not nil, Repeated of each run of a
	// kernel that is run several times. Both are called from several goroutines.
	Report   func(Event)
	Repeated func(id string, repeat int, k report.Result)
}

// Host is what the machine has to do it with.
type Host struct {
	QEMU       string // path of the program
	QEMUDigest string // of its version and bytes, for snapshots and for Reuse
	ROMs       string // qemu.ROMDigest's answer, for Reuse
	Program    string // resultcache.ProgramDigest's answer, for Reuse
	Accel      qemu.Accel
	TSC        int // what qemu.TSC measured
	qemu.Features

	InitProgram []byte // guest.Init for Config.Arch
	Cache       *kernel.Cache
	Scratch     string // directory for unpacked images and archives, emptied afterwards; exists
	Now         func() time.Time
	Random      io.Reader
}

// Runner boots a plan's kernels and records what comes of each.
type Runner struct {
	Config
	Host

	forTests overrides
}

// overrides is what only tests set.
type overrides struct {
	bootLimits *vm.BootLimits
	noDisk     bool // no kernel can mount a root file system's image
}

// MaxRetries is the most further attempts that a kernel gets.
const MaxRetries = 10

// MaxRepeats is how often a kernel can be run.
const MaxRepeats = 1000

// NetModules are the modules that a VM with a network needs, unless the kernel
// has them built in.
func NetModules(a qemu.Arch) []string { return []string{a.Bus.Module, "virtio_net"} }

// Boot says whether VMs are restored from snapshots.
type Boot uint8

// The ways to boot.
const (
	BootUnknown Boot = iota
	BootAuto         // from a snapshot where there can be one
	BootCold         // always from the kernel's first instruction
	BootWarm         // as auto, and what has no snapshot is not tested
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

// State is a stage of a kernel's way through a run.
type State uint8

// The states, in order.
const (
	Fetching State = iota + 1
	Waiting
	Booting
	Retrying
	Done
	Emulating // KVM did not carry this kernel; it and all others are emulated
)

// Event tells of one kernel's progress.
type Event struct {
	ID     string
	State  State
	Result report.Result // when Done
	Took   time.Duration // when Done: from the start of its VM
	Reason string        // when Retrying or Emulating
}

// TimeUpError is the cause of a context that ends a run by its time: what is
// not done then is missing.
type TimeUpError struct {
	Limit time.Duration // as the user gave it
}

func (e *TimeUpError) Error() string {
	return fmt.Sprintf("the run's time, %v, was up", e.Limit)
}

// cutReason says why a run ended before its kernels were done.
func cutReason(ctx context.Context) string {
	var up *TimeUpError
	if errors.As(context.Cause(ctx), &up) {
		return up.Error()
	}
	return "the run was interrupted"
}

// NoReuse says why results cannot be reused, whatever is known of a kernel; "" if
// they can.
func (r *Runner) NoReuse() string {
	switch {
	case r.Accel != qemu.TCG:
		return "a result under KVM depends on the processor of its machine"
	case r.Net:
		return "what a network answers is never the same"
	case r.HostRoot:
		return "this machine's files are in no digest"
	case r.Isolate:
		return "programs that are isolated take a VM each"
	case r.Stream != nil:
		return "what the program reads is in no digest"
	case r.Repeats > 1:
		return "kernels are run several times to see whether they differ"
	case r.Program == "" || r.QEMUDigest == "" || r.ROMs == "":
		return "the bytes of this program, of QEMU or of its firmware are not known"
	}
	return ""
}

// Record is what the shard file says about a plan.
func (c *Config) Record(list plan.Plan) report.Plan {
	part := list.Shard()
	repeat := 0 // for one
	if c.Repeats > 1 {
		repeat = c.Repeats
	}
	return report.Plan{
		Tool: c.Tool, List: part.List, Algorithm: string(part.Algorithm), Shard: part.Shard, Shards: part.Shards,
		RunID: c.RunID, Attempt: max(1, c.Attempt), HeadSHA: c.HeadSHA, Arch: c.Arch.Name, Kernels: list.IDs(),
		Payload: c.payloadDigest(), Content: c.contentDigest(), Allow: c.Allowed.Entries(),
		Expect: c.Expect.Digest(), Repeat: repeat, Rerun: c.Reruns, FlakyOK: c.FlakyOK, Reuse: c.Reuse, Gone: list.Gone(), LeftOut: list.LeftOut, Known: list.Known, Represented: list.Represented, Program: c.ProgramName,
	}
}

// payloadDigest names what a run does: its payload, and the VM's processors and
// kernel parameters where they are not the usual ones.
func (c *Config) payloadDigest() string {
	if c.CPUs <= 1 && len(c.Append) == 0 {
		return c.Payload.Digest()
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %q", c.Payload.Digest(), c.CPUs, c.Append))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// contentDigest names the contents of the payload's files and of --btf's.
func (c *Config) contentDigest() string {
	if c.BTF == nil {
		return c.Payload.ContentDigest()
	}
	sum := sha256.Sum256([]byte(c.Payload.ContentDigest() + " " + c.BTF.Digest()))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// reproduce is the command that opens a shell in a kernel, "" if it does not fit
// in one line.
func (c *Config) reproduce(e plan.Entry) string { return c.reproduceWith(e, c.PayloadFlags) }

func (c *Config) reproduceWith(e plan.Entry, flags []string) string {
	return report.Command(slices.Concat([]string{"--kernels", report.Redact(e.Source.String())}, flags, []string{e.ID()})...)
}

// run is the state of one run.
type run struct {
	*Runner

	kvm         vm.KVMTrial
	preflight   *preflightRun
	snapshots   *snapshot.Store // nil if VMs boot cold
	cached      *resultcache.Cache
	readsConfig bool                   // the payload may look for the kernel's .config
	initramfs   func() (string, error) // writes the shared one, the first time, and returns its digest
	slots       chan struct{}          // of VMs that run at a time
}

func (r *Runner) newRun() *run {
	s := &run{Runner: r, readsConfig: r.Payload.ReadsConfig(), slots: make(chan struct{}, max(1, r.Jobs))}
	s.initramfs = sync.OnceValues(s.writeInitramfs)
	s.preflight = newPreflight(r.Payload, r.BTF, r.Arch.Name)
	s.preflight.index = r.Index
	// The modules of a network are no part of a payload that kernels are picked for.
	s.preflight.kinds = (s.preflight.whole || r.Kinds || r.Index != nil) && !r.Net
	return s
}

// prepare opens what the kernels of a run share.
func (r *run) prepare() error {
	if r.Reuse > 0 && r.NoReuse() == "" {
		if _, err := r.initramfs(); err != nil { // its digest is in the keys
			return err
		}
		// Without QEMU there will be no VM either, and that is told then.
		r.cached, _ = resultcache.New(resultcache.Config{
			Kernels: r.Cache, Out: r.Out, MaxAge: r.Reuse, Now: r.Now, RunID: r.RunID, HeadSHA: r.HeadSHA, QEMU: r.QEMU,
		})
	}
	if r.Boot != BootAuto && r.Boot != BootWarm || snapshot.Unsupported(r.Arch, r.Accel, r.Net, r.HasRoot()) != "" {
		return nil
	}
	var err error
	r.snapshots, err = snapshot.New(snapshot.Config{
		QEMU: r.QEMU, QEMUDigest: r.QEMUDigest, Firmware: r.Firmware, BootLimit: r.Limits.Boot,
		Machine: func(im *kernel.Image) qemu.Machine { return r.baseMachine(im, r.Accel) },
		Init:    r.InitProgram, Payload: r.Payload, Cache: r.Cache, Scratch: r.Scratch, Now: r.Now, Random: r.Random,
	})
	return err
}

// Run boots every kernel of the plan, the longest first as far as it is known.
// The results are in the plan's order, one for each kernel whatever happens: a
// kernel that was not reached when ctx ended is missing. The shard file grows
// as results come; the summary is written at the end. A plan without kernels has
// a shard file too. An error means that the results could not be recorded.
func (r *Runner) Run(ctx context.Context, list plan.Plan) ([]report.Result, error) {
	results, todo := r.known(list)
	run := r.newRun()
	if len(todo) > 0 {
		if err := run.prepare(); err != nil {
			return nil, err
		}
	}
	if err := r.clear(list, todo); err != nil {
		return nil, err
	}
	started := r.Now()
	sf, err := r.shardFile(list)
	if err != nil {
		return nil, err
	}

	var mu sync.Mutex
	var recordErr error
	record := func(i int, k report.Result, took time.Duration) {
		mu.Lock()
		results[i] = k
		recordErr = errors.Join(recordErr, sf.Kernel(k))
		mu.Unlock()
		r.Report(Event{ID: k.ID, State: Done, Result: k, Took: took})
	}
	run.runAll(ctx, list, longestFirst(todo, list.Costs()), record)

	interrupted, why := false, cutReason(ctx)
	for i, e := range list.Entries {
		if results[i].ID != "" {
			continue
		}
		interrupted = true
		results[i] = report.Result{ID: e.ID(), Digest: e.Ref.Digest, Verdict: report.Missing, Cause: &report.Cause{Title: why + " before this kernel was done"}}
	}
	if interrupted {
		recordErr = errors.Join(recordErr, sf.Cut(why))
	}
	recordErr = errors.Join(recordErr, sf.Close(!interrupted), writeSummary(r.Out, started, results, r.Record(list).Represented), run.preflight.write(r.Out))
	return results, recordErr
}

// runAll fetches, unpacks and runs the kernels at some indices of a plan, in
// about that order, and records each.
func (r *run) runAll(ctx context.Context, list plan.Plan, order []int, record func(i int, k report.Result, took time.Duration)) {
	// Several are fetched side by side; one goroutine unpacks ahead of the VMs,
	// as far as there are VMs: unpacked images are large.
	ready := make(chan *job)
	unpacked := make(chan struct{}, r.ahead())
	go func() {
		defer close(ready)
		fetched := r.fetchAll(ctx, list.Entries, order)
		defer func() {
			for range fetched { // until nothing is fetched any more
			}
		}()
		for f := range fetched {
			select {
			case <-ctx.Done():
				return
			case unpacked <- struct{}{}:
			}
			j := r.unpack(ctx, f)
			r.Report(Event{ID: f.entry.ID(), State: Waiting})
			select {
			case <-ctx.Done():
				j.cleanup()
				return
			case ready <- j:
			}
		}
	}()
	// One more than there are VMs: the next VM starts while one whose payload has
	// ended settles and goes down, which is mostly waiting.
	var workers sync.WaitGroup
	for range cap(r.slots) + 1 {
		workers.Go(func() {
			for j := range ready {
				j.slot = &slot{of: r.slots}
				if j.slot.Acquire(ctx) {
					start := time.Now()
					if k, ok := r.runKernel(ctx, j); ok {
						record(j.index, k, time.Since(start))
					}
				}
				j.slot.Release()
				j.cleanup()
				<-unpacked
			}
		})
	}
	workers.Wait()
}

// ahead is how many kernels may be unpacked at a time. Each may have an archive of
// the whole root file system beside it, so that there are no more than VMs then.
func (c *Config) ahead() int {
	if c.Root != nil {
		return max(1, c.Jobs)
	}
	return c.Jobs + 2
}

// longestFirst sorts indices of costs: a long kernel that comes last would have
// the other VMs wait for it.
func longestFirst(todo []int, costs []time.Duration) []int {
	return slices.SortedStableFunc(slices.Values(todo), func(a, b int) int { return cmp.Compare(costs[b], costs[a]) })
}

// known returns a result for each of the plan's kernels, empty for those that
// are to do, and the indices of these.
func (c *Config) known(list plan.Plan) (results []report.Result, todo []int) {
	results = make([]report.Result, len(list.Entries))
	done := map[string]report.Result{}
	for _, k := range c.Earlier {
		done[k.ID] = k
	}
	if c.Resumed != nil {
		for _, k := range c.Resumed.Kernels {
			done[k.ID] = k
		}
	}
	for i, e := range list.Entries {
		k, ok := done[e.ID()]
		if !ok {
			todo = append(todo, i)
		}
		results[i] = k
	}
	return results, todo
}

// shardFile starts the shard file, or goes on with that of an interrupted run.
func (c *Config) shardFile(list plan.Plan) (*report.ShardWriter, error) {
	if c.Resumed != nil {
		return c.Resumed.Resume()
	}
	w, err := report.CreateShardFile(c.Out, c.Record(list))
	for _, k := range c.Earlier {
		if err == nil {
			err = w.Kernel(k)
		}
	}
	return w, err
}

func writeSummary(dir string, started time.Time, results []report.Result, represented []report.Represented) error {
	var b strings.Builder
	m := &report.Merged{At: started, Kernels: results, Represented: represented}
	if !report.PickedFor(represented, results) {
		m.Represented = nil
	}
	if err := summary.Write(&b, m); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, summary.Name), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return nil
}
