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
	stats         bool            // counts on stderr at the end
	kprobesOnly   bool            // as if the kernel had no BPF trampolines
}

// An option is a long name, its letter if it has one, and what it does.
type option struct {
	name   string
	letter byte
	help   string
	set    func(*options)
}

// selectors are the options that choose events, in the order of the help.
// They filter the output only: every probe is loaded whatever is chosen.
func selectors() []option {
	list := []struct{ name, event string }{
		{"file-create", typeFileCreate},
		{"file-delete", typeFileDelete},
		{"file-rename", typeFileRename},
		{"file-modify", typeFileModify},
		{"file-memfd-open", typeFileMemfdOpen},
		{"file-shmem-open", typeFileShmemOpen},
		{"process-fork", typeFork},
		{"process-exec", typeExec},
		{"process-exit", typeExit},
		{"process-setsid", typeSetsid},
		{"process-setuid", typeSetuid},
		{"process-setgid", typeSetgid},
		{"process-tty-write", typeTTYWrite},
		{"process-memfd-create", typeMemfdCreate},
		{"process-shmget", typeShmget},
		{"process-ptrace", typePtrace},
		{"process-load-module", typeLoadModule},
		{"net-conn-accept", typeNetAccepted},
		{"net-conn-attempt", typeNetAttempted},
		{"net-conn-closed", typeNetClosed},
	}
	out := make([]option, len(list))
	for i, s := range list {
		out[i] = option{
			name: s.name,
			help: "print " + s.event,
			set:  func(o *options) { o.events[s.event] = true },
		}
	}
	return out
}

func allOptions() []option {
	list := []option{{"all", 'a', "print all events", func(o *options) {
		for _, t := range typeNames {
			o.events[t] = true
		}
	}}}
	list = append(list, selectors()...)
	return append(list,
		option{"print-features-on-init", 'i', "print a line with the kernel's features when ready",
			func(o *options) { o.printFeatures = true }},
		option{"unbuffer-stdout", 'u', "accepted; stdout is never buffered", func(*options) {}},
		option{"libbpf-verbose", 'v', "print the loader's and verifier's logs on stderr",
			func(o *options) { o.verbose = true }},
		option{"stats", 's', "print event counts on stderr at the end",
			func(o *options) { o.stats = true }},
		option{"kprobes-only", 0, "do not use BPF trampolines (not in EventsTrace)",
			func(o *options) { o.kprobesOnly = true }},
		option{"help", '?', "print this help", nil},
	)
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
