package analysis

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// A signature is what is the same about a failure on all kernels that have it.
// Two failures with one signature are one entry of the report, so what differs
// by chance (addresses, pids, times) is taken out, and what tells bugs apart
// (functions, fields, error numbers) stays.

// noise are the replacements of normalise, in order.
var noise = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`\[ *\d+\.\d{6}\](?: ?\[ *[TC]\d+\])? ?`), ""},                                    // printk
	{regexp.MustCompile(`\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?`), "T"}, // dates
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b`), "T"},
	{regexp.MustCompile(`\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b`), "U"},
	{regexp.MustCompile(`\b\d+\.\d+(?:\.\d+)?[-+]\w[\w.+~-]*\w`), "V"},                                                                                // a kernel's release
	{regexp.MustCompile(`\.(?:cold|isra|constprop|part|llvm)(?:\.\d+)*\b`), ""},                                                                       // a compiler's clones
	{regexp.MustCompile(`\+0x[0-9a-f]+/0x[0-9a-f]+`), ""},                                                                                             // foo+0x1f/0x50
	{regexp.MustCompile(`\b(exitcode=)0x0*([0-9a-f]+)`), "${1}X$2"},                                                                                   // init's end: which one matters
	{regexp.MustCompile(`\b0[xX][0-9a-fA-F]+`), "H"},                                                                                                  // addresses
	{regexp.MustCompile(`\b[0-9a-f]{12,40}\b`), "H"},                                                                                                  // without 0x
	{regexp.MustCompile(`\b[RrWw](?:10|[0-9])(_w)?\b`), "Rn"},                                                                                         // registers
	{regexp.MustCompile(`(?i)\b(exit status|exit code|signal|errno|error|err|ret|returned|failed:|status)([ :=(]{1,3})-?(\d{1,3})\b`), "${1}${2}E$3"}, // these tell bugs apart
	{regexp.MustCompile(`(?i)([:=(] ?)-(\d{1,3})(\)?)$`), "${1}E$2$3"},                                                                                // libbpf: "...: -22"
	{regexp.MustCompile(`\btmp[._-]?[A-Za-z0-9_]{6,}\b`), "tmpX"},                                                                                     // made-up names: mktemp's,
	{regexp.MustCompile(`([A-Za-z_.-])\d{6,}\b`), "${1}N"},                                                                                            // and os.MkdirTemp's
	{regexp.MustCompile(`\b\d+(?:\.\d+)*(?:ns|us|µs|ms|s|m|h)(?:\d+(?:\.\d+)*(?:ns|us|µs|ms|s|m))*\b`), "D"},                                          // durations
	{regexp.MustCompile(`\b\d+ ?(?:[KMGT]i?B|kB|bytes?)\b`), "B"},
}

// standalone are numbers that are no part of a name: the 2 of do_renameat2 and
// the 64 of x86_64 stay. What stands before goes in by itself: Go's expressions
// do not look behind.
var standalone = regexp.MustCompile(`(^|[^\w.])[-+]?\d+(?:\.\d+)*\b`)

const maxSignature = 500 // bytes of a line that are looked at

// normalise takes out of one line what differs from kernel to kernel.
func normalise(s string) string {
	s = report.OneLine(s, maxSignature)
	for _, n := range noise {
		s = n.re.ReplaceAllString(s, n.to)
	}
	s = standalone.ReplaceAllString(s, "${1}N")
	return strings.Join(strings.Fields(s), " ")
}

// reason is why something failed.
type reason struct {
	title  string // one line, as it was said
	key    string // the title without what differs by chance, and what else tells bugs apart
	global bool   // the cause is not of one test: whatever fails by it is one entry
}

var (
	tracerEnded  = regexp.MustCompile(`^EventsTrace ended[^:]*: .`)
	tracerBroke  = regexp.MustCompile(`^\d+ (line\(s\) of its output|event\(s\) did not fit)`)
	tracerSilent = regexp.MustCompile(`^(EventsTrace runs, but (was not ready|stopped printing)|start EventsTrace: )`)
	// What the loader of bare objects says about the kernel, whichever program it is about.
	ofTheKernel = regexp.MustCompile(`^(CO-RE: .* on this kernel$|CO-RE: this kernel has no |unsupported: |this kernel's BTF has no )`)
	ofAProgram  = regexp.MustCompile(`^(rejected: |CO-RE: )`)
	thisKernel  = regexp.MustCompile(`(, (and )?)?this kernel(, |  ?is )[\w.+~-]+(, is|,)?`)

	goPanic  = regexp.MustCompile(`^(panic: |fatal error: |SIG[A-Z]+: )`)
	logTime  = regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)? `) // of Go's package log
	located  = regexp.MustCompile(`^([\w./-]+\.(?:go|c|cc|cpp|h|rs|py)):\d+(?::\d+)?: ?(.*)$`)
	verifier = regexp.MustCompile(`^(R\d+ |invalid |unreachable insn|back-edge|infinite loop|jump out of range|math between|unbounded |BPF program is too large|unknown func|cannot |misaligned |dereference of |func#?\d* .*(leaks|must)|failed to |At program exit|Unreleased reference|pointer arithmetic|the sequence of|reference has not been|helper call|kernel function|arg#\d+ |loop detected|last insn is not|combined stack size|attach_btf_id|program of this type cannot|tracing progs must)`)
	// libbpf puts an invalid call where a relocation fails, of which the verifier
	// complains first.
	relocation = regexp.MustCompile(`^failed to resolve (CO-RE relocation|BPF map|kernel function)|^BPF map .* is referenced but wasn't created`)
	libbpf     = regexp.MustCompile(`(?i)^libbpf: .*(fail|invalid|not found|can't|couldn't|cannot|unsupported|error|missing)`)
	// What libbpf notes of an instruction that is not needed on this kernel.
	libbpfNote = regexp.MustCompile(`^libbpf: .*: substituting insn #`)
	complains  = regexp.MustCompile(`(?i)\b(errors?|fail(s|ed|ure)?|panic|denied|invalid|cannot|can't|could not|couldn't|unable|mismatch|expected|want|wrong|not|no such|unknown|time(d )?out|refused|killed|too large|too long|unexpected|missing|rejected|bad)\b`)
	status     = regexp.MustCompile(`^(exit status \d+|signal: \S+|killed by .*)$`)
	tableRow   = regexp.MustCompile(`^  ! (\S+) `)
	msLater    = regexp.MustCompile(`, \d+ ms later`)
	usage      = regexp.MustCompile(`(?i)^usage( of [^:]+)?:`)
	initLine   = regexp.MustCompile(`^ *\d+\.\d{3} init: |^\[ *\d+\.\d{6}\]`)
)

const (
	maxLooked = 32 << 10 // bytes of an output that are looked at
	maxFields = 8        // of an event that are named
)

// TestReason is why a test failed, by its output, in one line: what report.md
// heads the failure with, and what a kernel's cause says of it.
func TestReason(output string) string {
	return testReason(output).title
}

// FailedTests is the title and the excerpt of the cause of a kernel whose tests failed: of
// the first one that says why, and of the innermost where a part of it does. ""
// where none has failed.
func FailedTests(tests []report.Test) (title, excerpt string) {
	var failed []report.Test
	for _, t := range tests {
		if report.TestVerdict(t) == report.TestFail {
			failed = append(failed, t)
		}
	}
	if len(failed) == 0 {
		return "", ""
	}
	first := failed[0]
	for _, t := range failed {
		if TestReason(t.Output) != silent {
			first = t
			break
		}
	}
	title = first.Name + " failed"
	if why := TestReason(first.Output); why != silent {
		title = first.Name + ": " + why
	}
	if n := len(failed) - 1; n > 0 {
		title = fmt.Sprintf("%s (and %d more)", report.OneLine(title, 250), n)
	}
	return title, first.Output
}

// testReason reads the output of a failed test.
func testReason(output string) reason {
	lines := outputLines(output)
	if len(lines) == 0 {
		return newReason("", false)
	}
	first := strings.TrimSpace(lines[0])
	if first == NoBTF {
		return newReason(first, true)
	}
	if tracerSilent.MatchString(first) {
		return newReason(first, true)
	}
	for _, l := range lines {
		if tracerEnded.MatchString(l) {
			r := newReason(strings.Replace(l, " before the tests did", "", 1), true)
			if why := cmp.Or(strongLine(lines), lastOfStderr(lines)); why != "" && why != l {
				r.title += ": " + why
				r.key += "|" + normalise(why)
			}
			return r
		}
	}
	switch {
	case tracerBroke.MatchString(first): // which line, and with what, is chance
		return newReason(first, true)
	case ofTheKernel.MatchString(first):
		r := newReason(first, true)
		r.key = normalise(thisKernel.ReplaceAllString(first, ""))
		return r
	case ofAProgram.MatchString(first):
		return newReason(first, false)
	}
	if fields := wrongFields(lines); fields != "" {
		r := newReason(first, false)
		r.key = normalise(msLater.ReplaceAllString(first, "")) + "|" + fields
		r.title = strings.TrimSuffix(report.OneLine(first, 300), ":") + ": " + fields
		return r
	}
	// testrunner's words of a Go test, and its program's after them.
	if strings.HasPrefix(first, unfinished) && (strings.Contains(first, outOfTime) || strongLine(lines[1:]) == "") {
		if words := lastWord(lines[1:]); words != "" && !strings.Contains(first, outOfTime) {
			return newReason(first+": "+logTime.ReplaceAllString(words, ""), false)
		}
		return newReason(first, false)
	}
	if status.MatchString(first) {
		words := logTime.ReplaceAllString(lastWord(lines[1:]), "")
		if words == "" {
			return newReason(first, false)
		}
		return newReason(first+": "+words, false)
	}
	return newReason(bestLine(lines), false)
}

func newReason(line string, global bool) reason {
	line = logTime.ReplaceAllString(strings.TrimSpace(line), "")
	title := report.OneLine(line, 300)
	if title == "" {
		title = silent
	}
	return reason{title: title, key: normalise(msLater.ReplaceAllString(line, "")), global: global}
}

// silent is the reason of what says none.
const silent = "failed without a word"

// outputLines are the lines with something on them.
func outputLines(s string) []string {
	if len(s) > maxLooked {
		// The end as well: that is where programs say why they give up.
		s = s[:maxLooked/2] + "\n" + s[len(s)-maxLooked/2:]
	}
	var lines []string
	for l := range strings.Lines(report.Text(s)) {
		if l = strings.TrimRight(l, " \t\n"); strings.TrimSpace(l) != "" {
			lines = append(lines, l)
		}
	}
	return lines
}

// wrongFields are those of the first event that are not as they should be,
// when it is the event that was meant.
func wrongFields(lines []string) string {
	var fields []string
	for _, l := range lines {
		m := tableRow.FindStringSubmatch(l)
		if m == nil {
			if len(fields) > 0 && !strings.HasPrefix(l, "    ") {
				break
			}
			continue
		}
		if strings.HasSuffix(m[1], "tgid") {
			return "" // another process's: what is wrong with it says nothing
		}
		if len(fields) == maxFields {
			fields = append(fields, "...")
			break
		}
		fields = append(fields, m[1])
	}
	return strings.Join(fields, ", ")
}

// lastOfStderr is the last line of what testrunner quotes of a tracer's stderr as
// telling why it gave up; "" without one.
func lastOfStderr(lines []string) string {
	last := ""
	for i, l := range lines {
		if l == "its stderr says:" {
			for _, l := range lines[i+1:] {
				if !strings.HasPrefix(l, "  ") {
					break
				}
				last = strings.TrimSpace(l)
			}
			break
		}
	}
	return last
}

// strongLine is the first line of a kind that says why; "" when there is none.
// A verifier's message says more than the library's words around it.
func strongLine(lines []string) string {
	for _, kind := range []*regexp.Regexp{goPanic, relocation, verifier, libbpf} {
		for _, l := range lines {
			if l = strings.TrimSpace(l); kind.MatchString(l) && !libbpfNote.MatchString(l) {
				return l
			}
		}
	}
	return assertion(lines)
}

// How the guest's testrunner begins the output of a Go test that did not end, and
// what it says of one whose time was up.
const (
	unfinished = "it started and did not end: "
	outOfTime  = "ended from outside by SIGTERM"
)

// bestLine is the line that says most about a failure: a kind that is known,
// else the first that complains, else the last with a place in the source, else
// the first.
func bestLine(lines []string) string {
	if l := strongLine(lines); l != "" {
		return l
	}
	place := ""
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if m := located.FindStringSubmatch(l); m != nil {
			place = l
			l = m[2]
		}
		if complains.MatchString(l) {
			if place != "" && strings.HasSuffix(place, l) {
				return place
			}
			return l
		}
	}
	if place != "" {
		return place
	}
	return strings.TrimSpace(lines[0])
}

