package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// debugOptions are the flags of debug.
type debugOptions struct {
	kernels     []string
	from        []string
	accel       string
	memory      int
	bootTimeout time.Duration
	gdb         bool
	noPayload   bool
	program     string

	payload payloadOptions
	given   func(flag string) bool // on the command line; nil: no flag is
}

func (o *debugOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.kernels, "kernels", nil, "`SRC` of the kernel, or @FILE with one on each line; repeatable")
	f.StringArrayVar(&o.from, "from", nil, "take source and payload from the results in `DIR or ZIP`; repeatable")
	f.BoolVar(&o.gdb, "gdb", false, "wait for a debugger before the kernel starts")
	f.BoolVar(&o.noPayload, "no-payload", false, "with --from: leave the run's payload out")
	f.StringVar(&o.program, "program", "", "of several programs, that with this `NAME` (default: the first)")
	f.StringVar(&o.accel, "accel", "auto", "auto, kvm or tcg; auto uses KVM if it is proven to work")
	f.IntVar(&o.memory, "memory", qemu.DefaultMemory, "MiB of memory of the VM")
	f.DurationVar(&o.bootTimeout, "boot-timeout", 90*time.Second, "limit for the shell to start, without a terminal")
	o.payload.add(cmd)
}

func (c *command) debugCommand() *cobra.Command {
	var o debugOptions
	cmd := &cobra.Command{
		Use:   "debug (--kernels SRC | --from RESULTS) ID",
		Short: "Open a shell in a kernel",
		Long: `Boots one kernel as run does and opens a shell in it. run-payload runs the payload,
help lists the commands, exit or Ctrl-A X ends the VM.

ID is the kernel's id, as list and the reports show it. It may be left out if the
source has one kernel, or if one failed in the results of --from.

Without a terminal, commands are read from standard input to its end. Their output
goes to standard output, the kernel's and init's to standard error. The exit code
is 0 if the last command succeeded, 1 if it failed, and 3 if the commands could
not be run.`,
		Example: `  bpf-kernel-check debug --kernels debian:bookworm:cloud-amd64 'debian/6.1.0-56-*' --test ./probe.test
  bpf-kernel-check debug --from results.zip debian/6.1.0-56-cloud-amd64__6.1.192-2
  bpf-kernel-check debug --kernels ./bzImage --gdb
  echo 'uname -r; bpf prog list' | bpf-kernel-check debug --kernels ./bzImage`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := ""
			if len(args) > 0 {
				id = args[0]
			}
			o.given = cmd.Flags().Changed
			o.payload.takeEnv(c.getenv, c.warn)
			return c.debug(cmd.Context(), o, id)
		},
	}
	o.add(cmd)
	return cmd
}

// debugging is a session that is being prepared.
type debugging struct {
	o       debugOptions
	accel   qemu.Accel
	past    *report.Result // the result of --from; nil without
	entry   plan.Entry
	payload namedPayload
}

func (c *command) debug(ctx context.Context, o debugOptions, id string) error {
	d := debugging{o: o}
	var err error
	if d.accel, err = qemu.ParseAccel(o.accel); err != nil {
		return usagef("--accel: %w", err)
	}
	if o.memory < 128 || o.memory > 1<<20 {
		return usagef("--memory is %d: want 128 to 1048576 MiB", o.memory)
	}
	if o.noPayload && len(o.from) == 0 {
		return usagef("--no-payload goes with --from: give both")
	}
	if len(o.from) > 0 {
		if d.past, err = c.recall(o.from, id); err != nil {
			return err
		}
		id = d.past.ID
		if err := d.o.restore(d.past, c.getenv, c.warn); err != nil {
			return err
		}
	}
	if err := errors.Join(c.checkHostRoot(d.o.payload.hostRoot), c.checkRootfs(d.o.payload.rootfs)); err != nil {
		return err
	}
	if len(d.o.kernels) == 0 {
		return usagef("no kernel: name its source with --kernels, or results with --from")
	}
	if d.entry, err = c.findKernel(ctx, d.o.kernels, payloadArch(d.o.payload.inputs()), id); err != nil {
		return err
	}
	if d.past != nil && d.past.Digest != "" && d.past.Digest != d.entry.Digest {
		c.warn(fmt.Sprintf("%s is not what was tested: its digest is %s, that of the results %s", d.entry.ID(), d.entry.Digest, d.past.Digest))
	}
	if err := d.readPayload(ctx, c); err != nil {
		return err
	}
	return c.session(ctx, d)
}

