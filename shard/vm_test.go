package shard

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/summary"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// The tests of this file boot a real kernel, each in a VM of its own and two
// at a time: the newest 6.1 that Debian has for clouds.
const (
	vmSource = "debian:bookworm:cloud-amd64"
	vmGlob   = "debian/6.1.*"
)

// far is a limit for what ends by itself: a machine that is busy, and emulates,
// can take a minute for what is done in two seconds otherwise.
const far = 3 * time.Minute

// lab is what the VM tests share.
type lab struct {
	entry    plan.Entry
	cache    *kernel.Cache
	arch     qemu.Arch
	qemu     string
	init     []byte
	hostile  string // path of the program
	tsc      int
	slots    chan struct{}
	features qemu.Features
}

var setUp = sync.OnceValues(func() (*lab, error) { return newLab("amd64", vmSource, vmGlob) })

// newLab makes what the VM tests of one architecture share.
func newLab(arch, spec, glob string) (*lab, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	l, err := newTools(arch)
	if err != nil {
		return nil, err
	}
	dir, err := kernel.DefaultCacheDir()
	if err != nil {
		return nil, err
	}
	cache, err := kernel.NewCache(dir)
	if err != nil {
		return nil, err
	}
	l.cache = cache
	src, err := source.Parse(spec, cache)
	if err != nil {
		return nil, err
	}
	list, err := plan.New(ctx, []kernel.Source{src}, []string{glob})
	if err != nil {
		return nil, err
	}
	l.entry = list.Newest()
	if l.init, err = guest.Program(ctx, arch, guest.Init); err != nil {
		return nil, err
	}
	// In the system's directory for temporary files: it has to outlive the
	// test that came first.
	if l.hostile, err = buildHostile(ctx, arch); err != nil {
		return nil, err
	}
	return l, nil
}

// newTools finds what the machine has for an architecture.
func newTools(arch string) (*lab, error) {
	l := &lab{slots: vmSlots, tsc: qemu.TSC()}
	var err error
	if l.arch, err = qemu.LookupArch(arch); err != nil {
		return nil, err
	}
	if l.qemu, err = qemu.Find(l.arch); err != nil {
		return nil, err
	}
	l.features = qemu.Probe(context.Background(), l.qemu, l.arch, qemu.TCG)
	return l, nil
}

// vmSlots holds as many VMs as run at a time, of all architectures.
var vmSlots = make(chan struct{}, 2)

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(hostileDir())
	os.Exit(code)
}

func hostileDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("bpf-kernel-check-test-%d", os.Getpid()))
}

func buildHostile(ctx context.Context, arch string) (string, error) {
	out := filepath.Join(hostileDir(), arch, "hostile")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./testdata/hostile")
	// For x86-64-v2: a program that needs what the CPU has not ends at its start.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch, "GOAMD64=v2")
	cmd.Stderr = os.Stderr
	return out, cmd.Run()
}

func theLab(t *testing.T) *lab {
	t.Helper()
	if testing.Short() {
		t.Skip("boots VMs")
	}
	l, err := setUp()
	if err != nil {
		t.Fatalf("set up the VM tests: %v", err)
	}
	return l
}

// runner makes a Runner for one payload, with its directories.
func (l *lab) runner(t *testing.T, p guest.Payload) *Runner {
	t.Helper()
	limits := vm.DefaultLimits(qemu.TCG, far, p.Job.Timeout)
	return &Runner{
		Config: Config{
			Out: t.TempDir(), Arch: l.arch, Payload: p, Jobs: 1, Limits: limits, Tool: "test",
			Report: func(Event) {},
		},
		Host: Host{
			Scratch: t.TempDir(), QEMU: l.qemu, Accel: qemu.TCG, TSC: l.tsc, Features: l.features,
			Cache: l.cache, InitProgram: l.init, Now: time.Now, Random: rand.Reader,
		},
	}
}

// run boots the one kernel and returns its result and console.
func (l *lab) run(t *testing.T, r *Runner, entries ...plan.Entry) (report.Result, string) {
	t.Helper()
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	if entries == nil {
		entries = []plan.Entry{l.entry}
	}
	results, err := r.Run(t.Context(), plan.Plan{Entries: entries})
	if err != nil {
		t.Fatal(err)
	}
	k := results[0]
	var console []byte
	if k.Console != "" {
		if console, err = os.ReadFile(filepath.Join(r.Out, k.Console)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := json.MarshalIndent(k, "", "  ")
			t.Logf("result: %.4000s\nconsole's end:\n%s", b, console[max(0, len(console)-3000):])
		}
	})
	return k, string(console)
}

