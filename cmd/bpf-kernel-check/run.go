package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/report/merge"
	"github.com/elastic/bpf-kernel-check/report/screen"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/resultcache"
	"github.com/elastic/bpf-kernel-check/shard/snapshot"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// runOptions are the flags of run that the demo shares.
type runOptions struct {
	out     string
	jobs    int
	accel   string
	memory  int
	retries int
	limits  limitOptions
	started time.Time
	splats  []string
	net     bool
	arch    string
	resume  bool
	history string

	boot     string
	reuse    time.Duration
	isolate  bool
	advisory bool

	picks        pickOptions
	base, growth string
	compared     merge.Options // with what base

	allowed *vm.Allowed // the files of splats, set by validate
	exec    *execution  // of exec; nil for others

	// bisect chooses what a runner boots, in place of the whole list; nil for others
	// than bisect.
	bisect func(context.Context, *shard.Runner, *screen.Progress) error
}

func (o *runOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.out, "out", "o", ".", "`DIR` to write the results to")
	jobsFlag(f, &o.jobs, "VMs at a time; fewer if memory is short")
	f.StringVar(&o.accel, "accel", "auto", "auto, kvm or tcg; auto uses KVM if it is proven to work")
	o.limits.add(cmd)
	f.IntVar(&o.memory, "memory", qemu.DefaultMemory, "MiB of memory of each VM")
	f.IntVar(&o.retries, "retries", 1, "further attempts for a kernel that could not be tested, 0 to 10")
	f.StringArrayVar(&o.splats, "allow-splats", nil, "YAML `FILE` of known kernel warnings that are no crash, with reasons; repeatable")
	f.StringVar(&o.arch, "arch", "", "test kernels for `ARCH`, "+goarch.List()+" (default: that of the payload)")
	f.BoolVar(&o.net, "net", false, "give the VMs this machine's network, its loopback and a cloud's metadata service; only for payloads that you trust; refused for pull requests of forks")
	f.BoolVar(&o.resume, "resume", false, "continue an interrupted run that has the same --out, if there is one")
	f.StringVar(&o.history, "history", "", "`DIR` of report.json files of earlier runs, for report.html")
	f.DurationVar(&o.reuse, "reuse", 0, "do not boot kernels that passed with the very same bytes within this time, such as 24h; 0 boots every kernel")
	f.StringVar(&o.boot, "boot", "auto", "auto, cold or warm; auto restores VMs that an earlier run saved, cold boots every kernel")
}

// validate checks the flags and reads the files they name.
func (o *runOptions) validate() (qemu.Accel, error) {
	accel, err := qemu.ParseAccel(o.accel)
	if err != nil {
		return accel, usagef("--accel: %w", err)
	}
	if _, err := shard.ParseBoot(o.boot); err != nil {
		return accel, usagef("--boot: %w", err)
	}
	if o.arch != "" {
		if _, err := qemu.LookupArch(o.arch); err != nil {
			return accel, usagef("--arch: %w", err)
		}
	}
	for _, x := range []struct {
		flag string
		ok   bool
		want string
		got  any
	}{
		{"-j, --jobs", o.jobs >= 1 && o.jobs <= 1024, "1 to 1024", o.jobs},
		{"--memory", o.memory >= 128 && o.memory <= 1<<20, "128 to 1048576 MiB", o.memory},
		{"--retries", o.retries >= 0 && o.retries <= shard.MaxRetries, "0 to 10", o.retries},
		{"--out", o.out != "", "a directory", "empty"},
		{"--reuse", o.reuse >= 0 && o.reuse <= resultcache.MaxAge, fmt.Sprintf("0 to %v", resultcache.MaxAge), o.reuse},
	} {
		if !x.ok {
			return accel, usagef("%s is %v: want %s", x.flag, x.got, x.want)
		}
	}
	if err := o.limits.validate(); err != nil {
		return accel, err
	}
	switch {
	case o.reuse > 0 && o.limits.given("repeat"):
		return accel, usagef("--reuse and --repeat exclude each other: who asks for a number of runs wants them run")
	case o.reuse > 0 && o.net:
		return accel, usagef("--reuse and --net exclude each other: what a network answers is never the same")
	}
	o.allowed, err = readAllowed(o.splats)
	return accel, err
}

