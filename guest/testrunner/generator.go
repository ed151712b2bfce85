package testrunner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/lines"
	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
)

const maxOutput = 64 << 10 // bytes kept of what a generator prints

// runGenerator runs one generator to its end.
func runGenerator(ctx context.Context, opt options, name string) check.Output {
	ctx, cancel := context.WithTimeout(ctx, opt.limits.generator)
	defer cancel()
	stdout, stderr := lines.Clip{Head: maxOutput}, lines.Clip{Head: maxOutput}
	cmd := exec.CommandContext(ctx, opt.generators, name)
	cmd.Dir = opt.dir
	// One small heap and one thread at work: starting up is most of what a
	// generator does.
	cmd.Env = []string{"PATH=/bin:/sbin", "GOGC=off", "GOMAXPROCS=1"}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A descendant that a generator left behind must not hold the run up: the
	// predecessor's ptrace program cost 30 s that way.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	out := check.Output{Stdout: stdout.String()}
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		out.Err = fmt.Sprintf("it did not end within %s", opt.limits.generator)
	case errors.Is(err, exec.ErrWaitDelay):
		out.Err = "it ended, but left a process behind that holds its output open"
	case err != nil:
		out.Err = err.Error()
	default:
		return out
	}
	if text := strings.TrimSpace(stderr.String()); text != "" {
		out.Err += ": " + text
	}
	return out
}

// placeDoNothing makes the generators' binary runnable as do_nothing in the
// working directory, for fork_exec. Not as a symbolic link: the event of the
// exec names the file behind it.
func placeDoNothing(generators, dir string) error {
	name := filepath.Join(dir, "do_nothing")
	err := os.Link(generators, name)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	// On another file system, or on one without links.
	program, err := os.ReadFile(generators)
	if err == nil {
		err = os.WriteFile(name, program, 0o755)
	}
	if err != nil {
		return fmt.Errorf("place do_nothing: %w", err)
	}
	return nil
}