func TestGuests(t *testing.T) {
	tests := []guestCase{
		// The kernel may print behind it: a second after its start it has a clock.
		{name: "passes", cold: true, args: "pass", verdict: report.Pass, console: `\nhello from the payload(?:\r\n|\[ )`},
		{name: "looks around", cold: true, args: "look", verdict: report.Pass},
		{name: "reads the command line", cold: true, args: "cmdline", verdict: report.Pass},
		{name: "exits non-zero", cold: true, args: "exit 7", verdict: report.Fail, cause: `^hostile: exit status 7`},
		{name: "dies of a signal", args: "kill-self", verdict: report.Fail, cause: `^hostile: (signal: SIGSEGV|exit status 2)`},
		{name: "panics the kernel", cold: true, args: "sysrq c", verdict: report.Crash, cause: `^Kernel panic - not syncing: sysrq triggered crash$`},
		{name: "panics the kernel with its messages off", cold: true, args: "quiet-sysrq c", verdict: report.Crash, cause: `^Kernel panic - not syncing: sysrq triggered crash$`},
		{name: "taints the kernel by a warning", cold: true, args: "taint 512", verdict: report.Crash, cause: `tainted itself \(warning\)`},
		{name: "panics the kernel while it prints", args: "sysrq-loop-c", verdict: report.Crash, cause: `Kernel panic - not syncing: sysrq triggered crash`},
		{name: "hangs", cold: true, args: "sleep", timeout: 5 * time.Second, verdict: report.Timeout, cause: `did not end within 5s`, console: `hostile sleep(?s:.*)wchan (?s:.*)sysrq: Show Blocked State`},
		{name: "hangs and ignores every signal", args: "deaf", timeout: 5 * time.Second, verdict: report.Timeout, cause: `^the payload did not end within 5s$`},
		{name: "hangs in a test", args: "tests hang", test: 4 * time.Second, verdict: report.Timeout, cause: `^TestHangs did not end within 4s$`, tests: "pass TestFirst, fail TestHangs"},
		{name: "hangs in one of two parallel tests", args: "tests parallel", test: 4 * time.Second, verdict: report.Timeout, cause: `^TestB did not end within 4s$`, tests: "pass TestFirst, fail TestA, fail TestB"},
		{name: "takes long, and each of its tests does not", args: "tests slow", test: 8 * time.Second, verdict: report.Pass},
		{name: "keeps everyone from running", args: "starve", silence: 8 * time.Second, verdict: report.Timeout, cause: `^no sign of life from the guest for 8s while TestStarve was running: its kernel hangs$`, tests: "fail TestStarve"},
		{name: "prints the success text", args: "claim-success", verdict: report.Fail, cause: `^hostile: exit status 1`},
		{name: "prints a crash", args: "claim-crash", verdict: report.Pass},
		{name: "hangs up the result channel and fails", args: "hang-up-results 1", verdict: report.Fail, cause: `exit status 1`},
		{name: "hangs up the result channel and succeeds", args: "hang-up-results 0", verdict: report.Pass},
		{name: "takes the result channel away", cold: true, args: "unbind-results", verdict: report.Pass}, // or unbinding fails, and with it the payload
		{name: "closes all it has", args: "close-all", verdict: report.Fail, cause: `exit status 3`},
		{name: "prints 8 MiB", args: "print 8", verdict: report.Pass, console: `bytes of output are left out here(?s:.*)the last line\r\n`},
		{name: "prints one line of 3 MiB", args: "one-line 3", verdict: report.Pass},
		{name: "prints binary", args: "binary", verdict: report.Pass},
		{name: "reboots", cold: true, args: "reboot", verdict: report.Fail, cause: `went down without its end record`},
		// Testrunner is among those killed, and nobody is left to report.
		{name: "kills everyone", args: "kill-all", verdict: report.Fail, cause: `^the payload: killed by SIGKILL$`},
		{name: "leaves an orphan", args: "orphan", verdict: report.Pass, console: `init: left running, and ended with the payload \(1\): "/proc/self/exe sleep"`},
		{name: "eats all memory", cold: true, args: "eat", verdict: report.Fail, cause: `out of memory`},
		{name: "makes the kernel warn", args: "crash warn", verdict: report.Crash, cause: `^WARNING in bkc_warn$`},
		{name: "makes the kernel warn, which is allowed", args: "crash warn", verdict: report.Pass, allow: "- {pattern: 'WARNING in bkc_warn$', kernels: 'debian/*', reason: 'made for this test'}"},
		{name: "makes the kernel warn, and another warning is allowed", args: "crash warn", verdict: report.Crash, cause: `^WARNING in bkc_warn$`, allow: "- {pattern: 'WARNING in bkc_other', reason: 'made for this test'}"},
		{name: "makes the kernel warn while it powers off", args: "crash late-warn", verdict: report.Crash, cause: `^WARNING in bkc_warn$`, console: `init: 1 passed(?s:.*)WARNING: `},
		{name: "warns, is allowed to, and taints the kernel by a lockup that nobody sees", args: "crash-and-taint warn 16384", verdict: report.Crash, cause: `tainted itself \(soft lockup\)`, allow: "- {pattern: 'WARNING in bkc_warn', reason: 'made for this test'}"},
		{name: "crashes the kernel, though an entry would allow it", args: "crash null", verdict: report.Crash, cause: `^BUG: kernel NULL pointer dereference in bkc_null$`, allow: "- {pattern: 'NULL pointer', reason: 'made for this test'}"},
		{name: "crashes a thread of the kernel", args: "crash thread-null", verdict: report.Crash, cause: `^BUG: kernel NULL pointer dereference in bkc_null$`},
		{name: "hits a BUG of the kernel", args: "crash bug", verdict: report.Crash, cause: `^kernel BUG in bkc_bug$`},
		{name: "breaks a reference count", args: "crash refcount", verdict: report.Crash, cause: `^refcount_t: underflow; use-after-free in bkc_refcount$`},
		{name: "corrupts a list of the kernel", args: "crash list", verdict: report.Crash, cause: `^list_add corruption in bkc_list$`},
		{name: "sleeps with a lock held", args: "crash sleep-locked", verdict: report.Crash, cause: `^BUG: scheduling while atomic in bkc_sleep_locked$`},
		{name: "hangs in the kernel", args: "crash sleep hung_task_timeout_secs=1", verdict: report.Crash, cause: `^task hung in bkc_sleep$`},
		{name: "locks up the CPU", args: "crash spin watchdog_thresh=1", verdict: report.Crash, cause: `^BUG: soft lockup in bkc_spin$`},
		{name: "writes to a descriptor it was not given", args: "fake-frames", verdict: report.Fail, cause: `exit status 1`},
	}
	tests = append(tests, moreGuests()...)
	checkRows(t, tests)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, BootWarm) })
		if tt.cold {
			t.Run(tt.name+", booted cold", func(t *testing.T) { tt.run(t, BootCold) })
		}
	}
}

