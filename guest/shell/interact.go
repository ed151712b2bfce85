package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// interact reads commands from a terminal and runs them until exit or the end
// of the input.
func interact(tty *os.File, std stdio) int {
	// Programs get interrupts from the terminal; the shell stops what it is
	// doing and goes on. Ignored, they would be so by its programs too.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	signal.Ignore(unix.SIGTSTP, unix.SIGTTOU, unix.SIGTTIN, unix.SIGQUIT)

	runner, err := newRunner(std, true, nil)
	if err != nil {
		fmt.Fprintf(std.err, "sh: %v\n", err)
		return exitFailure
	}
	ed := newEditor(tty, func() string { return runner.Dir })
	code, exited := 0, false
	for !exited {
		stmts, err := ed.read(prompt(runner))
		switch {
		case errors.Is(err, io.EOF):
			fmt.Fprintln(std.out, "exit")
			return code
		case errors.Is(err, errInterrupted):
			code = exitInterrupted
			continue
		case err != nil:
			var parse syntax.ParseError
			fmt.Fprintf(std.err, "sh: %v\n", err)
			if !errors.As(err, &parse) {
				return exitFailure // the terminal is gone
			}
			code = exitUsage
			continue
		}
		code, exited = runForeground(runner, stmts, std)
	}
	return code
}

// runForeground runs one line's statements, until an interrupt. It says whether
// the shell is to end: an interpreter that was interrupted, or that met what it
// cannot go on from, takes itself for ended, too.
func runForeground(r *interp.Runner, stmts []*syntax.Stmt, std stdio) (code int, exited bool) {
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, stmt := range stmts {
		ctx := interrupted
		if stmt.Background { // it goes on when this line is over or interrupted
			ctx = context.WithValue(context.Background(), background{}, true)
		}
		err := r.Run(ctx, stmt)
		code = exitCode(err, std)
		if interrupted.Err() != nil {
			fmt.Fprintln(std.err)
			return exitInterrupted, false
		}
		if r.Exited() {
			var status interp.ExitStatus
			return code, err == nil || errors.As(err, &status)
		}
	}
	return code, false
}

func prompt(r *interp.Runner) string {
	var u unix.Utsname
	release := "guest"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	return release + ":" + r.Dir + "# "
}

var errInterrupted = errors.New("interrupted")

// editor reads lines from a terminal, which it has in raw mode only while it
// does.
type editor struct {
	tty  *os.File
	term *term.Terminal
	keys *keys
}

func newEditor(tty *os.File, dir func() string) *editor {
	k := &keys{tty: tty}
	e := &editor{tty: tty, keys: k, term: term.NewTerminal(k, "")}
	e.term.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		newLine, newPos, choices := complete(line, pos, dir(), os.Getenv("PATH"))
		if len(choices) > 1 && newLine == line {
			k.note = strings.Join(choices, "  ")
		}
		return newLine, newPos, true
	}
	return e
}

// read returns the statements of the next line, or of several where the first
// is not whole.
func (e *editor) read(prompt string) ([]*syntax.Stmt, error) {
	old, err := term.MakeRaw(int(e.tty.Fd()))
	if err != nil {
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	defer func() { _ = term.Restore(int(e.tty.Fd()), old) }()
	if w, h, err := term.GetSize(int(e.tty.Fd())); err == nil && w > 0 && h > 0 {
		_ = e.term.SetSize(w, h)
	}
	var text strings.Builder
	for {
		e.term.SetPrompt(prompt)
		line, err := e.term.ReadLine()
		if e.keys.interrupted {
			e.keys.interrupted = false
			return nil, errInterrupted
		}
		if err != nil && !errors.Is(err, term.ErrPasteIndicator) {
			return nil, err
		}
		text.WriteString(line + "\n")
		file, err := syntax.NewParser().Parse(strings.NewReader(text.String()), "")
		if err != nil && syntax.IsIncomplete(err) {
			prompt = "> "
			continue
		}
		if err != nil {
			return nil, err
		}
		return file.Stmts, nil
	}
}

// keys is the terminal as the line editor sees it.
type keys struct {
	tty         *os.File
	interrupted bool
	note        string // to print above the line when it is drawn next
}

// Read makes of Ctrl-C the end of an empty line: the editor would take it for
// the end of the input.
func (k *keys) Read(p []byte) (int, error) {
	if len(p) < 3 {
		return k.tty.Read(p)
	}
	// One key at a time, so that what follows a line's end is left for the
	// program that the line starts.
	n, err := k.tty.Read(p[:1])
	if n == 1 && p[0] == ctrlC {
		k.interrupted = true
		_, _ = k.tty.WriteString("^C")
		return copy(p, "\x05\x15\r"), nil // to the end, erase all before, Enter
	}
	return n, err
}

const ctrlC = 3

func (k *keys) Write(p []byte) (int, error) {
	if k.note != "" {
		note := k.note
		k.note = ""
		_, _ = k.tty.WriteString("\r\n" + note + "\r\n")
	}
	return k.tty.Write(p)
}
