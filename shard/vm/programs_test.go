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

func begins(i int, name string) wire.Record {
	return wire.Record{Type: wire.TypeProgram, Program: &wire.ProgramMark{Name: name, Index: i}}
}

func ends(i int, name string) wire.Record {
	return wire.Record{Type: wire.TypeProgram, Program: &wire.ProgramMark{Name: name, Index: i, End: &wire.End{Tests: 1, Passed: 1, Complete: true}}}
}

func tested(name string) wire.Record {
	return wire.Record{Type: wire.TypeTest, Test: &wire.Test{Name: name, Verdict: wire.TestPass}}
}

// passedPrograms is an Observation of which everything is as it must be for
// three programs to pass. Each has four records from number 4i+1 on.
func passedPrograms() Observation {
	o := passed()
	o.Programs = []Program{{"a", time.Minute}, {"b", time.Minute}, {"c/d", time.Minute}}
	o.Records = []wire.Record{o.Records[0]}
	for i, p := range o.Programs {
		name := p.Name + "/T"
		if i == 1 {
			name = p.Name // it prints no tests
		}
		exit := &wire.Exit{Duration: time.Second}
		o.Records = append(o.Records, begins(i, p.Name), tested(name), wire.Record{Type: wire.TypeExit, Exit: exit}, ends(i, p.Name))
	}
	o.Records = append(o.Records, wire.Record{Type: wire.TypeEnd, End: &wire.End{Nonce: o.nonce, Tests: 3, Passed: 3, Complete: true}})
	o.begunAt = []int64{100, 200, 300}
	return o
}

// verdicts are those of the programs, and the kernel's, in words.
func verdicts(v Verdict) string {
	words := []string{}
	for _, p := range v.Programs {
		words = append(words, p.Verdict.String())
	}
	return strings.Join(append(words, v.Verdict.String()), " ")
}

