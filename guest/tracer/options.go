package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errHelp is returned by parseOptions for --help.
var errHelp = errors.New("help wanted")

// options are what the command line says.
type options struct {
	events        map[string]bool // event types to print
	printFeatures bool            // the ready line
	verbose       bool            // loader and verifier logs on stderr
}

// An option is a long name, its letter if it has one, and what it does.
type option struct {
	name   string
	letter byte
	help   string
	set    func(*options)
}

// allOptions are in the order of the help. Those that choose events filter the
// output only: every probe is loaded whatever is chosen.
func allOptions() []option {
	list := []option{{"all", 'a', "print all events", func(o *options) {
		for _, t := range typeNames {
			o.events[t] = true
		}
	}}}
	for _, t := range typeNames {
		list = append(list, option{selector(t), 0, "print " + t, func(o *options) { o.events[t] = true }})
	}
	return append(list,
		option{
			"print-features-on-init", 'i', "print a line with the kernel's features when ready",
			func(o *options) { o.printFeatures = true },
		},
		option{"unbuffer-stdout", 'u', "accepted; stdout is never buffered", func(*options) {}},
		option{
			"libbpf-verbose", 'v', "print the loader's and verifier's logs on stderr",
			func(o *options) { o.verbose = true },
		},
		option{"help", '?', "print this help", nil},
	)
}

// selector is the option that chooses an event type: --file-create for
// FILE_CREATE, --net-conn-attempt for NETWORK_CONNECTION_ATTEMPTED.
func selector(typ string) string {
	short := strings.NewReplacer("NETWORK_CONNECTION", "net-conn", "ATTEMPTED", "attempt", "ACCEPTED", "accept", "_", "-")
	return strings.ToLower(short.Replace(typ))
}

func parseOptions(args []string) (options, error) {
	o := options{events: map[string]bool{}}
	list := allOptions()
	apply := func(arg string, match func(option) bool) error {
		i := slices.IndexFunc(list, match)
		if i < 0 {
			return fmt.Errorf("unknown option %q; --help lists them", arg)
		}
		if list[i].set == nil {
			return errHelp
		}
		list[i].set(&o)
		return nil
	}
	for _, arg := range args {
		var err error
		switch name, long := strings.CutPrefix(arg, "--"); {
		case long && name != "":
			err = apply(arg, func(p option) bool { return p.name == name })
		case arg == "-h":
			err = errHelp
		case len(arg) > 1 && arg[0] == '-' && !long:
			for _, letter := range []byte(arg[1:]) {
				if err = apply(arg, func(p option) bool { return p.letter == letter }); err != nil {
					break
				}
			}
		default:
			err = fmt.Errorf("unexpected argument %q; --help lists the options", arg)
		}
		if err != nil {
			return options{}, err
		}
	}
	return o, nil
}

func usage() string {
	var b strings.Builder
	b.WriteString("Usage: tracer [OPTION...]\nPrint kernel events as one JSON object per line.\n\n")
	for _, p := range allOptions() {
		letter := "    "
		if p.letter != 0 {
			letter = "-" + string(p.letter) + ", "
		}
		fmt.Fprintf(&b, "  %s--%-24s %s\n", letter, p.name, p.help)
	}
	return b.String()
}
