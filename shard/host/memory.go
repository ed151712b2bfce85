package host

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// vmOverhead is the most memory, in MiB, that QEMU takes on top of its guest's:
// its own, and the code it has translated.
const vmOverhead = 60 + qemu.TranslatedMiB

// FitJobs lowers the number of VMs, of memory MiB and a number of processors each,
// to the number of kernels, to what fits the free memory and, if a VM has several
// processors, to the machine's cores. The note says why it did; it is empty when
// nothing sets a limit.
func FitJobs(jobs, memory, kernels, cpus int) (fit int, note string) {
	jobs, note = fitCores(runtime.NumCPU(), min(jobs, kernels), cpus)
	fit, short := fitJobs(memoryLeft(os.DirFS("/")), jobs, memory, kernels)
	return fit, strings.Join(slices.DeleteFunc([]string{note, short}, func(s string) bool { return s == "" }), "; ")
}

func fitCores(cores, jobs, cpus int) (int, string) {
	fit := max(1, cores/max(1, cpus))
	switch {
	case cpus <= 1:
		return jobs, ""
	case cpus > cores:
		return fit, fmt.Sprintf("each VM has %d processors, which take turns on the %d cores of this machine: 1 VM at a time, and it may take longer than with fewer", cpus, cores)
	case fit < jobs:
		return fit, fmt.Sprintf("%s at a time instead of %d: each has %d processors, and this machine has %d cores", vms(fit), jobs, cpus, cores)
	}
	return jobs, ""
}

func vms(n int) string {
	if n == 1 {
		return "1 VM"
	}
	return fmt.Sprintf("%d VMs", n)
}

func fitJobs(free memoryRoom, jobs, memory, kernels int) (int, string) {
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
	return fit, fmt.Sprintf("%s at a time instead of %d: %d MiB of memory are available (%s), and each VM takes up to %d", vms(fit), jobs, free.bytes>>20, free.limit, memory+vmOverhead)
}

// memoryRoom is the free memory and the limit that bounds it.
type memoryRoom struct {
	bytes int64
	limit string // "" when the free memory is unknown
}

func (m memoryRoom) or(n int64, limit string) memoryRoom {
	if m.limit == "" || n < m.bytes {
		return memoryRoom{max(0, n), limit}
	}
	return m
}

// AvailableMemory returns the free memory in bytes.
func AvailableMemory() (int64, error) {
	m := memoryLeft(os.DirFS("/"))
	if m.limit == "" {
		return 0, errors.New("/proc/meminfo has no MemAvailable")
	}
	return m.bytes, nil
}

// memoryLeft returns the smaller of the machine's free memory and what the
// control groups of this process allow, as in a container. root is the root of
// the file system.
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

// groupRoom applies the limits of a control group and its parents. In a
// container the path may be the host's, of which only the root is visible.
func groupRoom(root fs.FS, m memoryRoom, mount, group, limit, usage, reclaimable string) memoryRoom {
	for dir := path.Join("/", group); ; dir = path.Dir(dir) {
		at := path.Join(mount, dir)
		most, ok := wholeNumber(root, path.Join(at, limit))
		used, okUsed := wholeNumber(root, path.Join(at, usage))
		// Version 1 writes a number of this size for "no limit".
		if ok && okUsed && most < 1<<60 {
			// The kernel reclaims inactive file pages when memory is short;
			// MemAvailable counts them as free, too.
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
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64) // "max" means no limit
	return n, err == nil
}

// field returns the number that follows a prefix in a file of lines.
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
