package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/merge"
	"github.com/elastic/bpf-kernel-check/report/screen"
)

// mergeOptions are the flags of merge.
type mergeOptions struct {
	plan, needs, base, history, out string
	growth                          string
	advisory                        bool
}

// advisoryFlag is of run and merge, which write the report that publish reads.
func advisoryFlag(f *pflag.FlagSet, advisory *bool) {
	f.BoolVar(advisory, "advisory", false, "exit with 0 whatever the kernels' results are; reports and GitHub say the verdict, and that it is advice")
}

// baseFlags are of run and merge, which compare with an earlier run.
func baseFlags(f *pflag.FlagSet, base, growth *string) {
	f.StringVar(base, "base", "", "report.json of an earlier run, as `FILE`, to say what has changed")
	f.StringVar(growth, "max-insns-growth", "", "fail if the verifier processes more instructions of a BPF program than in the base by `PERCENT`, such as 20%, and by at least 1,000")
}

// readBase reads what to compare with into the options of a merge. With one that
// cannot be read and a limit on growth the result is no pass.
func readBase(base, growth string, o *merge.Options) error {
	var err error
	if growth != "" {
		if o.MaxInsnsGrowth, err = report.ParseGrowth(growth); err != nil {
			return usagef("--max-insns-growth is %w", err)
		}
	}
	if base == "" {
		if growth != "" {
			o.NotCompared = "--max-insns-growth: there is no --base to compare with, so whether programs grew is not known"
		}
		return nil
	}
	if o.Base, err = readWhole(base); err != nil {
		o.NotCompared = fmt.Sprintf("--base %s: %v; what has changed is not known", base, err)
		if growth != "" {
			o.Problems = append(o.Problems, o.NotCompared+", nor whether --max-insns-growth holds")
		}
	}
	return nil
}

// readWhole reads a report to compare with.
func readWhole(name string) (*report.Merged, error) {
	m, err := readFile(name, report.ReadReport)
	if err != nil {
		return nil, err
	}
	return m.Whole(), nil
}

func (c *command) mergeCommand() *cobra.Command {
	var o mergeOptions
	cmd := &cobra.Command{
		Use:   "merge DIR...",
		Short: "Join the results of all shards",
		Long: `Reads the shard files in the directories, at any depth, and writes the reports.
The result is a pass only if every shard is there and complete, all shards were
split from the same list, and every kernel of it passed. Otherwise each reason
gets a line. The reports are written in any case.

DIR is what download-artifact leaves, or a zip file of an artifact. If a shard
ran several times, the highest attempt counts. Results of calls with different
programs become one report of kernels by programs.`,
		Example: `  bpf-kernel-check merge artifacts --plan plan.json --out report
  bpf-kernel-check merge artifacts --needs "$NEEDS" --base base/report.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("nothing to merge: name the directory that holds the shard files")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, dirs []string) error {
			return c.merge(dirs, o, cmd.Flags().Changed("needs"))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.plan, "plan", "", "plan.json of the shards, as `FILE`; without it the kernels of a missing shard are unknown")
	f.StringVar(&o.needs, "needs", "", "results of the jobs, as `JSON`: GitHub's toJSON(needs) or toJSON(needs.*.result)")
	baseFlags(f, &o.base, &o.growth)
	f.StringVar(&o.history, "history", "", "`DIR` of report.json files of earlier runs, for report.html")
	f.StringVarP(&o.out, "out", "o", ".", "`DIR` to write the reports and results/ to")
	advisoryFlag(f, &o.advisory)
	return cmd
}

func (c *command) merge(dirs []string, o mergeOptions, haveNeeds bool) error {
	mo := merge.Options{Tool: version(), At: time.Now(), Advisory: o.advisory}
	if o.plan != "" {
		plan, err := readFile(o.plan, report.ReadPlanFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return usagef("--plan: %w: give the plan.json that the shards were run by", err)
		case err != nil:
			mo.Problems = append(mo.Problems, fmt.Sprintf("--plan %s: %v", o.plan, err))
		}
		mo.Plan = plan
	}
	if haveNeeds {
		needs, err := merge.ParseNeeds(o.needs)
		if err != nil {
			mo.Problems = append(mo.Problems, "--needs: "+err.Error())
		}
		mo.Needs = needs
	}
	if err := readBase(o.base, o.growth, &mo); err != nil {
		return err
	}
	if o.out == "" {
		return usagef("--out is empty: want a directory")
	}
	found, err := merge.Collect(dirs...)
	var input *merge.InputError
	switch {
	case errors.As(err, &input):
		return usageError{err}
	case err != nil:
		return err
	}
	m, err := mergeInto(o.out, found, mo)
	if err = errors.Join(err, found.Close()); m == nil {
		return err
	}
	names, werr := writeOutputs(o.out, m, c.links(), c.history(o.history))
	c.newScreen(screen.Options{Dir: o.out}).Merged(m, len(found.Files), dirs, names)
	c.printCoverage(m)
	if err := errors.Join(err, werr); err != nil {
		return err
	}
	return c.exitWith(m.Outcome(), m.Advisory)
}

// exitWith returns the exit code of a result as an error, which advice is not.
func (c *command) exitWith(o report.Outcome, advisory bool) error {
	code := o.ExitCode()
	switch {
	case code == report.ExitPass:
		return nil
	case advisory:
		fmt.Fprintf(c.stdout, "advisory: the exit code is 0 instead of %d\n", code)
		return nil
	}
	return exitError(code)
}

// mergeInto merges and copies consoles and other evidence to dir.
func mergeInto(dir string, found *merge.Collected, o merge.Options) (*report.Merged, error) {
	path, err := outDir(dir)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenRoot(path) // so that links in an artifact lead nowhere
	if err != nil {
		return nil, usagef("--out: %w", err)
	}
	m, from := merge.Merge(found, o)
	merge.CopyEvidence(out, m, from)
	return m, out.Close()
}

// readFile reads a file with a function of report.
func readFile[T any](name string, read func(io.Reader) (T, error)) (T, error) {
	f, err := os.Open(name)
	if err != nil {
		var zero T
		return zero, err
	}
	v, err := read(f)
	return v, errors.Join(err, f.Close())
}
