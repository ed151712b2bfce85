package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// bisectOptions are the flags of bisect.
type bisectOptions struct {
	run     runOptions
	src     sourceOptions
	payload payloadOptions

	good, bad string
	maxBoots  int
	index     string

	tree string // a git repository of the kernel
	make []string
}

func (c *command) bisectCommand() *cobra.Command {
	var o bisectOptions
	cmd := &cobra.Command{
		Use:   "bisect (--kernels SRC... | --src DIR) [--good ID] [--bad ID] (--go PATTERN... | --test 'PATH ARGS...' | --objects GLOB... | --events-trace PATH)",
		Short: "Find the kernel that broke a payload",
		Long: `Boots about log2(n) kernels of a list, oldest to newest, and finds the two
neighbours between which a payload breaks, or is mended. What changed between them
and the commands that reproduce both are printed; --out gets the report of all
that booted.

Kernels of each distribution and flavour are a list of their own. Without --good
and --bad, its oldest and its newest kernel are tried. A kernel is good if the
payload passes, and bad if it fails, crashes or takes too long; one that does not
boot or cannot be tested is skipped. Where preflight sees a change in what the
payload's BPF objects find, the kernels beside that come first.

With --src, commits of a git repository of Linux are built and booted. Without
--good and --bad it tests the tree as it stands, for git bisect run.

Exit codes: 0 found; 1 there is nothing to find: all that was tried passes, or all
fails; 2 wrong usage or input; 3 not found, as kernels were not tested. For git
bisect run: 0 good, 1 bad, 125 skip, 128 stop.`,
		Example: `  bpf-kernel-check bisect --kernels debian:sid:cloud-amd64 --objects probe.bpf.o --attach
  bpf-kernel-check bisect --kernels @kernels.txt --good '6.12.96+*' --bad 7.2.6+deb13-cloud-amd64 --test ./probe.test
  bpf-kernel-check bisect --src ./linux --good v6.1 --bad v6.2 --objects probe.bpf.o
  git bisect run bpf-kernel-check bisect --src . --objects ../probe.bpf.o`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.run.started = time.Now()
			o.payload.takeEnv(c.getenv, c.warn)
			if o.tree != "" {
				return c.bisectTree(cmd.Context(), &o, args)
			}
			return c.bisectList(cmd.Context(), &o, args)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		err = fmt.Errorf("%w (see %s --help)", plainFlag(cmd, err), cmd.CommandPath())
		if o.tree != "" && (o.good == "" || o.bad == "") { // git would take 2 for bad
			return statusError{gitStop, err}
		}
		return usageError{err}
	})
	// Those of run but for what is about a whole list.
	of := &cobra.Command{}
	o.run.add(of)
	f := cmd.Flags()
	for _, name := range []string{
		"out", "jobs", "accel", "memory", "retries", "allow-splats", "arch", "net", "boot", "reuse",
		"boot-timeout", "silence-timeout", "test-timeout", "timeout", "timeout-total", "repeat", "rerun-failed-tests", "flaky",
	} {
		f.AddFlag(of.Flags().Lookup(name))
	}
	// A saved VM pays when a kernel boots again.
	o.run.boot, o.run.out = "cold", "bisect"
	f.Lookup("boot").DefValue, f.Lookup("out").DefValue = o.run.boot, o.run.out
	o.src.add(cmd)
	o.payload.add(cmd)
	f.StringVar(&o.good, "good", "", "a kernel that passes, as `ID`, name or glob; with --src a commit")
	f.StringVar(&o.bad, "bad", "", "a kernel that does not, as `ID`, name or glob; with --src a commit")
	f.IntVar(&o.maxBoots, "max-boots", 0, "stop after `N` kernels; 0 for as many as it takes")
	f.StringVar(&o.index, "index", "", "`FILE` of the command index, for kernels that are not in the cache")
	f.StringVar(&o.tree, "src", "", "bisect commits of the git repository in `DIR`")
	f.StringArrayVar(&o.make, "make", nil, "with --src: `VAR=VALUE` for make, such as CC=gcc-10; repeatable")
	return cmd
}

