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
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
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

	Allowed *Allowed // splats that are no crash; nil: none is

	params  []string             // further kernel parameters, for tests
	cpus    int                  // of each VM, for tests; 0: one
	Repeats int                  // how often each kernel is run; 0: once; at most MaxRepeats
	Expect  *report.Expectations // failures that are expected; nil: none

	// Repeated is called after each run of a kernel that is run several
	// times, from several goroutines; nil: nobody asks.
	Repeated func(id string, repeat int, k report.Kernel)

	KeepRAM     bool   // the cache keeps the memory of saved VMs unpacked too, for a machine that runs again
	NoEmulation bool   // without KVM nothing is tested
	Sandbox     string // qemu.Abilities' answer, as are Firmware and Lean
	Firmware    string // for kernels that are booted by their PVH entry; "": QEMU's default
	Lean        bool   // kernels that can are booted on the architecture's lean machine
	Net         bool   // the VMs get a network

	trial   kvmTrial
	hash    sync.Once
	content string        // Payload.ContentDigest's, once hashed
	sign    time.Duration // in place of trialSign
	up      time.Duration // in place of trialBoot
	onLean  time.Duration // in place of leanLimit

	PayloadFlags []string // flags of debug that give this payload, for the command that reproduces a result

	Resumed *report.Resumed // results that are not asked for again; nil: none

	survey *survey // of the payload's BPF objects; set by Run

	Boot       Boot   // the zero value boots cold
	QEMUDigest string // of QEMU's version and binary, for saved VMs and for Reuse

	// Reuse is how old the pass of an earlier VM may be that stands for a kernel's
	// own; 0: every kernel is booted. NoReuse says when it counts for nothing.
	Reuse   time.Duration
	Program string // ProgramDigest's answer, for Reuse
	ROMs    string // qemu.ROMDigest's answer, for Reuse
	passes  *passes

	readsConfig bool // the payload may look for the kernel's .config
	warm        *warmBoots
	initramfs   func() (digest string, err error) // writes it, the first time
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
	Emulating // KVM did not carry this kernel; it and all others are emulated
)

// Event tells of one kernel's progress.
type Event struct {
	ID     string
	State  State
	Result report.Kernel // when Done
	Took   time.Duration // when Done: from the start of its VM
	Reason string        // when Retrying or Emulating
}

// job is a kernel on its way.
type job struct {
	entry   plan.Entry
	image   *kernel.Image
	boot    string // image to give to QEMU
	initrd  string
	facts   report.Facts
	cleanup func()
	err     error
	fetch   time.Duration
	history []report.Attempt // of fetching it

	packed  bool           // only what a restore needs is unpacked
	modules string         // archive of the kernel's modules; "": none
	reused  *report.Kernel // the result of an earlier VM that stands for this one's; nil: none
	index   int            // in the plan
	room    *room          // its VM's
}

