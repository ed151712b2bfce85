package vm

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// passed is an Observation of which everything is as it must be for a pass.
func passed() Observation {
	return Observation{
		nonce:  "abc",
		Case:   Case{Payload: true},
		limits: DefaultLimits(qemu.TCG, time.Minute, time.Minute),
		Records: []wire.Record{
			{Type: wire.TypeHello, Hello: &wire.Hello{Release: "6.1"}},
			{Type: wire.TypeTest, Test: &wire.Test{Name: "A", Verdict: wire.TestPass}},
			{Type: wire.TypeTest, Test: &wire.Test{Name: "B", Verdict: wire.TestSkip}},
			{Type: wire.TypeExit, Exit: &wire.Exit{}},
			{Type: wire.TypeEnd, End: &wire.End{Nonce: "abc", Tests: 2, Passed: 1, Skipped: 1, Complete: true}},
		},
		stats: wire.Stats{Frames: 5},
	}
}

func (o *Observation) end() *wire.End { return o.Records[len(o.Records)-1].End }

func (o *Observation) end2() *wire.End { return o.Records[len(o.Records)-2].End }

// What the kernel logged and its console lacks is said of it too, and what both
// have is said once.
func TestWithLog(t *testing.T) {
	const (
		warn  = "[    1.000000] WARNING: CPU: 0 PID: 1 at a.c:1 foo+0x1/0x2\n"
		hung  = "[    2.000000] INFO: task x:1 blocked for more than 1 seconds.\n"
		quiet = "[    3.000000] random: crng init done\n"
	)
	for _, tt := range []struct{ name, console, log, want string }{
		{"nothing", quiet, quiet, ""},
		{"on both", warn + hung, warn + hung, "WARNING in foo, task hung"},
		{"on the console alone", warn, quiet, "WARNING in foo"},
		{"in the log alone", quiet, hung, "task hung"},
		{"more in the log", hung, warn + hung, "task hung, WARNING in foo"},
	} {
		var s console.Scanner
		_, _ = s.Write([]byte(tt.console))
		var got []string
		for _, f := range withLog(s.Findings(), []wire.Record{{Type: wire.TypeHello, Hello: &wire.Hello{}}, {Type: wire.TypeLog, Log: &wire.Log{Text: tt.log}}}) {
			got = append(got, f.Title)
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%s: %q, want %s", tt.name, got, tt.want)
		}
	}
}

