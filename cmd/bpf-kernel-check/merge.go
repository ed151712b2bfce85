package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/report"
)

// mergeOptions are the flags of merge.
type mergeOptions struct {
	plan, needs, base, history, out string
}

func (c *command) mergeCommand() *cobra.Command {
	var o mergeOptions
	cmd := &cobra.Command{
		Use:   "merge DIR...",
		Short: "Join the results of all shards",
		Long: `Reads the shard files in the directories, at any depth, and writes one summary
and one report. The result is a pass only when every shard is there and whole,
all shards were cut from the same list, and every kernel of it passed. What
speaks against it is said in one line each, and the reports are written in every
case.

DIR is what download-artifact leaves; a zip file of an artifact will do as well.
Of shards that were run again the highest attempt counts.`,
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
	f.StringVar(&o.plan, "plan", "", "`FILE`: plan.json that the shards were run by; without it, the kernels of a shard that left nothing are not known")
	f.StringVar(&o.needs, "needs", "", "what became of the jobs that test: `JSON` of GitHub's toJSON(needs) or toJSON(needs.*.result)")
	f.StringVar(&o.base, "base", "", "`FILE`: report.json of an earlier run, to say what has changed")
	f.StringVar(&o.history, "history", "", "`DIR` of report.json files of earlier runs, for report.html")
	f.StringVarP(&o.out, "out", "o", ".", "`DIR` that gets the reports and results/")
	return cmd
}

func (c *command) merge(dirs []string, o mergeOptions, haveNeeds bool) error {
	mo := report.MergeOptions{Tool: version(), At: time.Now()}
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
		needs, err := report.ParseNeeds(o.needs)
		if err != nil {
			mo.Problems = append(mo.Problems, "--needs: "+err.Error())
		}
		mo.Needs = needs
	}
	if o.base != "" {
		base, err := readFile(o.base, report.ReadReport)
		if err != nil {
			c.warn(fmt.Sprintf("--base %s: %v; what has changed is not known", o.base, err))
		}
		mo.Base = base
	}
	if o.out == "" {
		return usagef("--out is empty: want a directory")
	}
	found, err := report.Collect(dirs...)
	var input *report.InputError
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
	newMergeReport(c, o.out).print(m, len(found.Files), dirs, names)
	if err := errors.Join(err, werr); err != nil {
		return err
	}
	return exitWith(m.Outcome())
}

// exitWith ends the command with the status of a result.
func exitWith(o report.Outcome) error {
	if code := o.ExitCode(); code != report.ExitPass {
		return exitError(code)
	}
	return nil
}

// mergeInto merges, and copies the evidence to dir.
func mergeInto(dir string, found *report.Collected, o report.MergeOptions) (*report.Merged, error) {
	path, err := outDir(dir)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenRoot(path) // links that an artifact has put there lead nowhere
	if err != nil {
		return nil, usagef("--out: %w", err)
	}
	m, from := report.Merge(found, o)
	report.CopyEvidence(out, m, from)
	return m, out.Close()
}

// readFile reads a file with a reader of report.
func readFile[T any](name string, read func(io.Reader) (T, error)) (T, error) {
	f, err := os.Open(name)
	if err != nil {
		var zero T
		return zero, err
	}
	v, err := read(f)
	return v, errors.Join(err, f.Close())
}

// mergeReport prints a merged result.
type mergeReport struct{ *progress }

func newMergeReport(c *command, dir string) mergeReport {
	return mergeReport{newProgress(c.stdout, c.getenv, 0, dir)}
}

