package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// kernelFacts is what the loader wants to know of the running kernel.
type kernelFacts struct {
	release string   // uname -r
	lsms    []string // active security modules; nil: not known

	// Both are large, and read only to explain a failure. nil: not known.
	symbols, traceable func() []byte

	jit string // why programs are not compiled, "" if they are or it is not known
}

// jitNote says why a kernel does not compile programs. Such a kernel interprets most,
// and refuses the others without a reason. root is / except in tests.
func jitNote(root string) string {
	const name = "proc/sys/net/core"
	if _, err := os.Stat(filepath.Join(root, name)); err != nil {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(root, name, "bpf_jit_enable"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "this kernel is built without the BPF JIT compiler, CONFIG_BPF_JIT"
	case err == nil && string(b) == "0\n":
		return "the BPF JIT compiler is off: --append sysctl.net.core.bpf_jit_enable=1 turns it on"
	}
	return ""
}

func readKernelFacts() kernelFacts {
	read := func(path string) func() []byte {
		return sync.OnceValue(func() []byte {
			b, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			return b
		})
	}
	k := kernelFacts{symbols: read("/proc/kallsyms"), traceable: read("/sys/kernel/tracing/available_filter_functions"), jit: jitNote("/")}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		k.release = unix.ByteSliceToString(uts.Release[:])
	}
	if b, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil {
		k.lsms = strings.Split(strings.TrimSpace(string(b)), ",")
	}
	return k
}

// bpfLSM says whether LSM programs are run. known is false when the kernel does
// not tell.
func (k kernelFacts) bpfLSM() (active, known bool) {
	return slices.Contains(k.lsms, "bpf"), k.lsms != nil
}

// versionLess compares the major and minor numbers of kernel versions, which
// may have anything behind them.
func versionLess(a, b string) bool {
	return slices.Compare(majorMinor(a), majorMinor(b)) < 0
}

func majorMinor(s string) []int {
	v := []int{0, 0}
	_, _ = fmt.Sscanf(s, "%d.%d", &v[0], &v[1]) // what is no number counts as 0
	return v
}

// functionNote says why a program cannot be attached to a function that the
// kernel has: a clause such as "exists, but is notrace". "" when the kernel has no
// such function, or nothing speaks against it.
func (k kernelFacts) functionNote(name string) string {
	if k.symbols == nil || k.traceable == nil || name == "" {
		return ""
	}
	exists, variant := findFunction(k.symbols(), name)
	switch ftrace := k.traceable(); {
	case !exists && variant != "":
		return fmt.Sprintf("exists only as %s, a copy that the compiler changed", variant)
	case exists && len(ftrace) > 0 && !findTraceable(ftrace, name):
		return "exists, but is notrace"
	}
	return ""
}

// findFunction looks for a function in the text of /proc/kallsyms: whether it is
// there, and the first copy of it such as name.isra.0 or name.constprop.0.
func findFunction(symbols []byte, name string) (exists bool, variant string) {
	word := []byte(" " + name)
	for {
		i := bytes.Index(symbols, word)
		if i < 0 {
			return false, variant
		}
		function := i > 0 && bytes.IndexByte([]byte("tTwW"), symbols[i-1]) >= 0
		symbols = symbols[i+len(word):]
		end := bytes.IndexAny(symbols, "\t\n")
		if end < 0 {
			end = len(symbols)
		}
		switch rest := string(symbols[:end]); {
		case !function:
		case rest == "":
			return true, ""
		case variant == "" && rest[0] == '.' && !strings.HasPrefix(rest, ".cold"):
			variant = name + rest
		}
	}
}

// findTraceable looks for a function in the text of ftrace's
// available_filter_functions.
func findTraceable(functions []byte, name string) bool {
	for _, end := range []string{"\n", " ["} { // a module's has its name behind it
		if bytes.HasPrefix(functions, []byte(name+end)) || bytes.Contains(functions, []byte("\n"+name+end)) {
			return true
		}
	}
	return false
}