func TestJudge(t *testing.T) {
	panicked := []console.Finding{{Kind: console.Panic, Title: "Kernel panic - not syncing: x"}}
	splat := []console.Finding{{Kind: console.Splat, Title: "WARNING: CPU: 0"}}
	tests := []struct {
		name  string
		with  func(*Observation)
		want  report.Verdict
		cause string
	}{
		{"everything is there", func(*Observation) {}, report.Pass, ""},
		{"a panic after all tests passed", func(o *Observation) { o.Findings = panicked }, report.Crash, "Kernel panic"},
		{"a splat after all tests passed", func(o *Observation) { o.Findings = splat }, report.Crash, "WARNING"},
		{"a kernel that lacks what init needs", func(o *Observation) {
			o.Records = nil
			o.Tail = "[    0.9] Run /init as init process\r\n    1.001 init: hide the nonce: x\r\n    1.002 init: mount proc: no such device\r\n    1.003 init: reboot: x\r\n[    1.1] reboot: Restarting system\r\n"
		}, report.NoBoot, "the VM went down before init was up: mount proc: no such device"},
		{"a kernel on which init hangs, which says why", func(o *Observation) {
			o.Records, o.stopped = nil, stopBoot
			o.Tail = "    1.002 init: no timers\r\n"
		}, report.NoBoot, "no sign of init within 1m0s: no timers"},
		{"a kernel that lacks what Go needs", func(o *Observation) {
			o.Records, o.Findings = nil, panicked
			o.Tail = "runtime: epollcreate failed with 38\nfatal error: runtime: netpollinit failed\n"
		}, report.NoBoot, "Kernel panic - not syncing: x: runtime: epollcreate failed with 38"},
		{"a kernel that lacks what Go needs, and long back traces", func(o *Observation) {
			o.Records, o.Findings, o.words = nil, panicked, "futexwakeup addr=0x8862b8 returned -38"
		}, report.NoBoot, "Kernel panic - not syncing: x: futexwakeup"},
		{"a kernel that runs no such programs", func(o *Observation) {
			o.Records, o.Findings = nil, panicked
			o.Tail = "[    1.2] Failed to execute /init (error -8)\n"
		}, report.NoBoot, "Kernel panic - not syncing: x: Failed to execute /init (error -8)"},
		{"a panic while a payload speaks as init does", func(o *Observation) {
			o.Findings, o.Tail = panicked, "    1.002 init: mount proc: no such device\n"
		}, report.Crash, "Kernel panic - not syncing: x"},
		{"a program that needs BTF, of a kernel without", func(o *Observation) {
			o.Tail = "libbpf: failed to find valid kernel BTF"
			o.Records = []wire.Record{{Kernel: &wire.Kernel{}}, o.Records[0], {Exit: &wire.Exit{Code: 1}}, {End: &wire.End{Nonce: "abc", Complete: true}}}
		}, report.Fail, "payload needs BTF and this kernel has none (--btf"},
		{"a program that needs BTF, of a kernel with it", func(o *Observation) {
			o.Tail = "libbpf: failed to find valid kernel BTF"
			o.Records = []wire.Record{{Kernel: &wire.Kernel{BTF: true}}, o.Records[0], {Exit: &wire.Exit{Code: 1}}, {End: &wire.End{Nonce: "abc", Complete: true}}}
		}, report.Fail, "the payload: exit status 1"},
		{"a test that needs BTF, of a kernel without", func(o *Observation) {
			o.Records = []wire.Record{{Kernel: &wire.Kernel{}}, {Test: &wire.Test{Name: "T", Verdict: wire.TestFail, Output: "no BTF found for kernel version 4.19: not supported"}}, {Exit: &wire.Exit{Code: 1}}, {End: &wire.End{Nonce: "abc", Tests: 1, Failed: 1, Complete: true}}}
		}, report.Fail, "T: payload needs BTF and this kernel has none (--btf"},
		{"a test that passed without BTF", func(o *Observation) {
			o.Records = slices.Insert(o.Records, 1, wire.Record{Kernel: &wire.Kernel{}})
			o.Records[2].Test.Output = "no BTF found for kernel version 4.19: not supported"
		}, report.Pass, ""},
		{"the OOM killer alone", func(o *Observation) { o.Findings = []console.Finding{{Kind: console.OutOfMemory}} }, report.Pass, ""},
		{"a panic before init", func(o *Observation) { o.Records, o.Findings = nil, panicked }, report.NoBoot, "Kernel panic"},
		{"a splat before init, then nothing", func(o *Observation) { o.Records, o.Findings, o.stopped = nil, splat, stopBoot }, report.NoBoot, "no sign of init"},
		{"nothing at all", func(o *Observation) { o.Records = nil }, report.NoBoot, "before init"},
		{"a halt before init", func(o *Observation) { o.Records, o.stopped, o.Exit = nil, stopHalt, qemu.Exit{Killed: true} }, report.NoBoot, "before init"},
		{"a halt before the end", func(o *Observation) {
			o.Records, o.stopped, o.Exit = o.Records[:3], stopHalt, qemu.Exit{Killed: true}
		}, report.Fail, "halted the machine"},
		{"QEMU dies before init", func(o *Observation) { o.Records, o.Exit = nil, qemu.Exit{Code: 1, Stderr: "no such file"} }, report.Infra, "no such file"},
		{"QEMU dies in the middle", func(o *Observation) {
			o.Records, o.Exit = o.Records[:3], qemu.Exit{Code: -1, Signal: "killed"}
		}, report.Infra, "killed"},
		{"QEMU dies after the end", func(o *Observation) { o.Exit = qemu.Exit{Code: -1, Signal: "segmentation fault"} }, report.Infra, "segmentation fault"},
		{"no end record", func(o *Observation) { o.Records = o.Records[:4] }, report.Fail, "end record"},
		{"hello alone", func(o *Observation) { o.Records = o.Records[:1] }, report.Fail, "end record"},
		{"end alone", func(o *Observation) { o.Records = o.Records[4:] }, report.Fail, ""},
		{"a record is lost", func(o *Observation) { o.stats.Lost = 1 }, report.Fail, "lost"},
		{"a record is forged", func(o *Observation) { o.stats.Forged = 1 }, report.Fail, "forges"},
		{"a record after the end", func(o *Observation) {
			o.Records = append(o.Records, wire.Record{Type: wire.TypeTest, Test: &wire.Test{Name: "C", Verdict: wire.TestPass}})
			o.end2().Tests, o.end2().Passed = 3, 2
		}, report.Fail, "after the end record"},
		{"two ends", func(o *Observation) { o.Records = append(o.Records, o.Records[4]) }, report.Fail, "after the end record"},
		{"an end that failed, and one that passed", func(o *Observation) {
			failed := *o.end()
			failed.Passed, failed.Failed = 0, 1
			o.Records = append(o.Records[:4:4], wire.Record{Type: wire.TypeEnd, End: &failed}, o.Records[4])
		}, report.Fail, "after the end record"},
		{"too many records", func(o *Observation) { o.wireErr = wire.ErrTooMany }, report.Fail, "more records"},
		{"a warning that nobody saw", func(o *Observation) { o.end().Taint = 1 << 9 }, report.Crash, "warning"},
		{"an oops that nobody saw", func(o *Observation) { o.end().Taint = 1<<7 | 1 }, report.Crash, "oops or BUG"},
		{"a module outside the tree", func(o *Observation) { o.end().Taint = 1<<12 | 1<<13 }, report.Pass, ""},
		{"another VM's end", func(o *Observation) { o.end().Nonce = "def" }, report.Fail, "not of this VM"},
		{"init does not come to the payload", func(o *Observation) {
			end := &wire.End{Nonce: o.nonce, Unready: "the files do not fit"}
			o.Records = []wire.Record{o.Records[0], {Type: wire.TypeEnd, End: end}}
		}, report.Infra, "not started: the files do not fit"},
		{"a payload's end, and a word that it never began", func(o *Observation) { o.end().Unready, o.end().Complete = "x", false }, report.Fail, ""},
		{"a test failed", func(o *Observation) {
			o.Records[1].Test.Verdict, o.Records[1].Test.Output = wire.TestFail, "\n want 1, got 2\n"
			o.end().Passed, o.end().Failed = 0, 1
		}, report.Fail, "A: want 1, got 2"},
		{"a test failed and the end does not say so", func(o *Observation) { o.Records[1].Test.Verdict = wire.TestFail }, report.Fail, "A failed"},
		{"the end counts a failure that was not reported", func(o *Observation) { o.end().Failed = 1 }, report.Fail, "1 tests failed"},
		{"a test's verdict is unknown", func(o *Observation) { o.Records[1].Test.Verdict = "" }, report.Fail, "A failed"},
		{"the end counts more tests", func(o *Observation) { o.end().Tests = 3 }, report.Fail, "counts 3"},
		{"the end counts more passes", func(o *Observation) { o.end().Passed = 2 }, report.Fail, "2 of them passed"},
		{"all tests were skipped", func(o *Observation) {
			o.Records[1].Test.Verdict, o.end().Passed, o.end().Skipped = wire.TestSkip, 0, 2
		}, report.Fail, "no test passed: 2 of 2 were skipped: no reason is given"},
		{"the only test was skipped, and the console ends with other lines", func(o *Observation) {
			o.Records = append(o.Records[:2], o.Records[3:]...)
			o.Records[1].Test.Verdict, o.Records[1].Test.Output = wire.TestSkip, "needs 6.12\n"
			o.end().Tests, o.end().Passed, o.end().Skipped, o.Tail = 1, 0, 1, "[    1.2] pci 0000:00:00.0: x"
		}, report.Fail, "no test passed: the only one was skipped: needs 6.12"},
		{"all tests were skipped, as the user asked", func(o *Observation) {
			o.Records[1].Test.Verdict, o.end().Passed, o.end().Skipped, o.SkipsPass = wire.TestSkip, 0, 2, true
		}, report.Pass, ""},
		{"no tests, and skips were to pass", func(o *Observation) {
			o.Records = append(o.Records[:1], o.Records[3:]...)
			*o.end() = wire.End{Nonce: "abc", Complete: true}
			o.SkipsPass = true
		}, report.Fail, "no test passed"},
		{"no tests", func(o *Observation) {
			o.Records = append(o.Records[:1], o.Records[3:]...)
			*o.end() = wire.End{Nonce: "abc", Complete: true}
		}, report.Fail, "no test passed"},
		{"an incomplete report", func(o *Observation) { o.end().Complete, o.end().Problem = false, "cut short" }, report.Fail, "cut short"},
		{"the payload's exit is missing", func(o *Observation) { o.Records = append(o.Records[:3], o.Records[4]) }, report.Fail, "end was not reported"},
		{"non-zero exit though all tests passed", func(o *Observation) { o.Records[3].Exit.Code = 3 }, report.Fail, "exit status 3"},
		{"killed though all tests passed", func(o *Observation) { o.Records[3].Exit.Code, o.Records[3].Exit.Signal = -1, "SIGKILL" }, report.Fail, "SIGKILL"},
		{"out of memory", func(o *Observation) { o.Records[3].Exit.Code, o.Records[3].Exit.OOM = -1, true }, report.Fail, "out of memory"},
		{"not started", func(o *Observation) {
			o.Records[3].Exit.Code, o.Records[3].Exit.Error = -1, "start /x: exec format error"
		}, report.Fail, "exec format error"},
		{"the payload's limit", func(o *Observation) { o.Records[3].Exit.Code, o.Records[3].Exit.Timeout = -1, true }, report.Timeout, "did not end within 1m0s"},
		{"the VM's limit", func(o *Observation) { o.Records, o.stopped, o.Exit.Killed = o.Records[:2], stopVM, true }, report.Timeout, "did not end"},
		{"a test's limit", func(o *Observation) {
			*o.Records[3].Exit = wire.Exit{Code: -1, Timeout: true, OfTest: true, Limit: time.Second, Tests: []string{"TestX", "TestY"}}
		}, report.Timeout, "TestX did not end within 1s"},
		{"a test that cannot be killed", func(o *Observation) {
			*o.Records[3].Exit = wire.Exit{Code: -1, Timeout: true, OfTest: true, Stuck: true, Limit: time.Second, Tests: []string{"TestX"}}
		}, report.Timeout, "TestX did not end within 1s, and SIGKILL does not end it: it hangs in the kernel"},
		{"the payload's limit, with tests", func(o *Observation) {
			*o.Records[3].Exit = wire.Exit{Code: -1, Timeout: true, Limit: time.Minute, Tests: []string{"X", "Y"}}
		}, report.Timeout, "the payload did not end within 1m0s: X and 1 more were running"},
		{"silence in a test", func(o *Observation) {
			run := func(name string, paused bool) wire.Record {
				return wire.Record{Type: wire.TypeRun, Run: &wire.Run{Name: name, Paused: paused}}
			}
			o.Records = append(o.Records[:2], run("P", false), run("Q", false), run("P", true))
			o.stopped, o.Exit.Killed, o.limits.Silence = stopSilence, true, 30*time.Second
		}, report.Timeout, "no sign of life from the guest for 30s while Q was running: its kernel hangs"},
		{"silence between tests", func(o *Observation) {
			o.Records, o.stopped, o.Exit.Killed, o.limits.Silence = o.Records[:2], stopSilence, true, 30*time.Second
		}, report.Timeout, "no sign of life from the guest for 30s after A had ended: its kernel hangs"},
		{"a panic, then silence", func(o *Observation) {
			o.Records, o.Findings, o.stopped = o.Records[:2], panicked, stopSilence
		}, report.Crash, "Kernel panic"},
		{"no power-off", func(o *Observation) { o.stopped, o.Exit.Killed = stopOff, true }, report.Timeout, "power off"},
		{"ended by a crash that left no words", func(o *Observation) { o.Records, o.stopped = o.Records[:2], stopCrash }, report.Crash, "crashed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := passed()
			tt.with(&o)
			got := o.Judge()
			if got.Verdict != tt.want {
				t.Errorf("got %v (%+v), want %v", got.Verdict, got.Cause, tt.want)
			}
			switch {
			case tt.want == report.Pass && got.Cause != nil:
				t.Errorf("a pass with the cause %q", got.Cause.Title)
			case tt.want != report.Pass && got.Cause == nil:
				t.Error("no cause")
			case tt.want != report.Pass && !strings.Contains(got.Cause.Title, tt.cause):
				t.Errorf("cause %q, want %q in it", got.Cause.Title, tt.cause)
			}
		})
	}
}

