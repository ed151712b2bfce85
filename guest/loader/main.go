// Command loader runs in the guest as the payload of bare BPF objects: it loads
// the programs of each object as libbpf or ebpf-go does, attaches them when
// asked to, and reports every one as a test named object/program. What to load,
// and how, is in [wire.ObjectsPath].
//
// Exit status: 0 when no test failed and all were reported; 1 when one failed;
// 2 when it cannot read what to do.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func main() {
	os.Exit(run(wire.ObjectsPath, os.Stdout, os.Stderr, wire.ReporterFromEnv()))
}

const (
	exitPass  = 0
	exitFail  = 1
	exitUsage = 2
)

// readPayload reads what to load.
func readPayload(path string) (wire.Objects, error) {
	var o wire.Objects
	b, err := os.ReadFile(path)
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return o, fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case o.Unsupported != wire.TestFail && o.Unsupported != wire.TestSkip:
		return o, fmt.Errorf("unsupported is %q: want fail or skip", o.Unsupported)
	case o.Load != wire.LoadEach && o.Load != wire.LoadWhole:
		return o, fmt.Errorf("load is %q: want each or whole", o.Load)
	case len(o.Objects) == 0:
		return o, fmt.Errorf("%s: no objects", path)
	}
	return o, nil
}

// run is the whole program. It returns the exit status.
func run(path string, stdout, stderr io.Writer, rep *wire.Reporter) int {
	o, err := readPayload(path)
	if err != nil {
		fmt.Fprintf(stderr, "loader: %v\n", err)
		return exitUsage
	}
	l := newLoader(o, func(r result) {
		if r.cost != nil {
			rep.BPF(*r.cost)
		}
		rep.Report(r.Test)
		fmt.Fprintf(stdout, "%s %s\n", strings.ToUpper(r.Verdict), r.Name)
		if r.Output != "" {
			fmt.Fprintf(stdout, "    %s\n", strings.ReplaceAll(strings.TrimRight(r.Output, "\n"), "\n", "\n    "))
		}
	}, rep.Run)
	l.file = func(name, content string) {
		if err := rep.File(name, content); err != nil {
			fmt.Fprintf(stderr, "loader: %v\n", err)
		}
	}
	l.all()
	if err := rep.Done(); err != nil {
		fmt.Fprintf(stderr, "loader: report: %v\n", err)
		return exitFail
	}
	if l.bad > 0 {
		return exitFail
	}
	return exitPass
}