// checkRun checks the flags of a command that runs a payload on kernels.
func (c *command) checkRun(o *runOptions, po payloadOptions) (qemu.Accel, error) {
	accel, err := o.validate()
	if err != nil {
		return accel, err
	}
	if _, err := qemu.ParseParams(po.params); err != nil {
		return accel, usagef("--append %w", err)
	}
	return accel, errors.Join(c.checkNet(o.net), c.checkHostRoot(po.hostRoot), c.checkRootfs(po.rootfs))
}

func (c *command) runCommand() *cobra.Command {
	var o runOptions
	var src sourceOptions
	var so shardOptions
	var po payloadOptions
	cmd := &cobra.Command{
		Use:   "run --kernels SRC... (--go PATTERN... | --test 'PATH ARGS...' | --objects GLOB... | --events-trace PATH)",
		Short: "Boot kernels and run a payload in each",
		Long: `Boots each kernel of the sources in a VM, runs the payload in it and judges the
result.

A source is one of
  debian:<suite>[:<flavour>]     or ubuntu:noble, fedora:43, opensuse:tumbleweed, arch:lts and so on
  rpm:<URL>, oci://<image>       an RPM repository, an image registry
  'apt:<URL> <suite> main'       an apt repository, as in a line of sources.list
  gs://<bucket>[/<prefix>], DIR  <distro>/<release>__<ids>.tar.gz archives, or images
  FILE                           a kernel image or an archive of images
  @FILE                          a source on each line`,
		Example: `  bpf-kernel-check run --kernels debian:bookworm:cloud-amd64 --go ./...
  bpf-kernel-check run --kernels debian:bookworm:cloud-amd64 --events-trace ./EventsTrace
  bpf-kernel-check run --kernels gs://bucket/kernels --events-trace ./EventsTrace
  bpf-kernel-check run --kernels ./kernels --kernel 'fedora/*' --test './probe.test -test.v' --file testdata -j 2
  bpf-kernel-check run --kernels ./kernels --objects 'build/*.bpf.o' --attach
  bpf-kernel-check run --kernels debian:bookworm --events-trace ./EventsTrace --shard 2/8`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.started = time.Now()
			choose, choice, err := so.prepare(c)
			if err != nil {
				return err
			}
			sources, err := src.specs(args, "no kernels to test")
			if err != nil {
				return err
			}
			accel, err := c.checkRun(&o, po)
			if err != nil {
				return err
			}
			if err := o.picks.validate(c.warn); err != nil {
				return err
			}
			defer o.picks.opened.Close()
			switch {
			case so.plan != "" && c.from["pick"] == "" && o.picks.pick != "":
				return usagef("--pick and --plan exclude each other: the plan has picked already")
			case so.plan != "": // settings are the plan's, too
				o.picks.pick = ""
			case choice.shards > 1 && o.picks.pick != "":
				return errPickInShard("--pick")
			}
			for _, flag := range []string{"base", "max-insns-growth"} {
				if choice.shards > 1 && cmd.Flags().Changed(flag) && c.from[flag] == "" { // settings are merge's, too
					return usagef("--%s: a shard compares nothing, and this is shard %v: give it to merge", flag, choice)
				}
			}
			if err := readBase(o.base, o.growth, &o.compared); err != nil {
				return err
			}
			po.takeEnv(c.getenv, c.warn)
			ctx, cancel := o.limits.within(cmd.Context(), o.started)
			defer cancel()
			payload, err := c.readPayload(ctx, po, o.arch, o.limits.payload)
			if err := cmp.Or(c.timeUp(ctx, err), err); err != nil {
				return err
			}
			srcs, err := c.sources(sources, payload.arch)
			if err != nil {
				return err
			}
			sel, err := choose(ctx, srcs, c.filter(&src, payload.arch))
			if arch := otherArch(o, po, sel, err); arch != "" {
				if payload, err = c.readPayload(ctx, po, arch, o.limits.payload); err != nil {
					return cmp.Or(c.timeUp(ctx, err), err)
				}
				sel, err = choose(ctx, srcs, c.filter(&src, payload.arch))
			}
			c.laps.end("list")
			if err := c.timeUp(ctx, err); err != nil {
				return err
			}
			if err != nil && sel.own.OtherArch() {
				return notForArch(payload, sel.own)
			}
			if err != nil {
				c.printSkipped(c.stderr, sel.own)
				return err
			}
			if sel.forArch(payload.arch) == 0 {
				return notForArch(payload, sel.shards...)
			}
			if line := sel.String(); line != "" {
				fmt.Fprintln(c.stdout, line)
			}
			if was := sel.own.Payload; was != "" && was != payload.Digest() {
				return usagef("--plan %q has picked kernels for another payload: give plan the payload's flags of run", so.plan)
			}
			if so.plan == "" && len(o.picks.wanted(sel.own)) > 0 {
				if choice.shards > 1 {
					return errPickInShard("pick:kinds")
				}
				if sel.own, err = c.pickFrom(ctx, o.picks, sel.own, payload, &o.compared, true, o.jobs, c.stdout); err != nil {
					return cmp.Or(c.timeUp(ctx, err), err)
				}
				if sel.own.Part != nil { // --shard 1/1
					sel.own.Part.List = sel.own.Digest()
				}
			}
			return c.test(ctx, o, accel, payload, sel.own)
		},
	}
	src.add(cmd)
	po.add(cmd)
	so.add(cmd)
	o.add(cmd)
	o.picks.add(cmd.Flags())
	baseFlags(cmd.Flags(), &o.base, &o.growth)
	advisoryFlag(cmd.Flags(), &o.advisory)
	cmd.Flags().BoolVar(&o.isolate, "isolate", false, "with several programs: give each a VM of its own")
	return cmd
}

