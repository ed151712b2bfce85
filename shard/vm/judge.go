package vm

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// Verdict is what follows from an observation.
type Verdict struct {
	report.Verdict
	Cause *report.Cause // nil for a pass
	Tests []report.Test

	BPF      []report.BPFProgram // that the kernel held while the payload ran
	Programs []report.Program    // one for each of the case's, in order

	Splats     []report.Splat // that are allowed
	Running    []string       // tests that were running when the guest ended early
	Panicked   bool           // before init
	Impossible string         // what in the crash no processor does; "" for nothing, or no crash
	TestsOnly  bool           // the failed tests are all that is wrong with what ran

	bootCrash bool // every crash was reported before init was up
}

// Judge decides. A pass needs proof: each step asks for one more piece of it,
// and Pass is what is left at the end.
func (o Observation) Judge() Verdict {
	if len(o.Programs) > 0 {
		return o.judgePrograms()
	}
	return o.judge()
}

// judge takes all records for those of one payload.
func (o Observation) judge() Verdict {
	v := Verdict{}
	var ended bool
	var exit *wire.Exit
	var end *wire.End
	passed, failed, ends := 0, 0, 0
	noBTF := o.withoutBTF()
	hello := o.SawInit()
	words := "" // why init is not up
	if said := cmp.Or(o.words, console.InitsWords(o.Tail)); !hello && said != "" {
		words = ": " + said
	}
	for _, r := range o.Records {
		switch {
		case r.Exit != nil:
			exit = r.Exit
		case r.End != nil:
			end, ended = r.End, true
			ends++
		case r.BPF != nil && len(v.BPF) < wire.MaxBPF:
			v.BPF = append(v.BPF, bpfProgram(*r.BPF))
		case r.Test != nil:
			t := report.Test{Name: r.Test.Name, Verdict: r.Test.Verdict, Duration: r.Test.Duration, Output: r.Test.Output, Insns: max(0, r.Test.Insns), Loader: report.OneLine(r.Test.Loader, 100)}
			switch t.Verdict {
			case wire.TestPass:
				passed++
			case wire.TestSkip:
			default:
				t.Verdict = wire.TestFail
				failed++
				if noBTF && analysis.SaysNoBTF(t.Output) {
					t.Output = analysis.WithNoBTF(t.Output)
				}
			}
			v.Tests = append(v.Tests, t)
		}
	}
	v.BPF = report.JoinBPF(v.BPF) // a loader may have told of one twice
	because := func(d report.Verdict, title, excerpt string) Verdict {
		v.Verdict = d
		v.Cause = &report.Cause{Title: report.OneLine(title, 300), Excerpt: excerpt}
		return v
	}

	h := hang{exit: exit, limits: o.limits}
	if !ended || exit != nil && exit.Timeout {
		h.running, h.last = lastRunning(o.Records)
		v.Running = h.running
		if exit != nil && exit.Timeout {
			v.Running = exit.Tests
		}
	}

	// The kernel's own words come first: nothing that was reported before or
	// after a crash can be believed.
	findings, splats, explained := o.Allowed.withoutAllowed(o.ID, o.Findings)
	v.Splats = splats
	v.bootCrash = o.onlyAtBoot(findings)
	for _, f := range findings {
		if !f.Kind.Crash() {
			continue
		}
		d := report.Crash
		if !hello {
			if f.Kind != console.Panic && f.Kind != console.Oops {
				continue
			}
			d = report.NoBoot
			v.Panicked = true
		}
		v.Impossible = f.Impossible
		v := because(d, f.Title+words, f.Excerpt)
		v.Cause.Location = report.OneLine(f.Location, 300)
		return v
	}
	if !hello {
		switch {
		case o.stopped == stopBoot || o.stopped == stopVM:
			return because(report.NoBoot, fmt.Sprintf("no sign of init within %v", o.limits.Boot)+words, o.Tail)
		case o.Exit.Clean() || o.stopped == stopHalt:
			return because(report.NoBoot, "the VM went down before init was up"+words, o.Tail)
		default:
			return because(report.Infra, "QEMU: "+o.Exit.String(), o.Exit.Stderr)
		}
	}
	switch {
	case o.Exit.Fault && !ended:
		return because(report.Infra, "QEMU: "+o.Exit.String(), o.Exit.Stderr)
	case o.stopped == stopCrash: // all that it said of it is allowed
		title, excerpt := "the kernel crashed", o.Tail
		if len(splats) > 0 {
			title = "the kernel did not come back, and was not allowed to stay away: " + splats[0].Title
		}
		return because(report.Crash, title, excerpt)
	case exit != nil && exit.Timeout:
		return because(report.Timeout, h.title(), goroutines(v.Tests)+hangExcerpt(o.Tail))
	case o.stopped == stopSilence && !ended:
		// Init tells that it runs, whatever the payload does: this is the
		// kernel, or a payload that keeps everyone else from running.
		why := silentFor(o.limits.Silence)
		v.Tests = cutShort(v.Tests, v.Running, why+": it ran at that time")
		return because(report.Timeout, why+h.during()+": its kernel hangs", o.Tail)
	case o.stopped == stopVM && !ended:
		why := fmt.Sprintf("the payload did not end within %v", o.limits.Payload)
		v.Tests = cutShort(v.Tests, v.Running, why+", and init could not end it: it ran at that time")
		return because(report.Timeout, why+h.during()+", and init could not end it within a further "+o.limits.Grace.String(), o.Tail)
	case o.stopped == stopOff:
		return because(report.Timeout, fmt.Sprintf("the guest did not power off within %v of its end", o.limits.Off), o.Tail)
	case !ended && !o.Exit.Clean() && o.stopped != stopHalt:
		return because(report.Infra, "QEMU: "+o.Exit.String(), o.Exit.Stderr)
	case !ended && o.stopped == stopHalt:
		return because(report.Fail, "the guest went down without its end record: the payload halted the machine", o.Tail)
	case !ended:
		// The guest went down on its own accord, and init does not do that
		// without an end record: the payload did it, or the kernel broke so that
		// it could not say so. QEMU tells neither from the other.
		who := "the payload ended the VM, or closed the result channel"
		if o.Tail != "" && !restartWords.MatchString(o.Tail) {
			who = "its kernel said nothing of a restart: it broke down (on x86, a triple fault), or the payload reset the machine"
		}
		return because(report.Fail, "the guest went down without its end record: "+who, o.Tail)
	case o.wireErr != nil:
		return because(report.Fail, "the result channel: "+o.wireErr.Error(), o.Tail)
	case o.stats.Forged > 0:
		return because(report.Fail, fmt.Sprintf("%d result records contradict others: the payload forges results", o.stats.Forged), o.Tail)
	case o.stats.Lost > 0:
		return because(report.Fail, fmt.Sprintf("%d result records were lost: something else in the guest writes to the result channel", o.stats.Lost), o.Tail)
	case o.streams && exit != nil && (o.chunksLost || o.chunks < exit.Chunks):
		return because(report.Fail, fmt.Sprintf("some of the payload's output was lost, after %d of %d pieces: something else in the guest writes to the result channel", o.chunks, exit.Chunks), o.Tail)
	case o.Records[len(o.Records)-1].End == nil || ends > 1:
		return because(report.Fail, "records came after the end record: the payload forges results", o.Tail)
	case end.Nonce != o.nonce:
		return because(report.Fail, "the end record is not of this VM", o.Tail)
	case end.Unready != "" && exit == nil:
		return because(report.Infra, "the payload was not started: "+end.Unready, "")
	}

	// The report is whole. What does it say?
	if t := end.Taint & wire.CrashTaint &^ explained; t != 0 {
		// A splat that did not reach the console: the payload turned its
		// messages off, or cleared the log.
		return because(report.Crash, fmt.Sprintf("the kernel tainted itself (%s) while the payload ran, and the console does not say why", taintNames(t)), o.Tail)
	}
	switch {
	case failed > 0 || end.Failed > 0:
		title, excerpt := analysis.FailedTests(v.Tests)
		if title != "" && !end.Complete {
			title += "; and tests are missing"
			if why := cmp.Or(end.Problem, "the payload's report is not complete"); !strings.Contains(title, why) {
				title += ": " + why
			}
		}
		if title == "" {
			title = fmt.Sprintf("%d tests failed in the guest", end.Failed)
		}
		v.TestsOnly = testsOnly(o, v.Tests, end, exit, passed, failed)
		return because(report.Fail, title, excerpt)
	case noBTF && exit != nil && exit.Code != 0 && analysis.SaysNoBTF(o.Tail):
		return because(report.Fail, analysis.NoBTF, o.Tail)
	case exit != nil && (exit.Code != 0 || exit.Error != "" || exit.Signal != ""):
		return because(report.Fail, "the payload: "+exitTitle(*exit), o.Tail)
	case !end.Complete:
		return because(report.Fail, cmp.Or(end.Problem, "the payload's report is not complete"), o.Tail)
	case o.Payload && exit == nil:
		return because(report.Fail, "the payload's end was not reported", o.Tail)
	case end.Tests != len(v.Tests) || end.Passed != passed:
		return because(report.Fail, fmt.Sprintf("the guest counts %d tests, %d of them passed, and reported %d and %d", end.Tests, end.Passed, len(v.Tests), passed), o.Tail)
	case o.Payload && passed == 0 && !(o.SkipsPass && len(v.Tests) > 0):
		title, why := allSkipped(v.Tests)
		return because(report.Fail, title, why)
	case !o.Exit.Clean():
		return because(report.Infra, "QEMU, after the guest's end: "+o.Exit.String(), o.Exit.Stderr)
	}
	v.Verdict = report.Pass
	return v
}

