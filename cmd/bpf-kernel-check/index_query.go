package main

import (
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

func (c *command) indexQueryCommand() *cobra.Command {
	var file string
	var globs []string
	var asJSON bool
	var most int
	cmd := &cobra.Command{
		Use:   "query --index FILE NAME",
		Short: "Show which kernels have a type, field, function or option",
		Long: `Prints which kernels of an index have what is asked for, and how: a field with its
type and offset in bytes, a function with its prototype and how it can be attached
to, a number of the kernel's interface, a build option.

NAME is a name of anything, or what it is and a name: struct task_struct.state,
enum value BPF_MAP_TYPE_RINGBUF, function vfs_unlink, tracepoint sched/sched_switch,
kfunc bpf_rcu_read_lock, helper bpf_loop, map type ringbuf, lsm file_open,
CONFIG_BPF_LSM.

Exit codes: 0 a kernel has it; 1 none has; 2 wrong usage or input; 3 a kernel
of the index cannot be read.`,
		Example: `  bpf-kernel-check index query --index index.bki struct task_struct.state
  bpf-kernel-check index query --index index.bki vfs_unlink --kernel '6.1.0-*'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("nothing to look for: want a name, such as index query --index FILE struct task_struct.state")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := preflight.ParseQuery(strings.Join(args, " "))
			if err != nil {
				return usageError{err}
			}
			if most < 0 {
				return usagef("--max is %d: want a number of lines, or 0 for all", most)
			}
			debug.SetMemoryLimit(math.MaxInt64) // no VMs run that need it more
			x, err := requireIndex(file)
			if err != nil {
				return err
			}
			defer x.Close()
			found := preflight.NewFindings(q)
			var newest *preflight.Kernel
			for _, h := range x.Heads() {
				if err := cmd.Context().Err(); err != nil {
					return err
				}
				if len(globs) > 0 && !slices.ContainsFunc(globs, func(g string) bool { return matchesKernel(g, h.ID) }) {
					continue
				}
				k, err := kernelOf(x, h)
				found.Add(h.ID, k, err)
				if err == nil && (newest == nil || report.CompareVersions(h.Release, newest.Release) > 0) {
					newest = k
				}
			}
			switch {
			case newest == nil:
				return usagef("no kernel of the index matches --kernel %s: it has %s", strings.Join(globs, " "), count(len(x.Heads()), "kernel"))
			case asJSON:
				err = found.JSON(c.stdout)
			case !found.Empty():
				err = found.Text(c.stdout, most)
			}
			if err == nil && found.Empty() {
				fmt.Fprintf(c.stderr, "bpf-kernel-check: no kernel of the index has %s%s\n", report.OneLine(strings.Join(args, " "), 300), q.Near(newest))
				return exitError(report.ExitFail)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "index", "", "index of kernels, as `FILE`")
	f.StringArrayVar(&globs, "kernel", nil, "only kernels whose id or name matches `GLOB`; repeatable")
	f.IntVar(&most, "max", 12, "print at most `N` lines of each type; 0 prints all")
	f.BoolVar(&asJSON, "json", false, "print JSON, with each kernel's own answer")
	return cmd
}