// sources parses the specs of sources of kernels, for an architecture where they
// leave that open, "" for this machine's.
func (c *command) sources(specs []string, arch string) ([]kernel.Source, error) {
	cache, err := c.openCache()
	if err != nil {
		return nil, err
	}
	if terminal(c.stderr) != nil {
		// Fetching package lists takes a while the first time.
		fmt.Fprintf(c.stderr, "listing %s\n", report.OneLine(report.Redact(strings.Join(specs, " ")), 200))
	}
	return source.ParseFor(cmp.Or(arch, runtime.GOARCH), specs, cache)
}

// probe looks at this machine. That it lacks the accelerator which was asked for
// is the user's to mend.
func (c *command) probe(ctx context.Context, arch qemu.Arch, accel qemu.Accel) (host.Machine, error) {
	cache, err := c.openCache()
	if err != nil {
		return host.Machine{}, err
	}
	machine, err := host.Probe(ctx, cache, arch, accel)
	var noAccel *host.AccelError
	if errors.As(err, &noAccel) {
		err = usageError{err}
	}
	return machine, err
}

// openCache opens the cache of kernels once, for all sources of a run.
func (c *command) openCache() (*kernel.Cache, error) {
	if c.kernels != nil {
		return c.kernels, nil
	}
	dir := c.cache
	if dir == "" {
		var err error
		if dir, err = kernel.DefaultCacheDir(); err != nil {
			return nil, err
		}
	}
	return c.cacheIn(dir)
}

func (c *command) cacheIn(dir string) (*kernel.Cache, error) {
	cache, err := kernel.NewCache(dir)
	if err != nil {
		return nil, usagef("--cache: %w", err)
	}
	cache.Warn = c.warn
	cache.Note = func(msg string) { fmt.Fprintln(c.stderr, "note: "+report.OneLine(msg, 1000)) }
	c.kernels = cache
	return cache, nil
}

