// Command loader runs in the guest as the payload of bare BPF objects: it loads
// each program of each object on its own, attaches it when asked to, and
// reports every one as a test named object/program.
//
// Exit status: 0 when no test failed and all were reported; 1 when one failed;
// 2 on wrong usage.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, wire.ReporterFromEnv()))
}

const (
	exitPass  = 0
	exitFail  = 1
	exitUsage = 2
)

// options are the loader's flags.
type options struct {
	attach      bool
	unsupported string // verdict of what this kernel cannot have: wire.TestFail or wire.TestSkip
	objects     []string
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("loader", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.attach, "attach", false, "attach each program where its type allows it")
	f.StringVar(&o.unsupported, "unsupported", wire.TestFail, "verdict of what this kernel cannot have: fail or skip")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.objects = f.Args()
	switch {
	case o.unsupported != wire.TestFail && o.unsupported != wire.TestSkip:
		return o, fmt.Errorf("--unsupported is %q: want fail or skip", o.unsupported)
	case len(o.objects) == 0:
		return o, errors.New("no objects: give the paths of BPF object files")
	}
	return o, nil
}

// run is the whole program. It returns the exit status.
func run(args []string, stdout, stderr io.Writer, rep *wire.Reporter) int {
	opt, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitPass
	}
	if err != nil {
		fmt.Fprintf(stderr, "loader: %v\n", err)
		return exitUsage
	}
	l := newLoader(opt, func(r result) {
		if r.log != "" {
			if err := rep.File(r.logName, r.log); err != nil {
				fmt.Fprintf(stderr, "loader: %v\n", err)
			}
		}
		rep.Report(r.Test)
		fmt.Fprintf(stdout, "%s %s\n", strings.ToUpper(r.Verdict), r.Name)
		if r.Output != "" {
			fmt.Fprintf(stdout, "    %s\n", strings.ReplaceAll(strings.TrimRight(r.Output, "\n"), "\n", "\n    "))
		}
	}, rep.Run)
	for _, path := range opt.objects {
		l.object(path)
	}
	if err := rep.Done(); err != nil {
		fmt.Fprintf(stderr, "loader: report: %v\n", err)
		return exitFail
	}
	if l.failed > 0 {
		return exitFail
	}
	return exitPass
}

// objectName is what an object is called in the tests' names.
func objectName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), ".o")
}
