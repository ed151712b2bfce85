package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// errHelp is returned by parseOptions for --help.
var errHelp = errors.New("help wanted")

// options are what the command line says.
type options struct {
	events        map[string]bool // event types to print
	printFeatures bool            // the ready line
	verbose       bool            // loader and verifier logs on stderr
}

// flags are the options, in the order of the help. Those that choose events filter
// the output only: every probe is loaded whatever is chosen.
func (o *options) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("tracer", pflag.ContinueOnError)
	f.SortFlags, f.Usage = false, func() {}
	f.SetOutput(io.Discard)
	f.BoolP("all", "a", false, "print all events")
	for _, t := range typeNames {
		f.Bool(selector(t), false, "print "+t)
	}
	f.BoolVarP(&o.printFeatures, "print-features-on-init", "i", false, "print a line with the kernel's features when ready")
	f.BoolP("unbuffer-stdout", "u", false, "accepted; stdout is never buffered")
	f.BoolVarP(&o.verbose, "libbpf-verbose", "v", false, "print the loader's and verifier's logs on stderr")
	f.BoolP("help", "?", false, "print this help")
	return f
}

// selector is the option that chooses an event type: --file-create for
// FILE_CREATE, --net-conn-attempt for NETWORK_CONNECTION_ATTEMPTED.
func selector(typ string) string {
	short := strings.NewReplacer("NETWORK_CONNECTION", "net-conn", "ATTEMPTED", "attempt", "ACCEPTED", "accept", "_", "-")
	return strings.ToLower(short.Replace(typ))
}

func parseOptions(args []string) (options, error) {
	o := options{events: map[string]bool{}}
	f := o.flags()
	err := f.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp), f.Changed("help"):
		return options{}, errHelp
	case err != nil:
		return options{}, fmt.Errorf("%w; --help lists the options", err)
	case f.NArg() > 0:
		return options{}, fmt.Errorf("unexpected argument %q; --help lists the options", f.Arg(0))
	}
	for _, t := range typeNames {
		if f.Changed("all") || f.Changed(selector(t)) {
			o.events[t] = true
		}
	}
	return o, nil
}

func usage() string {
	return "Usage: tracer [OPTION...]\nPrint kernel events as one JSON object per line.\n\n" + new(options).flags().FlagUsages()
}