// run runs the guest. The verdict is the same whether its VM is booted or
// restored, which takes a third of the time.
func (tt guestCase) run(t *testing.T, boot Boot) {
	t.Parallel()
	l := theLab(t)
	if tt.timeout == 0 {
		tt.timeout = far
	}
	r := l.warmRunner(t, boot, tt.args, tt.timeout)
	r.Payload.Job.TestTimeout = tt.test
	r.Limits.Silence = tt.silence
	if tt.grace > 0 {
		r.Limits.Grace = tt.grace
	}
	r.Allowed = &vm.Allowed{}
	if err := r.Allowed.Read("allow.yml", strings.NewReader(tt.allow)); err != nil {
		t.Fatal(err)
	}
	k, console := l.run(t, r)
	if tt.tests != "" {
		var got []string
		for _, x := range k.Tests {
			got = append(got, x.Verdict+" "+x.Name)
		}
		if d := cmp.Diff(tt.tests, strings.Join(got, ", ")); d != "" {
			t.Errorf("tests (-want +got):\n%s", d)
		}
	}
	if k.Verdict != tt.verdict {
		t.Errorf("verdict %v, want %v", k.Verdict, tt.verdict)
	}
	if k.Verdict == report.Pass && len(k.Splats) != len(r.Allowed.Entries()) {
		t.Errorf("allowed splats: %+v", k.Splats)
	}
	switch {
	case tt.cause == "" && k.Cause != nil:
		t.Errorf("cause %q, want none", k.Cause.Title)
	case tt.cause != "" && (k.Cause == nil || !regexp.MustCompile(tt.cause).MatchString(k.Cause.Title)):
		t.Errorf("cause %+v, want %s", k.Cause, tt.cause)
	}
	if tt.console != "" && !regexp.MustCompile(tt.console).MatchString(console) {
		t.Errorf("the console has nothing like %s", tt.console)
	}
	if !bootLines.MatchString(console) {
		t.Errorf("the console does not start with the kernel's boot: %.300q", console)
	}
	if f := k.Facts; f == nil || !f.BTF || f.Lockdown != "none" || f.Config["BPF_SYSCALL"] != "y" || len(f.LSMs) == 0 {
		t.Errorf("the fingerprint is %+v", k.Facts)
	}
	if head := strings.HasPrefix(console, "bpf-kernel-check: "+k.ID+": "); head != (k.Verdict != report.Pass) {
		t.Errorf("the console of a %v starts with %.80q", k.Verdict, console)
	}
	if k.Boot != boot.String() || k.Release == "" || k.Accel != "tcg" || k.Attempts != 1 || k.Phases["boot"] <= 0 {
		t.Errorf("boot %q, release %q, accel %q, attempts %d, phases %v", k.Boot, k.Release, k.Accel, k.Attempts, k.Phases)
	}
}