// Whatever subset of the proof is missing, there is no pass.
func TestJudgeNeedsEveryRecord(t *testing.T) {
	n := len(passed().Records)
	for mask := range 1<<n - 1 { // all but the full set
		o := passed()
		var kept []wire.Record
		for i, r := range o.Records {
			if mask&(1<<i) != 0 {
				kept = append(kept, r)
			}
		}
		// Gaps before the last record show as lost; what is cut off at the
		// end does not.
		o.stats.Lost = 0
		for i := n - 1; i >= 0; i-- {
			if mask&(1<<i) != 0 {
				o.stats.Lost = i + 1 - len(kept)
				break
			}
		}
		o.Records = kept
		if v := o.Judge(); v.Verdict == report.Pass || v.Verdict == report.Unknown {
			t.Errorf("records %0*b: %v", n, mask, v.Verdict)
		}
	}
}

// A failure is of its tests alone only when all else is as for a pass.
func TestTestsOnly(t *testing.T) {
	failing := func() Observation {
		o := passed()
		o.Records[1].Test.Verdict = wire.TestFail
		o.Records[3].Exit.Code = 1
		o.end().Passed, o.end().Failed = 0, 1
		return o
	}
	for name, with := range map[string]func(*Observation){
		"":                           func(*Observation) {},
		"incomplete":                 func(o *Observation) { o.end().Complete = false },
		"more failed than reported":  func(o *Observation) { o.end().Failed = 2 },
		"fewer failed than reported": func(o *Observation) { o.end().Failed = 0 },
		"another number of tests":    func(o *Observation) { o.end().Tests = 5 },
		"another number of passes":   func(o *Observation) { o.end().Passed = 1 },
		"killed":                     func(o *Observation) { o.Records[3].Exit.Signal = "SIGKILL" },
		"killed below testrunner":    func(o *Observation) { o.Records[3].Exit.Code = 139 },
		"out of memory":              func(o *Observation) { o.Records[3].Exit.OOM = true },
		"not started":                func(o *Observation) { o.Records[3].Exit.Error = "no such file" },
		"QEMU failed":                func(o *Observation) { o.Exit.Code = 1 },
		"no exit":                    func(o *Observation) { o.Records = append(o.Records[:3], o.Records[4]) },
	} {
		o := failing()
		with(&o)
		if v := o.Judge(); v.Verdict == report.Pass || v.TestsOnly != (name == "") {
			t.Errorf("%s: %v, tests only: %v", name, v.Verdict, v.TestsOnly)
		}
	}
}

