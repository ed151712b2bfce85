// Package screen prints results as lines of text, for a terminal or a job's log:
// each kernel as it is done, what is going on meanwhile, and the summary of a run
// or of a merged result. It bounds what it prints; the report files have
// everything. It owns no verdict and knows nothing of VMs.
package screen

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// Options configure a [Progress].
type Options struct {
	Width   int // of the terminal; 0 for no live display
	Color   bool
	Dir     string // with the results, as the user named it
	Record  string // file in Dir that has everything; report.json if empty
	Total   int    // kernels; 0 if that is not known
	Skipped int    // kernels that are not in Total

	Represented []report.Represented // kernels that are not in Total, since others stand for them
}

// Progress prints a line for each kernel that is done and, on a terminal, what
// is going on below it. Its methods may be called from several goroutines.
type Progress struct {
	out   io.Writer
	opts  Options
	begin time.Time

	seen    map[string]string // the first kernel with a failure or remark, by its key
	details int               // lines printed below the kernels' own

	mu     sync.Mutex
	done   map[string]int   // by word
	bytes  map[string]int64 // downloaded, by id
	active map[string]activity
	drawn  int // live lines on the screen
}

// New returns a Progress that prints to out.
func New(out io.Writer, o Options) *Progress {
	return &Progress{out: out, opts: o, begin: time.Now(), seen: map[string]string{}, done: map[string]int{}, bytes: map[string]int64{}, active: map[string]activity{}}
}

// Begin starts the clock of the summary; New does as well.
func (p *Progress) Begin() { p.begin = time.Now() }

// Note prints a line about a kernel that is not done.
func (p *Progress) Note(tag, id, text string) {
	p.update(func() {
		fmt.Fprintf(p.out, "%s %s  %s\n", p.paint("["+tag+"]", yellow), id, report.OneLine(text, 500))
	})
}

// Result prints the result of a kernel, which took that long.
func (p *Progress) Result(k *report.Result, took time.Duration) {
	p.update(func() {
		delete(p.active, k.ID)
		p.result(k, took)
	})
}

func (p *Progress) result(k *report.Result, took time.Duration) {
	word, color := wordOfKernel(k)
	p.done[word]++
	if k.Reused != nil {
		fmt.Fprintf(p.out, "%s %s  (cached) %s", p.paint("["+word+"]", color), k.ID, report.OneLine(k.Reused.Words(), 500))
	} else {
		fmt.Fprintf(p.out, "%s %s  %s", p.paint("["+word+"]", color), k.ID, seconds(took))
	}
	if parts := phaseTimes(k); parts != "" && k.Reused == nil {
		fmt.Fprintf(p.out, " (%s)", parts)
	}
	if k.Attempts > 1 {
		fmt.Fprintf(p.out, " on attempt %d", k.Attempts)
	}
	if k.Repeats > 1 {
		fmt.Fprintf(p.out, ", %d runs", k.Repeats)
	}
	skipped := 0
	for _, t := range k.Tests {
		if t.Verdict == "skip" {
			skipped++
		}
	}
	if skipped > 0 {
		fmt.Fprintf(p.out, ", %d of %s skipped", skipped, report.Count(len(k.Tests), "test"))
	}
	if words := k.ProgramWords(3); words != "" {
		fmt.Fprintf(p.out, ", %s", words)
	}
	groups := analysis.Groups(&report.Merged{Kernels: []report.Result{*k}})
	as := p.seenOn(groups)
	if as != "" {
		fmt.Fprintf(p.out, ", as on %s", as)
	}
	fmt.Fprintln(p.out)
	p.remarks(k)
	if as == "" {
		p.causes(k, groups)
	}
}

// MaxListed bounds the kernels of a list on the screen.
const MaxListed = 50

// Limits of what is printed in addition to one line for each kernel. The reports
// have the rest.
const (
	maxCauses  = 3   // of one kernel
	maxExcerpt = 6   // lines of one cause
	maxRemarks = 5   // of a kind, of one kernel
	maxDetails = 300 // lines of all kernels
)

// detail prints a line below a kernel's, up to maxDetails.
func (p *Progress) detail(format string, args ...any) {
	if p.details++; p.details > maxDetails {
		if p.details == maxDetails+1 {
			fmt.Fprintf(p.out, "       what follows is one line for each kernel; %s\n", p.rest())
		}
		return
	}
	fmt.Fprintf(p.out, "       "+format+"\n", args...)
}

