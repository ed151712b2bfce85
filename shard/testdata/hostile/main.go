// Command hostile is a payload for the tests of the VM runner: each argument
// makes it do something that a payload should not.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

func main() {
	mode, args := "pass", []string(nil)
	if len(os.Args) > 1 {
		mode, args = os.Args[1], os.Args[2:]
	}
	if os.Getpid() == 1 {
		// Used as init: one that never says anything, or ends. What stands
		// before is what the kernel did not understand of its command line.
		mode = "sleep"
		if i := slices.Index(os.Args, "exit"); i > 0 {
			mode, args = "exit", os.Args[i+1:]
		}
	}
	do(mode, args...)
}

// do does one thing. If that fails the program ends.
func do(mode string, args ...string) {
	act := acts()[mode]
	if act == nil {
		check(fmt.Errorf("unknown mode %q", mode))
	}
	act(args)
}

// check ends the program after an error.
func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
}

// note prints an error that is as good as none: what the kernel refuses does no
// harm.
func note(err error) { fmt.Println("outcome:", err) }

func number(s string) int {
	n, err := strconv.ParseInt(s, 0, 64)
	check(err)
	return int(n)
}

func exit(status string) { os.Exit(number(status)) }

func write(path, text string) error { return os.WriteFile(path, []byte(text), 0) }

func open(path string, flags int) *os.File {
	f, err := os.OpenFile(path, flags, 0)
	check(err)
	return f
}

// self is this program once more.
func self(args ...string) *exec.Cmd { return exec.Command("/proc/self/exe", args...) }

// endlessly writes without end, beside what else happens.
func endlessly(f *os.File, text string, pause time.Duration) {
	go func() {
		for {
			_, _ = f.WriteString(text)
			time.Sleep(pause)
		}
	}()
}
