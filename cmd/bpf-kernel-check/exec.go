package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// execOptions are the flags of exec.
type execOptions struct {
	run     runOptions
	src     sourceOptions
	payload payloadOptions

	out     string
	name    string
	stdin   string
	exclude []string
	verbose bool
}

// Exit statuses of exec besides the program's own: those of shells, docker and
// timeout(1).
const (
	statusTimeout   = 124
	statusNotTested = 125
	statusNotRun    = 126
	statusNotFound  = 127
	statusCrash     = 134
)

// statusError is an exit status of the program, and why, if that is to be said.
type statusError struct {
	status int
	error
}

func (e statusError) Error() string {
	if e.error == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.error.Error()
}

func (e statusError) Unwrap() error { return e.error }

func (c *command) execCommand() *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec --kernels SRC... [--] PROGRAM [ARGS...]",
		Short: "Run a program in a kernel as if it ran here",
		Long: `Boots the kernels and runs a program in each, with its arguments, in this
working directory. Standard input, output and error are those of the program,
signals are passed on to it, and the exit status is its own. That makes it a
wrapper for test runners.

The working directory's files are brought along, without ` + ".git, node_modules and\n" + `caches; what the program writes stays in the guest. With several kernels each
line begins with the kernel's name, and the worst exit status counts.

Exit status: the program's, 128+N after signal N; 1 if it hides a failure, 124
after a time limit, 125 if a kernel was not tested or the usage is wrong, 126 if
the program cannot be run, 127 if there is none, 134 if the kernel crashed.`,
		Example: `  go test -exec 'bpf-kernel-check exec --kernels debian:bookworm:cloud-amd64' ./...
  CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='bpf-kernel-check exec --kernels ./kernels' cargo test
  cmake -DCMAKE_TEST_LAUNCHER='bpf-kernel-check;exec;--kernels;./kernels' ...  # CMake 3.29 and later
  cmake -DCMAKE_CROSSCOMPILING_EMULATOR='bpf-kernel-check;exec;--kernels;./kernels' ...  # before 3.29
  bpf-kernel-check exec --kernels ./kernels --rootfs debian:bookworm -- bash -c 'uname -r'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.run.started = time.Now()
			e := &execution{command: c, o: &o, streams: map[string]*vm.Stream{}, results: map[string]report.Result{}}
			return e.run(cmd.Context(), args)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return statusError{statusNotTested, fmt.Errorf("%w (see %s --help)", plainFlag(cmd, err), cmd.CommandPath())}
	})
	o.add(cmd)
	return cmd
}

func (o *execOptions) add(cmd *cobra.Command) {
	// The flags of run that make sense for a program that someone else starts.
	of := &cobra.Command{}
	o.run.add(of)
	o.payload.add(of)
	o.src.add(cmd)
	f := cmd.Flags()
	for _, name := range []string{
		"jobs", "accel", "memory", "retries", "allow-splats", "arch", "boot", "boot-timeout", "silence-timeout", "timeout",
		"file", "module", "modules", "rootfs", "host-root", "cgroup", "cpus", "append", "library-path", "collect",
	} {
		f.AddFlag(of.Flags().Lookup(name))
	}
	// Who starts the program has limits of its own.
	o.run.limits.payload, o.run.limits.test = time.Hour, 0
	f.Lookup("timeout").DefValue = o.run.limits.payload.String()
	f.Lookup("timeout").Usage = "limit for the program in each VM"
	f.StringArrayVar(&o.payload.env, "env", nil, "set a variable for the program, as `K=V`; K alone takes its value from the environment, and a glob all that it matches; repeatable")
	f.StringVarP(&o.out, "out", "o", "", "keep the results in a directory for the program below `DIR`, for merge; calls can share it")
	f.StringVar(&o.name, "name", "", "`NAME` of the program in the results (default: from the working directory, the program's file and its arguments)")
	f.StringVar(&o.stdin, "stdin", "auto", "`auto, on or off`: pass standard input on; auto does unless it is a terminal")
	f.StringArrayVar(&o.exclude, "exclude", nil, "leave `PATH` of the working directory out; repeatable")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "tell on standard error what is done")
	f.SetInterspersed(false)
}

// execution is one call of exec.
type execution struct {
	*command
	o *execOptions

	dir    string   // the working directory
	root   userRoot // of the guest
	total  int      // kernels
	prefix bool     // there are several kernels
	short  map[string]string
	stdin  vm.Input
	out    *shared // standard output
	errs   *shared // standard error
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	streams map[string]*vm.Stream    // by a kernel's id
	results map[string]report.Result // the same
}

// run returns a statusError, of success as well: a signal that the program took is
// no reason for another status.
func (e *execution) run(ctx context.Context, args []string) error {
	// Signals are the program's: see passSignals.
	ctx, e.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	defer e.cancel(nil)
	defer e.passSignals()()
	e.out, e.errs = &shared{w: unwrapped(e.stdout)}, &shared{w: unwrapped(e.stderr)}
	stderr := e.stderr
	held := &bytes.Buffer{}
	e.stdout = e.stderr
	if !e.o.verbose { // nothing but the program is heard, if all is well
		e.stdout, e.stderr = io.Discard, &shared{w: held}
	}
	err := e.boot(ctx, args)
	e.stderr = stderr

	var sig interrupted
	if errors.As(context.Cause(ctx), &sig) {
		return statusError{128 + int(sig.signal), sig}
	}
	var exit exitError
	var status statusError
	switch {
	case len(e.results) > 0 && (err == nil || errors.As(err, &exit)):
		code := e.status()
		if code == 0 && err != nil {
			code = statusNotTested
		}
		if code == statusNotTested {
			fmt.Fprint(stderr, held)
		}
		return statusError{code, nil}
	case errors.As(err, &status):
		return status
	case errors.As(err, &exit), err == nil:
		fmt.Fprint(stderr, held)
		return statusError{statusNotTested, nil}
	}
	fmt.Fprint(stderr, held)
	return statusError{statusNotTested, err}
}

// unwrapped is the stream below a log's, which takes bytes as they are.
func unwrapped(w io.Writer) io.Writer {
	if l, ok := w.(*github.Log); ok {
		return l.Unwrap()
	}
	return w
}

// boot runs the program in each kernel.
func (e *execution) boot(ctx context.Context, args []string) error {
	o := e.o
	if len(args) == 0 {
		return usagef("no program to run: want it and its arguments behind the flags")
	}
	if !slices.Contains([]string{"auto", "on", "off"}, o.stdin) {
		return usagef("--stdin is %.50q: want auto, on or off", o.stdin)
	}
	sources, err := o.src.specs(nil, "no kernels to run it in")
	if err != nil {
		return err
	}
	o.run.out = cmp.Or(o.out, ".") // replaced below
	accel, err := o.run.validate()
	if err != nil {
		return err
	}
	if _, err := qemu.ParseParams(o.payload.params); err != nil {
		return usagef("--append %w", err)
	}
	if err := errors.Join(o.payload.validateExtras(), e.checkHostRoot(o.payload.hostRoot), e.checkRootfs(o.payload.rootfs)); err != nil {
		return err
	}
	if e.dir, err = os.Getwd(); err != nil {
		return usagef("find the working directory: %w", err)
	}
	if e.dir, err = filepath.EvalSymlinks(e.dir); err != nil {
		return usagef("find the working directory: %w", err)
	}
	payload, err := e.readPayload(ctx, args)
	if err != nil {
		return err
	}
	srcs, err := e.sources(sources, payload.arch)
	if err != nil {
		return err
	}
	list, err := plan.Select(ctx, srcs, e.filter(&o.src, payload.arch))
	if err != nil {
		e.printSkipped(e.stderr, list)
		return err
	}
	if list.ForArch(payload.arch) == 0 {
		return notForArch(payload)
	}
	e.noteKinds(list)
	e.total = len(list.Entries)
	e.prefix = e.total > 1
	e.short = shortNames(list)
	if o.stdin == "on" || o.stdin == "auto" && terminal(e.command.stdin) == nil {
		s, err := newSpool(e.command.stdin)
		if err != nil {
			return err
		}
		defer s.Close()
		e.stdin = s
	}
	if slices.ContainsFunc(args[1:], listing.MatchString) {
		o.out = "" // there are no results to keep
	}
	done, err := e.resultsDir(payload.Job.Name)
	if err != nil {
		return err
	}
	defer done()
	cache, err := e.openCache()
	if err != nil {
		return err
	}
	slots, err := host.AcquireSlots(ctx, filepath.Join(cache.Dir(), "locks"), min(o.run.jobs, len(list.Entries)), o.run.jobs)
	if err != nil {
		return err
	}
	defer slots.Release()
	o.run.jobs = len(slots)
	o.run.exec = e
	return e.test(ctx, o.run, accel, payload, list)
}

// resultsDir makes the directory of the call's results. done removes what nobody
// asked to keep.
func (e *execution) resultsDir(name string) (done func(), err error) {
	if e.o.out == "" {
		dir, err := os.MkdirTemp("", "bpf-kernel-check-exec-")
		if err != nil {
			return nil, fmt.Errorf("make a directory for the results: %w", err)
		}
		e.o.run.out = dir
		return func() { os.RemoveAll(dir) }, nil
	}
	if _, err := outDir(e.o.out); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		dir := filepath.Join(e.o.out, callDir(name, n))
		err := os.Mkdir(dir, 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("make a directory for the results: %w", err)
		}
		e.o.run.out = dir
		return func() { os.Remove(dir) }, nil // if it is empty
	}
}

// callDir is the directory of the results of a program's nth call: none may take the
// place of another's. Merge looks for no shard file in directories that are called
// as those that guests write to.
func callDir(program string, n int) string {
	dir := strings.ReplaceAll(program, "/", ",")
	switch {
	case n > 1:
		dir = fmt.Sprintf("%s,%d", dir, n)
	case dir == "results" || dir == "verifier":
		dir += ","
	}
	return dir
}

// configure gives a runner what makes it exec's.
func (e *execution) configure(r *shard.Runner) {
	r.Stream, r.ProgramName = e.stream, r.Payload.Job.Name
}

// event takes a kernel's result.
func (e *execution) event(ev shard.Event) {
	if ev.State == shard.Done {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.results[ev.ID] = ev.Result
	}
}

// stream returns what becomes of the program's input and output in a kernel.
func (e *execution) stream(id string) *vm.Stream {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.streams[id]; s != nil {
		return s
	}
	s := &vm.Stream{Stdout: e.out, Stderr: e.errs, Stdin: e.stdin}
	if e.prefix {
		s.Stdout, s.Stderr = e.out.lines(e.short[id]), e.errs.lines(e.short[id])
	}
	e.streams[id] = s
	return s
}

// status is the exit status, and says what the program could not.
func (e *execution) status() int {
	failed, untested := 0, len(e.results) < e.total
	for _, id := range slices.Sorted(maps.Keys(e.results)) {
		k := e.results[id]
		if s := e.streams[id]; s != nil && e.prefix {
			flush(s.Stdout)
			flush(s.Stderr)
		}
		code := 0
		switch {
		case k.Verdict == report.Pass:
			continue
		case k.Verdict == report.Crash:
			code = statusCrash
		case k.Verdict == report.Timeout:
			code = statusTimeout
		case k.Verdict == report.Fail:
			own := 0
			if s := e.streams[id]; s != nil {
				own = s.Status()
			}
			if code = own; own <= 0 || own > 255 {
				code = 1
			} else if !e.o.verbose { // it has said so itself
				failed = max(failed, code)
				continue
			}
		default:
			untested = true
		}
		failed = max(failed, code)
		line := fmt.Sprintf("bpf-kernel-check: %s: %v", id, k.Verdict)
		if k.Cause != nil {
			line += ": " + report.OneLine(k.Cause.Title, 500)
		}
		switch {
		case e.o.out != "" && k.Console != "":
			line += " (" + filepath.Join(e.o.run.out, filepath.FromSlash(k.Console)) + ")"
		case code != 0:
			line += " (--out DIR keeps its console)"
		}
		fmt.Fprintln(e.stderr, line)
	}
	if failed == 0 && untested {
		return statusNotTested
	}
	return failed
}

// shortNames are the kernels' names as lines begin with them.
func shortNames(list plan.Plan) map[string]string {
	short, users := map[string]string{}, map[string]int{}
	for _, entry := range list.Entries {
		name, _, _ := strings.Cut(entry.Name, "__")
		short[entry.ID()] = name
		users[name]++
	}
	for id, name := range short {
		if users[name] > 1 {
			short[id] = id
		}
	}
	return short
}