func (c *command) warn(msg string) {
	fmt.Fprintln(c.stderr, "warning: "+report.OneLine(msg, 1000))
}

// announce prints what there is to say of a payload before it runs.
func (c *command) announce(p namedPayload) {
	for _, n := range p.Notes {
		fmt.Fprintln(c.stderr, "note: "+report.OneLine(n, 1000))
	}
	for _, w := range append(p.warnings, p.Warnings...) {
		c.warn(w)
	}
}

// test runs the plan and returns an exitError unless everything passed.
func (c *command) test(ctx context.Context, o runOptions, accel qemu.Accel, p namedPayload, list plan.Plan) error {
	out, err := outDir(o.out)
	if err != nil {
		return err
	}
	arch, err := qemu.LookupArch(p.arch)
	if err != nil {
		return usageError{err}
	}
	if debug.SetMemoryLimit(-1) == memoryLimit { // of a process that has nothing else to do
		debug.SetMemoryLimit(memoryLimit + p.Memory().Archive)
	}
	c.announce(p)
	if m := p.Memory(); !o.limits.given("memory") && m.Check(o.memory, o.boot == "warm") != nil {
		o.memory = m.Enough()
		fmt.Fprintf(c.stderr, "note: each VM gets %d MiB of memory, which the payload's files need\n", o.memory)
	}
	expect := o.limits.read
	ci := detectCI(c.getenv, c.warn)
	r := &shard.Runner{
		Config: shard.Config{
			Out: out, Arch: arch, Payload: p.Payload, PayloadFlags: append(o.memoryFlags(), p.flags...), ProgramFlags: p.programFlags, Isolate: o.isolate, Allowed: o.allowed, Expect: expect,
			Memory: o.memory, Net: o.net, Retries: o.retries, Repeats: o.limits.repeat, Reuse: o.reuse, NoEmulation: accel == qemu.KVM,
			CPUs: p.cpus, Append: p.params, BTF: p.btf, Index: o.picks.opened, Kinds: o.picks.pick != "" || len(list.Represented) > 0,
			Tool: version(), RunID: ci.id, Attempt: ci.attempt, HeadSHA: ci.headSHA,
		},
		Host: shard.Host{Now: time.Now, Random: rand.Reader},
	}
	for name, flags := range r.ProgramFlags {
		r.ProgramFlags[name] = append(o.memoryFlags(), flags...)
	}
	p.root.apply(&r.Config)
	if o.net {
		r.Payload.Modules = append(slices.Clone(r.Payload.Modules), shard.NetModules(r.Arch)...)
		addCertificates(&r.Payload, p.root, c.getenv)
	}
	if o.exec != nil { // whose directory is its own
		o.exec.configure(r)
	} else {
		unlock, err := lockOut(out, o.out)
		if err != nil {
			return err
		}
		defer unlock()
	}
	switch unknown := p.unknown(); {
	case o.resume && unknown != "":
		c.warn("--resume: results do not tell what " + unknown + " was, so none of an interrupted run is taken: all kernels run")
	case o.resume:
		if err := c.resume(r, list, o.out); err != nil {
			return err
		}
	}
	record := r.Record(list)
	old, err := report.SetAside(out, record)
	if err != nil {
		return err
	}
	for _, name := range old {
		c.warn(fmt.Sprintf("%s belongs to another run: it is now %s.old", screen.JoinPath(o.out, name), name))
	}
	if len(list.Entries) == 0 {
		fmt.Fprintln(c.stdout, "this shard has no kernels: nothing to do")
		_, err := r.Run(ctx, list)
		return err
	}
	todo := len(list.Entries)
	if r.Resumed != nil {
		todo -= len(r.Resumed.Kernels)
	}
	shown := screen.Options{Dir: o.out, Total: len(list.Entries), Skipped: len(list.Skipped), Represented: record.Represented}
	if record.Shards > 1 { // merge makes the reports
		shown.Record = record.ShardFileName()
	}
	if o.bisect != nil {
		shown.Total = 0 // it is not known
	}
	ui := c.newScreen(shown)
	var first sync.Once // of several goroutines
	r.Report = func(e shard.Event) {
		if e.State == shard.Booting {
			first.Do(func() { c.laps.end("first kernel") })
		}
		show(ui, e)
		if o.exec != nil {
			o.exec.event(e)
		}
	}
	if todo == 0 {
		host.SweepScratch(os.TempDir()) // the interrupted run may have been killed after its last result
		return c.finish(ctx, r, list, record, ui, o)
	}
	machine, err := c.probe(ctx, arch, accel)
	if err != nil {
		return err
	}
	accel = machine.Accel
	scratch, remove, err := host.MakeScratch(os.TempDir())
	if err != nil {
		return err
	}
	defer remove()

	boot, err := shard.ParseBoot(o.boot)
	if err != nil {
		return usageError{err}
	}
	if no := snapshot.Unsupported(arch, accel, r.Net, r.HasRoot()); no != "" && boot == shard.BootWarm {
		return usagef("--boot is warm: %s: want auto or cold", no)
	}
	// By itself a kernel's first VM boots cold, and is saved when it has room.
	if err := r.Payload.Memory().Check(o.memory, boot == shard.BootWarm); err != nil {
		return usageError{err}
	}
	jobs, note := host.FitJobs(o.jobs, o.memory, todo, p.cpus)
	for _, w := range []string{machine.AccelWhy, note} {
		if w != "" {
			c.warn(w)
		}
	}
	if o.bisect == nil {
		c.printPlan(list, p.name, fmt.Sprintf("QEMU %s, %v, %s at a time", machine.Version, accel, count(jobs, "VM")))
	}
	ui.Begin()
	r.Jobs, r.Boot = jobs, boot
	o.limits.apply(r, accel)
	r.Host = shard.Host{
		QEMU: machine.QEMU, QEMUDigest: machine.Digest, Accel: accel, TSC: machine.TSC, Features: machine.Features,
		InitProgram: machine.Init, Scratch: scratch, Now: time.Now, Random: rand.Reader,
	}
	ids := list.IDs()
	for _, k := range list.Represented {
		ids = append(ids, k.ID)
	}
	for _, unused := range expect.Unused(ids) {
		if record.Shards == 1 { // else another shard has the kernel
			c.warn("expected failures: " + unused)
		}
	}
	c.prepareReuse(ctx, r)
	r.Repeated = ui.Repeated
	if r.Cache, err = c.openCache(); err != nil {
		return err
	}
	r.Cache.Progress = func(ref kernel.Ref, done, total int64) { ui.Downloaded(ref.ID(), done, total) }
	if o.bisect != nil {
		return o.bisect(ctx, r, ui)
	}
	return c.finish(ctx, r, list, record, ui, o)
}