// withoutBTF says whether the guest told that its kernel has no BTF.
func (o Observation) withoutBTF() bool {
	return slices.ContainsFunc(o.Records, func(r wire.Record) bool { return r.Kernel != nil && !r.Kernel.BTF })
}

// restartWords are a kernel's when it goes down as it was told to.
var restartWords = regexp.MustCompile(`\] (?:reboot: |sysrq: Resetting|Reboot failed)`)

// onlyAtBoot says whether what the console says of crashes came before init was
// up, and there is some. Console and results come on lines of their own, one of
// them late at times, so both places and times have to say so.
func (o Observation) onlyAtBoot(findings []console.Finding) bool {
	some := false
	for _, f := range findings {
		if !f.Kind.Crash() {
			continue
		}
		if f.Offset <= 0 || f.Offset >= o.helloAt || f.At >= o.helloTime() {
			return false
		}
		some = true
	}
	return some
}

// helloTime is when init was up, by the guest's clock.
func (o Observation) helloTime() time.Duration {
	for _, r := range o.Records {
		if r.Hello != nil {
			return r.At
		}
	}
	return 0
}

// testsOnly says whether failed tests are all that speaks against a pass: the
// report is whole, its numbers agree, and the payload ended by itself.
func testsOnly(o Observation, tests []report.Test, end *wire.End, exit *wire.Exit, passed, failed int) bool {
	return end.Complete && failed > 0 && end.Failed == failed && end.Passed == passed && end.Tests == len(tests) &&
		exit != nil && exit.Error == "" && exit.Signal == "" && !exit.OOM && exit.Code >= 0 && exit.Code < exitByShell &&
		o.Exit.Clean()
}

