package host

import (
	"strings"
	"testing"
	"testing/fstest"
)

// The trees are cut out of machines with limits of that kind.
func TestMemoryLeft(t *testing.T) {
	meminfo := "MemTotal:       24641520 kB\nMemFree:         1000000 kB\nMemAvailable:    8388608 kB\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		mib   int64
		limit string
	}{
		{"nothing is known", nil, 0, ""},
		{"the machine", map[string]string{"proc/meminfo": meminfo}, 8192, "MemAvailable"},
		{"a container of version 2, which sees itself as the root", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "4294967296\n", "sys/fs/cgroup/memory.current": "2147483648\n", "sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 1073741824\n",
		}, 3072, "memory.max of the control group"},
		{"a group whose parent is the limit", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a.slice/b.service\n",
			"sys/fs/cgroup/a.slice/memory.max": "1073741824\n", "sys/fs/cgroup/a.slice/memory.current": "0\n",
			"sys/fs/cgroup/a.slice/b.service/memory.max": "max\n", "sys/fs/cgroup/a.slice/b.service/memory.current": "5\n",
		}, 1024, "memory.max of the control group"},
		{"a container of version 1, with the host's path", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "9:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/docker/x\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "2147483648\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "1073741824\n",
			"sys/fs/cgroup/memory/memory.stat": "cache 5\ntotal_inactive_file 0\n",
		}, 1024, "memory.limit_in_bytes of the control group"},
		{"no limit in version 1", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/memory.usage_in_bytes": "1073741824\n",
		}, 8192, "MemAvailable"},
		{"more in use than allowed", map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n",
			"sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "2147483648\n",
		}, 0, "memory.max of the control group"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range tt.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := memoryLeft(root); got.bytes>>20 != tt.mib || got.limit != tt.limit {
				t.Errorf("%d MiB, %q; want %d, %q", got.bytes>>20, got.limit, tt.mib, tt.limit)
			}
		})
	}
}

func TestFitJobs(t *testing.T) {
	for _, tt := range []struct {
		mib           int64
		jobs, kernels int
		want          int
		note          string
	}{
		{8192, 4, 10, 4, ""},
		{8192, 16, 10, 6, "6 VMs at a time instead of 10: 8192 MiB of memory are available (x), and each VM takes up to 1212"},
		{8192, 4, 2, 2, ""},
		{100, 4, 10, 1, "1 VM at a time instead of 4"},
		{100, 1, 10, 1, "give --memory less"},
	} {
		got, note := fitJobs(memoryRoom{tt.mib << 20, "x"}, tt.jobs, 1024, tt.kernels)
		if got != tt.want || (note == "") != (tt.note == "") || !strings.Contains(note, tt.note) {
			t.Errorf("%d MiB, -j %d: %d, %q", tt.mib, tt.jobs, got, note)
		}
	}
	for _, tt := range []struct {
		cores, jobs, cpus, want int
		note                    string
	}{
		{2, 4, 1, 4, ""},
		{8, 4, 2, 4, ""},
		{8, 8, 2, 4, "4 VMs at a time instead of 8: each has 2 processors, and this machine has 8 cores"},
		{2, 2, 2, 1, "1 VM at a time instead of 2"},
		{2, 1, 4, 1, "take turns on the 2 cores"},
	} {
		got, note := fitCores(tt.cores, tt.jobs, tt.cpus)
		if got != tt.want || (note == "") != (tt.note == "") || !strings.Contains(note, tt.note) {
			t.Errorf("%d cores, -j %d, %d processors: %d, %q", tt.cores, tt.jobs, tt.cpus, got, note)
		}
	}
	if got, note := fitJobs(memoryRoom{}, 3, 1024, 10); got != 3 || note != "" {
		t.Errorf("got %d, %q", got, note)
	}
}

// What the cores say is said beside what the memory does.
func TestFitJobsSaysBoth(t *testing.T) {
	if _, err := AvailableMemory(); err != nil {
		t.Skip(err)
	}
	jobs, note := FitJobs(100, 1<<30, 100, 1<<20)
	if jobs != 1 || !strings.Contains(note, "processors, which take turns") || !strings.Contains(note, "; ") || !strings.Contains(note, "MiB of memory are available") {
		t.Errorf("%d, %q", jobs, note)
	}
}
