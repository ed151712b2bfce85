// Command loader runs in the guest as the payload of bare BPF objects: it loads
// each program of each object on its own, attaches it when asked to, and
// reports every one as a test named object/program.
//
// Exit status: 0 when no test failed and all were reported; 1 when one failed;
// 2 on wrong usage.
package main

import (
	"encoding/json"
	"errors"
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

// run is the whole program. It returns the exit status.
func run(args []string, stdout, stderr io.Writer, rep *wire.Reporter) int {
	opt, err := readObjects(args)
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
	for _, o := range opt.Objects {
		if o.Broken != "" {
			l.report(result{Test: wire.Test{Name: o.Name}}, errors.New("the object "+o.Broken))
			continue
		}
		l.object(o.Path)
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

// readObjects reads what to load from the file that the one argument names, by
// default wire.ObjectsPath.
func readObjects(args []string) (o wire.Objects, err error) {
	path := wire.ObjectsPath
	if len(args) == 1 {
		path = args[0]
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return o, fmt.Errorf("%s: %w", path, err)
	}
	if len(args) > 1 || len(o.Objects) == 0 || o.Unsupported != wire.TestFail && o.Unsupported != wire.TestSkip {
		return o, fmt.Errorf("%s says of no object what to do", path)
	}
	return o, nil
}

// objectName is what an object is called in the tests' names.
func objectName(path string) string {
	return strings.TrimSuffix(filepath.Base(path), ".o")
}
