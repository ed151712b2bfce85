package testrunner

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/lines"
	"github.com/elastic/bpf-kernel-check/guest/oom"
	"github.com/elastic/bpf-kernel-check/guest/testrunner/output"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

const execUsage = `Usage: testrunner exec [--name NAME] [--dir DIR] [--go-test] [--junit GLOB]... [--stream] -- PROGRAM ARGS...

Runs a test program, passes its output on as it is, and reports the tests it
prints: go test -v or -json, TAP, KTAP, test_progs, GoogleTest or Rust's libtest; or
those in the JUnit XML that it writes. Exits with the program's status, with 0 where
the status and the output say that it was skipped, or with 128 plus the number of the
signal that ended it.

Flags:
`

// exitNotStarted is what shells say of a program that cannot be run.
const exitNotStarted = 126

// execProgram is testrunner exec. It returns the exit status.
func execProgram(ctx context.Context, args []string, stdout, stderr io.Writer, rep *wire.Reporter, m machine) int {
	o, err := parseExec(args, stderr)
	name, goTest, argv := o.name, o.goTest, o.argv
	if errors.Is(err, flag.ErrHelp) {
		return exitPass
	}
	if err != nil {
		fmt.Fprintf(stderr, "testrunner: %s\n", err)
		return exitUsage
	}
	// The report is slow, and the program must not wait for it: there is room for all
	// that the parser tells.
	tell := make(chan func(), output.MaxRecords+output.MaxMarks)
	reported := make(chan error, 1)
	go func() {
		for report := range tell {
			report()
		}
		reported <- rep.Done()
	}()
	parser := output.New(name, func(t output.Test) { tell <- func() { rep.Report(t) } })
	if goTest {
		parser.ExpectGoTest(goTestFlags(argv[1:]))
	}
	parser.Clock(m.now)
	parser.Watch(func(name string, paused bool) { tell <- func() { rep.Run(name, paused) } })
	var junit *junitFiles
	if len(o.junit) > 0 {
		parser.ExpectJUnit(o.framework)
		junit = newJUnitFiles(o.junit)
	}
	start := m.now()
	before := oom.Kills()
	var end ended
	if o.stream {
		parser.AllowNoTests()
		end = executeStreamed(ctx, o.dir, argv, os.Stdin, stdout, stderr, parser)
	} else {
		end = execute(ctx, o.dir, argv, stdout, parser, "/dev/ptmx", func(why error) {
			fmt.Fprintf(stderr, "testrunner: %s has a pipe for its output, and no terminal: %s\n", name, why)
		})
	}
	if end.killed && oom.Kills() > before {
		end.how = "killed by the kernel: out of memory"
	}
	// What is streamed is the program's alone.
	if end.code != 0 && end.how != exitWords(end.code) && !o.stream {
		fmt.Fprintf(stderr, "\ntestrunner: %s: %s\n", name, end.how)
	}
	if junit != nil {
		junit.read(ctx, parser)
	}
	cut := parser.Finish(end.how, end.code, max(0, m.now().Sub(start)))
	if parser.Skipped() && !o.stream { // whose status is for who started it
		end.code = 0
	}
	switch {
	case cut != "" || !parser.Failed():
	case goTest && end.code != exitGoTestFailed && end.code != exitRace && end.code != 0:
		cut = end.how + ", where go test's code ends with 1 when tests fail"
	case failsFast(argv, os.Environ()), junit != nil && stopsEarly(o.framework, argv):
		cut = "it was told to stop at the first failure"
	}
	if cut != "" {
		rep.Incomplete(cut)
	}
	close(tell)
	if err := <-reported; err != nil {
		if !o.stream {
			fmt.Fprintf(stderr, "testrunner: the report to init is incomplete: %s\n", err)
		}
		if end.code == 0 {
			return exitFail
		}
	}
	return end.code
}

// Exit statuses of a Go test binary: tests failed; the race detector found
// something, which fails tests as well.
const (
	exitGoTestFailed = 1
	exitRace         = 66
)

// goTestFlags says of a Go test binary's arguments whether its lines have marks,
// and whether os.Exit(0) in a test panics.
func goTestFlags(args []string) (marked, sure bool) {
	for _, a := range args {
		name, value, set := strings.Cut(a, "=")
		switch name {
		case "--":
			return marked, sure
		case "-test.v", "--test.v":
			marked = value == "test2json"
		case "-test.paniconexit0", "--test.paniconexit0":
			on, err := strconv.ParseBool(value)
			sure = !set || on && err == nil
		}
	}
	return marked, sure
}

