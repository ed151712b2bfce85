package shard

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// stop says why a VM was ended from outside.
type stop uint8

const (
	notStopped  stop = iota
	stopBoot         // no sign of init in time
	stopVM           // the whole VM took too long
	stopCrash        // the kernel crashed and did not end by itself
	stopOff          // the end record came and the power did not go off
	stopSilence      // init gave no sign of life for too long
	stopHalt         // the kernel has stopped as it was told to, and the machine did not go off
)

// observation is all that is known of one VM.
type observation struct {
	nonce    string
	records  []wire.Record
	stats    wire.Stats
	wireErr  error // the result stream broke off for a reason of its own
	findings []console.Finding
	exit     qemu.Exit
	stopped  stop
	limits   Limits
	tail     string // the console's last lines
	expected bool   // a payload was to run
	skipPass bool   // a kernel whose tests are all skipped has passed

	id      string   // of the kernel
	allowed *Allowed // splats that are no crash; nil: none is

	machine string        // QEMU's name of it
	how     string        // the VM was booted: bootedCold, bootedWarm, or the former and why
	booted  time.Duration // from QEMU's start to the first record
	helloAt int64         // bytes of the console that were there when init was up; 0: not known
	saved   time.Duration // how long it took before to make the VM that was restored; 0: there was one
}

// verdict is what follows from an observation.
type verdict struct {
	report.Verdict
	cause *report.Cause
	tests []report.Test

	splats     []report.Splat // that are allowed
	running    []string       // tests that ran when the guest ended before its time
	panicked   bool           // before init
	bootCrash  bool           // all that the kernel said of a crash, it said before init was up
	impossible string         // what in the crash no processor does; "": nothing, or no crash
	testsOnly  bool           // the failed tests are all that is wrong
}

// judge decides. A pass is what is left when nothing at all speaks against it:
// each step asks for one more piece of proof.
func judge(o observation) verdict {
	v := verdict{}
	var ended bool
	var exit *wire.Exit
	var end *wire.End
	passed, failed, ends := 0, 0, 0
	hello := len(o.records) > 0 // any record proves that init was up
	for _, r := range o.records {
		switch {
		case r.Exit != nil:
			exit = r.Exit
		case r.End != nil:
			end, ended = r.End, true
			ends++
		case r.Test != nil:
			t := report.Test{Name: r.Test.Name, Verdict: r.Test.Verdict, Duration: r.Test.Duration, Output: r.Test.Output, Insns: max(0, r.Test.Insns)}
			switch t.Verdict {
			case wire.TestPass:
				passed++
			case wire.TestSkip:
			default:
				t.Verdict = wire.TestFail
				failed++
			}
			v.tests = append(v.tests, t)
		}
	}
	because := func(d report.Verdict, title, excerpt string) verdict {
		v.Verdict = d
		v.cause = &report.Cause{Title: report.OneLine(title, 300), Excerpt: excerpt}
		return v
	}

	h := hang{exit: exit, limits: o.limits}
	if !ended || exit != nil && exit.Timeout {
		h.running, h.last = lastRunning(o.records)
		v.running = h.running
		if exit != nil && exit.Timeout {
			v.running = exit.Tests
		}
	}

	// The kernel's own words come first: nothing that was reported before or
	// after a crash can be believed.
	findings, splats, explained := o.allowed.withoutAllowed(o.id, o.findings)
	v.splats = splats
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
			v.panicked = true
		}
		v.impossible = f.Impossible
		v := because(d, f.Title, f.Excerpt)
		v.cause.Location = report.OneLine(f.Location, 300)
		return v
	}
	if !hello {
		switch {
		case o.stopped == stopBoot || o.stopped == stopVM:
			return because(report.NoBoot, fmt.Sprintf("no sign of init within %v", o.limits.Boot), o.tail)
		case o.exit.Clean() || o.stopped == stopHalt:
			return because(report.NoBoot, "the VM went down before init started", o.tail)
		default:
			return because(report.Infra, "QEMU: "+o.exit.String(), o.exit.Stderr)
		}
	}
	switch {
	case o.exit.Fault && !ended:
		return because(report.Infra, "QEMU: "+o.exit.String(), o.exit.Stderr)
	case o.stopped == stopCrash: // all that it said of it is allowed
		title, excerpt := "the kernel crashed", o.tail
		if len(splats) > 0 {
			title = "the kernel did not come back, and was not allowed to stay away: " + splats[0].Title
		}
		return because(report.Crash, title, excerpt)
	case exit != nil && exit.Timeout:
		return because(report.Timeout, h.title(), goroutines(v.tests)+hangExcerpt(o.tail))
	case o.stopped == stopSilence && !ended:
		// Init tells that it runs, whatever the payload does: this is the
		// kernel, or a payload that keeps everyone else from running.
		why := silentFor(o.limits.Silence)
		v.tests = cutShort(v.tests, v.running, why+": it ran at that time")
		return because(report.Timeout, why+h.during()+": its kernel hangs", o.tail)
	case o.stopped == stopVM && !ended:
		why := fmt.Sprintf("the payload did not end within %v", o.limits.Payload)
		v.tests = cutShort(v.tests, v.running, why+", and init could not end it: it ran at that time")
		return because(report.Timeout, why+h.during()+", and init could not end it within a further "+o.limits.Grace.String(), o.tail)
	case o.stopped == stopOff:
		return because(report.Timeout, fmt.Sprintf("the guest did not power off within %v of its end", o.limits.Off), o.tail)
	case !ended && !o.exit.Clean() && o.stopped != stopHalt:
		return because(report.Infra, "QEMU: "+o.exit.String(), o.exit.Stderr)
	case !ended && o.stopped == stopHalt:
		return because(report.Fail, "the guest went down without its end record: the payload halted the machine", o.tail)
	case !ended:
		// The guest went down on its own accord, and init does not do that
		// without an end record: the payload did it, or the kernel broke so that
		// it could not say so. QEMU tells neither from the other.
		who := "the payload ended the VM, or closed the result channel"
		if o.tail != "" && !restartWords.MatchString(o.tail) {
			who = "its kernel said nothing of a restart: it broke down (a triple fault), or the payload reset the machine"
		}
		return because(report.Fail, "the guest went down without its end record: "+who, o.tail)
	case o.wireErr != nil:
		return because(report.Fail, "the result channel: "+o.wireErr.Error(), o.tail)
	case o.stats.Forged > 0:
		return because(report.Fail, fmt.Sprintf("%d result records contradict others: the payload forges results", o.stats.Forged), o.tail)
	case o.stats.Lost > 0:
		return because(report.Fail, fmt.Sprintf("%d result records were lost: something else in the guest writes to the result channel", o.stats.Lost), o.tail)
	case o.records[len(o.records)-1].End == nil || ends > 1:
		return because(report.Fail, "records came after the end record: the payload forges results", o.tail)
	case end.Nonce != o.nonce:
		return because(report.Fail, "the end record is not of this VM", o.tail)
	case end.Unready != "" && exit == nil:
		return because(report.Infra, "the payload was not started: "+end.Unready, "")
	}

	// The report is whole. What does it say?
	if t := end.Taint & crashTaint &^ explained; t != 0 {
		// A splat that did not reach the console: the payload turned its
		// messages off, or cleared the log.
		return because(report.Crash, fmt.Sprintf("the kernel tainted itself (%s) while the payload ran, and the console does not say why", taintNames(t)), o.tail)
	}
	switch {
	case failed > 0 || end.Failed > 0:
		title, excerpt := report.FailedTests(v.tests)
		if title != "" && !end.Complete {
			title += "; and tests are missing"
			if why := or(end.Problem, "the payload's report is not complete"); !strings.Contains(title, why) {
				title += ": " + why
			}
		}
		if title == "" {
			title = fmt.Sprintf("%d tests failed in the guest", end.Failed)
		}
		v.testsOnly = testsOnly(o, v.tests, end, exit, passed, failed)
		return because(report.Fail, title, excerpt)
	case exit != nil && (exit.Code != 0 || exit.Error != "" || exit.Signal != ""):
		return because(report.Fail, "the payload: "+exitTitle(*exit), o.tail)
	case !end.Complete:
		return because(report.Fail, or(end.Problem, "the payload's report is not complete"), o.tail)
	case o.expected && exit == nil:
		return because(report.Fail, "the payload's end was not reported", o.tail)
	case end.Tests != len(v.tests) || end.Passed != passed:
		return because(report.Fail, fmt.Sprintf("the guest counts %d tests, %d of them passed, and reported %d and %d", end.Tests, end.Passed, len(v.tests), passed), o.tail)
	case o.expected && passed == 0 && !(o.skipPass && len(v.tests) > 0):
		title, why := allSkipped(v.tests)
		return because(report.Fail, title, why)
	case !o.exit.Clean():
		return because(report.Infra, "QEMU, after the guest's end: "+o.exit.String(), o.exit.Stderr)
	}
	v.Verdict = report.Pass
	return v
}