func (r mergeReport) print(m *report.Merged, files int, dirs, names []string) {
	of := ""
	if m.RunID != "" {
		of = fmt.Sprintf(" of run %s, attempt %d,", report.OneLine(m.RunID, 200), m.Attempt)
	}
	fmt.Fprintf(r.out, "%s%s in %s\n\n", count(files, "shard file"), of, report.OneLine(strings.Join(dirs, " "), 200))
	r.kernels(m)
	r.refusals(m)
	for _, e := range m.Unused {
		fmt.Fprintf(r.out, "allows nothing any more: the entry of --allow-splats %s\n\n", report.OneLine(e.Words(), 500))
	}
	r.change(m.Change)
	o := m.Outcome()
	word, color := "FAIL", red
	switch o.Verdict {
	case report.Pass:
		word, color = "PASS", green
	case report.Missing:
		word, color = "NOT TESTED", yellow
	}
	line := fmt.Sprintf("%d of %s passed", o.Passed, count(o.Kernels, "kernel"))
	if o.Failed > 0 {
		line += fmt.Sprintf(", %d failed", o.Failed)
	}
	line += restOf(o.Counts)
	if n := len(m.Refusals); n > 0 {
		line += fmt.Sprintf(", and %s why this cannot be green", count(n, "reason"))
	}
	fmt.Fprintf(r.out, "%s %s\n", r.paint("["+word+"]", color), line)
	for _, n := range names {
		fmt.Fprintf(r.out, "       %s\n", joinPath(r.dir, n))
	}
}

// kernels prints why some did not pass, each cause once as run does at its end,
// and what was expected. A guest's words never stand at the beginning of a line.
func (r mergeReport) kernels(m *report.Merged) {
	n, consoles := 0, map[string]string{}
	for i := range m.Kernels {
		k := &m.Kernels[i]
		consoles[k.ID] = k.Console
		if k.Verdict != report.Pass {
			for _, s := range k.Surprises[:min(len(k.Surprises), maxRemarks)] {
				fmt.Fprintf(r.out, "not as expected: %s  %s\n", k.ID, report.OneLine(s, 500))
			}
		}
		if !k.Forgiven() || len(k.Surprises) > 0 {
			continue
		}
		if n++; n <= maxListed {
			word, color := wordOfKernel(k)
			fmt.Fprintf(r.out, "%s %s  %s (expected: %s)\n", r.paint("["+word+"]", color), k.ID, causeTitle(k), report.OneLine(k.ExpectedWords(), 500))
		}
	}
	if n > maxListed {
		fmt.Fprintf(r.out, "and %s more that failed as expected; %s\n", count(n-maxListed, "kernel"), r.rest())
	}
	if n > 0 {
		fmt.Fprintln(r.out)
	}
	if groups := report.Groups(m); len(groups) > 0 {
		r.failures(groups, consoles)
		fmt.Fprintln(r.out)
	}
}

func (r mergeReport) refusals(m *report.Merged) {
	if len(m.Refusals) == 0 {
		return
	}
	fmt.Fprintln(r.out, "not everything was tested as planned:")
	for i, f := range m.Refusals {
		if i == maxListed {
			fmt.Fprintf(r.out, "  and %d more; all stand in %s\n", len(m.Refusals)-i, joinPath(r.dir, report.ReportName))
			break
		}
		fmt.Fprintf(r.out, "  - %s\n", report.OneLine(f.Reason, 500))
	}
	fmt.Fprintln(r.out)
}

func (r mergeReport) change(c *report.Change) {
	if c == nil {
		return
	}
	base := "the base"
	if c.BaseSHA != "" {
		base = c.BaseSHA[:min(len(c.BaseSHA), 12)]
	}
	fmt.Fprintf(r.out, "against %s: %d newly failing, %d fixed, %d new, %d gone\n", report.OneLine(base, 500), len(c.NewlyFail), len(c.Fixed), len(c.New), len(c.Gone))
	for _, id := range c.NewlyFail[:min(len(c.NewlyFail), maxListed)] {
		fmt.Fprintf(r.out, "  newly failing: %s\n", id)
	}
	fmt.Fprintln(r.out)
}

// restOf says how many kernels neither passed nor failed, "" for none.
func restOf(c report.Counts) string {
	s := ""
	if c.NotTested > 0 {
		s += fmt.Sprintf(", %d not tested", c.NotTested)
	}
	if c.FailedAsExpected > 0 {
		s += fmt.Sprintf(", %d failed as expected", c.FailedAsExpected)
	}
	return s
}
