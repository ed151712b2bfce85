// Command bpf-kernel-check boots Linux kernels in QEMU, runs an eBPF payload in
// each of them, and reports where it works. Each subcommand is a file of flags
// and wiring; what decides, parses or formats is in the packages it calls.
package main

//go:generate go test -run "Reference|WorkflowsExample" . -update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

func main() {
	saveMemory()
	ctx, cancel := context.WithCancelCause(context.Background())
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // by nohup
		signal.Notify(sigs, syscall.SIGHUP)
	}
	// Write the results even if the reader of our output is gone, as with head.
	// A caught signal, unlike an ignored one, is not inherited by children.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		// The first signal ends the VMs and writes what is known; the second
		// ends the program.
		s := <-sigs
		cancel(interrupted{s.(syscall.Signal)})
		signal.Stop(sigs)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}

// saveMemory makes the garbage collector run earlier, and more often above the
// limit: the VMs need the memory more.
func saveMemory() {
	debug.SetGCPercent(33)
	debug.SetMemoryLimit(memoryLimit)
}

// memoryLimit is the limit of saveMemory in bytes, without the payload's files:
// near it the garbage collector would run all the time.
const memoryLimit = 100 << 20

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string { return "interrupted by " + unix.SignalName(i.signal) }

// exitError is an exit code whose reason has been printed.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is an error that the user can fix.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// command holds what the subcommands share.
type command struct {
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	log     *github.Log // the command's stdout
	getenv  func(string) string
	cache   string        // --cache
	kernels *kernel.Cache // opened by openCache
	// patience is the wait before apt is asked again, times the attempt.
	patience time.Duration
	aptLists string // see host.Installer
	noResult string // why there is nothing to publish, if known
	laps     *laps  // of the action's step that boots; nil for others

	config  string            // --config
	settled bool              // the flags have what the environment and the file say
	from    map[string]string // where the flags that these set stand; see settings
}

// run is the whole program. It returns the exit code: one of report's, or 128
// plus the number of the signal that ended it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	log, errs := github.NewLog(stdout), github.NewLog(stderr)
	defer errs.Flush() //nolint:errcheck // there is no one left to tell
	defer log.Flush()  //nolint:errcheck // as above
	stderr = errs
	c := &command{stdin: stdin, stdout: log, stderr: errs, log: log, getenv: getenv, patience: 5 * time.Second, aptLists: host.AptLists}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)

	var sig interrupted
	var status statusError
	if errors.As(err, &status) { // exec's, which takes the signals itself
		if status.error != nil {
			fmt.Fprintln(stderr, "bpf-kernel-check: "+strings.ReplaceAll(report.Text(c.blame(status.error).Error()), "\n", "\n    "))
		}
		return status.status
	}
	if errors.As(context.Cause(ctx), &sig) {
		fmt.Fprintln(stderr, "bpf-kernel-check: "+sig.Error())
		return 128 + int(sig.signal)
	}
	var exit exitError
	var usage usageError
	var payload *guest.PayloadError
	switch {
	case err == nil:
		return report.ExitPass
	case errors.As(err, &exit):
		return int(exit)
	}
	err = c.blame(err)
	// Text that an error quotes must not begin a line.
	fmt.Fprintln(stderr, "bpf-kernel-check: "+strings.ReplaceAll(report.Text(err.Error()), "\n", "\n    "))
	if errors.As(err, &usage) || errors.As(err, &payload) || plan.IsUsage(err) {
		return report.ExitUsage
	}
	return report.ExitNotTested
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "bpf-kernel-check",
		Short: "Test eBPF programs on many kernels",
		Long: `bpf-kernel-check boots Linux kernels in QEMU, runs an eBPF program in each of
them, and reports where it works and why it fails elsewhere.

Exit codes: 0 all passed; 1 a kernel failed; 2 wrong usage or input;
3 something was not tested; 129, 130 or 143 ended by a signal.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			var names []string
			for _, sub := range cmd.Commands() {
				if sub.Hidden {
					continue
				}
				names = append(names, sub.Name())
			}
			return fmt.Errorf("unknown command %q%s: want %s", args[0], kernel.Suggest(args[0], names), strings.Join(names, ", "))
		},
		PersistentPreRunE: c.applySettings,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w (see %s --help)", plainFlag(cmd, err), cmd.CommandPath())
	})
	root.PersistentFlags().StringVar(&c.cache, "cache", "", "directory that keeps kernels (default: bpf-kernel-check in the user's cache directory)")
	root.AddCommand(c.runCommand(), c.execCommand(), c.bisectCommand(), c.initCommand(), c.listCommand(), c.preflightCommand(), c.indexCommand(), c.planCommand(), c.mergeCommand(), c.publishCommand(), c.buildKernelsCommand(), c.debugCommand(), c.doctorCommand(), c.demoCommand(), c.actionCommand())
	// Cobra's errors about arguments and unknown commands have no type.
	for _, cmd := range append(root.Commands(), root) {
		if slices.Contains(hasSettings, cmd.Name()) {
			cmd.Flags().StringVar(&c.config, "config", "", "take settings from `FILE` instead of the nearest "+configName+", or none")
		}
		check := cmd.Args
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if check != nil {
				if err := check(cmd, args); err != nil {
					return usagef("%w (see %s --help)", err, cmd.CommandPath())
				}
			}
			return nil
		}
	}
	return root
}

// releaseVersion is set by the build of a release, which does not use git.
var releaseVersion string

// version returns this program's version.
func version() string {
	if releaseVersion != "" {
		return releaseVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
