package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
	"github.com/elastic/bpf-kernel-check/report/merge"
	"github.com/elastic/bpf-kernel-check/report/screen"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/bisect"
	"github.com/elastic/bpf-kernel-check/shard/plan"
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
			if o.maxBoots != 0 && o.maxBoots < 2 {
				return usagef("--max-boots is %d: want at least 2, or 0", o.maxBoots)
			}
			if o.tree != "" {
				return c.bisectTree(cmd.Context(), &o, args)
			}
			return c.bisectList(cmd.Context(), &o, args)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		err = fmt.Errorf("%w (see %s --help)", plainFlag(cmd, err), cmd.CommandPath())
		if len(o.src.kernels) == 0 && (o.good == "" || o.bad == "") { // git would take 2 for bad
			return statusError{gitStop, err}
		}
		return usageError{err}
	})
	of := &cobra.Command{}
	o.run.add(of)
	f := cmd.Flags()
	of.Flags().VisitAll(func(x *pflag.Flag) {
		if !slices.Contains([]string{"resume", "history", "expected-failures", "stale-expectations"}, x.Name) { // of a whole list
			f.AddFlag(x)
		}
	})
	o.run.out = "bisect" // apart from the reports of runs
	f.Lookup("out").DefValue = o.run.out
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

// bisection boots kernels one after the other into one report.
type bisection struct {
	*command
	out      string // as the user named it
	maxBoots int
	runner   *shard.Runner
	ui       *screen.Progress
	booted   []plan.Entry // of which runner.Earlier are the results
}

func (c *command) newBisection(o *bisectOptions) *bisection {
	return &bisection{command: c, out: o.run.out, maxBoots: o.maxBoots}
}

// run has search boot kernels, and writes the reports of all.
func (b *bisection) run(search func(context.Context) error) func(context.Context, *shard.Runner, *screen.Progress) error {
	return func(ctx context.Context, r *shard.Runner, ui *screen.Progress) error {
		b.runner, b.ui = r, ui
		started := time.Now()
		err := search(ctx)
		if len(b.booted) == 0 {
			return err
		}
		os.Remove(filepath.Join(r.Out, shard.PreflightName)) // of the last kernel alone
		record := r.Record(plan.Plan{Entries: b.booted})
		if _, rerr := reportAlone(r.Out, record.ShardFileName(), merge.Options{Tool: version(), At: started}, b.links(), nil); rerr != nil {
			return rerr
		}
		b.say("\n%s booted; %s report is in %s", count(len(b.booted), "kernel"), report.Plural(len(b.booted), "its", "their"), screen.JoinPath(b.out, "report.html"))
		return err
	}
}

func (b *bisection) say(format string, args ...any) { fmt.Fprintf(b.stdout, format+"\n", args...) }

// boot runs the payload on one more kernel.
func (b *bisection) boot(ctx context.Context, e plan.Entry) (bisect.Outcome, error) {
	all := append(slices.Clone(b.booted), e)
	slices.SortFunc(all, func(x, y plan.Entry) int { return strings.Compare(x.ID(), y.ID()) })
	stop := b.ui.Start()
	results, err := b.runner.Run(ctx, plan.Plan{Entries: all})
	stop()
	switch {
	case ctx.Err() != nil:
		return bisect.Unknown, context.Cause(ctx)
	case err != nil:
		return bisect.Unknown, err
	}
	b.booted, b.runner.Earlier = all, results
	return outcomeOf(b.result(e.ID()).Verdict), nil
}

func (b *bisection) result(id string) (k report.Result) {
	if i := slices.IndexFunc(b.runner.Earlier, func(k report.Result) bool { return k.ID == id }); i >= 0 {
		k = b.runner.Earlier[i]
	}
	return k
}

// outcomeOf takes for bad whatever was tested and did not pass.
func outcomeOf(v report.Verdict) bisect.Outcome {
	switch {
	case v == report.Pass:
		return bisect.Good
	case v.Failed():
		return bisect.Bad
	}
	return bisect.Skipped
}

// tellFailures says how a kernel fails, and which others of a line fail in another
// way.
func (b *bisection) tellFailures(line func(id string) bool, bad string) {
	m := &report.Merged{}
	for _, k := range b.runner.Earlier {
		if line(k.ID) {
			m.Kernels = append(m.Kernels, k)
		}
	}
	const most = 3
	n, same := 0, map[string]bool{}
	for _, g := range analysis.Groups(m) {
		if !slices.Contains(g.Kernels, bad) {
			continue
		}
		for _, id := range g.Kernels {
			same[id] = true
		}
		what := g.Verdict.String()
		if len(g.Tests) > 0 {
			what = report.List(g.Tests, most, func(s string) string { return report.OneLine(s, 200) })
		}
		if n++; n <= most {
			b.say("         %s: %s", what, report.OneLine(g.Title, 300))
		}
	}
	if n > most {
		b.say("         and more: see the report")
	}
	var others []string
	for _, k := range m.Kernels {
		if k.Verdict.Failed() && !same[k.ID] {
			others = append(others, k.ID)
		}
	}
	if len(others) > 0 {
		b.say("  note: in another way fail %s: what broke those may be another kernel", report.List(others, 5, report.Text))
	}
}

// tellCommands prints the commands that show what kernels do.
func (b *bisection) tellCommands(entries ...plan.Entry) {
	b.say("to see it:")
	for _, e := range entries {
		if cmd := b.result(e.ID()).Reproduce; cmd != "" {
			b.say("  %s", cmd)
		}
	}
}

// tellNotAsGiven says that a kernel does not do what a flag says of it.
func (b *bisection) tellNotAsGiven(flag, id string) {
	b.say("\n%s is %s, which does not %s: give another", flag, id, map[string]string{"--good": "pass", "--bad": "fail"}[flag])
}