// Run boots every kernel of the plan, the longest first as far as it is known.
// The results are in the plan's order, one for each kernel whatever happens: a
// kernel that was not reached when ctx ended is missing. The shard file grows
// as results come; the summary is written at the end. A plan without kernels is
// a shard that got none, and has a shard file too. An error means that the
// results could not be recorded.
func (r *Runner) Run(ctx context.Context, list plan.Plan) ([]report.Kernel, error) {
	results, todo := r.known(list)
	if len(todo) > 0 {
		// VMs that are restored need none.
		r.initramfs = sync.OnceValues(r.writeInitramfs)
		digest := ""
		if r.Reuse > 0 {
			var err error
			if digest, err = r.initramfs(); err != nil {
				return nil, err
			}
		}
		r.readsConfig, r.passes = r.Payload.ReadsConfig(), r.newPasses(digest)
		var err error
		if r.warm, err = r.newWarmBoots(); err != nil {
			return nil, err
		}
		if r.warm == nil {
			// While the first kernel is unpacked.
			go func() { _, _ = r.initramfs() }()
			defer func() { _, _ = r.initramfs() }() // nothing of it goes on
		} else {
			defer r.warm.digest() // as above
		}
	}
	if err := r.clear(list, todo); err != nil {
		return nil, err
	}
	r.survey = newSurvey(r.Payload, r.Arch.Name)
	started := r.Now()
	sf, err := r.shardFile(list)
	if err != nil {
		return nil, err
	}

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
	slots := make(chan struct{}, r.Jobs+2)
	go func() {
		defer close(ready)
		fetched := r.openAll(ctx, list.Entries, only(todo, longestFirst(list.Costs())))
		defer func() {
			for range fetched { // until nothing is fetched any more
			}
		}()
		for o := range fetched {
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
	// One more than there are VMs: the next VM starts while one whose payload has
	// ended settles and goes down, which is mostly waiting.
	rooms := make(chan struct{}, max(1, r.Jobs))
	var workers sync.WaitGroup
	for range max(1, r.Jobs) + 1 {
		workers.Go(func() {
			for x := range ready {
				x.room = &room{in: rooms}
				if x.room.enter(ctx) {
					start := time.Now()
					if k, ok := r.one(ctx, x.job); ok {
						record(x.int, k, time.Since(start))
					}
				}
				x.room.leave()
				x.cleanup()
				<-slots
			}
		})
	}
	workers.Wait()

	interrupted, why := false, cutReason(ctx)
	for i, e := range list.Entries {
		if results[i].ID != "" {
			continue
		}
		interrupted = true
		results[i] = report.Kernel{ID: e.ID(), Digest: e.Ref.Digest, Verdict: report.Missing, Cause: &report.Cause{Title: why + " before this kernel was done"}}
	}
	if interrupted {
		recordErr = errors.Join(recordErr, sf.Cut(why))
	}
	recordErr = errors.Join(recordErr, sf.Close(!interrupted), WriteSummary(r.Out, started, results), r.survey.write(r.Out))
	return results, recordErr
}

// room is a VM's place among those that run at a time.
type room struct {
	in chan struct{} // as many as there may be

	mu   sync.Mutex
	held bool
}

// enter waits for a place, unless there is one already. It returns false when ctx
// ended first.
func (r *room) enter(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case r.in <- struct{}{}:
		r.held = true
		return true
	}
}

// leave gives the place to another.
func (r *room) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held {
		<-r.in
		r.held = false
	}
}

// Record is what the shard file says about a plan.
func (r *Runner) Record(list plan.Plan) report.Plan {
	r.hash.Do(func() { r.content = r.Payload.ContentDigest() })
	part := list.Shard()
	return report.Plan{
		Tool: r.Tool, List: part.List, Algorithm: string(part.Algorithm), Shard: part.Shard, Shards: part.Shards,
		RunID: r.RunID, Attempt: max(1, r.Attempt), HeadSHA: r.HeadSHA, Payload: r.Payload.Digest(), Arch: r.Arch.Name, Kernels: list.IDs(),
		Content: r.content, Allow: r.Allowed.Entries(),
		Expect: r.Expect.Digest(), Repeat: repeatOf(r.Repeats), Reuse: r.Reuse,
	}
}