// lastWord is what a program said last about why it ended: the last line that
// complains, else the last of its own.
func lastWord(lines []string) string {
	if i := slices.IndexFunc(lines, usage.MatchString); i > 0 {
		lines = lines[:i] // help complains of nothing
	}
	last := ""
	for i := len(lines) - 1; i >= 0 && i >= len(lines)-60; i-- {
		l := strings.TrimSpace(lines[i])
		if initLine.MatchString(lines[i]) {
			continue
		}
		if last == "" {
			last = l
		}
		if goPanic.MatchString(l) || libbpf.MatchString(l) || complains.MatchString(l) {
			return l
		}
	}
	return last
}

var (
	kernelRIP = regexp.MustCompile(`(?m)(?:RIP: 0010:|\bpc : |PC is at )([\w.]+)`)
	// A title that names the function already, chosen with more care.
	inFunction = regexp.MustCompile(` in [\w.$]+$`)
	caller     = regexp.MustCompile(`(?m)^.*Call [Tt]race:?`)
	frame      = regexp.MustCompile(`(?m)^ *(?:\[[^\]\n]*\] *)*([\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+`)
	// What stands at the top of every back trace.
	printsTraces = regexp.MustCompile(`^(dump_stack|show_stack|dump_header|panic|__warn|report_bug|print_|kasan_|check_panic|watchdog_|__die|die|oops_|no_context|page_fault_oops|do_error_trap|asm_|exc_|handle_bug|__schedule|schedule|io_schedule|wait_for_|__mutex|mutex_|rwsem_|down_|__down)`)
)