// prepareReuse computes the digests of this program and of QEMU's firmware, and
// warns if nothing can be reused.
func (c *command) prepareReuse(ctx context.Context, r *shard.Runner) {
	if r.Reuse == 0 {
		return
	}
	var errs [2]error
	r.Program, errs[0] = resultcache.ProgramDigest(ctx)
	r.ROMs, errs[1] = qemu.ROMDigest(ctx, r.QEMU)
	why := r.NoReuse()
	if err := errors.Join(errs[:]...); err != nil {
		why = err.Error()
	}
	if why != "" {
		c.warn("--reuse: every kernel is booted: " + why)
	}
}

// finish runs what is left of the plan and reports all of it.
func (c *command) finish(ctx context.Context, r *shard.Runner, list plan.Plan, record report.Plan, ui *screen.Progress, o runOptions) error {
	stop := ui.Start()
	started := time.Now()
	if r.Resumed != nil {
		for _, k := range r.Resumed.Kernels {
			ui.Result(&k, time.Duration(k.Phases["vm"]))
		}
	}
	results, err := r.Run(ctx, list)
	c.laps.end("VMs")
	stop()
	outcome := report.RunOutcome(len(list.Entries), results, false)
	if len(results) > 0 {
		ui.End(outcome, results)
		if record.Shards == 1 && r.Stream == nil { // merge joins calls of exec
			if len(list.Represented) == 0 { // else what nothing used may be of those
				c.warnUnused(r.Allowed, results)
				for _, unused := range r.Expect.UnusedTests(results) {
					c.warn("expected failures: " + unused)
				}
			}
			mo := o.compared
			mo.Tool, mo.At, mo.Advisory = version(), started, o.advisory
			m, rerr := reportAlone(r.Out, record.ShardFileName(), mo, c.links(), c.history(o.history))
			err = errors.Join(err, rerr)
			if m != nil {
				ui.Compared(m)
				if outcome.Verdict == report.Pass { // what is compared can only make it worse
					outcome = m.Outcome()
				}
			}
			c.printCoverage(m)
			c.laps.end("reports")
		}
	}
	if err != nil {
		return err
	}
	return c.exitWith(outcome, o.advisory)
}

