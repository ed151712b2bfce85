package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/shard/child"
)

// Exit says how a VM's process ended.
type Exit struct {
	Code     int    // exit status; -1 when a signal ended it
	Signal   string // that ended it, such as SIGKILL, caught or not
	Killed   bool   // by us, because the context ended
	Fault    bool   // it had stopped the VM for a fault of its own or of KVM's, and was ended for that
	Stderr   string // at most its last 16 KiB
	Duration time.Duration
}

// Clean says whether QEMU ended by itself and as it should.
func (e Exit) Clean() bool { return e.Code == 0 && e.Signal == "" && !e.Killed && !e.Fault }

// FromOutside says whether someone else ended QEMU, or the kernel for want of
// memory.
func (e Exit) FromOutside() bool {
	return !e.Killed && !e.Fault && slices.Contains([]string{"SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"}, e.Signal)
}

// String puts it in words.
func (e Exit) String() string {
	s := fmt.Sprintf("exit status %d", e.Code)
	switch {
	case e.Fault:
		s = "it stopped the VM"
	case e.Killed:
		s = "ended by us"
	case e.Signal != "":
		s = "killed by " + e.Signal
		if e.Signal == "SIGKILL" {
			s += ", by the kernel for want of memory (dmesg says so) or by someone else"
		}
	}
	if msg := message(e.Stderr); msg != "" {
		s += ": " + msg
	}
	return s
}

// ErrNotInstalled is wrapped by Find's error when the machine lacks QEMU.
var ErrNotInstalled = errors.New("not installed")

// Find returns the path of QEMU for an architecture.
func Find(a Arch) (string, error) {
	path, err := exec.LookPath(a.Binary)
	if err != nil {
		return "", fmt.Errorf("%s is %w: apt-get install --no-install-recommends %s, or your distribution's package", a.Binary, ErrNotInstalled, a.Package)
	}
	return path, nil
}

// Version returns what QEMU says of its version, such as "7.2.22".
func Version(ctx context.Context, path string) (string, error) {
	out, err := child.Output(exec.CommandContext(ctx, path, "--version"))
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	line = strings.TrimPrefix(line, "QEMU emulator version ")
	version, _, _ := strings.Cut(line, " ")
	return version, nil
}

// Run boots the machine and waits until it is over. What the guest prints goes
// to console and results as it comes, each from a goroutine of its own; an
// error or delay of theirs holds the guest up, so they should have neither.
// When ctx ends, QEMU gets a signal, then a moment, then is killed; so it does
// when it says that the VM was stopped for good. It is killed as well when this
// process dies, whatever the cause.
//
// An error means that QEMU could not be started.
func Run(ctx context.Context, qemu string, m Machine, console, results io.Writer) (Exit, error) {
	return RunWith(ctx, qemu, m, nil, console, results, nil, nil)
}

// FirstFile is the descriptor that QEMU has RunWith's first file as; the others
// follow it.
const FirstFile = resultsFD + 1

// RunWith is Run with further arguments, and with files that QEMU gets and that
// RunWith closes. started, if not nil, is called when QEMU runs.
func RunWith(ctx context.Context, qemu string, m Machine, args []string, console, results io.Writer, files []*os.File, started func()) (Exit, error) {
	defer func() {
		for _, f := range append(files, m.Input) {
			f.Close() // does nothing without a file
		}
	}()
	if err := errors.Join(ctx.Err(), m.Check()); err != nil {
		return Exit{}, err
	}
	start := time.Now()
	vmCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cmd := exec.CommandContext(vmCtx, qemu, append(m.Args(), args...)...)
	stderr := &tail{max: 16 << 10}
	faults := &faultWatch{found: func() { stop(errFault) }}
	cmd.Stderr = io.MultiWriter(stderr, faults)
	killed := false
	cmd.Cancel = func() error {
		killed = !errors.Is(context.Cause(vmCtx), errFault)
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // with what a wrapper of QEMU's has started
	}
	cmd.WaitDelay = 3 * time.Second
	// The signals of the terminal are for us; we end our VMs ourselves.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}

	var copies sync.WaitGroup
	var readers []*os.File
	for _, dst := range []io.Writer{console, results} {
		r, w, err := os.Pipe()
		if err != nil {
			return Exit{}, fmt.Errorf("make a pipe for a serial line: %w", err)
		}
		defer r.Close()
		defer w.Close()
		readers = append(readers, r)
		cmd.ExtraFiles = append(cmd.ExtraFiles, w)
		copies.Go(func() {
			_, _ = io.Copy(dst, r)
			// A writer that gave up must not stop the guest.
			_, _ = io.Copy(io.Discard, r)
		})
	}
	if m.Input != nil {
		cmd.Stdin, cmd.Stdout = m.Input, cmd.ExtraFiles[m.inputFD()-consoleFD]
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, files...)
	if err := child.Start(cmd); err != nil {
		for _, r := range readers {
			r.Close()
		}
		for _, w := range cmd.ExtraFiles {
			w.Close()
		}
		copies.Wait()
		return Exit{}, fmt.Errorf("start %s: %w", qemu, err)
	}
	for _, w := range cmd.ExtraFiles {
		w.Close() // the readers end when QEMU does
	}
	if started != nil {
		started()
	}
	err := cmd.Wait()
	copies.Wait()

	exit := Exit{Code: cmd.ProcessState.ExitCode(), Killed: killed, Fault: faults.done && !killed, Stderr: stderr.String(), Duration: time.Since(start)}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		exit.Signal = unix.SignalName(ws.Signal())
	} else if !killed && !exit.Fault {
		exit.Signal = caughtSignal(exit.Stderr)
	}
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) && vmCtx.Err() == nil && !errors.Is(err, exec.ErrWaitDelay) {
		return exit, fmt.Errorf("wait for %s: %w", qemu, err)
	}
	return exit, nil
}

// errFault ends the context of a VM that QEMU has stopped.
var errFault = errors.New("the VM was stopped")

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
	max int
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*t.max {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.max:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.buf[max(0, len(t.buf)-t.max):]), "?")
}
