package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

func (c *command) indexQueryCommand() *cobra.Command {
	var file string
	var globs []string
	var most int
	cmd := &cobra.Command{
		Use:   "query --index FILE NAME",
		Short: "Show which kernels have a type, field, function or option",
		Long: `Prints which kernels of an index have what is asked for, and how: a field with its
type and offset in bytes, a function with its prototype and how it can be attached
to, a number of the kernel's interface, a build option.

NAME is a name of anything, or what it is and a name: struct task_struct.state,
enum zone_type, function vfs_unlink, tracepoint sched/sched_switch, lsm file_open,
kfunc bpf_rcu_read_lock, helper bpf_loop, map type ringbuf, CONFIG_BPF_LSM.

Exit codes: 0 a kernel has it; 1 none has; 2 wrong usage or input; 3 a kernel
of the index cannot be read.`,
		Example: `  bpf-kernel-check index query --index index.bki struct task_struct.state
  bpf-kernel-check index query --index index.bki vfs_unlink --kernel '6.1.0-*'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := preflight.ParseQuery(strings.Join(args, " "))
			if err != nil {
				return usageError{err}
			}
			if err := checkMost(most); err != nil {
				return err
			}
			x, err := requireIndex(file)
			if err != nil {
				return err
			}
			defer x.Close()
			heads, err := headsOf(x, globs)
			if err != nil {
				return err
			}
			found := preflight.NewFindings(q)
			var last *preflight.Kernel
			var failed error
			for _, h := range heads {
				if err := cmd.Context().Err(); err != nil {
					return err
				}
				k, err := readHead(x, h)
				if found.Add(h.ID, k, err); err != nil {
					failed = err
				} else {
					last = k
				}
			}
			if err := found.Text(c.stdout, most); err != nil || last == nil {
				return errors.Join(err, failed)
			}
			if found.Empty() {
				fmt.Fprintf(c.stderr, "bpf-kernel-check: no kernel of the index is known to have %s%s\n", report.OneLine(strings.Join(args, " "), 300), found.Near(last))
			}
			if found.Empty() && failed == nil {
				return exitError(report.ExitFail)
			}
			return failed
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "index", "", "index of kernels, as `FILE`")
	f.StringArrayVar(&globs, "kernel", nil, "only kernels whose id or name matches `GLOB`; repeatable")
	f.IntVar(&most, "max", 12, "print at most `N` lines of each type; 0 prints all")
	return cmd
}
