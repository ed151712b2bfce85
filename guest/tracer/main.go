// Command tracer is a small EventsTrace-compatible tracer: it prints what
// processes, files and TCP connections do as one JSON object per line.
//
// It is the embedded default of the demo and of the tests of this project, so
// its options, field names and value forms are those of Elastic's EventsTrace,
// and it needs what that needs: BTF, the BPF ring buffer (5.8) and root. Unlike
// EventsTrace it leaves its own writes out, which would make events for ever.
//
// Where the kernel has BPF trampolines it uses fentry and fexit, elsewhere
// kprobes; probes.go lists the attach points. An event that cannot be had on
// the running kernel is named on stderr; if it is one of those every user of
// EventsTrace relies on, the tracer does not start.
//
// Exit codes: 0 ended by SIGINT or SIGTERM, 1 a probe could not be loaded or
// the stream broke, 2 wrong usage.
//
// # Faults
//
// A build with -ldflags "-X main.fault=..." misbehaves on purpose, for testing
// what judges the tracer:
//
//	drop=TYPE      never print events of TYPE, such as FILE_RENAME
//	swap-pids      exchange tid and tgid with ppid everywhere
//	ptrace=all     tell of what a tracer does to its children too
//	ptrace=family  tell of that only
//	die-at-start   an error as libbpf prints it, and exit 1
//
// An unknown fault ends the tracer with exit code 2.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// fault is set at build time only; see the package comment.
var fault string

const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, fault)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer, fault string) int {
	opts, err := parseOptions(args)
	if errors.Is(err, errHelp) {
		fmt.Fprint(stdout, usage())
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "tracer: %v\n", err)
		return exitUsage
	}
	faults, err := parseFault(fault)
	if err != nil {
		fmt.Fprintf(stderr, "tracer: build-time fault: %v\n", err)
		return exitUsage
	}
	if faults.dieAtStart {
		fmt.Fprint(stderr, dieAtStartMessage)
		return exitFail
	}
	if err := trace(ctx, opts, faults, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "tracer: %v\n", err)
		return exitFail
	}
	return exitOK
}
