package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/term"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

const shellUsage = "sh [-c COMMANDS | FILE] [ARGS...]"

// runShell is the shell. It returns the exit status.
func runShell(args []string, std stdio) int {
	session := len(args) > 0 && args[0] == sessionFlag
	if session {
		args = args[1:]
		prepareSession(len(args) > 0, std)
		if mark := os.Getenv(wire.SessionMark); mark != "" && len(args) > 0 {
			return runMarked(mark, args, std)
		}
	}
	switch {
	case len(args) > 1 && args[0] == "-c":
		return runText(strings.NewReader(args[1]), "-c", args[2:], std)
	case len(args) > 0 && strings.HasPrefix(args[0], "-"):
		fmt.Fprintln(std.err, "usage: "+shellUsage)
		return exitUsage
	case len(args) > 0:
		f, err := os.Open(args[0])
		if err != nil {
			fmt.Fprintf(std.err, "sh: %v\n", err)
			return exitNotFound
		}
		defer f.Close()
		return runText(f, args[0], args[1:], std)
	}
	in, ok := std.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		script := std.in
		if !ok {
			// The interpreter would read it too, for the commands, and take the
			// script away from the parser.
			std.in = nil
		}
		return runText(script, "stdin", nil, std)
	}
	return interact(in, std)
}

// runMarked runs a session's script between lines that tell the host where its
// output is. It has no input: what is typed on a terminal does not end.
func runMarked(mark string, args []string, std stdio) int {
	_ = os.Unsetenv(wire.SessionMark)
	null, err := os.Open(os.DevNull)
	if err != nil {
		fmt.Fprintf(std.err, "sh: %v\n", err)
		return exitFailure
	}
	defer null.Close()
	fmt.Fprintln(std.out, wire.MarkBegin(mark))
	code := runShell(args, stdio{null, std.out, std.err})
	fmt.Fprintln(std.out, wire.MarkEnd(mark, code))
	return code
}

// killWait is how long a program may take to end after an interrupt. Detaching
// many BPF programs takes a while where the machine is emulated.
const killWait = 15 * time.Second

func newRunner(std stdio, interactive bool, args []string) (*interp.Runner, error) {
	return interp.New(
		interp.StdIO(std.in, std.out, std.err),
		interp.Interactive(interactive),
		interp.Params(append([]string{"--"}, args...)...),
		interp.CallHandler(callHandler),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return execHandler }),
	)
}

// callHandler takes names away from the interpreter that it keeps for commands
// it does not have.
func callHandler(_ context.Context, args []string) ([]string, error) {
	switch args[0] {
	case "kill", "help":
		args = append([]string{"/bin/" + args[0]}, args[1:]...)
	}
	return args, nil
}

// background marks the context of commands that a person put into the
// background.
type background struct{}

// execHandler runs a program. One in the background gets neither the terminal's
// interrupts nor what is typed.
func execHandler(ctx context.Context, args []string) error {
	if ctx.Value(background{}) != nil {
		args = append([]string{"/bin/setsid"}, args...)
	}
	return interp.DefaultExecHandler(killWait)(ctx, args)
}

// runText runs a script. Interrupts end it.
func runText(r io.Reader, name string, args []string, std stdio) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	runner, err := newRunner(std, false, args)
	if err != nil {
		fmt.Fprintf(std.err, "sh: %v\n", err)
		return exitFailure
	}
	// Statement by statement, so that one that is wrong does not undo those
	// before it.
	code := 0
	for stmt, err := range syntax.NewParser().StmtsSeq(r) {
		if err != nil {
			fmt.Fprintf(std.err, "sh: %s: %v\n", name, err)
			return exitUsage
		}
		code = exitCode(runner.Run(ctx, stmt), std)
		if runner.Exited() || ctx.Err() != nil {
			break
		}
	}
	return code
}

// exitCode is a command's exit status. An error that is no exit status is
// printed.
func exitCode(err error, std stdio) int {
	var code interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	fmt.Fprintf(std.err, "sh: %v\n", err)
	return exitFailure
}