// A verdict is the same with files, whole or damaged, and without.
func TestFilesHaveNoSayInAVerdict(t *testing.T) {
	piece := func(name string, chunk int, last bool, data string) wire.Record {
		return wire.Record{Type: wire.TypeFile, File: &wire.File{Name: name, Chunk: chunk, Last: last, Data: []byte(data)}}
	}
	o := Observation{nonce: "n", Case: Case{Payload: true}, Records: []wire.Record{
		{Type: wire.TypeHello, Hello: &wire.Hello{}},
		{Type: wire.TypeTest, Test: &wire.Test{Name: "o/p", Verdict: wire.TestFail}},
		{Type: wire.TypeExit, Exit: &wire.Exit{Code: 1}},
		{Type: wire.TypeEnd, End: &wire.End{Nonce: "n", Tests: 1, Failed: 1, Complete: true}},
	}}
	without := o.Judge()
	o.Records = slices.Insert(o.Records, 2, piece("verifier/../x", 7, false, "y"), piece("verifier/a", 0, true, "pass"))
	with := o.Judge()
	if with.Verdict != without.Verdict || with.Cause.Title != without.Cause.Title {
		t.Errorf("%v, %+v with files; %v, %+v without", with.Verdict, with.Cause, without.Verdict, without.Cause)
	}
}
