package testrunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/lines"
	"github.com/elastic/bpf-kernel-check/guest/oom"
	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
)

// maxLine is the longest line of the tracer that is read whole.
const maxLine = 4 << 20

// tracer is the EventsTrace under test, running.
type tracer struct {
	cmd    *exec.Cmd
	stdout *os.File // the end that is read
	kills  uint64   // how often the OOM killer had struck before it started
	stderr lines.Clip
	ready  chan struct{} // closed when its init line was read
	fence  chan struct{} // closed when an event about a process of wanted was read
	dying  chan struct{} // closed at the first sign of its end: no event comes any more
	ended  chan struct{} // closed when it is gone and all it printed was read
	during string        // what ran when it began to die; set before dying is closed
	why    string        // how it ended; set before ended is closed

	mu     sync.Mutex
	log    check.Log
	wanted []int64
}

// askHelp runs the tracer's --help. What it prints is all that matters: builds
// differ in the exit status and the stream.
func askHelp(ctx context.Context, path string, limit time.Duration) check.Build {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out := lines.Clip{Head: maxOutput}
	cmd := exec.CommandContext(ctx, path, "--help")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	_ = cmd.Run()
	return check.ParseHelp(out.String())
}

// startTracer starts the tracer and reads all it prints from then on, so that
// it never blocks on a full pipe. running tells what runs when the tracer ends.
func startTracer(path string, args []string, now func() time.Time, running func() string) (*tracer, error) {
	t := &tracer{
		cmd:   exec.Command(path, args...),
		kills: oom.Kills(),
		// libbpf says at its beginning what it found, and at its end why it gave up.
		stderr: lines.Clip{Head: 64 << 10, Tail: 192 << 10},
		ready:  make(chan struct{}),
		fence:  make(chan struct{}),
		dying:  make(chan struct{}),
		ended:  make(chan struct{}),
	}
	// A group of its own, so that a tracer with children ends as a whole.
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, outWriter, err := lines.Pipe()
	if err != nil {
		return nil, err
	}
	stderr, errWriter, err := lines.Pipe()
	if err != nil {
		stdout.Close()
		outWriter.Close()
		return nil, err
	}
	t.cmd.Stdout, t.cmd.Stderr = outWriter, errWriter
	t.log.Own = []int64{1, int64(os.Getpid())} // init and this
	start := now()
	err = t.cmd.Start()
	outWriter.Close()
	errWriter.Close()
	if err != nil {
		stdout.Close()
		stderr.Close()
		return nil, err
	}
	t.stdout = stdout
	outDone, errDone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(outDone)
		defer stdout.Close()
		t.read(inBatches{stdout, outBatch}, func() time.Duration { return now().Sub(start) })
	}()
	go func() {
		defer close(errDone)
		defer stderr.Close()
		_, _ = io.Copy(&t.stderr, inBatches{stderr, errBatch})
	}()
	go t.reap(outDone, errDone, running)
	return t, nil
}

// A tracer may make a system call of each word it prints, and each would wake
// this program up: on one emulated processor that is most of an event's cost.
const (
	outBatch = 2 * time.Millisecond
	errBatch = 20 * time.Millisecond
)

// inBatches reads, and then lets what comes next gather in the pipe for a while.
type inBatches struct {
	r     io.Reader
	pause time.Duration
}

func (b inBatches) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == nil && n < len(p) {
		time.Sleep(b.pause)
	}
	return n, err
}

func (t *tracer) read(r io.Reader, elapsed func() time.Duration) {
	from := lines.NewReader(r, maxLine)
	for {
		line, long, err := from.Next()
		if err == nil || len(line) > 0 {
			t.add(line, long, elapsed())
		}
		if err != nil {
			return
		}
	}
}

func (t *tracer) add(line []byte, long bool, at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.log.Init == nil
	l := t.log.Add(line, long, at)
	if first && t.log.Init != nil {
		close(t.ready)
	}
	if l.Event != nil && slices.ContainsFunc(l.Event.Pids, func(pid int64) bool { return slices.Contains(t.wanted, pid) }) {
		t.wanted = nil
		close(t.fence)
	}
}

