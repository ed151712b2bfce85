package check

import "regexp"

// Build is what the EventsTrace binary under test says about itself.
type Build struct {
	options map[string]bool // nil: its help tells nothing, so it is taken for a current one
	older   bool
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
	b := Build{options: found, older: !found["print-features-on-init"]}
	for _, t := range Tests() {
		for _, e := range t.Expect {
			b.older = b.older || !found[option(e.Type)]
		}
	}
	return b
}

// Has tells whether the build knows an option, named without its dashes.
func (b Build) Has(option string) bool { return b.options == nil || b.options[option] }

// Older tells whether the build lacks an option that a test of today selects
// its events by. Such builds also print fewer fields per event.
func (b Build) Older() bool { return b.older }

// Args are the arguments to start the build with. bpfTramp is whether this
// kernel has BPF trampolines, which the builds before 2022-09 must be told.
func (b Build) Args(bpfTramp bool) []string {
	args := []string{"--all"}
	if b.Has("print-features-on-init") {
		args = append(args, "--print-features-on-init")
	} else {
		if b.Has("print-initialized") {
			args = append(args, "--print-initialized")
		}
		if b.Has("set-bpf-tramp") && bpfTramp {
			args = append(args, "--set-bpf-tramp")
		}
	}
	for _, option := range []string{"unbuffer-stdout", "libbpf-verbose"} {
		if b.Has(option) {
			args = append(args, "--"+option)
		}
	}
	return args
}

// option is the selector of an event type.
func option(event string) string {
	switch event {
	case "PROCESS_FORK":
		return "process-fork"
	case "PROCESS_EXEC":
		return "process-exec"
	case "PROCESS_EXIT":
		return "process-exit"
	case "PROCESS_SETUID":
		return "process-setuid"
	case "PROCESS_SETGID":
		return "process-setgid"
	case "PROCESS_TTY_WRITE":
		return "process-tty-write"
	case "PROCESS_MEMFD_CREATE":
		return "process-memfd-create"
	case "PROCESS_SHMGET":
		return "process-shmget"
	case "PROCESS_PTRACE":
		return "process-ptrace"
	case "FILE_CREATE":
		return "file-create"
	case "FILE_RENAME":
		return "file-rename"
	case "FILE_DELETE":
		return "file-delete"
	case "FILE_MODIFY":
		return "file-modify"
	case "NETWORK_CONNECTION_ATTEMPTED":
		return "net-conn-attempt"
	case "NETWORK_CONNECTION_ACCEPTED":
		return "net-conn-accept"
	case "NETWORK_CONNECTION_CLOSED":
		return "net-conn-closed"
	}
	return ""
}