// Options that end a run at its first failure: -test.failfast, --fail-fast,
// --ginkgo.fail-fast, --gtest_fail_fast, and GTEST_FAIL_FAST.
var failFast = regexp.MustCompile(`(?i)(no[-_]?)?fail[-_]?fast(=\S*)?`)

// failsFast says whether a program was asked to stop at the first failure, itself
// or one that it starts by its arguments.
func failsFast(argv, env []string) bool {
	for _, a := range slices.Concat(argv[1:], env) {
		for _, m := range failFast.FindAllStringSubmatch(a, -1) {
			on, err := strconv.ParseBool(strings.TrimPrefix(m[2], "="))
			if is := m[1] == ""; is == (on || err != nil) { // not so is --no-fail-fast, and --fail-fast=false
				return true
			}
		}
	}
	return false
}

// stopOptions are the options by which a framework's run ends at its first failures, or
// after a number of them.
func stopOptions() map[string]string {
	return map[string]string{
		"bats":      `^--abort$`,
		"catch2":    `^(-[a-zA-Z]*[ax]|--abortx?)([=: \d].*)?$`,
		"criterion": `^-[a-zA-Z]*f`,
		"ctest":     `^--stop-on-failure$`,
		"doctest":   `^--?(dt-)?(aa|abort-after)=`,
		"pytest":    `^(-[a-zA-Z]*x[a-zA-Z]*|--exitfirst|--maxfail(=.*)?)$`,
	}
}

// stopsEarly says whether a program that writes JUnit XML was asked to stop before it
// has run all of its tests. If the framework is not known, it may be any.
func stopsEarly(framework string, argv []string) bool {
	for name, option := range stopOptions() {
		if (framework == "" || framework == name) && slices.ContainsFunc(argv[1:], regexp.MustCompile(option).MatchString) {
			return true
		}
	}
	return false
}

// execOptions are the flags of testrunner exec.
type execOptions struct {
	name, dir string
	goTest    bool
	stream    bool
	junit     []string // patterns; none: tests are in what the program prints
	framework string
	argv      []string
}

func parseExec(args []string, stderr io.Writer) (o execOptions, err error) {
	fs := flag.NewFlagSet("testrunner exec", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.name, "name", "", "what to call the program (default: its file's name)")
	fs.StringVar(&o.dir, "dir", "", "working directory of the program (default: this one)")
	fs.BoolVar(&o.goTest, "go-test", false, "the program is a Go test binary, which says PASS when its tests are done")
	fs.Func("junit", "read the tests from the JUnit XML that the program writes to `GLOB`; repeatable", func(glob string) error {
		o.junit = append(o.junit, glob)
		return nil
	})
	fs.StringVar(&o.framework, "framework", "", "with --junit: what writes the XML, such as catch2")
	fs.BoolVar(&o.stream, "stream", false, "give the program this standard input, and no terminal, and keep its standard output and error apart")
	if err := fs.Parse(args); err != nil {
		if err == flag.ErrHelp {
			fmt.Fprint(stderr, execUsage)
			fs.SetOutput(stderr)
			fs.PrintDefaults()
		}
		return o, err
	}
	if fs.NArg() == 0 {
		return o, errors.New("exec: no program given: want it, and its arguments, after --")
	}
	if o.name == "" {
		o.name = filepath.Base(fs.Arg(0))
	}
	o.argv = fs.Args()
	return o, nil
}

// ended is how a program ended.
type ended struct {
	code   int    // exit status, or 128 plus a signal
	how    string // in words
	killed bool   // by SIGKILL
}

// timeIsUp says of a program that init would not wait for it any longer.
const timeIsUp = "ended from outside by SIGTERM, as when its time is up"

// unkillable is how long a program may take to end by SIGKILL.
const unkillable = time.Second

var errUnkillable = errors.New("SIGKILL does not end it")

func exitWords(code int) string { return fmt.Sprintf("exit status %d", code) }

// execute runs a program in dir, its standard output and error both going to out and
// to copied, in the order they were written: one terminal for both, as a person
// has it, made by ptmx. noTerminal is told why it is a pipe instead.
func execute(ctx context.Context, dir string, argv []string, out, copied io.Writer, ptmx string, noTerminal func(error)) ended {
	held := ptyBuffer
	r, w, err := openTerminal(ptmx)
	if err != nil {
		noTerminal(err)
		// Instead of a terminal, for kernels without pseudoterminals, or where nothing
		// is mounted on /dev/pts.
		held = lines.PipeSize
		if r, w, err = lines.Pipe(); err != nil {
			return ended{code: exitNotStarted, how: err.Error()}
		}
	}
	return executeWith(ctx, dir, argv, nil, []passage{{r, w, held, out, copied}})
}