// restartWords are a kernel's when it goes down as it was told to.
var restartWords = regexp.MustCompile(`\] (?:reboot: |sysrq: Resetting|Reboot failed)`)

// onlyAtBoot says whether what the console says of crashes came before init was
// up, and there is some. Console and results come on lines of their own, one of
// them late at times, so both places and times have to say so.
func (o observation) onlyAtBoot(findings []console.Finding) bool {
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
func (o observation) helloTime() time.Duration {
	for _, r := range o.records {
		if r.Hello != nil {
			return r.At
		}
	}
	return 0
}

// testsOnly says whether failed tests are all that speaks against a pass: the
// report is whole, its numbers agree, and the payload ended by itself.
func testsOnly(o observation, tests []report.Test, end *wire.End, exit *wire.Exit, passed, failed int) bool {
	return end.Complete && failed > 0 && end.Failed == failed && end.Passed == passed && end.Tests == len(tests) &&
		exit != nil && exit.Error == "" && exit.Signal == "" && !exit.OOM && exit.Code >= 0 && exit.Code < exitByShell &&
		o.exit.Clean()
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

const crashTaint = 1<<4 | 1<<5 | 1<<7 | 1<<9 | 1<<14

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

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// phases takes the times out of what the guest said.
func phases(records []wire.Record) map[string]int64 {
	p := map[string]int64{}
	for _, r := range records {
		switch {
		case r.Hello != nil:
			p["boot"] = r.At.Nanoseconds()
		case r.Phase != nil && len(p) < 16 && r.Phase.Duration >= 0 && r.Phase.Duration < 24*time.Hour:
			p[report.OneLine(r.Phase.Name, 32)] = r.Phase.Duration.Nanoseconds()
		case r.Exit != nil:
			p["payload"] = r.Exit.Duration.Nanoseconds()
		}
	}
	return p
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
	why := func(t report.Test) string { return or(report.OneLine(t.Output, 200), "no reason is given") }
	for i, t := range tests {
		if i == most {
			reasons += fmt.Sprintf("and %d more\n", len(tests)-i)
			break
		}
		reasons += report.OneLine(t.Name, 200) + ": " + why(t) + "\n"
	}
	return title + ": " + why(tests[0]), reasons
}
