package shard

import (
	"flag"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/reliabilitytest"
)

var _ = flag.Bool("update", false, "write testdata/reliability.json anew")

// guestCase is one guest of TestGuests: what the payload does, in a restored VM
// of its own, and what must come of it.
type guestCase struct {
	name    string
	args    string
	timeout time.Duration // limit for the payload; 0: one that is far away, for machines that are busy
	verdict report.Verdict
	cause   string        // regular expression; "" for a pass
	console string        // regular expression
	grace   time.Duration // Limits.Grace; 0: as it is
	allow   string        // a list of allowed splats
	test    time.Duration // limit for each test
	silence time.Duration // limit for silence
	tests   string        // verdicts and names of all tests; "": not looked at
	cold    bool          // boot it as well, from the kernel's first instruction
}

// checkRows holds the documentation's table to the tests.
func checkRows(t *testing.T, tests []guestCase) {
	t.Helper()
	rows := make([]reliabilitytest.Row, len(tests))
	seen := map[string]bool{}
	for i, tt := range tests {
		if seen[tt.name] {
			t.Errorf("two guests are called %q", tt.name)
		}
		seen[tt.name] = true
		rows[i] = reliabilitytest.Row{Test: t.Name() + "/" + tt.name, Act: "the payload " + tt.name, Verdict: tt.verdict.String(), Cause: tt.cause}
	}
	reliabilitytest.Check(t, "guests", rows)
}

