package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/merge"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// planOptions are the flags of plan.
type planOptions struct {
	cutOptions
	picks   pickOptions
	base    string
	onlyNew bool
	shards  int
	target  float64 // minutes
	jobs    int
	arch    string
	out     string
	json    bool
}

func (o *planOptions) validate(cmd *cobra.Command, warn func(string)) error {
	switch f := cmd.Flags(); {
	case f.Changed("shards") == f.Changed("target-minutes"):
		return usagef("how many shards? give either --shards N or --target-minutes M, and not both")
	case f.Changed("shards") && (o.shards < 1 || o.shards > plan.MaxMatrix):
		return usagef("--shards is %d: want 1 to %d, as many jobs as GitHub allows in a matrix", o.shards, plan.MaxMatrix)
	case f.Changed("target-minutes") && !(o.target >= 0.1 && o.target <= 24*60):
		return usagef("--target-minutes is %v: want 0.1 to %d", o.target, 24*60)
	}
	switch {
	case goarch.Lookup(o.arch).Name == "":
		return usagef("--arch is %q: want %s", o.arch, goarch.List())
	case o.jobs < 1 || o.jobs > 1024:
		return usagef("-j, --jobs is %d: want 1 to 1024", o.jobs)
	case o.onlyNew && o.base == "":
		return usagef("--new needs --base: give the report.json of the last run")
	case o.out == "":
		return usagef("--out is empty: want a file, such as plan.json")
	case !replaceable(o.out):
		return usagef("--out: %s is no plan, and is not overwritten: want another file name", o.out)
	}
	return o.picks.validate(warn)
}

// replaceable says whether a plan may take the place of a file: of none, of an empty
// one, of another plan, and of what keeps nothing, as /dev/stdout.
func replaceable(path string) bool {
	st, err := os.Stat(path)
	if err != nil || st.Size() == 0 || !st.Mode().IsRegular() && !st.IsDir() {
		return true
	}
	_, err = readPlan(path)
	return err == nil
}

// checkPayload says whether the flags of a payload go with those of picks. Settings,
// and inputs of a workflow, are those of run, too.
func (c *command) checkPayload(given *pflag.FlagSet, pick bool) (err error) {
	given.VisitAll(func(f *pflag.Flag) {
		if f.Changed && c.from[f.Name] == "" && !c.settled && !pick && err == nil {
			err = usagef("--%s: plan needs no payload without --pick: leave it out", f.Name)
		}
	})
	return err
}