// kernelReason reads the cause of a kernel that did not get to failing a test.
func kernelReason(k report.Result) reason {
	if k.Cause == nil || strings.TrimSpace(k.Cause.Title) == "" {
		return reason{title: "no reason is known", key: "-", global: true}
	}
	r := newReason(k.Cause.Title, true)
	if r.title == NoBTF {
		return r // whatever its last words were
	}
	excerpt := k.Cause.Excerpt
	if len(excerpt) > maxLooked {
		excerpt = excerpt[:maxLooked]
	}
	switch k.Verdict {
	case report.Missing:
		r.key = k.Cause.Title // one shard is not another
	case report.Crash, report.NoBoot:
		// "NULL pointer dereference" is no bug's name: where it happened is.
		if at := crashedIn(report.Text(excerpt)); at != "" && !inFunction.MatchString(r.title) && !strings.Contains(r.title, at) {
			r.title += " in " + at
			r.key += "|" + normalise(at)
		}
	case report.Fail:
		if words := lastWord(outputLines(k.Cause.Excerpt)); strings.HasPrefix(k.Cause.Title, "the payload: ") && words != "" {
			r.title += ": " + report.OneLine(words, 200)
			r.key += "|" + normalise(words)
		}
	}
	return r
}

// crashedIn is the kernel's function that a crash's report is about; "" when
// it does not tell.
func crashedIn(excerpt string) string {
	if m := kernelRIP.FindStringSubmatch(excerpt); m != nil {
		return trimClone(m[1])
	}
	at := caller.FindStringIndex(excerpt)
	if at == nil {
		return ""
	}
	for _, m := range frame.FindAllStringSubmatch(excerpt[at[1]:], 12) {
		if !printsTraces.MatchString(m[1]) {
			return trimClone(m[1])
		}
	}
	return ""
}

// trimClone takes off what a compiler adds to the name of a function it split.
func trimClone(fn string) string {
	fn, _, _ = strings.Cut(fn, ".")
	return fn
}
