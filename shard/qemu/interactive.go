package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/child"
)

// Extras are what few machines get. The zero value is nothing.
type Extras struct {
	GDB   string // path of a socket: wait there for a debugger before the kernel starts
	Share string // directory of the host that the guest can mount, read-only, as wire.HostTag
}

// maxSocketPath is what the kernel takes for a socket's path, without the zero.
const maxSocketPath = 107

// Args returns QEMU's arguments for the extras.
func (x Extras) Args(on Bus) []string {
	var args []string
	if x.GDB != "" {
		args = append(args, "-S", "-gdb", "unix:path="+escape(x.GDB)+",server=on,wait=off")
	}
	if x.Share != "" {
		args = append(args,
			"-fsdev", "local,id=host,security_model=none,readonly=on,multidevs=remap,path="+escape(x.Share),
			"-device", on.Device("9p")+",fsdev=host,mount_tag="+wire.HostTag)
	}
	return args
}

// escape doubles the commas that would end a value.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// Check says why the extras cannot be had.
func (x Extras) Check() error {
	if len(x.GDB) > maxSocketPath {
		return fmt.Errorf("the debugger's socket %q has more than %d bytes: set TMPDIR to a shorter directory", x.GDB, maxSocketPath)
	}
	return nil
}

// TerminalArgs returns the arguments for a machine whose console is QEMU's
// terminal: Ctrl-A X ends it.
func (m Machine) TerminalArgs() []string {
	var args []string
	for i, all := 0, m.Args(); i < len(all); i++ {
		switch all[i] {
		case "-add-fd", "-chardev", "-serial":
			i++
		default:
			args = append(args, all[i])
		}
	}
	args = append(args, "-chardev", "stdio,id=terminal,mux=on,signal=off", "-serial", "chardev:terminal", "-mon", "chardev=terminal,mode=readline")
	if m.Arch.Results != "" {
		args = append(args, "-serial", "null")
	}
	return args
}

// RunOnTerminal boots the machine with its console on a terminal and waits until
// it is over. The terminal is left as it was, however that comes about.
func RunOnTerminal(ctx context.Context, qemu string, m Machine, in, out *os.File) (Exit, error) {
	if err := m.Check(); err != nil {
		return Exit{}, err
	}
	restore, err := keepTerminal(in, out)
	if err != nil {
		return Exit{}, err
	}
	defer restore()
	start := time.Now()
	cmd := exec.CommandContext(ctx, qemu, m.TerminalArgs()...)
	stderr := &tail{max: 16 << 10}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, stderr
	killed := false
	cmd.Cancel = func() error {
		killed = true
		return cmd.Process.Signal(syscall.SIGTERM)
	}
	cmd.WaitDelay = 3 * time.Second
	// In our process group, which the terminal belongs to; and when this process
	// dies QEMU ends in a way that lets it put the terminal right.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := child.Start(cmd); err != nil {
		return Exit{}, fmt.Errorf("start %s: %w", qemu, err)
	}
	err = cmd.Wait()
	exit := Exit{Code: cmd.ProcessState.ExitCode(), Killed: killed, Stderr: stderr.String(), Duration: time.Since(start)}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		exit.Signal = ws.Signal().String()
	}
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) && ctx.Err() == nil && !errors.Is(err, exec.ErrWaitDelay) {
		return exit, fmt.Errorf("wait for %s: %w", qemu, err)
	}
	return exit, nil
}

// keepTerminal returns what puts a terminal's modes back. QEMU does so itself,
// unless it is killed.
func keepTerminal(in, out *os.File) (restore func(), err error) {
	state, err := term.GetState(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("read the terminal's modes: %w", err)
	}
	flags := map[*os.File]int{}
	for _, f := range []*os.File{in, out} {
		if n, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err == nil {
			flags[f] = n
		}
	}
	return func() {
		for f, n := range flags {
			_, _ = unix.FcntlInt(f.Fd(), unix.F_SETFL, n)
		}
		_ = term.Restore(int(in.Fd()), state)
	}, nil
}