func (c *command) planCommand() *cobra.Command {
	var o planOptions
	var src sourceOptions
	var po payloadOptions
	payloadFlags := &cobra.Command{}
	po.add(payloadFlags)
	cmd := &cobra.Command{
		Use:   "plan --kernels SRC... (--shards N | --target-minutes M)",
		Short: "Pin the list of kernels and split it into shards",
		Long: `Lists the kernels of the sources, pins them by digest, splits the list into
shards and writes plan.json for run --plan and merge --plan. The split depends
only on the list, the number of shards and the times of earlier runs: without a
plan, run --shard i/n computes the same.

With --pick kinds, and for lines of a list file with pick:kinds, plan takes the
flags of a payload, as run does, and leaves out the kernels that another one
represents.

With --new, kernels of which --base has a result are left out. If none is new,
the matrix is empty, no plan is written, and the exit code is 0. The base can be
the report of a run of new kernels: it has the last results of the others.

A shard may be empty. Its job succeeds at once; the matrix keeps it, since merge
waits for every shard.`,
		Example: `  bpf-kernel-check plan --kernels debian:bookworm --shards 8 --json
  bpf-kernel-check plan --kernels ./kernels --target-minutes 10 --timings timings.json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			sources, err := src.specs(args, "nothing to plan")
			if err != nil {
				return err
			}
			if err := o.validate(cmd, c.warn); err != nil {
				return err
			}
			defer o.picks.opened.Close()
			algorithm, timings, err := o.read()
			if err != nil {
				return err
			}
			srcs, err := c.sources(sources, o.arch)
			if err != nil {
				return err
			}
			filter := c.filter(&src, o.arch)
			filter.Probe = plan.ProbeForOthers
			list, err := plan.Select(cmd.Context(), srcs, filter)
			c.printSkipped(c.stderr, list)
			if err != nil {
				return err
			}
			if o.onlyNew {
				if base, err := readNewBase(o.base, o.arch); err != nil {
					c.warn(err.Error() + ": every kernel counts as new")
				} else if list = c.onlyNew(list, base); len(list.Entries) == 0 {
					return c.nothingNew(o)
				}
			}
			wanted := len(o.picks.wanted(list)) > 0
			if err := c.checkPayload(payloadFlags.Flags(), wanted); err != nil {
				return err
			}
			if wanted {
				if list, err = c.pickForPlan(cmd.Context(), o, list, po); err != nil {
					return err
				}
			}
			known := list.SetCosts(timings)
			if o.timings != "" && known == 0 {
				c.warn(fmt.Sprintf("--timings %s knows none of the kernels: all count the same", o.timings))
			}
			var shards []plan.Plan
			if o.shards > 0 {
				shards = list.Partition(algorithm, o.shards)
			} else {
				shards = c.cutFor(o, list, algorithm, known)
			}
			return c.writePlan(o, list, shards, known)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.shards, "shards", 0, "split the list into `N` shards, 1 to 256")
	f.Float64Var(&o.target, "target-minutes", 0, "or into as few shards as take `M` minutes each, by --timings and without downloads")
	jobsFlag(f, &o.jobs, "VMs at a time, for --target-minutes, and kernels that --pick reads at a time")
	f.StringVar(&o.arch, "arch", runtime.GOARCH, "plan kernels for `ARCH`, "+goarch.List())
	f.Lookup("arch").DefValue = "this machine's"
	f.StringVarP(&o.out, "out", "o", "plan.json", "`FILE` to write the plan to")
	f.BoolVar(&o.json, "json", false, "print the job matrix, for strategy.matrix: ${{ fromJSON(...) }}")
	src.add(cmd)
	o.cutOptions.add(cmd)
	o.picks.add(f)
	f.StringVar(&o.base, "base", "", "report.json of the last run, as `FILE`, for --new; with --pick, kernels that had different results there are of different kinds")
	f.BoolVar(&o.onlyNew, "new", false, "plan only kernels of which --base has no result")
	f.AddFlagSet(payloadFlags.Flags())
	return cmd
}

// pickForPlan reads the payload, and picks.
func (c *command) pickForPlan(ctx context.Context, o planOptions, list plan.Plan, po payloadOptions) (plan.Plan, error) {
	if err := errors.Join(c.checkHostRoot(po.hostRoot), c.checkRootfs(po.rootfs)); err != nil {
		return list, err
	}
	po.takeEnv(c.getenv, c.warn)
	payload, err := c.readPayload(ctx, po, o.arch, 0)
	if err != nil {
		return list, err
	}
	var earlier merge.Options
	if err := readBase(o.base, "", &earlier); err != nil {
		return list, err
	}
	out := c.stdout
	if o.json {
		out = c.stderr
	}
	return c.pickFrom(ctx, o.picks, list, payload, &earlier, o.picks.opened == nil, o.jobs, out)
}

// nothingNew ends a plan of no kernels. An earlier plan must not pass for it.
func (c *command) nothingNew(o planOptions) error {
	if st, err := os.Stat(o.out); err == nil && st.Mode().IsRegular() {
		if err := os.Remove(o.out); err != nil {
			return usagef("--out: %w", err)
		}
		fmt.Fprintf(c.stderr, "note: removed %s, the plan of before\n", o.out)
	}
	if o.json {
		fmt.Fprintln(c.stdout, `{"include":[]}`)
	}
	return nil
}

// cutFor chooses the number of shards by a target.
func (c *command) cutFor(o planOptions, list plan.Plan, algorithm plan.Algorithm, known int) []plan.Plan {
	if known == 0 {
		c.warn(fmt.Sprintf("no times are known: each kernel is taken to need %v; give --timings with the timings.json of an earlier merge", plan.DefaultCost))
	}
	target := time.Duration(o.target * float64(time.Minute))
	shards := list.PartitionByTime(algorithm, target, o.jobs, plan.MaxMatrix)
	if most := plan.Fullest(shards) / time.Duration(o.jobs); most > target {
		c.warn(fmt.Sprintf("--target-minutes %v is not met: the fullest of %s takes about %v", o.target, count(len(shards), "shard"), most.Round(time.Second)))
	}
	return shards
}

// writePlan writes plan.json and prints the shards. With --json, stdout gets only
// the matrix.
func (c *command) writePlan(o planOptions, list plan.Plan, shards []plan.Plan, known int) error {
	file := list.File(version(), shards)
	var b bytes.Buffer
	if err := report.WritePlanFile(&b, file); err != nil {
		return err
	}
	if err := os.WriteFile(o.out, b.Bytes(), 0o644); err != nil {
		return usagef("--out: %w", err)
	}
	table := c.stdout
	if o.json {
		table = c.stderr
	}
	fmt.Fprintf(table, "%s on %s (%s), list %s\n\n", count(len(list.Entries), "kernel"), count(len(shards), "shard"), file.Algorithm, file.List)
	if err := printShards(table, shards, known > 0); err != nil {
		return err
	}
	fmt.Fprintf(table, "\nplan in %s\n", o.out)
	if !o.json {
		return nil
	}
	matrix, err := json.Marshal(newMatrix(shards))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s\n", matrix)
	return err
}

// printShards prints a line for each shard, with the time of its VMs if known.
func printShards(out io.Writer, shards []plan.Plan, times bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, kernels, vms string) {
		line := name + "\t" + kernels
		if times {
			line += "\t" + vms
		}
		fmt.Fprintln(w, line)
	}
	row("shard", "kernels", "VM time")
	for _, s := range shards {
		row(shardName(s), fmt.Sprint(len(s.Entries)), s.Load().Round(time.Second).String())
	}
	return w.Flush()
}

func shardName(s plan.Plan) string { return fmt.Sprintf("%d/%d", s.Part.Shard, s.Part.Shards) }

// matrix is GitHub's strategy.matrix.
type matrix struct {
	Include []matrixJob `json:"include"`
}

type matrixJob struct {
	Shard   int    `json:"shard"` // from 1
	Shards  int    `json:"shards"`
	Name    string `json:"name"` // "1/8"
	Kernels int    `json:"kernels"`
}

func newMatrix(shards []plan.Plan) matrix {
	var m matrix
	for _, s := range shards {
		m.Include = append(m.Include, matrixJob{s.Part.Shard, s.Part.Shards, shardName(s), len(s.Entries)})
	}
	return m
}
