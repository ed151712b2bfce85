package check

import (
	"regexp"
	"slices"
	"strings"
)

// Build is what the EventsTrace binary under test says about itself.
type Build struct {
	options map[string]bool // nil: its help tells nothing
	lacks   []string        // the options of a current build that it does not have
}

// ParseHelp reads the options out of what `EventsTrace --help` printed.
func ParseHelp(help string) Build {
	found := map[string]bool{}
	// The option stands alone or has "=ARG" or "[=ARG]" behind it.
	for _, m := range regexp.MustCompile(`(?:^|[\s,])--([a-z][a-z0-9-]*)`).FindAllStringSubmatch(help, -1) {
		found[m[1]] = true
	}
	if !found["all"] {
		return Build{}
	}
	b := Build{options: found}
	needed := []string{"print-features-on-init"}
	for _, t := range Tests() {
		for _, e := range t.Expect {
			needed = append(needed, option(e.Type))
		}
	}
	for _, option := range needed {
		if !found[option] && !slices.Contains(b.lacks, option) {
			b.lacks = append(b.lacks, option)
		}
	}
	return b
}

// Has tells whether the build knows an option, named without its dashes.
func (b Build) Has(option string) bool { return b.options == nil || b.options[option] }

// older tells by what a build is known as one that prints less, or otherwise,
// than those of today: by its --help or, where that tells nothing, by its first
// line. It is "" for others, whose output is held to all that is asked of today's.
func older(b Build, l *Log) string {
	switch {
	case len(b.lacks) > 0:
		return "its --help has no --" + strings.Join(b.lacks, ", --")
	case b.options == nil && l != nil && l.Init != nil && l.Init.Old:
		return "its first line is that of builds before 2022-09"
	}
	return ""
}

// Form says how an older build is recognised, and what follows; "" for others.
func Form(b Build, l *Log) string {
	why := older(b, l)
	if why == "" {
		return ""
	}
	return "an older build, for " + why + ": tests of what it does not report are skipped, others name what it is not held to"
}

// Args are the arguments to start the build with. bpfTramp is whether this
// kernel has BPF trampolines, which the builds before 2022-09 must be told.
func (b Build) Args(bpfTramp bool) []string {
	args := []string{"--all"}
	add := func(options ...string) {
		for _, option := range options {
			if b.Has(option) {
				args = append(args, "--"+option)
			}
		}
	}
	if b.Has("print-features-on-init") {
		add("print-features-on-init")
	} else {
		add("print-initialized")
		if bpfTramp {
			add("set-bpf-tramp")
		}
	}
	// Of builds in between, which take no features for granted.
	if b.options["features-autodetect"] {
		add("features-autodetect")
	}
	add("unbuffer-stdout", "libbpf-verbose")
	return args
}

var optionNames = strings.NewReplacer(
	"network_connection_attempted", "net-conn-attempt",
	"network_connection_accepted", "net-conn-accept",
	"network_connection_closed", "net-conn-closed",
	"_", "-",
)

// option is the selector of an event type: of PROCESS_FORK it is process-fork.
func option(event string) string { return optionNames.Replace(strings.ToLower(event)) }
