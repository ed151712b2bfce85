package shard

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// programsPayload is the lab's program, once for each list of arguments; their
// names are p01 and so on.
func (l *lab) programsPayload(t testing.TB, timeout time.Duration, args ...string) guest.Payload {
	t.Helper()
	b, err := os.ReadFile(l.hostile)
	if err != nil {
		t.Fatal(err)
	}
	var programs []guest.TestProgram
	for i, a := range args {
		programs = append(programs, guest.TestProgram{Name: fmt.Sprintf("p%02d", i+1), Path: l.hostile, Data: b, Args: strings.Fields(a)})
	}
	p, err := guest.ProgramsPayload(programs, timeout)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (l *lab) programsRunner(t *testing.T, boot Boot, timeout time.Duration, args ...string) *Runner {
	t.Helper()
	r := l.runner(t, l.programsPayload(t, timeout, args...))
	r.Boot, r.QEMUDigest, r.Retries = boot, "test", 0
	return r
}

// programVerdicts are the verdicts and causes of a kernel's programs, one line
// each.
func programVerdicts(k report.Result) []string {
	var lines []string
	for _, p := range k.Programs {
		line := p.Verdict.String()
		if p.Cause != nil {
			line += ": " + p.Cause.Title
		}
		lines = append(lines, line)
	}
	return lines
}

// twenty are programs that do what programs of a repository do, and worse, and none
// of which ends its VM.
var twenty = []string{
	"pass", "exit 7", "look", "kill-self", "pass", "claim-success", "claim-crash", "tests first", "hang-up-results 1", "hang-up-results 0",
	"close-all", "print 2", "one-line 3", "binary", "kill-all", "orphan", "stamps", "cmdline", "fake-frames", "pass",
}

// Programs that share a VM have the verdicts that each has alone.
func TestTwentyProgramsInOneBoot(t *testing.T) {
	for _, boot := range []Boot{BootCold, BootWarm} {
		t.Run(boot.String(), func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			together, console := l.run(t, l.programsRunner(t, boot, far, twenty...))
			if len(together.History) > 0 {
				t.Errorf("it took more than one VM: %+v", together.History)
			}
			isolated := l.programsRunner(t, BootWarm, far, twenty...)
			isolated.Isolate = true
			alone, _ := l.run(t, isolated)
			if len(alone.History) != len(twenty)-1 {
				t.Errorf("%d VMs for %d programs", len(alone.History)+1, len(twenty))
			}
			for _, k := range []report.Result{together, alone} {
				var names []string
				for _, x := range k.Tests {
					names = append(names, x.Verdict+" "+x.Name)
				}
				if !slices.Contains(names, "pass p08/TestFirst") || !slices.Contains(names, "pass p01") || !slices.Contains(names, "fail p02") {
					t.Errorf("tests %q", names)
				}
			}
			a, b := programVerdicts(alone), programVerdicts(together)
			for i := range twenty {
				if i >= len(a) || i >= len(b) || a[i] != b[i] {
					t.Errorf("%s: alone %v, together %v", twenty[i], a[i:min(i+1, len(a))], b[i:min(i+1, len(b))])
				}
			}
			var got []string
			for _, p := range together.Programs {
				got = append(got, p.Verdict.String())
			}
			want := "pass fail pass fail pass fail pass fail fail pass fail pass pass pass fail pass fail pass fail pass"
			if strings.Join(got, " ") != want || together.Verdict != report.Fail || alone.Verdict != report.Fail {
				t.Errorf("%v (%v)", got, together.Verdict)
			}
			if together.Console != alone.Console || !bootLines.MatchString(console) {
				t.Errorf("consoles %s and %s", together.Console, alone.Console)
			}
			for _, k := range []report.Result{together, alone} {
				if err := k.Check(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// What a program ends its VM by costs no other its result: the rest runs in another
// VM.
func TestProgramsBehindOneThatEndsTheVM(t *testing.T) {
	for _, tt := range []struct {
		name, args string
		verdict    report.Verdict
		cause      string
		allow      string
	}{
		{"panics", "sysrq c", report.Crash, "p02: Kernel panic - not syncing: sysrq triggered crash", ""},
		{"warns", "crash warn", report.Crash, "p02: WARNING in bkc_warn", ""},
		{"taints the kernel", "taint 512", report.Crash, "p02: the kernel tainted itself (warning)", ""},
		{"reboots", "reboot", report.Fail, "p02: the guest went down without its end record", ""},
		{"hangs", "sleep", report.Timeout, "p02: the payload did not end within 8s", ""},
		{"starves the machine", "starve", report.Timeout, "p02: no sign of life from the guest for 15s while TestStarve was running", ""},
		{"warns, which is allowed", "crash warn", report.Pass, "", "- {pattern: 'WARNING in bkc_warn$', reason: 'made for this test'}"},
	} {
		for _, boot := range []Boot{BootCold, BootWarm} {
			t.Run(tt.name+", "+boot.String(), func(t *testing.T) {
				t.Parallel()
				l := theLab(t)
				r := l.programsRunner(t, boot, 8*time.Second, "pass", tt.args, "exit 3", "pass")
				r.Limits.Silence = 15 * time.Second
				r.Allowed = &vm.Allowed{}
				if err := r.Allowed.Read("allow.yml", strings.NewReader(tt.allow)); err != nil {
					t.Fatal(err)
				}
				k, _ := l.run(t, r)
				want := []string{"pass", tt.verdict.String(), "fail", "pass"}
				var got []string
				for _, p := range k.Programs {
					got = append(got, p.Verdict.String())
				}
				wantKernel := tt.verdict
				if tt.verdict == report.Pass {
					wantKernel = report.Fail
				}
				if !slices.Equal(got, want) || k.Verdict != wantKernel || k.Cause == nil || !strings.HasPrefix(k.Cause.Title, tt.cause) {
					t.Errorf("%q, %v, %+v", programVerdicts(k), k.Verdict, k.Cause)
				}
				vms := 2
				if tt.args == "sleep" { // it can be ended
					vms = 1
				}
				if len(k.History) != vms-1 || len(k.Tests) < 3 {
					t.Errorf("%d VMs, tests %+v", len(k.History)+1, k.Tests)
				}
				for _, a := range k.History {
					if _, err := os.Stat(filepath.Join(r.Out, filepath.FromSlash(a.Console))); err != nil {
						t.Error(err)
					}
				}
				if err := k.Check(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// What a program leaves behind is named, and the next one does not find it: what
// cannot be put back ends the VM.
func TestLeftBehind(t *testing.T) {
	for _, c := range corpusKernels {
		t.Run(c.series, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			k, _ := l.run(t, l.programsRunner(t, BootCold, far, "find", "leave", "find", "leave", "find", "lock", "find", "chmod", "find"), newestOf(t, c.source, c.glob))
			if k.Verdict != report.Pass || len(k.History) != 2 {
				t.Fatalf("%q, %d VMs", programVerdicts(k), len(k.History)+1)
			}
			for _, i := range []int{1, 3} {
				left := strings.Join(k.Programs[i].Left, "\n")
				t.Log(left)
				for _, want := range []string{
					"/sys/fs/bpf/left", "BPF program left_cgroup on cgroup /sys/fs/cgroup", "cgroup /left/inner", "/tmp/left", "/dev/shm/left", "/var/tmp/left", "\n/left", "/root/.left", "/payload/left",
					"mount on /mnt", "mount on /run/netns/left", "/proc/sys/net/ipv4/ip_forward changed", "/proc/sys/kernel/core_pattern changed", "/proc/sys/kernel/hostname changed",
					"kprobe_events changed", "instances/left", "network interface left0", "address 10.9.8.7",
				} {
					if !strings.Contains(left, want) {
						t.Errorf("%s is not named", want)
					}
				}
				if strings.Contains(left, "stays") || strings.Contains(left, "still holds") {
					t.Error("something could not be put back")
				}
			}
			for i, want := range map[int]string{
				5: "/proc/sys/kernel/unprivileged_bpf_disabled changed, which stays: ",
				7: "/payload/hostile is not what it was",
			} {
				if left := k.Programs[i].Left; len(left) != 1 || !strings.HasPrefix(left[0], want) {
					t.Errorf("left behind: %q, want %s", left, want)
				}
			}
			for _, i := range []int{0, 2, 4, 6, 8} {
				if len(k.Programs[i].Left) > 0 {
					t.Errorf("left behind by who left nothing: %q", k.Programs[i].Left)
				}
			}
		})
	}
}

// Each program has its own limit, environment, directory and files.
func TestProgramsSettings(t *testing.T) {
	l := theLab(t)
	p := l.programsPayload(t, far, "sleep", "look", "pass")
	p.Job.Programs[0].Timeout = 3 * time.Second
	p.Job.Programs[1].Env = []string{"HOME=/nowhere"}
	r := l.runner(t, p)
	k, _ := l.run(t, r)
	got := programVerdicts(k)
	if len(got) != 3 || got[0] != "timeout: the payload did not end within 3s" || !strings.HasPrefix(got[1], "fail: ") || got[2] != "pass" || k.Verdict != report.Timeout {
		t.Errorf("%q, %v", got, errors.Join(k.Check()))
	}
}
