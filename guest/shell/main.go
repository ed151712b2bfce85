// Command shell is what a person meets in the guest of bpf-kernel-check debug:
// a shell, the usual small commands, and the basics of bpftool, in one program. The
// name it is called by says which: shell and sh are the shell, and all but
// shell are links that a session makes.
//
// Exit status: the command's; 127 for a name that none has.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	os.Exit(run(os.Args, stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// run is the whole program. It returns the exit status.
func run(args []string, io stdio) int {
	name, rest := filepath.Base(args[0]), args[1:]
	if name == "sh" || name == "shell" {
		return runShell(rest, io)
	}
	a, ok := applets()[name]
	if !ok {
		fmt.Fprintf(io.err, "%s: no such command: want sh or one of %s\n", name, appletNames())
		return exitNotFound
	}
	return a.run(name, rest, io)
}

// Exit statuses, as shells have them.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 127
	exitInterrupted = 130
)