var bootLines = regexp.MustCompile(`^(bpf-kernel-check: .*\n)*\n?(\[ .*\n)*.* init: Linux `)

// passPayload is a payload that passes.
func (l *lab) passPayload(t *testing.T) guest.Payload {
	t.Helper()
	p, err := guest.TestPayload(t.Context(), l.hostile, []string{"pass"}, "/", l.arch.Name, far)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestInitThatNeverStarts(t *testing.T) {
	hostile := func(l *lab, t *testing.T) []byte {
		b, err := os.ReadFile(l.hostile)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tests := []struct {
		name  string
		boot  time.Duration
		init  func(*lab, *testing.T) []byte
		cause string
	}{
		{"is no program", far, func(*lab, *testing.T) []byte { return []byte("not a program") }, `Kernel panic - not syncing: .*[Ii]nit|Requested init|VFS: Unable to mount root`},
		{"says nothing", 12 * time.Second, hostile, `^no sign of init within 12s$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			r := l.runner(t, l.passPayload(t))
			r.InitProgram = tt.init(l, t)
			r.Limits.Boot = tt.boot
			r.Retries = 1
			k, _ := l.run(t, r)
			if k.Verdict != report.NoBoot || k.Cause == nil || !regexp.MustCompile(tt.cause).MatchString(k.Cause.Title) {
				t.Errorf("got %v, %+v, want no-boot because of %s", k.Verdict, k.Cause, tt.cause)
			}
			// Nothing is known about the kernel, so it was tried again, and the
			// first console is kept.
			first := strings.TrimSuffix(k.Console, ".txt") + ".attempt-1.txt"
			if _, err := os.Stat(filepath.Join(r.Out, first)); k.Attempts != 2 || err != nil {
				t.Errorf("%d attempts, %v; want 2 and both consoles", k.Attempts, err)
			}
		})
	}
}

func TestBrokenArchiveIsInfraAndTheOthersRun(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "broken"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "broken", "6.0.0__abc.tar.gz"), []byte("\x1f\x8b and no more"), 0o644); err != nil {
		t.Fatal(err)
	}
	cache, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.Parse(dir, cache)
	if err != nil {
		t.Fatal(err)
	}
	list, err := plan.New(t.Context(), []kernel.Source{src}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := l.runner(t, l.passPayload(t))
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	results, err := r.Run(t.Context(), plan.Plan{Entries: append(list.Entries, l.entry)})
	if err != nil {
		t.Fatal(err)
	}
	if v := results[0].Verdict; v != report.Infra {
		t.Errorf("the broken archive: %v, %+v, want infra", v, results[0].Cause)
	}
	if v := results[1].Verdict; v != report.Pass {
		t.Errorf("the good kernel beside it: %v, %+v, want pass", v, results[1].Cause)
	}
	summary, err := os.ReadFile(filepath.Join(r.Out, summary.Name))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"[PASS] " + l.entry.Name + "\n", "\nnot tested (1 kernel(s))\n[INFRA] broken/6.0.0__abc  "} {
		if !strings.Contains(string(summary), want) {
			t.Errorf("the summary lacks %q:\n%s", want, summary)
		}
	}
}

func TestInterruptedRunKeepsWhatItKnows(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	p, err := guest.TestPayload(t.Context(), l.hostile, []string{"sleep"}, "/", "amd64", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := l.runner(t, p)
	r.Report = func(e Event) {
		if e.State == Booting {
			time.AfterFunc(3*time.Second, cancel)
		}
	}
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	results, err := r.Run(ctx, plan.Plan{Entries: []plan.Entry{l.entry}})
	if err != nil {
		t.Fatal(err)
	}
	if v := results[0].Verdict; v != report.Missing {
		t.Errorf("got %v, want missing", v)
	}
	files, err := filepath.Glob(filepath.Join(r.Out, "shard-*.ndjson"))
	if err != nil || len(files) != 1 {
		t.Fatalf("shard files %v, %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "\n"); n != 2 || strings.Contains(string(b), `"type":"end"`) || !strings.Contains(string(b), `"reason":"the run was interrupted"`) {
		t.Errorf("the shard file should hold its plan and why there is no more:\n%s", b)
	}
	if _, err := os.Stat(filepath.Join(r.Out, summary.Name)); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(r.Scratch, "vmlinux*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// brokenTracer is the tracer with faults built in.
func brokenTracer(t *testing.T, fault string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "tracer")
	if err := guest.Build(t.Context(), "amd64", guest.Tracer, out, "-ldflags=-s -w -X main.fault="+fault); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTracer(t *testing.T) {
	tests := []struct {
		name   string
		fault  string
		failed []string // nil: all tests pass
		passed []string // with a fault that hits most tests: those that still pass; all others fail
		most   bool
		lost   string   // what the cause says of tests that could not be judged
		output []string // regular expressions, for the first failed test's output
	}{
		{name: "whole"},
		{name: "drops renames", fault: "drop=FILE_RENAME", failed: []string{"FileRename", "FileRenameContainer"}, output: []string{`FILE_RENAME was not seen`, `/tmp/`}},
		{name: "ptrace of children too", fault: "ptrace=all"}, // EventsTrace before 2025; since then it is as whole is
		{name: "ptrace of children only", fault: "ptrace=family", failed: []string{"Ptrace"}, output: []string{`PROCESS_PTRACE was not seen`}},
		{name: "swaps pids", fault: "swap-pids", most: true, passed: []string{"Start", "FeaturesCorrect", "Stream"}, output: []string{`! .*pids\.tgid`}},
		{name: "dies at start", fault: "die-at-start", failed: []string{"Start"}, output: []string{`ended|exit status 1`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			p, err := guest.EventsTracePayload(t.Context(), "amd64", brokenTracer(t, tt.fault), 2*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			k, console := l.run(t, l.runner(t, p))
			var failed, others []string
			output := ""
			for _, test := range k.Tests {
				switch test.Verdict {
				case wire.TestFail:
					failed = append(failed, test.Name)
					if output == "" {
						output = test.Output
					}
				case wire.TestPass:
					others = append(others, test.Name)
				}
			}
			switch {
			case tt.most:
				if d := cmp.Diff(tt.passed, others); d != "" || k.Verdict != report.Fail || len(failed)+len(others) != len(k.Tests) || len(k.Tests) < 22 {
					t.Errorf("verdict %v; %d of %d failed; passed (-want +got):\n%s", k.Verdict, len(failed), len(k.Tests), d)
				}
			case tt.failed == nil:
				// The kernel's overlay module was loaded: nothing is skipped.
				if k.Verdict != report.Pass || len(others) != len(k.Tests) || len(others) < 22 || !slices.Contains(others, "FileCreateContainer") {
					t.Errorf("verdict %v; failed %v, passed %v of %d", k.Verdict, failed, others, len(k.Tests))
				}
			default:
				if d := cmp.Diff(tt.failed, failed); d != "" || k.Verdict != report.Fail {
					t.Errorf("verdict %v; failed (-want +got):\n%s", k.Verdict, d)
				}
				if !strings.HasSuffix(k.Cause.Title, tt.lost) || k.TestsOnly != (tt.lost == "") {
					t.Errorf("tests only: %v, cause %q, want %q at its end", k.TestsOnly, k.Cause.Title, tt.lost)
				}
			}
			for _, want := range tt.output {
				if !regexp.MustCompile(want).MatchString(output) {
					t.Errorf("the output has nothing like %s:\n%s", want, output)
				}
				if !regexp.MustCompile(want).MatchString(console) {
					t.Errorf("the console has nothing like %s", want)
				}
			}
		})
	}
}