// passage is a way that a program's output takes.
type passage struct {
	r, w        *os.File
	held        int // bytes that it holds of what was written and not read yet
	out, copied io.Writer
}

// executeWith runs a program whose standard input is in, nil for none, and whose
// output goes the first way and its errors the last.
func executeWith(ctx context.Context, dir string, argv []string, in *os.File, ways []passage) ended {
	fail := func(doing string, err error) ended {
		return ended{code: exitNotStarted, how: fmt.Sprintf("%s: %v", doing, err)}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, ways[0].w, ways[len(ways)-1].w
	if in != nil {
		cmd.Stdin = in
	}
	// The report is testrunner's alone.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, wire.ReportFDEnv+"=") })
	// A session of its own: what signals its process group does not mean us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err := cmd.Start()
	for _, way := range ways {
		defer way.r.Close()
		way.w.Close()
	}
	if err != nil {
		return fail("start "+argv[0], cmp.Or(errors.Unwrap(err), err))
	}
	pid := cmd.Process.Pid
	var passing sync.WaitGroup
	for _, way := range ways {
		passing.Go(func() { pass(way.r, way.held, way.out, way.copied) })
	}
	var state *os.ProcessState
	waited := make(chan error, 1)
	go func() {
		var err error
		state, err = cmd.Process.Wait()
		waited <- err
	}()
	timeUp := false
	select {
	case err = <-waited:
		timeUp = ctx.Err() != nil
	case <-ctx.Done():
		timeUp = true
		var ended bool
		if askGoroutines(pid) {
			select {
			case err = <-waited:
				ended = true
			case <-time.After(quitGrace):
			}
		}
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		if !ended {
			select {
			case err = <-waited:
			case <-time.After(unkillable):
				err = errUnkillable
			}
		}
	}
	// What the program left running may hold the terminal open for ever. What the
	// program itself wrote is in it by now.
	for _, way := range ways {
		_ = way.r.SetReadDeadline(time.Now())
	}
	passing.Wait()

	switch {
	case err == errUnkillable:
		return ended{code: 128 + int(syscall.SIGKILL), how: timeIsUp + ", and cannot be killed: it hangs in the kernel", killed: true}
	case timeUp:
		return ended{code: 128 + int(syscall.SIGKILL), how: timeIsUp}
	case err != nil:
		return fail("wait for "+argv[0], err)
	}
	status := state.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		return ended{code: status.ExitStatus(), how: exitWords(status.ExitStatus())}
	}
	sig := status.Signal()
	name := unix.SignalName(sig)
	if name == "" {
		name = strconv.Itoa(int(sig))
	}
	return ended{code: 128 + int(sig), how: "signal: " + name, killed: sig == syscall.SIGKILL}
}

// quitGrace is how long a Go program may take to print its goroutines.
const quitGrace = 2 * time.Second

// askGoroutines sends SIGQUIT to those processes of a program's session that have a
// handler for it, and says whether there are any: Go's runtime prints what all
// goroutines are doing, and exits. Others are let be: their memory is of no use
// here.
func askGoroutines(session int) (asked bool) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		if f := statFields(string(stat)); len(f) < 4 || f[3] != strconv.Itoa(session) {
			continue
		}
		status, err := os.ReadFile(dir + "/status")
		if err != nil || !catches(string(status), syscall.SIGQUIT) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && syscall.Kill(pid, syscall.SIGQUIT) == nil {
			asked = true
		}
	}
	return asked
}

// catches reads a process's status in /proc for whether it has a handler for a
// signal.
func catches(status string, sig syscall.Signal) bool {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, "SigCgt:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err == nil && mask&(1<<(sig-1)) != 0
		}
	}
	return false
}

// pass copies r until its end, or, once its deadline has come, what is in it at
// that time: held bytes at most, so that what comes meanwhile does not count.
func pass(r *os.File, held int, out, copied io.Writer) {
	buf := make([]byte, 64<<10)
	write := func(b []byte) {
		// Nobody may be there to read it; the report is what counts.
		_, _ = out.Write(b)
		_, _ = copied.Write(b)
	}
	for {
		n, err := r.Read(buf)
		write(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return // EIO is the end of a terminal that nobody has open any more
		}
	}
	_ = r.SetReadDeadline(time.Time{})
	c, err := r.SyscallConn()
	for err == nil && held > 0 {
		n := 0
		rerr := c.Read(func(fd uintptr) bool {
			for {
				if n, err = unix.Read(int(fd), buf[:min(held, len(buf))]); err != unix.EINTR {
					return true // EAGAIN: there is no more
				}
			}
		})
		if rerr != nil || n <= 0 {
			return
		}
		write(buf[:n])
		held -= n
	}
}
