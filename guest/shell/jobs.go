package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// jobs are the commands that a session runs in the background. Those are not
// interrupted with the one in the foreground. The nil value runs commands in
// the foreground only.
type jobs struct {
	mu   sync.Mutex
	last int
	list []*job
}

// job is one of them.
type job struct {
	n    int
	text string
	done chan struct{}
	code int   // when it is done
	pids []int // that it has started
}

type jobKey struct{}

// start runs a statement in the background, in a copy of the shell.
func (j *jobs) start(r *interp.Runner, stmt *syntax.Stmt, std stdio) {
	var text strings.Builder
	alone := *stmt
	alone.Background = false
	_ = syntax.NewPrinter().Print(&text, &alone) // a builder takes everything
	j.mu.Lock()
	j.last++
	b := &job{n: j.last, text: text.String(), done: make(chan struct{})}
	j.list = append(j.list, b)
	j.mu.Unlock()
	sub := r.Subshell()
	fmt.Fprintf(std.err, "[%d] %s\n", b.n, b.text)
	go func() {
		defer close(b.done)
		b.code = exitCode(sub.Run(context.WithValue(context.Background(), jobKey{}, b), &alone), std)
	}()
}

// reap tells of the jobs that have ended and forgets them.
func (j *jobs) reap(std stdio) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var left []*job
	for _, b := range j.list {
		select {
		case <-b.done:
			fmt.Fprintf(std.err, "[%d] ended with status %d: %s\n", b.n, b.code, b.text)
		default:
			left = append(left, b)
		}
	}
	j.list = left
}

// exec runs a program for the interpreter.
func (j *jobs) exec(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	if j != nil {
		switch args[0] {
		case internal + "jobs":
			j.print(stdio{hc.Stdin, hc.Stdout, hc.Stderr})
			return nil
		case internal + "fg":
			return j.wait(ctx)
		}
	}
	b, _ := ctx.Value(jobKey{}).(*job)
	if b == nil {
		return interp.DefaultExecHandler(killWait)(ctx, args)
	}
	path, err := interp.LookPathDir(hc.Dir, hc.Env, args[0])
	if err != nil {
		fmt.Fprintln(hc.Stderr, err)
		return interp.ExitStatus(exitNotFound)
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = hc.Dir, hc.Stdout, hc.Stderr
	for name, v := range hc.Env.Each {
		if v.Exported && v.IsSet() {
			cmd.Env = append(cmd.Env, name+"="+v.String())
		}
	}
	// The terminal is the foreground's: its interrupts, and what is typed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if f, ok := hc.Stdin.(*os.File); ok && f.Fd() != 0 {
		cmd.Stdin = f
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(hc.Stderr, err)
		return interp.ExitStatus(exitNotFound)
	}
	j.mu.Lock()
	b.pids = append(b.pids, cmd.Process.Pid)
	j.mu.Unlock()
	_ = cmd.Wait()
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return interp.ExitStatus(128 + uint8(ws.Signal()))
	}
	if code := ws.ExitStatus(); code != 0 {
		return interp.ExitStatus(uint8(code))
	}
	return nil
}

func (j *jobs) print(std stdio) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, b := range j.list {
		state := "running"
		select {
		case <-b.done:
			state = fmt.Sprintf("ended with status %d", b.code)
		default:
		}
		fmt.Fprintf(std.out, "[%d] %s, processes %v: %s\n", b.n, state, b.pids, b.text)
	}
}

// wait waits for the job that was started last, or for an interrupt.
func (j *jobs) wait(ctx context.Context) error {
	j.mu.Lock()
	if len(j.list) == 0 {
		j.mu.Unlock()
		return interp.ExitStatus(exitFailure)
	}
	b := j.list[len(j.list)-1]
	j.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-b.done:
		return nil
	}
}