// rest names the files that have what the screen has no room for.
func (p *Progress) rest() string {
	return fmt.Sprintf("all is in %s and %s", JoinPath(p.opts.Dir, resultsName+"/"), JoinPath(p.opts.Dir, cmp.Or(p.opts.Record, report.ReportName)))
}

// resultsName is the directory of the consoles.
const resultsName = "results"

// seenOn names the kernel below which all of a kernel's failures were printed, or
// returns "".
func (p *Progress) seenOn(groups []analysis.Group) string {
	on := ""
	for _, g := range groups {
		id, ok := p.seen[g.Key]
		if !ok || on != "" && id != on {
			return ""
		}
		on = id
	}
	return on
}

// remarks prints a kernel's notes, except those printed for an earlier kernel.
func (p *Progress) remarks(k *report.Result) {
	say := func(what string, lines []string) {
		said := 0
		for _, s := range lines {
			key := "remark\x00" + what + s
			if p.seen[key] != "" {
				continue
			}
			p.seen[key] = k.ID
			if said++; said <= maxRemarks {
				p.detail("%s%s", what, report.OneLine(s, 300))
			}
		}
		if said > maxRemarks {
			p.detail("%sand %d more", what, said-maxRemarks)
		}
	}
	for _, a := range k.History {
		if a.EmulatorFailed() {
			say("", []string{a.Words()})
		}
	}
	say("module ", k.Modules)
	var splats, flaky []string
	for _, s := range k.Splats {
		splats = append(splats, report.OneLine(s.Title, 300)+" ("+report.OneLine(s.Allowed.Reason, 300)+")")
	}
	for _, f := range k.Flaky {
		flaky = append(flaky, f.Words())
	}
	say("allowed splat: ", splats)
	say("", flaky)
	say("not as expected: ", k.StaleExpectations)
	say("note: ", k.Problems)
	say("note: ", k.LeftBehind())
	if k.FailedAsExpected() {
		say("expected: ", []string{k.ExpectedWords()})
		say("", []string{causeTitle(k)})
	}
}

// causeTitle is a kernel's cause in one line.
func causeTitle(k *report.Result) string {
	if k.Cause == nil {
		return ""
	}
	s := report.OneLine(k.Cause.Title, 500)
	if k.Verdict == report.Crash || k.Verdict == report.Timeout {
		s = k.Verdict.String() + ": " + s
	}
	if k.Cause.Location != "" {
		s += ", at " + report.OneLine(k.Cause.Location, 500)
	}
	return s
}

// causes prints why a kernel failed. A cause that no earlier kernel had comes with
// the beginning of its excerpt.
func (p *Progress) causes(k *report.Result, groups []analysis.Group) {
	if len(groups) == 0 {
		return
	}
	if k.Cause != nil {
		p.detail("%s", causeTitle(k))
	}
	for i, g := range groups {
		if g.Verdict == report.Pass { // a stale expectation, printed above
			p.seen[g.Key] = k.ID
			continue
		}
		if i == maxCauses {
			tests := 0
			for _, g := range groups[i:] {
				tests += len(g.Tests)
			}
			more := report.Count(len(groups)-i, "more failure")
			if tests > 0 {
				more += " of " + report.Count(tests, "test")
			}
			p.detail("and %s; %s", more, p.rest())
			break
		}
		id, seen := p.seen[g.Key]
		if len(g.Tests) > 0 {
			name := report.OneLine(g.Tests[0], 200)
			if n := len(g.Tests) - 1; n > 0 {
				name += " and " + report.Count(n, "more test")
			}
			at := slices.IndexFunc(k.Tests, func(t report.Test) bool { return t.Name == g.Tests[0] })
			if at >= 0 && k.Tests[at].Duration > 0 && len(g.Tests) == 1 {
				name += " (" + seconds(k.Tests[at].Duration) + ")"
			}
			if seen {
				name += ", as on " + id
			}
			p.detail("--- FAIL: %s", name)
		} else if n := len(g.Programs); n > 0 && !(n == 1 && k.Cause != nil && strings.HasPrefix(k.Cause.Title, g.Programs[0]+": ")) {
			programs := report.List(g.Programs, 3, func(s string) string { return report.OneLine(s, 200) })
			p.detail("--- %s: %s: %s", strings.ToUpper(g.Verdict.String()), programs, report.OneLine(g.Title, 300))
		}
		if !seen {
			p.seen[g.Key] = k.ID
			p.indent(g.Excerpt)
		}
	}
	for _, g := range groups {
		if _, ok := p.seen[g.Key]; !ok {
			p.seen[g.Key] = k.ID
		}
	}
	if k.Facts != nil {
		missing := maps.Clone(k.Facts.Targets)
		maps.DeleteFunc(missing, func(_ string, has bool) bool { return has })
		if len(missing) > 0 {
			p.detail("not in this kernel's BTF: %s", report.OneLine(strings.Join(slices.Sorted(maps.Keys(missing)), ", "), 300))
		}
	}
	if k.Console != "" {
		p.detail("console: %s", JoinPath(p.opts.Dir, report.OneLine(k.Console, 500)))
	}
}