// exitByShell is the lowest exit status by which shells, and testrunner, tell of
// a program that was not found, could not be run or was ended by a signal.
const exitByShell = 126

// Bits of a kernel's taint that say it is not whole any more
// (Documentation/admin-guide/tainted-kernels.rst).
var taintBits = []struct {
	bit  uint
	name string
}{
	{4, "machine check"},
	{5, "bad page"},
	{7, "oops or BUG"},
	{9, "warning"},
	{14, "soft lockup"},
}

func taintNames(t uint64) string {
	var names []string
	for _, b := range taintBits {
		if t&(1<<b.bit) != 0 {
			names = append(names, b.name)
		}
	}
	return strings.Join(names, ", ")
}

func exitTitle(e wire.Exit) string {
	switch {
	case e.Error != "":
		return e.Error
	case e.OOM:
		return "killed by the kernel: out of memory"
	case e.Signal != "":
		return "killed by " + e.Signal
	default:
		return fmt.Sprintf("exit status %d", e.Code)
	}
}

// allSkipped says why no test ran: the reasons that the tests gave.
func allSkipped(tests []report.Test) (title, reasons string) {
	const most = 20 // reasons
	title = "no test passed: the only one was skipped"
	if len(tests) != 1 {
		title = fmt.Sprintf("no test passed: %d of %d were skipped", len(tests), len(tests))
	}
	if len(tests) == 0 {
		return title, ""
	}
	why := func(t report.Test) string { return cmp.Or(report.OneLine(t.Output, 200), "no reason is given") }
	for i, t := range tests {
		if i == most {
			reasons += fmt.Sprintf("and %d more\n", len(tests)-i)
			break
		}
		reasons += report.OneLine(t.Name, 200) + ": " + why(t) + "\n"
	}
	return title + ": " + why(tests[0]), reasons
}

var (
	bpfType = regexp.MustCompile(`^[a-z0-9_]{1,40}$`)
	bpfTag  = regexp.MustCompile(`^[0-9a-f]{16}$`)
)

// bpfProgram is what the guest said of a BPF program, as far as it can be true.
func bpfProgram(p wire.BPFProgram) report.BPFProgram {
	const most = 1 << 40 // of any number
	number := func(n int) int { return min(max(n, 0), most) }
	r := report.BPFProgram{
		Name: report.OneLine(p.Name, wire.MaxName), Type: "unknown", Test: wire.Truncate(p.Test, wire.MaxName),
		Insns: number(p.Insns), States: number(p.States), PeakStates: number(p.PeakStates), Stack: number(p.Stack), Jited: number(p.Jited),
		MapMemory: min(max(p.MapMemory, 0), most),
	}
	if bpfType.MatchString(p.Type) {
		r.Type = p.Type
	}
	if bpfTag.MatchString(p.Tag) {
		r.Tag = p.Tag
	}
	return r
}
