package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelTaint is what the kernel thinks of itself. It is opened before the
// payload starts, which can unmount /proc or cover it.
type kernelTaint struct{ file *os.File }

func openTaint() (*kernelTaint, error) {
	f, err := os.Open("/proc/sys/kernel/tainted")
	return &kernelTaint{f}, wrap("open the kernel's taint", err)
}

func (k *kernelTaint) read() (uint64, error) {
	b := make([]byte, 32)
	n, err := k.file.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, wrap("read the kernel's taint", err)
	}
	t, err := strconv.ParseUint(strings.TrimSpace(string(b[:n])), 10, 64)
	return t, wrap("read the kernel's taint", err)
}

const maxProcesses = 40

// processes says what every process of the payload is doing. init and testrunner,
// which are one program, are left out.
func processes() string {
	own, ownErr := os.Stat("/proc/1/exe")
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var b strings.Builder
	shown := 0
	for _, dir := range dirs {
		args := commandLine(dir)
		if args == "" {
			continue // gone, or a kernel thread
		}
		if exe, err := os.Stat(dir + "/exe"); err == nil && ownErr == nil && os.SameFile(exe, own) {
			continue
		}
		if shown++; shown > maxProcesses {
			fmt.Fprintf(&b, "  and more\n")
			break
		}
		status, _ := os.ReadFile(dir + "/status")
		state := "?"
		for line := range strings.Lines(string(status)) {
			if v, ok := strings.CutPrefix(line, "State:"); ok {
				state = strings.TrimSpace(v)
			}
		}
		fmt.Fprintf(&b, "  pid %s, %s: %.200s\n", filepath.Base(dir), state, args)
		threads(&b, dir)
	}
	if shown == 0 {
		return "  none\n"
	}
	return b.String()
}

// commandLine is that of the process with a directory of /proc, "" for one without.
func commandLine(dir string) string {
	args, _ := os.ReadFile(dir + "/cmdline")
	return strings.ReplaceAll(strings.TrimRight(string(args), "\x00"), "\x00", " ")
}

const maxThreads = 8 // of a process that are shown

// threads says where in the kernel a process's threads wait.
func threads(b *strings.Builder, dir string) {
	tasks, _ := filepath.Glob(dir + "/task/[0-9]*")
	for i, task := range tasks {
		if i == maxThreads {
			fmt.Fprintf(b, "    and %d more threads\n", len(tasks)-i)
			return
		}
		wchan, _ := os.ReadFile(task + "/wchan")
		call, _ := os.ReadFile(task + "/syscall")
		fmt.Fprintf(b, "    thread %s: wchan %.100s, syscall %.150s\n", filepath.Base(task), strings.TrimSpace(string(wchan)), strings.TrimSpace(string(call)))
		stack, _ := os.ReadFile(task + "/stack")
		for line := range strings.Lines(string(stack)) {
			fmt.Fprintf(b, "      %s\n", strings.TrimSpace(line))
		}
	}
}

// userProcesses returns the command lines of all processes of user space but init.
// A payload can unmount /proc: then there are none.
func userProcesses() []string {
	// A process that loses its parent becomes init's child, and looking at all of
	// the kernel's threads takes long under emulation.
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); errors.Is(err, unix.ECHILD) {
		return nil
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	self := strconv.Itoa(os.Getpid())
	var found []string
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' || name == self {
			continue
		}
		dir := "/proc/" + name
		// Kernel threads and what has ended have no program.
		if _, err := os.Readlink(dir + "/exe"); err != nil {
			continue
		}
		found = append(found, fmt.Sprintf("%.80q", commandLine(dir)))
	}
	return found
}
