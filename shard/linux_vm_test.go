package shard

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// buildLinux builds testdata/linux once.
var buildLinux = sync.OnceValues(func() (string, error) {
	path := filepath.Join(hostileDir(), "linux.test")
	cmd := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", path, "./testdata/linux")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return path, err
})

// The guest is a Linux as programs know it, with as many processors as it was
// given, in each series of kernels, and whether it was booted or restored.
func TestLinux(t *testing.T) {
	for _, tt := range []struct {
		name, series string
		boot         Boot
		cpus         int
		own, v1      bool
		append       string
	}{
		{name: "one processor", series: "5.10", boot: BootCold, cpus: 1},
		{name: "four processors", series: "5.10", boot: BootCold, cpus: 4, own: true},
		{name: "four processors", series: "6.1", boot: BootCold, cpus: 4, v1: true, append: "lsm=lockdown,yama"},
		{name: "restored", series: "6.1", boot: BootWarm, cpus: 2, v1: true, own: true},
		{name: "two processors, without mitigations", series: "6.12", boot: BootCold, cpus: 2, append: "mitigations=off"},
		{name: "restored", series: "7.2", boot: BootWarm, cpus: 1, own: true, append: "lsm=lockdown,bpf slab_nomerge"},
		{name: "four processors", series: "7.2", boot: BootCold, cpus: 4},
	} {
		t.Run(tt.series+", "+tt.name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			program, err := buildLinux()
			if err != nil {
				t.Fatal(err)
			}
			p, err := guest.TestPayload(t.Context(), program, nil, "/", "amd64", far)
			if err != nil {
				t.Fatal(err)
			}
			p.Job.Env = []string{fmt.Sprintf("CPUS=%d", tt.cpus), "PARAMS=" + tt.append}
			if tt.own {
				p.Job.Env = append(p.Job.Env, "OWN=1")
				p.Files = append(p.Files,
					guest.File{Path: "/etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0::/root:\nnobody:x:65534:65534:::\nme:x:7:7:::\n")},
					guest.File{Path: "/etc/mtab", Mode: 0o644, Data: []byte("my own\n")})
			}
			if tt.v1 {
				p.Job.CgroupV1 = true
				p.Job.Env = append(p.Job.Env, "CGROUP=v1")
			}
			p.Targets = []string{"lsm/file_open"}
			r := l.runner(t, p)
			r.Boot, r.QEMUDigest, r.CPUs = tt.boot, "test", tt.cpus
			if r.Append, err = qemu.ParseParams([]string{tt.append}); err != nil {
				t.Fatal(err)
			}
			k, _ := l.run(t, r, seriesKernel(t, tt.series))
			if k.Verdict != report.Pass || k.Boot != tt.boot.String() || len(k.Tests) == 0 {
				t.Errorf("%v, booted %s, with %d tests", k.Verdict, k.Boot, len(k.Tests))
			}
			if want := strings.Contains(tt.append, "lsm=") && !strings.Contains(tt.append, "bpf"); strings.Contains(strings.Join(k.Problems, "\n"), "--append lsm=lockdown,yama,bpf") != want {
				t.Errorf("notes %q, want that LSM programs do not run: %v", k.Problems, want)
			}
			for _, x := range k.Tests {
				if x.Verdict != "pass" {
					t.Errorf("%s %s: %s", x.Name, x.Verdict, x.Output)
				}
			}
		})
	}
}

// seriesKernel is the newest kernel of one of the series in corpusKernels.
func seriesKernel(t *testing.T, series string) plan.Entry {
	t.Helper()
	for _, k := range corpusKernels {
		if k.series == series {
			return newestOf(t, k.source, k.glob)
		}
	}
	t.Fatalf("no series %s", series)
	return plan.Entry{}
}
