// Command generators is many small programs in one static binary. Each makes
// one kind of event happen, for a tracer to report, and prints what it did as
// one line of JSON. It is chosen by the name the binary is called by, or by
// its first argument:
//
//	generators fork_exit
//
// A tracer must see each event once and as coming from a process of one
// thread. So all the acting is done on the process's first thread, whose tid
// is its pid, and a child either executes a program or never returns into the Go
// runtime (see forkAndExit).
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func init() {
	// The main goroutine stays on the thread that runs init functions, which
	// is the process's first.
	runtime.LockOSThread()
}

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// generator does its work and returns what it did. self is what the process is
// before. One that replaces its program prints by itself and returns only when
// that did not work.
type generator func(self object, args []string, stdout *os.File) (object, error)

// table is a function, because nothing at package level is to change.
func table() map[string]generator {
	return map[string]generator{
		"do_nothing":                          func(object, []string, *os.File) (object, error) { return nil, nil },
		"fork_exit":                           forkExit,
		"marker":                              marker,
		"fork_exec":                           forkExec,
		"create_rename_delete_file":           fileOperations,
		"create_rename_delete_file_container": containerFileOperations,
		"setreuid":                            setreuid,
		"setregid":                            setregid,
		"tty_write":                           ttyWrite,
		"tcpv4_connect":                       tcpv4Connect,
		"tcpv6_connect":                       tcpv6Connect,
		"ptrace":                              ptrace,
		"shmget":                              shmget,
		"memfd_create_exec":                   memfdCreateExec,

		// Children of the others.
		"container_child": containerChild,
		"wait":            waitForEver,
		"ptrace_attach":   ptraceAttach,
	}
}

func run(args []string, stdout, stderr *os.File) int {
	name, rest := "", []string(nil)
	if len(args) > 0 {
		name, rest = filepath.Base(args[0]), args[1:]
	}
	generators := table()
	if generators[name] == nil && len(rest) > 0 {
		name, rest = rest[0], rest[1:]
	}
	g := generators[name]
	if g == nil {
		fmt.Fprintf(stderr, "generators: no generator %q: want one of %s\n", name, strings.Join(slices.Sorted(maps.Keys(generators)), ", "))
		return 2
	}
	// Events name the process by it, and the binary may be called otherwise.
	if err := setComm(name); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 1
	}
	self, err := pidInfo()
	if err == nil {
		var did object
		if did, err = g(self, rest, stdout); err == nil && did != nil {
			err = did.print(stdout)
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
		return 1
	}
	return 0
}

// setComm names the calling thread, which is the process's first.
func setComm(name string) error {
	b := append([]byte(name), 0)
	return wrap("set the process's name", unix.Prctl(unix.PR_SET_NAME, address(&b[0]), 0, 0, 0))
}

// object is what a generator did, as JSON.
type object map[string]any

func (o object) print(w io.Writer) error {
	return wrap("print", json.NewEncoder(w).Encode(o))
}

// wrap returns nil for no error.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