// await has fence closed with the first event about one of the processes, at
// once if it came already. It must be called once only.
func (t *tracer) await(pids ...int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if check.Marker(&t.log, pids...) > 0 {
		close(t.fence)
		return
	}
	t.wanted = pids
}

// snapshot is what was read so far.
func (t *tracer) snapshot() *check.Log {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.log.Clone()
}

// reap waits for the end of the process or of its stdout. A descendant may
// hold the pipes open beyond the one, and the process may go on without the
// other, so neither is waited for without a limit.
func (t *tracer) reap(outDone, errDone <-chan struct{}, running func() string) {
	const patience = time.Second
	waited := make(chan error, 1)
	go func() { waited <- t.cmd.Wait() }()
	began := func() {
		t.during = running()
		close(t.dying)
	}
	select {
	case err := <-waited:
		began()
		t.why = t.ending(err)
		within(patience, outDone)
	case <-outDone:
		began()
		t.why = t.closed(waited, patience)
	}
	within(patience, errDone)
	close(t.ended)
}

// closed says how the tracer ended when its stdout is at its end. One that dies
// loses its files long before it can be waited for, as that takes the probes out.
func (t *tracer) closed(waited <-chan error, patience time.Duration) string {
	for range unloading / patience {
		select {
		case err := <-waited:
			return t.ending(err)
		case <-time.After(patience):
			if !exiting(t.cmd.Process.Pid) {
				return "it closed its stdout"
			}
		}
	}
	return "it exits, and has not come to its end"
}

// unloading is what the end of a tracer may take: some seconds on an idle machine.
const unloading = time.Minute

// exiting tells whether a process is on its way out.
func exiting(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		// ESRCH: it was waited for between the opening and the reading.
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
	}
	return exitingStat(string(b))
}

// exitingStat reads the flags in /proc/PID/stat.
func exitingStat(stat string) bool {
	const pfExiting = 4
	fields := statFields(stat)
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&pfExiting != 0
}

// statFields are the fields of /proc/PID/stat from the state on: those behind the
// name in parentheses, which may hold any character.
func statFields(stat string) []string {
	return strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
}

func (t *tracer) ending(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "exit status 0"
	case errors.As(err, &exit):
		status, _ := exit.Sys().(syscall.WaitStatus)
		if status.Signaled() && status.Signal() == syscall.SIGKILL && oom.Kills() > t.kills {
			return "killed by the kernel: out of memory"
		}
		return exit.ProcessState.String()
	}
	return err.Error()
}

func within(d time.Duration, done <-chan struct{}) {
	pause(context.Background(), d, done)
}

// dies tells whether the tracer's end has begun. To take its probes out can take
// the kernel many seconds, and what happens in them is not reported. The kernel
// is asked, for a generator that ends with the tracer may be waited for before
// reap sees either end.
func (t *tracer) dies() bool {
	select {
	case <-t.dying:
		return true
	default:
		return hungUp(t.stdout) || exiting(t.cmd.Process.Pid)
	}
}

// hungUp tells whether nobody has the other end of a pipe open for writing.
func hungUp(pipe *os.File) bool {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return true // closed: it was read to its end
	}
	fds := []unix.PollFd{{}}
	err = conn.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		_, _ = unix.Poll(fds, 0)
	})
	return err != nil || fds[0].Revents&unix.POLLHUP != 0
}

// awaitEnd waits for a tracer that dies: how it ended is known once its probes
// are out.
func (t *tracer) awaitEnd(ctx context.Context) {
	if !t.dies() {
		return
	}
	select {
	case <-t.ended:
	case <-ctx.Done():
	}
}

// gone says how the tracer ended; empty while it runs.
func (t *tracer) gone() string {
	select {
	case <-t.ended:
		return t.why
	default:
		return ""
	}
}

// kill ends the tracer and does not wait: unloading the probes takes seconds,
// and the machine is powered off next.
func (t *tracer) kill() { _ = syscall.Kill(-t.cmd.Process.Pid, syscall.SIGKILL) }