// repeatOf is a number of repeats as shard files have it: 0 for one.
func repeatOf(n int) int {
	if n <= 1 {
		return 0
	}
	return n
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
	j := job{entry: o.entry, image: o.image, err: o.err, cleanup: func() {}, initrd: r.sharedInitrd(), fetch: o.took, history: o.history, index: o.index}
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
	if len(r.Payload.Modules) > 0 && j.image.HasModules() || r.readsConfig && j.image.Config != "" {
		j.modules, j.err = r.modulesArchive(ctx, j.image)
	}
	if j.err == nil {
		j.reused = r.passes.find(ctx, j)
	}
	switch {
	case j.err != nil || j.reused != nil:
	case r.warm.has(j.image):
		j.packed = true
		j.facts = hostFacts(ctx, j.image, r.Cache, "", r.Payload.Targets)
		j.facts.Deps = r.survey.look(ctx, j.image, r.Cache, r.Scratch, "")
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
		if r.Arch.Unpacked {
			unpacked = j.boot
			if f := j.image.Info.Format; f != kernel.FormatImage {
				j.err = fmt.Errorf("the %s is compressed by %s, and QEMU starts no compressed kernel on %s: give an image that is not compressed", f, or(string(j.image.Info.Compression), "what is not known"), r.Arch.Name)
			}
		}
	case err != nil:
		j.err = err
	case r.Arch.Unpacked && j.image.Info.Format == kernel.FormatVmlinux:
		j.err = fmt.Errorf("QEMU starts no ELF vmlinux on %s: give arch/%s/boot/Image of the same build", r.Arch.Name, r.Arch.Name)
	default:
		unpacked = vmlinux
		// Without the note QEMU refuses an ELF kernel.
		if pvh, err := kernel.HasPVH(vmlinux); r.Arch.Unpacked || err == nil && pvh {
			j.boot = vmlinux
		}
	}
	if j.err == nil {
		_, j.err = r.initramfs()
	}
	if j.err == nil && j.modules != "" {
		if j.err = r.withModules(j); j.err == nil {
			j.initrd = r.ownInitrd(j)
		}
	}
	if j.err == nil {
		j.facts = hostFacts(ctx, j.image, r.Cache, unpacked, r.Payload.Targets)
		j.facts.Deps = r.survey.look(ctx, j.image, r.Cache, r.Scratch, unpacked)
	}
	return j
}

// sharedInitrd is the initramfs of the kernels that bring no modules.
func (r *Runner) sharedInitrd() string { return filepath.Join(r.Scratch, "initramfs.cpio") }

// modulesArchive returns the path of the archive of the kernel's modules that
// the payload can use, and of its .config where the payload may look for that.
// It is made once for a kernel: finding a few modules takes a pass over hundreds
// of megabytes.
func (r *Runner) modulesArchive(ctx context.Context, im *kernel.Image) (string, error) {
	of := strings.Join(r.Payload.Modules, "\n")
	config := r.readsConfig && im.Config != "" && im.Release == path.Base(im.Release)
	if config {
		of += "\n/boot/config"
	}
	names := sha256.Sum256([]byte(of))
	name := "modules-" + hex.EncodeToString(names[:8]) + ".cpio"
	return im.DerivedChecked(ctx, r.Cache, name, func(w io.Writer) error {
		found, err := im.Modules(ctx, r.Payload.Modules)
		if err != nil {
			return err
		}
		modules := make([]guest.Module, len(found))
		for i, m := range found {
			modules[i] = guest.Module(m)
		}
		if !config {
			return guest.WriteModules(w, modules)
		}
		b, err := os.ReadFile(im.Config)
		if err != nil {
			return fmt.Errorf("read the .config of %s: %w", im.ID(), err)
		}
		return guest.WriteModules(w, modules, guest.File{Path: guest.ConfigPath(im.Release), Mode: 0o644, Data: b})
	})
}