func TestJudgePrograms(t *testing.T) {
	const warning = "[   12.000000] WARNING: CPU: 0 PID: 1 at a.c:1 foo+0x1/0x2\n"
	var s console.Scanner
	_, _ = s.Write([]byte(warning))
	warned := s.Findings()[0]
	panicked := console.Finding{Kind: console.Panic, Title: "Kernel panic - not syncing: x", Offset: 250, At: 12 * time.Second}
	at := func(f console.Finding, offset int64) console.Finding { f.Offset = offset; return f }
	log := wire.Record{Type: wire.TypeLog, Log: &wire.Log{Text: warning}}
	allowed := &Allowed{entries: []allowEntry{{AllowEntry: report.AllowEntry{Pattern: "foo", Reason: "x"}}}}
	if err := allowed.entries[0].compile(); err != nil {
		t.Fatal(err)
	}
	// down ends the VM behind n records.
	down := func(o *Observation, n int) { o.Records = o.Records[:n] }
	// early ends it in order behind program n.
	early := func(o *Observation, n int) {
		o.Records = append(o.Records[:1+4*n:1+4*n], o.Records[len(o.Records)-1])
		o.end().Tests, o.end().Passed = n, n
	}
	for _, tt := range []struct {
		name  string
		with  func(*Observation)
		want  string
		cause string
	}{
		{"everything is there", func(*Observation) {}, "pass pass pass pass", ""},
		{"one's test fails", func(o *Observation) {
			o.Records[6].Test.Verdict = wire.TestFail
			o.Records[8].Program.End.Passed, o.Records[8].Program.End.Failed = 0, 1
			o.end().Passed, o.end().Failed = 2, 1
		}, "pass fail pass fail", "b: b failed"},
		{"one exits with a status", func(o *Observation) {
			o.Records[3].Exit = &wire.Exit{Code: 3}
		}, "fail pass pass fail", "a: the payload: exit status 3"},
		{"one's tests were all skipped", func(o *Observation) {
			o.Records[2].Test.Verdict, o.Records[2].Test.Output = wire.TestSkip, "needs 6.12"
			o.Records[4].Program.End.Passed, o.Records[4].Program.End.Skipped = 0, 1
			o.end().Passed, o.end().Skipped = 2, 1
		}, "fail pass pass fail", "a: no test passed: the only one was skipped: needs 6.12"},
		{"one runs no tests", func(o *Observation) {
			o.Records = slices.Delete(o.Records, 2, 3)
			o.Records[3].Program.End.Tests, o.Records[3].Program.End.Passed = 0, 0
			o.end().Tests, o.end().Passed = 2, 2
		}, "fail pass pass fail", "a: no test passed"},
		{"one's report is cut", func(o *Observation) {
			o.Records[8].Program.End.Complete, o.Records[8].Program.End.Problem = false, "the report broke off"
			o.end().Complete = false
		}, "pass fail pass fail", "b: the report broke off"},
		{"one's report is cut and the end does not say so", func(o *Observation) {
			o.Records[8].Program.End.Complete = false
		}, "pass fail pass fail", "b: the payload's report is not complete"},
		{"one's exit is missing", func(o *Observation) { o.Records = slices.Delete(o.Records, 7, 8) }, "pass fail pass fail", "b: the payload's end was not reported"},
		{"one counts more tests", func(o *Observation) { o.Records[8].Program.End.Tests = 2 }, "pass fail pass fail", "b: the guest counts 2 tests"},
		{"another one's time is up, and a reset between two", func(o *Observation) {
			down(o, 9)
			*o.Records[3].Exit = wire.Exit{Code: -1, Timeout: true, Limit: time.Second}
		}, "timeout fail missing timeout", "a: the payload did not end within 1s"},
		{"one crashes, and the end is another VM's", func(o *Observation) {
			o.Records = slices.Insert(o.Records, 7, log)
			o.end().Nonce = "def"
		}, "pass crash fail crash", "b: WARNING in foo"},
		{"one crashes, and the end has its taint", func(o *Observation) {
			o.Records = slices.Insert(o.Records, 7, log)
			o.Records[9].Program.End.Taint, o.end().Taint = 1<<9, 1<<9
		}, "pass crash pass crash", "b: WARNING in foo"},
		{"one crashes, and the end alone has its taint", func(o *Observation) {
			o.Findings = []console.Finding{at(warned, 250)}
			o.end().Taint = 1 << 9
		}, "pass crash pass crash", "b: WARNING in foo"},
		{"the end alone has a taint", func(o *Observation) { o.end().Taint = 1 << 9 }, "pass pass crash crash", "c/d: the kernel tainted itself"},
		{"one's test fails, and the end counts none", func(o *Observation) {
			o.Records[6].Test.Verdict = wire.TestFail
			o.Records[8].Program.End.Passed, o.Records[8].Program.End.Failed = 0, 1
			o.end().Passed = 2
		}, "pass fail fail fail", "b: b failed"},
		{"one's test has a name of another one's", func(o *Observation) {
			o.Programs[2].Name = "a/T"
			o.Records[9].Program.Name, o.Records[12].Program.Name, o.Records[10].Test.Name = "a/T", "a/T", "a/T/T"
		}, "fail pass pass fail", `a: its test "T" has a name of another program's tests, "a/T"`},
		{"one's failed test has a name of another one's", func(o *Observation) {
			o.Programs[2].Name = "a/x"
			o.Records[9].Program.Name, o.Records[12].Program.Name, o.Records[10].Test.Name = "a/x", "a/x", "a/x/T"
			o.Records[2].Test.Name, o.Records[2].Test.Verdict = "a/x/T", wire.TestFail
			o.Records[4].Program.End.Passed, o.Records[4].Program.End.Failed = 0, 1
			o.end().Passed, o.end().Failed = 2, 1
		}, "fail pass pass fail", "a: x/T failed"},
		{"one's test has a name of one's in another VM", func(o *Observation) { o.Others = []string{"c", "c/d", "c/d/T"} }, "pass pass fail fail", `c/d: its test "T" has a name of another program's tests, "c/d/T"`},
		{"the end counts more tests", func(o *Observation) { o.end().Tests = 4 }, "pass pass fail fail", "c/d: the guest counts 4 tests, 3 of them passed, and reported 3 and 3"},
		{"one's time is up", func(o *Observation) {
			*o.Records[7].Exit = wire.Exit{Code: -1, Timeout: true, Limit: time.Second, Tests: []string{"b/T"}}
		}, "pass timeout pass timeout", "b: the payload did not end within 1s: T was running"},
		{"the last one's time is up", func(o *Observation) {
			*o.Records[11].Exit = wire.Exit{Code: -1, Timeout: true, Limit: time.Second}
		}, "pass pass timeout timeout", "c/d: the payload did not end within 1s"},
		{"the kernel tainted itself while one ran, and the rest did not run", func(o *Observation) {
			early(o, 2)
			o.Records[8].Program.End.Taint, o.end().Taint = 1<<9, 1<<9
		}, "pass crash missing crash", "b: the kernel tainted itself (warning)"},
		{"an allowed warning, and the rest did not run", func(o *Observation) {
			early(o, 2)
			o.Allowed, o.Findings = allowed, []console.Finding{at(warned, 250)}
			o.Records[8].Program.End.Taint, o.end().Taint = 1<<9, 1<<9
		}, "pass pass missing missing", "c/d: not run: b ended the VM"},
		{"a warning that the log of one has", func(o *Observation) {
			o.Records = slices.Insert(o.Records, 7, log)
			o.Findings = []console.Finding{at(warned, 350)} // the console came late
		}, "pass crash pass crash", "b: WARNING in foo"},
		{"a warning in the log of one alone", func(o *Observation) { o.Records = slices.Insert(o.Records, 7, log) }, "pass crash pass crash", "b: WARNING in foo"},
		{"a warning that is in no log", func(o *Observation) { o.Findings = []console.Finding{at(warned, 250)} }, "pass crash pass crash", "b: WARNING in foo"},
		{"a warning before the first began", func(o *Observation) {
			o.Records[1].At = 20 * time.Second
			o.Findings = []console.Finding{at(warned, 50)}
		}, "crash crash crash crash", "a: WARNING in foo"},
		{"a warning that came before the first by the console alone", func(o *Observation) { o.Findings = []console.Finding{at(warned, 50)} }, "crash pass pass crash", "a: WARNING in foo"},
		{"a warning at the end", func(o *Observation) { o.Findings = []console.Finding{at(warned, 0)} }, "pass pass crash crash", "c/d: WARNING in foo"},
		{"a panic in the middle", func(o *Observation) {
			down(o, 7)
			o.Findings = []console.Finding{panicked}
		}, "pass crash missing crash", "b: Kernel panic"},
		{"a panic in the middle that claims another place and time", func(o *Observation) {
			down(o, 7)
			p := at(panicked, 150)
			p.At = time.Second
			o.Findings = []console.Finding{p}
		}, "pass crash missing crash", "b: Kernel panic"},
		{"a panic before any began", func(o *Observation) {
			down(o, 1)
			o.Findings = []console.Finding{panicked}
		}, "crash crash crash crash", "Kernel panic"},
		{"no boot", func(o *Observation) { o.Records, o.stopped = nil, stopBoot }, "no-boot no-boot no-boot no-boot", "no sign of init"},
		{"QEMU dies in the middle", func(o *Observation) { down(o, 7); o.Exit = qemu.Exit{Code: 1} }, "pass infra missing infra", "b: QEMU: exit status 1"},
		{"QEMU dies between two", func(o *Observation) { down(o, 5); o.Exit = qemu.Exit{Code: 1} }, "pass missing missing infra", "QEMU: exit status 1"},
		{"QEMU dies after the end", func(o *Observation) { o.Exit = qemu.Exit{Code: 1} }, "pass pass pass infra", "QEMU, after"},
		{"one resets the machine", func(o *Observation) { down(o, 7) }, "pass fail missing fail", "b: the guest went down without its end record"},
		{"a reset between two", func(o *Observation) { down(o, 5) }, "fail missing missing fail", "a: the guest went down without its end record"},
		{"one halts the machine", func(o *Observation) { down(o, 6); o.stopped = stopHalt }, "pass fail missing fail", "b: the guest went down without its end record: the payload halted"},
		{"silence", func(o *Observation) {
			down(o, 6)
			o.Records = append(o.Records, wire.Record{Type: wire.TypeRun, Run: &wire.Run{Name: "b/T"}})
			o.stopped, o.Exit.Killed, o.limits.Silence = stopSilence, true, 30*time.Second
		}, "pass timeout missing timeout", "b: no sign of life from the guest for 30s while T was running"},
		{"one outlives init's own limit", func(o *Observation) { down(o, 6); o.stopped, o.Exit.Killed = stopVM, true }, "pass timeout missing timeout", "b: the payload did not end within 1m0s, and init"},
		{"no power-off", func(o *Observation) { o.stopped, o.Exit.Killed = stopOff, true }, "pass pass timeout timeout", "c/d: the guest did not power off"},
		{"the VM ends early", func(o *Observation) { early(o, 2) }, "pass pass missing missing", "c/d: not run: b ended the VM"},
		{"no program runs", func(o *Observation) {
			early(o, 0)
			o.end().Complete, o.end().Problem = false, "the module x is not for this kernel"
		}, "fail fail fail fail", "the module x"},
		{"init does not come to the programs", func(o *Observation) {
			early(o, 0)
			o.end().Complete, o.end().Unready = false, "the files do not fit"
		}, "infra infra infra infra", "the files do not fit"},
		// What only one who knows the nonce, or breaks init, can send.
		{"a record is lost", func(o *Observation) { o.stats.Lost = 1 }, "fail fail fail fail", "lost"},
		{"a record is forged", func(o *Observation) { o.stats.Forged = 1 }, "fail fail fail fail", "forges"},
		{"too many records", func(o *Observation) { o.wireErr = wire.ErrTooMany }, "fail fail fail fail", "more records"},
		{"another VM's end", func(o *Observation) { o.end().Nonce = "def" }, "pass pass fail fail", "c/d: the end record is not of this VM"},
		{"one's begin is missing", func(o *Observation) { o.Records = slices.Delete(o.Records, 5, 6) }, "fail missing missing fail", "marks"},
		{"one's end is missing", func(o *Observation) { o.Records = slices.Delete(o.Records, 8, 9) }, "fail fail missing fail", "marks"},
		{"the last one's end is missing", func(o *Observation) { o.Records = slices.Delete(o.Records, 12, 13) }, "fail fail fail fail", "marks"},
		{"one is missing as a whole", func(o *Observation) {
			o.Records = slices.Delete(o.Records, 5, 9)
			o.end().Tests, o.end().Passed = 2, 2
		}, "fail missing missing fail", "marks"},
		{"out of order", func(o *Observation) {
			o.Records = slices.Concat(o.Records[:1], o.Records[5:9], o.Records[1:5], o.Records[9:])
		}, "fail missing missing fail", "marks"},
		{"twice", func(o *Observation) { o.Records = slices.Insert(o.Records, 5, o.Records[1:5]...) }, "fail fail fail fail", "marks"},
		{"an end twice", func(o *Observation) { o.Records = slices.Insert(o.Records, 5, o.Records[4]) }, "fail fail fail fail", "marks"},
		{"a begin twice", func(o *Observation) { o.Records = slices.Insert(o.Records, 5, begins(0, "a")) }, "fail fail fail fail", "marks"},
		{"one more", func(o *Observation) {
			o.Records = slices.Insert(o.Records, 13, begins(3, "e"), tested("e/T"), ends(3, "e"))
		}, "fail fail fail fail", "marks"},
		{"an unknown name", func(o *Observation) { o.Records[5].Program.Name = "x" }, "fail missing missing fail", "marks"},
		{"another's number", func(o *Observation) { o.Records[8].Program.Index = 2 }, "fail fail missing fail", "marks"},
		{"a test of another program", func(o *Observation) { o.Records[6].Test.Name = "a/T2" }, "fail fail fail fail", "marks"},
		{"a test between two programs", func(o *Observation) {
			o.Records = slices.Insert(o.Records, 5, tested("a/T2"))
			o.end().Tests, o.end().Passed = 4, 4
		}, "fail fail fail fail", "marks"},
		{"the end while one runs", func(o *Observation) { o.Records = append(o.Records[:7:7], o.Records[13]) }, "fail fail missing fail", "marks"},
		{"a record after the end", func(o *Observation) { o.Records = append(o.Records, begins(3, "e")) }, "fail fail fail fail", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := passedPrograms()
			tt.with(&o)
			v := o.Judge()
			if got := verdicts(v); got != tt.want {
				t.Errorf("got %s (%+v), want %s", got, v.Cause, tt.want)
			}
			if (v.Cause == nil) != (v.Verdict == report.Pass) || v.Cause != nil && !strings.Contains(v.Cause.Title, tt.cause) {
				t.Errorf("cause %+v, want %q in it", v.Cause, tt.cause)
			}
			if v.TestsOnly && strings.Contains(tt.name, "name of another") {
				t.Error("its tests alone are said to be wrong")
			}
			if err := (&report.Result{ID: "debian/6.1", Verdict: v.Verdict, Cause: v.Cause, Programs: v.Programs, Tests: v.Tests, Console: "results/debian/6.1.txt", Attempts: 1}).Check(); err != nil {
				t.Error(err)
			}
			for _, p := range v.Programs {
				if (p.Cause == nil) != (p.Verdict == report.Pass) {
					t.Errorf("%s: %v with the cause %+v", p.Name, p.Verdict, p.Cause)
				}
			}
		})
	}
}

