package testrunner

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

type options struct {
	tracer     string
	generators string
	dir        string // the generators' working directory
	run        *regexp.Regexp
	require    []string
	list       bool
	limits     limits
}

// limits are the deadlines of a run. They grow together, because emulation
// slows all of it down by the same factor.
type limits struct {
	ready     time.Duration // from the tracer's start to its init line
	help      time.Duration // for the tracer's --help
	generator time.Duration // for one generator
	fence     time.Duration // from the marker's end to its first event
	grace     time.Duration // for all missing events together, which are then late
	settle    time.Duration // after the marker's first event, for events that are too many
}

func newLimits(ready time.Duration) limits {
	return limits{
		ready:     ready,
		help:      ready / 6,
		generator: ready / 6,
		fence:     ready / 12,
		grace:     300 * time.Millisecond,
		settle:    50 * time.Millisecond,
	}
}

// readyLimit is what EventsTrace may take to get ready, given the limit of each
// test: half of it, so that the deadlines here, which say more, come first.
func readyLimit(test string) time.Duration {
	if d, err := time.ParseDuration(test); err == nil && d > 0 {
		return d / 2
	}
	return time.Minute
}

const usage = `Usage: testrunner [flags]
       testrunner exec [--name NAME] -- PROGRAM ARGS...

Starts EventsTrace once, lets the generators make events happen, and checks
that EventsTrace reports them. Prints as "go test -v" does.

    testrunner --events-trace /EventsTrace --run 'File|Fork' --require FileCreateContainer

Flags:
`

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	var pattern string
	var timeout time.Duration
	fs := flag.NewFlagSet("testrunner", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are returned; printing them here would double them
	fs.StringVar(&o.tracer, "events-trace", "/EventsTrace", "the EventsTrace binary under test")
	fs.StringVar(&o.generators, "generators", "", "the generators' binary (default: generators, beside testrunner)")
	fs.StringVar(&o.dir, "dir", "/", "the generators' working directory; gets a program do_nothing")
	fs.StringVar(&pattern, "run", "", "run only the tests whose names match this regular expression")
	fs.Func("require", "a `TEST` that must not be skipped; may be repeated", func(s string) error {
		o.require = append(o.require, s)
		return nil
	})
	fs.BoolVar(&o.list, "list", false, "print the names of all tests and exit")
	fs.DurationVar(&timeout, "timeout", readyLimit(os.Getenv(wire.TestTimeoutEnv)), "time EventsTrace may take to get ready; the other deadlines grow with it")
	if err := fs.Parse(args); err != nil {
		if err == flag.ErrHelp {
			fmt.Fprint(stderr, usage)
			fs.SetOutput(stderr)
			fs.PrintDefaults()
		}
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: testrunner takes flags only", fs.Arg(0))
	}
	if timeout <= 0 {
		return o, fmt.Errorf("--timeout %s: want a time above 0", timeout)
	}
	o.limits = newLimits(timeout)
	var err error
	if o.run, err = regexp.Compile(pattern); err != nil {
		return o, fmt.Errorf("--run %q: %w", pattern, err)
	}
	if len(o.tests()) == 0 {
		return o, fmt.Errorf("--run %q matches no test: want one of %s", pattern, strings.Join(allNames(), ", "))
	}
	for _, name := range o.require {
		if !slices.Contains(allNames(), name) {
			return o, fmt.Errorf("--require %q: no such test, want one of %s", name, strings.Join(allNames(), ", "))
		}
		if name != check.StartTest && name != check.StreamTest && !o.run.MatchString(name) {
			return o, fmt.Errorf("--require %q: --run %q does not select it", name, pattern)
		}
	}
	if o.generators == "" {
		o.generators = filepath.Join(filepath.Dir(os.Args[0]), "generators")
	}
	return o, nil
}

// tests are the tests of events that --run selects.
func (o options) tests() []check.Test {
	var selected []check.Test
	for _, t := range check.Tests() {
		if o.run.MatchString(t.Name) {
			selected = append(selected, t)
		}
	}
	return selected
}