// printCoverage prints what is known of a result's coverage.
func (c *command) printCoverage(m *report.Merged) {
	if m != nil && m.Coverage != nil {
		fmt.Fprintln(c.stdout, "coverage: "+m.Coverage.Words(5, func(s string) string { return report.OneLine(s, 500) }))
	}
}

// timeUp reports an error that --timeout-total caused.
func (c *command) timeUp(ctx context.Context, err error) error {
	var up *shard.TimeUpError
	if err == nil || !errors.As(context.Cause(ctx), &up) {
		return nil
	}
	fmt.Fprintf(c.stderr, "error: --timeout-total: %v before the payload and the list of kernels were there: nothing was tested; give more time\n", up)
	return exitError(report.ExitNotTested)
}

// otherArch returns the architecture of all listed kernels if a payload that can be
// for every architecture was to run on another one; otherwise "".
func otherArch(o runOptions, po payloadOptions, sel selection, err error) string {
	if o.arch != "" || !po.anyArch() || err == nil {
		return ""
	}
	other := ""
	for _, s := range sel.own.Skipped {
		arch, ok := strings.CutPrefix(s.Why, "for ")
		if s.Reason != plan.SkipArch || !ok || other != "" && other != arch {
			return ""
		}
		other = arch
	}
	if _, err := qemu.LookupArch(other); err != nil || len(sel.own.Entries) > 0 {
		return ""
	}
	return other
}

// checkNet refuses a network to what a fork has written.
func (c *command) checkNet(on bool) error {
	return c.checkTrust(on, "--net", "could reach the runner's network and its loopback", "can reach what this machine reaches, its loopback and a cloud's metadata service too")
}

// checkHostRoot refuses this machine's files to what a fork has written.
func (c *command) checkHostRoot(on bool) error {
	return c.checkTrust(on, "--host-root", "could read the runner's files, tokens and keys among them", "can read what you can read on this machine, tokens and keys too")
}

// checkRootfs refuses files of this machine to what a fork has written, in whose
// tree a link may lead anywhere. Its tree itself is its own.
func (c *command) checkRootfs(spec string) error {
	at, err := filepath.EvalSymlinks(spec)
	if spec == "" || err != nil { // opening it says what is wrong
		return nil
	}
	if at, err = filepath.Abs(at); err != nil {
		return err
	}
	tree, err := filepath.EvalSymlinks(c.getenv("GITHUB_WORKSPACE"))
	if err == nil {
		if rel, err := filepath.Rel(tree, at); err == nil && filepath.IsLocal(rel) {
			return nil
		}
	}
	return c.refuseForks("--rootfs "+spec, "could read the runner's files, as this is outside of the workspace")
}

func (c *command) checkTrust(on bool, flag, could, can string) error {
	if !on {
		return nil
	}
	if err := c.refuseForks(flag, could); err != nil {
		return err
	}
	c.warn(flag + ": the payload " + can + ": run only payloads that you trust")
	return nil
}