// Whatever subset of the proof is missing, neither the kernel nor a program whose
// own records are not whole passes.
func TestJudgeProgramsNeedsEveryRecord(t *testing.T) {
	n := len(passedPrograms().Records)
	for mask := range 1<<n - 1 { // all but the full set
		o := passedPrograms()
		var kept []wire.Record
		last := -1
		for i, r := range o.Records {
			if mask&(1<<i) != 0 {
				kept, last = append(kept, r), i
			}
		}
		// Gaps before the last record show as lost.
		if o.stats.Lost = 0; last >= 0 {
			o.stats.Lost = last + 1 - len(kept)
		}
		for _, lost := range []int{o.stats.Lost, 0} { // and if they did not, but for the first
			if lost == 0 && mask&1 == 0 {
				continue
			}
			o.Records, o.stats.Lost = kept, lost
			v := o.Judge()
			if v.Verdict == report.Pass || v.Verdict == report.Unknown {
				t.Errorf("records %0*b, %d lost: %v", n, mask, lost, v.Verdict)
			}
			for i, p := range v.Programs {
				if own := 0b1111 << (4*i + 1); p.Verdict == report.Pass && mask&own != own || p.Verdict == report.Unknown {
					t.Errorf("records %0*b, %d lost: %s: %v", n, mask, lost, p.Name, p.Verdict)
				}
			}
		}
	}
}

