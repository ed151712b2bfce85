package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// vmOverhead is the memory in MiB that QEMU takes beside its guest's, at most:
// itself, and the code that it has translated.
const vmOverhead = 60 + qemu.TranslatedMiB

// fitJobs lowers the number of VMs to what there is to do and what fits the
// memory that is free.
func fitJobs(jobs, memory, kernels int) (int, string) {
	return fitJobsTo(memoryLeft(os.DirFS("/")), jobs, memory, kernels)
}

func fitJobsTo(free memoryRoom, jobs, memory, kernels int) (int, string) {
	jobs = min(jobs, kernels)
	if free.limit == "" {
		return jobs, ""
	}
	fit := max(1, int(free.bytes>>20)/(memory+vmOverhead))
	if fit >= jobs {
		if jobs == 1 && free.bytes>>20 < int64(memory+vmOverhead) {
			return jobs, fmt.Sprintf("%d MiB of memory are available (%s), and a VM takes up to %d: give --memory less if it is killed", free.bytes>>20, free.limit, memory+vmOverhead)
		}
		return jobs, ""
	}
	return fit, fmt.Sprintf("%s at a time instead of %d: %d MiB of memory are available (%s), and each VM takes up to %d", count(fit, "VM"), jobs, free.bytes>>20, free.limit, memory+vmOverhead)
}

// memoryRoom is the memory that may still be taken, and what limits it.
type memoryRoom struct {
	bytes int64
	limit string // "": nothing is known
}

func (m memoryRoom) or(n int64, limit string) memoryRoom {
	if m.limit == "" || n < m.bytes {
		return memoryRoom{max(0, n), limit}
	}
	return m
}

// availableMemory is memoryLeft's, in bytes.
func availableMemory() (int64, error) {
	m := memoryLeft(os.DirFS("/"))
	if m.limit == "" {
		return 0, errors.New("/proc/meminfo has no MemAvailable")
	}
	return m.bytes, nil
}

// memoryLeft is the least of what the machine has and what the control
// groups of this process, which a container is made of, leave. root is the
// file system's.
func memoryLeft(root fs.FS) memoryRoom {
	var m memoryRoom
	if n, ok := field(root, "proc/meminfo", "MemAvailable:"); ok {
		m = m.or(n<<10, "MemAvailable")
	}
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(b)) {
		// id:controllers:path, with no controllers for version 2
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[0] == "0" && parts[1] == "":
			for _, mount := range []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"} {
				m = groupRoom(root, m, mount, parts[2], "memory.max", "memory.current", "inactive_file")
			}
		case strings.Contains(","+parts[1]+",", ",memory,"):
			m = groupRoom(root, m, "sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
		}
	}
	return m
}

// groupRoom looks at a control group and those that it is in. In a container
// the path can be the host's, of which the container sees only its own end: as
// the root.
func groupRoom(root fs.FS, m memoryRoom, mount, group, limit, usage, reclaimable string) memoryRoom {
	for dir := path.Join("/", group); ; dir = path.Dir(dir) {
		at := path.Join(mount, dir)
		most, ok := wholeNumber(root, path.Join(at, limit))
		used, okUsed := wholeNumber(root, path.Join(at, usage))
		// Version 1 says "no limit" by a number of that size.
		if ok && okUsed && most < 1<<60 {
			// Pages of files that nobody has looked at lately are given up
			// when memory is short, as MemAvailable counts them.
			cached, _ := field(root, path.Join(at, "memory.stat"), reclaimable+" ")
			m = m.or(most-used+min(cached, used), limit+" of the control group")
		}
		if dir == "/" {
			return m
		}
	}
}

func wholeNumber(root fs.FS, name string) (int64, bool) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64) // "max" is none
	return n, err == nil
}

// field returns the number behind a prefix in a file of lines.
func field(root fs.FS, name, prefix string) (int64, bool) {
	f, err := root.Open(name)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); { // the kernel's lines are short
		if v, ok := strings.CutPrefix(lines.Text(), prefix); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