// wordOfKernel returns the word and color of a result.
func wordOfKernel(k *report.Result) (string, ansi) {
	switch {
	case len(k.StaleExpectations) > 0 && (k.Verdict == report.Pass || !k.Verdict.Tested()):
		return "STALE", red
	case k.FailedAsExpected():
		return "XFAIL", yellow
	}
	return wordOf(k.Verdict)
}

// Repeated prints the result of one of several runs of a kernel.
func (p *Progress) Repeated(id string, run int, k report.Result) {
	p.update(func() { p.repeated(id, run, k) })
}

func (p *Progress) repeated(id string, run int, k report.Result) {
	word, color := wordOf(k.Verdict)
	fmt.Fprintf(p.out, "%s %s  run %d, %s", p.paint("["+word+"]", color), id, run, seconds(time.Duration(k.Phases["vm"])))
	if k.Attempts > 1 {
		fmt.Fprintf(p.out, " on attempt %d", k.Attempts)
	}
	if k.Cause != nil {
		fmt.Fprintf(p.out, "  %s", report.OneLine(k.Cause.Title, 500))
	}
	fmt.Fprintln(p.out)
}

// wordOf returns the word and color of a verdict.
func wordOf(v report.Verdict) (string, ansi) {
	switch {
	case v == report.Pass:
		return "PASS", green
	case v.Tested():
		return "FAIL", red
	default:
		return strings.ToUpper(strings.ReplaceAll(v.String(), "-", "")), yellow
	}
}

// JoinPath returns the shortest path of a file in dir.
func JoinPath(dir, name string) string {
	if dir == "." || dir == "" {
		return name
	}
	return strings.TrimSuffix(dir, "/") + "/" + name
}

// indent prints the beginning of a guest's text.
func (p *Progress) indent(s string) {
	if strings.TrimSpace(s) == "" {
		return
	}
	const width = 300
	lines := strings.Split(strings.Trim(report.Text(s), "\n"), "\n")
	for i, line := range lines {
		if i == maxExcerpt && len(lines) > maxExcerpt+1 {
			p.detail("| ... %s more", report.Count(len(lines)-i, "line"))
			return
		}
		if len(line) > width {
			line = strings.ToValidUTF8(line[:width], "") + "..."
		}
		p.detail("| %s", line)
	}
}

// phaseTimes says where a kernel's time went.
func phaseTimes(k *report.Result) string {
	var parts []string
	for _, name := range []string{"save", "boot", "load", "test"} {
		if ns, ok := k.Phases[name]; ok {
			if name == "boot" && k.Boot == "warm" {
				name = "warm boot"
			}
			parts = append(parts, name+" "+seconds(time.Duration(ns)))
		}
	}
	if strings.HasPrefix(k.Boot, "cold after ") {
		parts = append(parts, "booted "+k.Boot)
	}
	return strings.Join(parts, ", ")
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

type ansi string

const (
	red    ansi = "\x1b[31m"
	green  ansi = "\x1b[32m"
	yellow ansi = "\x1b[33m"
)

func (p *Progress) paint(s string, c ansi) string {
	if !p.opts.Color {
		return s
	}
	return string(c) + s + "\x1b[0m"
}

// Size prints a number of bytes; "-" if it is not known.
func Size(n int64) string {
	if n <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
