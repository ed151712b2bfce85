// Package testrunner runs in the guest as the payload, a process of init's program
// by another name. It starts the EventsTrace under test once, has the generators
// make events happen, and checks that EventsTrace told of each of them. As
// testrunner exec it runs a test program and reports the tests that this prints.
//
// Exit status of exec: the program's. Else: 0 when no test failed, at least one
// passed and all of them were reported; 1 when a test failed; 2 on wrong usage.
package testrunner

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Main is the program. It does not return.
func Main() {
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	rep := wire.ReporterFromEnv()
	m := machine{now: time.Now, facts: readFacts, pause: pause}
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, rep, m)
	os.Exit(code)
}

const (
	exitPass  = 0
	exitFail  = 1
	exitUsage = 2
)

// machine is what run asks of the machine it runs on.
type machine struct {
	now   func() time.Time
	facts func(dir string) check.Facts
	pause func(ctx context.Context, d time.Duration, first <-chan struct{}, more ...<-chan struct{}) bool
}

// run is the whole program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, rep *wire.Reporter, m machine) int {
	if len(args) > 0 && args[0] == "exec" {
		return execProgram(ctx, args[1:], stdout, stderr, rep, m)
	}
	opt, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitPass
	}
	if err != nil {
		fmt.Fprintf(stderr, "testrunner: %s\n", err)
		return exitUsage
	}
	if opt.list {
		fmt.Fprintln(stdout, strings.Join(allNames(), "\n"))
		return exitPass
	}
	s := &session{opt: opt, print: &printer{out: stdout, rep: rep, required: opt.require}, machine: m}
	s.run(ctx)
	return s.print.finish()
}

// allNames are the names of all tests, in the order they are reported.
func allNames() []string {
	names := []string{check.StartTest}
	for _, t := range check.Tests() {
		names = append(names, t.Name)
	}
	return append(names, check.StreamTest)
}
