package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// engine is a loader of BPF objects, as applications link it.
type engine interface {
	version() string // "libbpf 1.8"
	// open reads an object and sets what is set of it. settings are of this
	// object alone, with at most one variant; names have no object before them.
	open(path string, settings wire.ObjectSettings) (opened, error)
}

// opened is a BPF object that an engine has opened.
type opened interface {
	object

	programs() []program // sorted by name
	notes() []string     // what the loader sets because the object does not
	// load loads one program, with the maps that it needs. An error is a
	// *rejectedError when it comes from the verifier.
	load(program string) (*loaded, error)
	// loadWhole loads programs in one go. An error is a *programError when it is
	// about one of them.
	loadWhole(programs []string) (map[string]*loaded, error)
	maps() []string // those that are tested on their own, sorted
	// createMap creates one, and registers it as struct_ops if register is set.
	createMap(name string, register bool) (note string, err error)
	close()
}

// program is one of an object's.
type program struct {
	programInfo
	leftOut error // why it is not loaded unless it is asked for: an errNotTried
	never   error // why it is not loaded even if it is: an errNotTried
}

// loaded is a program that the kernel holds.
type loaded struct {
	prog  *ebpf.Program
	log   []string // the verifier's statistics
	took  time.Duration
	close func()
}

// rejectedError is what the verifier says of a program that it refuses.
type rejectedError struct {
	reason error
	took   time.Duration
	insns  int      // that were processed
	tail   []string // the log, or its end
	log    string   // as it is kept
}

func (e *rejectedError) Error() string { return e.reason.Error() }
func (e *rejectedError) Unwrap() error { return e.reason }

// programError says which of several programs an error is about.
type programError struct {
	program string
	err     error
}

func (e *programError) Error() string { return e.program + ": " + e.err.Error() }
func (e *programError) Unwrap() error { return e.err }

// outcome is that of a test with one loader.
type outcome struct {
	err    error  // nil: a pass
	output string // of a pass
	took   time.Duration
	insns  int
	log    string
	cost   *wire.BPFProgram
	loader string
}

// skipError says why a test is skipped.
type skipError string

func (e skipError) Error() string        { return string(e) }
func (e skipError) Is(target error) bool { return target == errNotTried }

// failed is the outcome of an error.
func failed(err error) outcome {
	o := outcome{err: err, output: oneLine(err) + "\n"}
	var r *rejectedError
	if errors.As(err, &r) {
		o.took, o.insns, o.log = r.took, r.insns, r.log
		o.output = rejection(r.reason, r.tail, r.insns)
	}
	var u *unsupportedError
	if errors.As(err, &u) {
		o.output = u.Error() + "\n"
	}
	return o
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", " ") }

const (
	badnessPass = iota
	badnessSkip
	badnessUnsupported // by the kernel
	badnessFail
)

// badness orders outcomes.
func (o outcome) badness() int {
	var u *unsupportedError
	switch {
	case o.err == nil:
		return badnessPass
	case errors.Is(o.err, errNotTried):
		return badnessSkip
	case errors.As(o.err, &u):
		return badnessUnsupported
	}
	return badnessFail
}

// join makes one outcome of those with two loaders: the worse one, and what
// they disagree about.
func join(a, b outcome) outcome {
	good, bad := a, b
	if a.badness() > b.badness() {
		good, bad = b, a
	}
	// The output of a failure begins with its reason.
	reason, rest, _ := strings.Cut(bad.output, "\n")
	whyA, _, _ := strings.Cut(a.output, "\n")
	whyB, _, _ := strings.Cut(b.output, "\n")
	switch {
	case bad.err == nil:
		for line := range strings.Lines(good.output) {
			if !strings.Contains(bad.output, line) {
				bad.output += line
			}
		}
		bad.cost, bad.insns, bad.took = a.cost, a.insns, a.took
	case good.err == nil && bad.badness() == badnessSkip:
		bad.output = fmt.Sprintf("loads with %s; %s: %s\n%s", good.loader, bad.loader, reason, rest)
	case good.err == nil:
		reason, onlyLoads := strings.CutPrefix(reason, notAttached)
		verb := "loads"
		if onlyLoads {
			verb = "attaches"
		}
		bad.output = fmt.Sprintf("%s with %s, not with %s, because %s\n%s", verb, good.loader, bad.loader, reason, rest)
		// The kernel can have it: this is a failure, whatever that loader says.
		bad.err = errors.New(oneLine(bad.err))
	case whyA != whyB:
		bad.output = fmt.Sprintf("%s: %s\n%s: %s\n%s", a.loader, whyA, b.loader, whyB, rest)
	}
	bad.loader = a.loader + ", " + b.loader
	return bad
}