// writeInitramfs writes the initramfs of the kernels that bring no modules and
// returns its digest.
func (r *Runner) writeInitramfs() (string, error) {
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

// withModules writes the archive of modules followed by the initramfs, whose last
// file has to be the last of all.
func (r *Runner) withModules(j job) error {
	out, err := os.OpenFile(r.ownInitrd(j), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write the initramfs of %s: %w", j.image.ID(), err)
	}
	for _, path := range []string{j.modules, r.sharedInitrd()} {
		if err = appendFile(out, path); err != nil {
			break
		}
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("write the initramfs of %s: %w", j.image.ID(), err)
	}
	return nil
}

// appendFile copies an archive behind what is written to out.
func appendFile(out *os.File, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := io.Copy(out, in) // in the kernel, where it can
	if rest := n % 4; err == nil && rest > 0 {
		_, err = out.Write(make([]byte, 4-rest)) // where the next archive may begin
	}
	return err
}

// machine is the VM of a kernel's first attempt, without a nonce. What is not in
// it, nor in passKey, must not change what a VM does.
func (r *Runner) machine(j job, on qemu.Accel) qemu.Machine {
	return qemu.Machine{
		Arch: r.Arch, Accel: on, Memory: r.Memory, TSC: r.TSC,
		Kernel: j.boot, Initrd: j.initrd,
		Sandbox: r.Sandbox, Net: r.Net,
		Append: slices.Clone(r.params), CPUs: r.cpus, Avoid: r.avoids(j.image),
	}
}

// avoids says whether a kernel can do without what the emulator does wrong. One
// whose release is not known can: more of them are old than new.
func (r *Runner) avoids(im *kernel.Image) bool {
	return r.Arch.Needs == "" || kernel.CompareVersions(im.Release, r.Arch.Needs) < 0
}

// boot starts one VM and judges it.
func (r *Runner) boot(ctx context.Context, j job, consolePath string, t try) (verdict, observation, error) {
	if !j.room.enter(ctx) { // it has left it when a payload has ended before
		return verdict{}, observation{}, ctx.Err()
	}
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
	if !t.trial && !t.plain && t.on == r.Accel && (!t.sure && r.warm.wants(j.image) || r.warm != nil && r.warm.must) {
		o, why, ok := r.warm.boot(ctx, j, hex.EncodeToString(nonce[:]), con, unpack)
		o.how, o.machine = bootedWarm, r.Arch.Machine
		switch {
		case ok:
			return r.judged(j, o, con)
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
	m := r.machine(j, t.on)
	m.Nonce, m.Plain = hex.EncodeToString(nonce[:]), t.plain
	if !t.sure {
		m.Firmware = r.firmware(j, t.on)
		m.Lean = r.lean(j, t.on)
	}
	limits, slower := r.limits(t.on)
	if slower > 1 {
		m.Append = append(m.Append, scaleParam(slower))
	}
	limits.up, limits.ended = t.up, j.room.leave
	if t.sure {
		if !r.Arch.Unpacked {
			m.Kernel = j.image.Kernel
		}
		m.Sure = true
		m.Append = append(m.Append, r.Arch.EarlyCon, "ignore_loglevel")
	}
	if t.trial {
		m.Append = append(m.Append, r.Arch.EarlyCon, "loglevel=6") // the banner is a sign of life
		limits.Sign, limits.Boot = cmp.Or(r.sign, trialSign), min(limits.Boot, cmp.Or(r.up, trialBoot))
	}
	first := limits
	if m.Lean {
		first.Boot = min(first.Boot, cmp.Or(r.onLean, leanLimit))
	}
	o, err := observe(ctx, r.QEMU, m, first, con)
	if m.Lean && err == nil && len(o.records) == 0 && !o.exit.FromOutside() {
		// It told nothing about the kernel yet.
		refused := o.exit.Code > 0
		if err = emptyFile(con); err == nil {
			m.Lean = false
			o, err = observe(ctx, r.QEMU, m, limits, con)
		}
		if err == nil && len(o.records) > 0 && !refused { // for want of memory, maybe
			r.unfit(ctx, j.image)
		}
	}
	o.how, o.machine = how, m.Name()
	if err != nil {
		con.Close()
		return verdict{}, o, err
	}
	if r.warm != nil && len(o.records) > 0 {
		r.warm.seen(ctx, j.image)
	}
	return r.judged(j, o, con)
}

// firmware is the quick one where it serves: it knows of kernels with a PVH entry,
// and sets no PCI devices up. A second attempt goes without.
func (r *Runner) firmware(j job, on qemu.Accel) string {
	if on != r.Accel || r.Net || j.boot == j.image.Kernel {
		return ""
	}
	return r.Firmware
}

// judged closes the console and judges.
func (r *Runner) judged(j job, o observation, con io.Closer) (verdict, observation, error) {
	o.expected, o.skipPass = len(r.Payload.Job.Args) > 0, r.Payload.SkipsPass
	o.id, o.allowed = j.entry.ID(), r.Allowed
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