// The tests keep their program's names in the kernel's result, and lose them in
// its cause.
func TestProgramsTests(t *testing.T) {
	o := passedPrograms()
	o.Records[4].Program.Left = []string{"/tmp: x\ny"}
	v := o.Judge()
	var names []string
	for _, x := range v.Tests {
		names = append(names, x.Name)
	}
	if got := strings.Join(names, " "); got != "a/T b c/d/T" {
		t.Errorf("tests %s", got)
	}
	if p := v.Programs[0]; p.Tests != 1 || p.Duration != time.Second || len(p.Left) != 1 || strings.Contains(p.Left[0], "\n") {
		t.Errorf("%+v", p)
	}
}

// A failure is of the tests alone if it is in each program that failed.
func TestProgramsTestsOnly(t *testing.T) {
	for name, with := range map[string]func(*Observation){
		"":                              func(*Observation) {},
		"and another one exits with 3":  func(o *Observation) { o.Records[3].Exit = &wire.Exit{Code: 3} },
		"and the last one exits with 3": func(o *Observation) { o.Records[11].Exit = &wire.Exit{Code: 3} },
		"and QEMU fails":                func(o *Observation) { o.Exit.Code = 1 },
		"and the end counts others":     func(o *Observation) { o.end().Passed = 3 },
		"and the marks are wrong":       func(o *Observation) { o.Records = slices.Insert(o.Records, 5, begins(0, "a")) },
		"and the end is another VM's":   func(o *Observation) { o.end().Nonce = "def" },
		"and it is incomplete":          func(o *Observation) { o.Records[8].Program.End.Complete = false },
	} {
		o := passedPrograms()
		o.Records[6].Test.Verdict = wire.TestFail
		o.Records[7].Exit = &wire.Exit{Code: 1}
		o.Records[8].Program.End.Passed, o.Records[8].Program.End.Failed = 0, 1
		o.end().Passed, o.end().Failed = 2, 1
		with(&o)
		v := o.Judge()
		if p := v.Programs[1]; p.TestsOnly && strings.Contains(name, "marks") {
			t.Errorf("a test fails %s: %+v", name, p)
		}
		if v.Verdict != report.Fail || v.TestsOnly != (name == "") {
			t.Errorf("a test fails %s: %v, tests only: %v", name, v.Verdict, v.TestsOnly)
		}
	}
}