// findKernel returns the one kernel that an id or glob names, of an architecture
// where a source leaves that open.
func (c *command) findKernel(ctx context.Context, specs []string, arch, id string) (plan.Entry, error) {
	srcs, err := c.sources(specs, arch)
	if err != nil {
		return plan.Entry{}, err
	}
	var globs []string
	if id != "" {
		globs = []string{id}
	}
	list, err := plan.New(ctx, srcs, globs)
	if plan.IsUsage(err) && id != "" {
		if all, aerr := plan.New(ctx, srcs, nil); aerr == nil && len(all.Entries) > 0 {
			ids := all.IDs()
			slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(alike(id, b), alike(id, a)) })
			return plan.Entry{}, usagef("no kernel %q in %s: name one of %s", id, report.Redact(strings.Join(specs, " ")), someOf(ids))
		}
	}
	if err != nil {
		return plan.Entry{}, err
	}
	for _, e := range list.Entries {
		if e.ID() == id || len(list.Entries) == 1 {
			return e, nil
		}
	}
	ids := list.IDs()
	return plan.Entry{}, usagef("%d kernels are meant: name one of %s", len(ids), someOf(ids))
}

// someOf lists the first ids.
func someOf(ids []string) string {
	const most = 10
	text := strings.Join(ids[:min(len(ids), most)], ", ")
	if len(ids) > most {
		text += fmt.Sprintf(" and %d more", len(ids)-most)
	}
	return report.OneLine(text, 2000)
}

