package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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

// processes says what every process of the payload is doing.
func processes() string {
	var b strings.Builder
	dirs := payloadProcesses()
	for _, dir := range dirs[:min(len(dirs), maxProcesses)] {
		status, _ := os.ReadFile(dir + "/status")
		state := "?"
		for line := range strings.Lines(string(status)) {
			if v, ok := strings.CutPrefix(line, "State:"); ok {
				state = strings.TrimSpace(v)
			}
		}
		fmt.Fprintf(&b, "  pid %s, %s: %.200s\n", filepath.Base(dir), state, commandLine(dir))
		threads(&b, dir)
	}
	switch {
	case len(dirs) == 0:
		b.WriteString("  none\n")
	case len(dirs) > maxProcesses:
		b.WriteString("  and more\n")
	}
	return b.String()
}

// payloadProcesses are the directories in /proc of all processes of user space but
// init and testrunner, which are one program. A payload can unmount /proc: then
// there are none.
func payloadProcesses() []string {
	own, _ := os.Stat("/proc/self/exe")
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	return slices.DeleteFunc(dirs, func(dir string) bool {
		// Kernel threads and what has ended have no program.
		exe, err := os.Stat(dir + "/exe")
		return err != nil || own != nil && os.SameFile(exe, own)
	})
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

// leftRunning returns the command lines of the payload's processes, once it has
// ended itself.
func leftRunning() []string {
	// A process that loses its parent becomes init's child, and looking at all of
	// the kernel's threads takes long under emulation.
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); errors.Is(err, unix.ECHILD) {
		return nil
	}
	var found []string
	for _, dir := range payloadProcesses() {
		found = append(found, fmt.Sprintf("%.80q", commandLine(dir)))
	}
	return found
}
