// Package oom says whether the guest's kernel ran out of memory: a process that
// ends by SIGKILL while the OOM killer has struck was chosen by it. init and
// testrunner ask; neither knows why memory ran out.
package oom

import (
	"os"
	"strconv"
	"strings"
)

// Kills is how often the kernel's OOM killer has struck since boot; 0 where
// that cannot be read.
func Kills() uint64 {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0
	}
	return parse(string(b))
}

// parse reads /proc/vmstat.
func parse(vmstat string) uint64 {
	for line := range strings.Lines(vmstat) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}