// alike is the length of the common prefix of two names, in bytes.
func alike(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// readPayload reads the payload that the flags name, if any.
func (d *debugging) readPayload(ctx context.Context, c *command) error {
	po := d.o.payload
	if !po.named() {
		if err := po.validateExtras(); err != nil {
			return err
		}
		root, err := c.openRoot(ctx, &po, d.entry.Arch)
		if err != nil {
			return err
		}
		d.payload = namedPayload{arch: cmp.Or(d.entry.Arch, runtime.GOARCH), root: root}
		return po.addExtras(&d.payload)
	}
	var err error
	if po, err = c.oneProgram(po, d.o.program); err != nil {
		return err
	}
	arch := ""
	if po.anyArch() {
		arch = d.entry.Arch
	}
	d.payload, err = c.readPayload(ctx, po, arch, 0)
	if err != nil && d.past != nil {
		return fmt.Errorf("%w; if the run's payload is elsewhere on this machine, give its flag with the path here, such as %s; --no-payload opens a shell without it", err, po.flag())
	}
	if err == nil && d.entry.Arch != "" && d.entry.Arch != d.payload.arch {
		return notForArch(d.payload)
	}
	if jobs := d.payload.Job.Programs; err == nil && len(jobs) > 0 { // for run-payload
		var names []string
		for _, p := range jobs {
			names = append(names, p.Name)
		}
		at := 0
		if po.golang.given() {
			if at, err = c.pick(names, d.o.program); err != nil {
				return err
			}
		}
		job := &d.payload.Job
		job.Args, job.Name, job.Cover, job.Reports = jobs[at].Args, jobs[at].Name, jobs[at].Cover, true
		job.Env, job.Programs = append(slices.Clone(job.Env), jobs[at].Env...), nil
	}
	return err
}

// oneProgram leaves one of several programs of --test in the options: that with a
// name, or the first.
func (c *command) oneProgram(o payloadOptions, name string) (payloadOptions, error) {
	specs, err := o.specs()
	if err != nil || o.golang.given() || name == "" && len(specs) < 2 {
		return o, err
	}
	var names []string
	for _, s := range specs {
		names = append(names, s.programName())
	}
	at, err := c.pick(names, name)
	if err != nil {
		return o, err
	}
	o.tests, o.testsFile = []string{specs[at].text}, ""
	return o, nil
}

// pick returns which of several programs has a name; without one it is the first.
func (c *command) pick(names []string, name string) (int, error) {
	at := slices.Index(names, name)
	switch {
	case name == "" && len(names) > 1:
		c.warn(fmt.Sprintf("debug takes one of %d programs: this is %s; --program NAME takes another", len(names), names[0]))
		return 0, nil
	case name == "":
		return 0, nil
	case at < 0:
		return 0, usagef("--program %q: want one of %s%s", name, someOf(names), kernel.Suggest(name, names))
	}
	return at, nil
}

// session boots the kernel.
func (c *command) session(ctx context.Context, d debugging) error {
	arch, err := qemu.LookupArch(d.payload.arch)
	if err != nil {
		return usageError{err}
	}
	c.announce(d.payload)
	in, out := terminal(c.stdin), terminal(c.stdout)
	var script []byte
	if in == nil || out == nil {
		const most = 16 << 20
		if script, err = io.ReadAll(io.LimitReader(c.stdin, most+1)); err != nil {
			return fmt.Errorf("read the commands: %w", err)
		}
		if len(script) > most {
			return usagef("the commands have more than %d MiB: give them in a file with --file", most>>20)
		}
		script = append(script, '\n')
	}
	if err := d.payload.Memory().Check(d.o.memory, false); err != nil {
		return usageError{err}
	}
	machine, err := c.probe(ctx, arch, d.accel)
	if err != nil {
		return err
	}
	if machine.AccelWhy != "" {
		c.warn(machine.AccelWhy)
	}
	scratch, remove, err := host.MakeScratch(os.TempDir())
	if err != nil {
		return err
	}
	defer remove()

	s := guest.Session{Terminal: arch.Console, Motd: d.motd(machine.Accel), Script: script}
	var mark [16]byte
	if _, err := rand.Read(mark[:]); err != nil {
		return fmt.Errorf("make a mark: %w", err)
	}
	s.Mark = hex.EncodeToString(mark[:])
	if script == nil {
		s.Env = terminalEnv(out, c.getenv)
	} else {
		s.Motd = ""
	}
	payload, err := guest.SessionPayload(ctx, arch.Name, d.payload.Payload, s)
	if err != nil {
		return err
	}
	r := &shard.Runner{
		Config: shard.Config{Arch: arch, Memory: d.o.memory, Payload: payload, CPUs: d.payload.cpus, BTF: d.payload.btf},
		Host:   shard.Host{Scratch: scratch, QEMU: machine.QEMU, Accel: machine.Accel, TSC: machine.TSC, InitProgram: machine.Init},
	}
	d.payload.root.apply(&r.Config)
	if r.Cache, err = c.openCache(); err != nil {
		return err
	}
	p, err := r.Prepare(ctx, d.entry)
	if err != nil {
		return err
	}
	p.Machine.Nonce = s.Mark
	// Nothing reads the results: keep them off a console that they share.
	if arch.Results == "" {
		p.Machine.Append = append(p.Machine.Append, wire.ParamResults+"="+wire.ResultsNone)
	}
	p.Machine.Append = append(p.Machine.Append, d.payload.params...)
	if d.o.gdb {
		p.Machine.Extras.GDB = filepath.Join(scratch, "gdb.sock")
		if err := p.Machine.Check(); err != nil {
			return usageError{err}
		}
		fmt.Fprint(c.stderr, gdbWords(p, d.entry))
	}
	if script != nil {
		return c.runScript(ctx, d, machine.QEMU, p.Machine, s.Mark)
	}
	fmt.Fprintf(c.stderr, "booting %s on %v; exit or Ctrl-A X ends the VM\n", d.entry.ID(), machine.Accel)
	exit, err := qemu.RunOnTerminal(ctx, machine.QEMU, p.Machine, in, out)
	fmt.Fprintln(c.stderr)
	if err == nil && !exit.Clean() && !exit.Killed {
		err = fmt.Errorf("QEMU: %v", exit)
	}
	return err
}

// terminalEnv describes the terminal to the guest.
func terminalEnv(out *os.File, getenv func(string) string) []string {
	env := []string{"TERM=" + cmp.Or(getenv("TERM"), "vt100")}
	if w, h, err := term.GetSize(int(out.Fd())); err == nil {
		env = append(env, fmt.Sprintf("COLUMNS=%d", w), fmt.Sprintf("LINES=%d", h))
	}
	return slices.DeleteFunc(env, func(kv string) bool { return guest.CheckEnv(kv) != nil })
}

// motd is the first text of the shell.
func (d *debugging) motd(accel qemu.Accel) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s on %v", d.entry.ID(), accel)
	if d.past != nil && d.past.Cause != nil {
		fmt.Fprintf(&b, "\nIts result was %s: %s", d.past.Verdict, report.OneLine(d.past.Cause.Title, 300))
	}
	if args := d.payload.Job.Args; len(args) > 0 {
		fmt.Fprintf(&b, "\nrun-payload runs the payload as init would:\n    %s", shellquote.Join(args...))
	}
	b.WriteString("\nhelp lists the commands. exit or Ctrl-A X ends the VM.\n")
	return b.String()
}

// named says whether a payload is given.
func (o *payloadOptions) named() bool {
	return o.eventsTrace != "" || o.hasTest() || o.golang.given() || len(o.objects) > 0
}

// anyArch says whether the payload can be for every architecture: objects are, and
// Go packages are built for the one that is asked for.
func (o *payloadOptions) anyArch() bool { return len(o.objects) > 0 || o.golang.given() }

// flag is the flag that names the payload.
func (o *payloadOptions) flag() string {
	switch {
	case o.eventsTrace != "":
		return "--events-trace PATH"
	case o.hasTest():
		return "--test 'PATH ARGS...'"
	case o.golang.given():
		return "--go PATTERN"
	default:
		return "--objects 'GLOB'"
	}
}

var errNoTerminal = errors.New("the VM ended before the commands did")