// prepare checks the flags and reads the payload.
func (c *command) prepareBisect(ctx context.Context, o *bisectOptions) (qemu.Accel, namedPayload, error) {
	accel, err := o.run.validate()
	if err != nil {
		return accel, namedPayload{}, err
	}
	if o.maxBoots != 0 && o.maxBoots < 2 {
		return accel, namedPayload{}, usagef("--max-boots is %d: want at least 2, or 0", o.maxBoots)
	}
	if _, err := qemu.ParseParams(o.payload.params); err != nil {
		return accel, namedPayload{}, usagef("--append %w", err)
	}
	if err := errors.Join(c.checkNet(o.run.net), c.checkHostRoot(o.payload.hostRoot), c.checkRootfs(o.payload.rootfs)); err != nil {
		return accel, namedPayload{}, err
	}
	p, err := c.readPayload(ctx, o.payload, o.run.arch, o.run.limits.payload)
	return accel, p, err
}

// bisectList bisects the kernels of sources.
func (c *command) bisectList(ctx context.Context, o *bisectOptions, args []string) error {
	if len(o.make) > 0 {
		return usagef("--make goes with --src: give both")
	}
	sources, err := o.src.specs(args, "no kernels to bisect")
	if err != nil {
		return err
	}
	ctx, cancel := o.run.limits.within(ctx, o.run.started)
	defer cancel()
	accel, payload, err := c.prepareBisect(ctx, o)
	if err != nil {
		return cmp.Or(c.timeUp(ctx, err), err)
	}
	srcs, err := c.sources(sources, payload.arch)
	if err != nil {
		return err
	}
	list, err := plan.Select(ctx, srcs, o.src.filter(payload.arch))
	if err != nil {
		c.printSkipped(c.stderr, list)
		return cmp.Or(c.timeUp(ctx, err), err)
	}
	if list.ForArch(payload.arch) == 0 {
		return notForArch(payload)
	}
	b := &bisection{command: c, good: -1, bad: -1, maxBoots: o.maxBoots, results: map[string]report.Result{}}
	if b.lines, err = bisectLines(list.Entries, o); err != nil {
		return err
	}
	if len(b.lines) == 1 {
		b.good, b.bad = placeOf(b.lines[0].entries, o.good), placeOf(b.lines[0].entries, o.bad)
	}
	if b.index, err = openIndex(o.index); err != nil {
		return err
	}
	if b.index != nil {
		defer b.index.Close()
		b.indexPath = o.index
	}
	o.run.bisect = b.run
	return c.test(ctx, o.run, accel, payload, list)
}

// kernelLine are the kernels that succeed one another, from old to new.
type kernelLine struct {
	name    string
	entries []plan.Entry
}

// matches says whether what the user wrote means a kernel.
func matches(e plan.Entry, what string) bool {
	release, _, _ := strings.Cut(e.Name, "__")
	return what == e.ID() || what == e.Name || what == release || report.MatchKernel([]string{what}, e.ID())
}

// placeOf is the index of the first kernel that is meant; -1: there is none.
func placeOf(entries []plan.Entry, what string) int {
	if what == "" {
		return -1
	}
	return slices.IndexFunc(entries, func(e plan.Entry) bool { return matches(e, what) })
}

// meant returns the one kernel that a flag names.
func meant(entries []plan.Entry, flag, what string) (plan.Entry, error) {
	if err := report.CheckKernelGlob(what); err != nil {
		return plan.Entry{}, usagef("%s: %w", flag, err)
	}
	var ids, all []string
	var one plan.Entry
	for _, e := range entries {
		all = append(all, e.ID())
		if matches(e, what) {
			one = e
			ids = append(ids, e.ID())
		}
	}
	switch len(ids) {
	case 1:
		return one, nil
	case 0:
		name := func(id string) string { // the distribution is the same for many
			if _, n := report.SplitID(id); !strings.Contains(what, "/") {
				return n
			}
			return id
		}
		slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(alike(what, name(b)), alike(what, name(a))) })
		return one, usagef("%s %q is none of the kernels: name one of %s", flag, what, someOf(all))
	}
	return one, usagef("%s %q means %d kernels: name one of %s", flag, what, len(ids), someOf(ids))
}