func (c *command) refuseForks(flag, could string) error {
	fork, err := github.FromFork(github.Env{Event: c.getenv("GITHUB_EVENT_NAME"), Payload: c.getenv("GITHUB_EVENT_PATH")})
	switch {
	case err != nil:
		return usagef("%s: whether this is a pull request of a fork cannot be told: %w", flag, err)
	case fork:
		return usagef("%s: this runs a fork's code, which %s: run it without %s, or on the branches of your own repository only", flag, could, flag)
	}
	return nil
}

// addCertificates gives a payload that has a network this machine's certificates
// of authorities, unless it or its root file system brings some or there are none.
func addCertificates(p *guest.Payload, root userRoot, getenv func(string) string) {
	const inGuest = "/etc/ssl/certs/ca-certificates.crt"
	if root.given() {
		if b, err := root.readFile(inGuest); err == nil && len(b) > 0 {
			return
		}
	}
	// Where Go's crypto/x509 looks for them.
	for _, path := range []string{
		getenv("SSL_CERT_FILE"), inGuest, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
	} {
		if path != "" && exists(path) {
			p.Files = slices.Clone(p.Files)
			_ = p.AddFile(path + ":" + inGuest) // the payload's own stay
			return
		}
	}
}

// unknown is the flag whose value no digest of the payload has, "" for none.
func (p *namedPayload) unknown() string {
	switch {
	case len(p.Job.Env) > 0:
		return "--env"
	case p.root.host: // a machine's files change
		return "--host-root"
	}
	return ""
}

// resume finds the results of an interrupted run in the output directory, which
// the user calls dir.
func (c *command) resume(r *shard.Runner, list plan.Plan, dir string) error {
	found, err := report.FindResumed(r.Out, r.Record(list))
	if errors.Is(err, report.ErrNotResumed) {
		return usagef("--resume: %w", err)
	}
	if err != nil || found == nil {
		return err
	}
	r.Resumed = found
	have := "have their results already"
	if len(list.Entries) == 1 {
		have = "has its result already"
	}
	fmt.Fprintf(c.stdout, "resuming %s: %d of %s %s\n", screen.JoinPath(dir, found.Name), len(found.Kernels), count(len(list.Entries), "kernel"), have)
	return nil
}

func notForArch(p namedPayload, lists ...plan.Plan) error {
	var all plan.Plan
	for _, l := range lists {
		all.Entries, all.Skipped = append(all.Entries, l.Entries...), append(all.Skipped, l.Skipped...)
	}
	return &guest.PayloadError{Path: p.path, Reason: fmt.Sprintf("is built for %s: the kernels to test are for %s", p.arch, strings.Join(all.Arches(), ", "))}
}

func (c *command) printPlan(list plan.Plan, payload, how string) {
	fmt.Fprintf(c.stdout, "%s to test with %s (%s):\n", count(len(list.Entries), "kernel"), payload, how)
	for i, e := range listingOrder(list.Entries) {
		if i == screen.MaxListed {
			fmt.Fprintf(c.stdout, "  and %d more\n", len(list.Entries)-i)
			break
		}
		fmt.Fprintf(c.stdout, "  %s\n", e.ID())
	}
	c.printSkipped(c.stdout, list)
	fmt.Fprintln(c.stdout)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// outDir makes the output directory and checks that it is writable.
func outDir(dir string) (string, error) {
	out, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(out, 0o755)
	}
	if err == nil {
		err = unix.Access(out, unix.W_OK|unix.X_OK)
	}
	if err != nil {
		return "", usagef("--out: %s: %w", dir, err)
	}
	return out, nil
}

// lockOut keeps other runs out of the output directory until unlock is called or
// the process ends. A file system without locks is used without one.
func lockOut(dir, name string) (unlock func(), err error) {
	lock, err := host.LockDir(dir)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, usagef("--out: %s: another run writes to it: wait for its end, or give another directory", name)
	case err != nil:
		return func() {}, nil
	}
	return func() { lock.Close() }, nil
}
