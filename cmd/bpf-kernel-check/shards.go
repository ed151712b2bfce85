package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// cutOptions are the flags of run and plan for splitting the list.
type cutOptions struct {
	algorithm string
	timings   string
}

func (o *cutOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.algorithm, "algorithm", string(plan.Rendezvous), "how the list is split: rendezvous moves few kernels when the list changes, lpt balances best")
	f.StringVar(&o.timings, "timings", "", "timings.json of an earlier merge, as `FILE`; the same for all shards")
}

// read checks the flags. Without a file the timings are empty.
func (o *cutOptions) read() (plan.Algorithm, report.Timings, error) {
	algorithm, err := plan.ParseAlgorithm(o.algorithm)
	if err != nil {
		return "", report.Timings{}, usagef("--algorithm: %w", err)
	}
	if o.timings == "" {
		return algorithm, report.Timings{}, nil
	}
	f, err := os.Open(o.timings)
	if err != nil {
		return "", report.Timings{}, usagef("--timings: %w", err)
	}
	defer f.Close()
	t, err := report.ReadTimings(f)
	if err != nil {
		return "", report.Timings{}, usagef("--timings %q: %w: give the timings.json of an earlier merge", o.timings, err)
	}
	return algorithm, t, nil
}

// shardOptions are the flags of run for booting a part of the list.
type shardOptions struct {
	cutOptions
	shard string
	plan  string
}

func (o *shardOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.shard, "shard", "", "boot only the kernels of shard `i/n`; parallel jobs of GitLab and Buildkite need no flag")
	f.StringVar(&o.plan, "plan", "", "plan.json of the command plan, as `FILE`: the kernels of each shard and their digests")
	o.cutOptions.add(cmd)
}

// shardChoice is one shard of several.
type shardChoice struct {
	shard, shards int    // from 1; 0/0 for the whole list
	from          string // the flag or variables that chose it
}

func (c shardChoice) String() string { return fmt.Sprintf("%d/%d", c.shard, c.shards) }

// chooseShard takes the shard from the flag, or from the variables that CI systems
// set in parallel jobs.
func chooseShard(flag string, getenv func(string) string) (shardChoice, error) {
	if flag != "" {
		i, n, ok := strings.Cut(flag, "/")
		if !ok {
			return shardChoice{}, usagef("--shard is %q: want i/n, such as 2/8", flag)
		}
		return parseShard("--shard", i, n, 1)
	}
	for _, ci := range []struct {
		index, total string
		first        int
	}{
		{"CI_NODE_INDEX", "CI_NODE_TOTAL", 1}, // GitLab
		{"BUILDKITE_PARALLEL_JOB", "BUILDKITE_PARALLEL_JOB_COUNT", 0},
	} {
		index, total := getenv(ci.index), getenv(ci.total)
		// GitLab sets a total of 1 without parallel jobs.
		if index == "" && (total == "" || total == "1") {
			continue
		}
		return parseShard(ci.index+" and "+ci.total, index, total, ci.first)
	}
	return shardChoice{}, nil
}

// parseShard parses shard i of n, whose numbers start at first.
func parseShard(from, i, n string, first int) (shardChoice, error) {
	shards, err := strconv.Atoi(n)
	if err != nil || shards < 1 || shards > plan.MaxShards {
		return shardChoice{}, usagef("%s: %.50q is no number of shards: want 1 to %d", from, n, plan.MaxShards)
	}
	number, err := strconv.Atoi(i)
	if err != nil || number < first || number >= first+shards {
		return shardChoice{}, usagef("%s: %.50q is not one of %s: want %d to %d", from, i, count(shards, "shard"), first, first+shards-1)
	}
	return shardChoice{number - first + 1, shards, from}, nil
}

// selection is the part of the list that run boots.
type selection struct {
	shards []plan.Plan // all of them; one if the list is not split
	own    plan.Plan
	choice shardChoice
}

// prepare checks the flags and returns a function that lists the sources, and which
// shard it is.
func (o *shardOptions) prepare(c *command) (choose func(context.Context, []kernel.Source, plan.Filter) (selection, error), choice shardChoice, err error) {
	choice, err = chooseShard(o.shard, c.getenv)
	if err != nil {
		return nil, choice, err
	}
	algorithm, timings, err := o.read()
	if err != nil {
		return nil, choice, err
	}
	if o.plan == "" {
		return func(ctx context.Context, srcs []kernel.Source, filter plan.Filter) (selection, error) {
			if choice.shards > 0 {
				filter.Probe = plan.ProbeNever
			}
			list, err := plan.Select(ctx, srcs, filter)
			if err != nil {
				return selection{own: list}, err
			}
			list.SetCosts(timings)
			if choice.shards == 0 {
				return selection{[]plan.Plan{list}, list, choice}, nil
			}
			shards := list.Partition(algorithm, choice.shards)
			own := shards[choice.shard-1]
			own.Skipped = list.Skipped
			return selection{shards, own, choice}, nil
		}, choice, nil
	}

	pinned, err := readPlan(o.plan)
	if err != nil {
		return nil, choice, err
	}
	switch n := len(pinned.Shards); {
	case algorithm != plan.Rendezvous && string(algorithm) != pinned.Algorithm:
		return nil, choice, usagef("--algorithm is %s, and --plan %q is cut by %s: leave --algorithm out", algorithm, o.plan, pinned.Algorithm)
	case choice.shards == 0 && n == 1:
		choice = shardChoice{1, 1, "--plan"}
	case choice.shards == 0:
		return nil, choice, usagef("--plan %q has %d shards: say which with --shard i/%d", o.plan, n, n)
	case choice.shards != n:
		return nil, choice, usagef("%s: this is shard %v, and --plan %q has %s", choice.from, choice, o.plan, count(n, "shard"))
	}
	return func(ctx context.Context, srcs []kernel.Source, _ plan.Filter) (selection, error) {
		// The plan was filtered when it was made.
		shards, err := plan.Pinned(ctx, pinned, srcs, nil)
		if err != nil {
			return selection{}, err
		}
		own := shards[choice.shard-1]
		own.SetCosts(timings)
		return selection{shards, own, choice}, nil
	}, choice, nil
}

func readPlan(path string) (*report.PlanFile, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("--plan: there is no plan %q: make it with bpf-kernel-check plan, which with --new writes none if no kernel is new", path)
	}
	if err != nil {
		return nil, usagef("--plan: %w", err)
	}
	defer f.Close()
	p, err := report.ReadPlanFile(f)
	if err != nil {
		return nil, usagef("--plan %q: %w: make it with bpf-kernel-check plan", path, err)
	}
	return p, nil
}

// forArch counts the kernels of all shards that fit an architecture.
func (s selection) forArch(arch string) int {
	n := 0
	for _, p := range s.shards {
		n += p.ForArch(arch)
	}
	return n
}

// errPickInShard is about shards that would each decide by themselves.
func errPickInShard(what string) error {
	return usagef("%s in one shard of several needs --plan: let plan pick, and give its plan.json to each shard", what)
}

// String says which part of the list is booted; "" for all.
func (s selection) String() string {
	if s.choice.shards == 0 {
		return ""
	}
	all := 0
	for _, p := range s.shards {
		all += len(p.Entries)
	}
	part := s.own.Part
	return fmt.Sprintf("shard %v (by %s): %d of %s (%s, list %s)", s.choice, s.choice.from, len(s.own.Entries), count(all, "kernel"), part.Algorithm, part.List)
}