func moreGuests() []guestCase {
	const (
		gone   = `went down without its end record`
		failed = `exit status 1`
		limit  = `did not end within`
	)
	return []guestCase{
		{name: "makes 1500 processes that do not end", args: "fork-bomb", verdict: report.Pass},
		{name: "fills the guest's disk", args: "fill-disk", verdict: report.Pass},
		{name: "eats all memory and may not be killed for it", args: "eat-protected", verdict: report.Crash, cause: `out of memory|deadlocked on memory|Attempted to kill init`},
		{name: "sends init every signal and succeeds", args: "signal-init 0", verdict: report.Pass},
		{name: "sends init every signal and fails", args: "signal-init 1", verdict: report.Fail, cause: failed},
		{name: "stops everyone and fails", args: "stop-everyone 1", timeout: 3 * time.Second, verdict: report.Timeout, cause: limit},
		{name: "stops everyone and succeeds", args: "stop-everyone 0", timeout: 3 * time.Second, verdict: report.Timeout, cause: limit},
		{name: "kills testrunner", args: "kill-parent", verdict: report.Fail, cause: `^the payload: killed by SIGKILL$`},
		{name: "stops testrunner", args: "stop-parent 0", timeout: 3 * time.Second, verdict: report.Timeout, cause: limit},
		{name: "traces init and fails", args: "trace-init 1", timeout: 3 * time.Second, grace: 2 * time.Second, verdict: report.Timeout, cause: limit},
		{name: "takes init's limits away and fails", args: "limit-init 1", verdict: report.Fail, cause: `^hostile: exit status 1$`},
		{name: "freezes init", args: "freeze-init", timeout: 3 * time.Second, grace: 2 * time.Second, verdict: report.Timeout, cause: limit},
		{name: "freezes testrunner", args: "freeze-parent", timeout: 3 * time.Second, grace: 2 * time.Second, verdict: report.Timeout, cause: limit},
		{name: "powers the machine off", args: "power 0x4321fedc", verdict: report.Fail, cause: gone},
		{name: "halts the machine", args: "power 0xcdef0123", verdict: report.Fail, cause: gone},
		{name: "reboots by sysrq", args: "sysrq b", verdict: report.Fail, cause: gone},
		{name: "powers off by sysrq", args: "sysrq o", verdict: report.Fail, cause: `^the guest went down without its end record: the payload ended the VM`},
		{name: "kills all by sysrq", args: "sysrq i", verdict: report.Fail, cause: `killed by SIGKILL`},
		{name: "ends all by sysrq", args: "sysrq e", verdict: report.Fail, cause: `SIGTERM|exit status`},
		{name: "makes the disks read-only by sysrq", args: "sysrq u", verdict: report.Pass},
		{name: "writes to physical memory", args: "mem", verdict: report.Pass},
		{name: "starts another kernel by kexec", args: "kexec", verdict: report.Pass},
		{name: "unloads all modules", args: "unload-modules", verdict: report.Pass},
		{name: "unmounts all and succeeds", args: "unmount 0", verdict: report.Pass},
		{name: "unmounts all and fails", args: "unmount 1", verdict: report.Fail, cause: failed},
		{name: "makes all mounts read-only", args: "read-only", verdict: report.Pass},
		{name: "covers /dev and /proc and fails", args: "cover-devices 1", verdict: report.Fail, cause: failed},
		{name: "removes all files and succeeds", args: "remove-all 0", verdict: report.Pass},
		{name: "removes all files and fails", args: "remove-all 1", verdict: report.Fail, cause: failed},
		{name: "changes its root", args: "chroot", verdict: report.Pass},
		{name: "leaves its namespaces", args: "unshare", verdict: report.Pass},
		{name: "reads its standard input to the end", args: "stdin", verdict: report.Pass},
		{name: "sets the clock to 1970", args: "clock 100000", verdict: report.Pass},
		{name: "sets the clock to 2038", args: "clock 2147483647", verdict: report.Pass},
		{name: "floods the kernel's log", args: "kmsg 5000 noise", verdict: report.Pass},
		{name: "writes into the kernel's log that the machine has stopped", args: "kmsg 1 reboot: System halted", verdict: report.Pass},
		{name: "writes a crash into the kernel's log", args: "kmsg 1 BUG: kernel NULL pointer dereference, address: 0", verdict: report.Crash, cause: `BUG: kernel NULL pointer dereference`},
		{name: "prints what moves the cursor and turns the text", args: "escapes", verdict: report.Pass},
		{name: "writes rubbish to both serial lines and fails", args: "spoil-lines 1", verdict: report.Fail, cause: `^hostile: exit status 1$`},
		{name: "turns the console's log off", args: "log-off", verdict: report.Pass},
		{name: "panics the kernel after it told it to stay", args: "panic-stays", verdict: report.Crash, cause: `^Kernel panic - not syncing: sysrq triggered crash$`},
		{name: "starves everyone by a realtime loop", args: "starve", timeout: 3 * time.Second, grace: 2 * time.Second, verdict: report.Timeout, cause: limit},
		{name: "leaves 30 processes that ignore signals", args: "orphans", verdict: report.Pass},
		{name: "prints a failed test and succeeds", args: "say ===_RUN___TestA ---_FAIL:_TestA_(0.00s) FAIL", verdict: report.Fail, cause: `TestA`},
		{name: "ends in the middle of a test and succeeds", args: "say ===_RUN___TestA", verdict: report.Fail, cause: `TestA`},
		{name: "prints a test twice", args: "say ===_RUN___TestA ---_PASS:_TestA_(0.00s) ===_RUN___TestA ---_PASS:_TestA_(0.00s) PASS", verdict: report.Pass},
		{name: "prints a test twice, once failed", args: "say ===_RUN___TestA ---_FAIL:_TestA_(0.00s) ===_RUN___TestA ---_PASS:_TestA_(0.00s) PASS", verdict: report.Fail, cause: `TestA`},
		{name: "has control characters in a test's name", args: "say ===_RUN___Test%00%1b[2JA ---_FAIL:_Test%00%1b[2JA_(0.00s) FAIL", verdict: report.Fail, cause: `^Test\?A failed$`},
		{name: "has 3000 tests", args: "many-tests 3000", verdict: report.Pass},
		{name: "closes its output and fails", args: "close-output 5", verdict: report.Fail, cause: `exit status 5`},
		{name: "is ended by its own seccomp filter", args: "abort-seccomp", verdict: report.Fail, cause: `SIGSYS`},
		{name: "turns the kernel's time stamps off and hangs in the kernel", args: "hide-and stamps crash sleep hung_task_timeout_secs=1", verdict: report.Crash, cause: `^task hung in bkc_sleep$`},
		{name: "turns the kernel's messages off and hangs in the kernel", args: "hide-and levels crash sleep hung_task_timeout_secs=1", verdict: report.Crash, cause: `^task hung in bkc_sleep$`},
		{name: "takes the console away and hangs in the kernel", args: "hide-and console crash sleep hung_task_timeout_secs=1", verdict: report.Crash, cause: `^task hung in bkc_sleep$`},
		{name: "writes to the console what marks its own text and hangs in the kernel", args: "hide-and mark crash sleep hung_task_timeout_secs=1", verdict: report.Crash, cause: `^task hung in bkc_sleep$`},
		{name: "writes over the kernel's lines and hangs in the kernel", args: "hide-and returns crash sleep hung_task_timeout_secs=1", verdict: report.Crash, cause: `^task hung in bkc_sleep$`},
		{name: "writes a line without end to the console and hangs in the kernel", args: "hide-and line crash sleep hung_task_timeout_secs=1", verdict: report.Crash, cause: `^task hung in bkc_sleep$`},
		{name: "hangs in the kernel under a name of two lines", args: "named crash sleep hung_task_timeout_secs=1", verdict: report.Crash, cause: `^task hung in bkc_sleep$`},
		{name: "turns the kernel's time stamps off and makes it warn while it powers off", args: "hide-and stamps crash late-warn", verdict: report.Crash, cause: `^WARNING in bkc_warn$`},
		{name: "taints the kernel and unmounts /proc", args: "hide-and warning-and-taint pass", verdict: report.Crash, cause: `tainted itself \(warning\)`},
		{name: "has a child that is killed for its memory, and succeeds", args: "eating-child 0", verdict: report.Pass, console: `Out of memory: Killed process`},
		{name: "has a child that is killed for its memory, and fails", args: "eating-child 1", verdict: report.Fail, cause: failed},
		{name: "takes processes, files and memory away from all and fails", args: "no-memory-overcommit 1", verdict: report.Fail, cause: `^hostile: exit status 1`},
	}
}
