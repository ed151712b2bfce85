package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// progress prints a line for each kernel that is done and, on a terminal,
// below them what is going on.
type progress struct {
	out   io.Writer
	width int // of the terminal; 0: no terminal
	color bool
	dir   string
	total int
	begin time.Time

	skipped int // kernels that are not among the total

	record  string            // file that has all results; empty: report.json
	seen    map[string]string // the first kernel with a failure or remark, by its key
	details int               // lines printed below the kernels' own

	mu     sync.Mutex
	done   map[string]int   // by word
	bytes  map[string]int64 // downloaded, by id
	active map[string]activity
	drawn  int // live lines on the screen
}

type activity struct {
	what  string
	of    int64 // bytes to download, 0 where none came yet
	since time.Time
}

// fetched takes the cache's news of a download.
func (p *progress) fetched(ref kernel.Ref, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes[ref.ID()] = max(p.bytes[ref.ID()], done)
	if a, ok := p.active[ref.ID()]; ok {
		a.of = total
		p.active[ref.ID()] = a
	}
}

// downloads says how much was downloaded, "" for nothing.
func (p *progress) downloads() string {
	if len(p.bytes) == 0 {
		return ""
	}
	var sum int64
	for _, n := range p.bytes {
		sum += n
	}
	return fmt.Sprintf("downloaded %s for %s", size(sum), count(len(p.bytes), "kernel"))
}

func newProgress(out io.Writer, getenv func(string) string, total int, dir string) *progress {
	p := &progress{out: out, total: total, dir: dir, begin: time.Now(), seen: map[string]string{}, done: map[string]int{}, bytes: map[string]int64{}, active: map[string]activity{}}
	if f := terminal(out); f != nil && getenv("TERM") != "dumb" && getenv("CI") == "" {
		p.width = 80
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			p.width = w
		}
		p.color = getenv("NO_COLOR") == ""
	}
	return p
}

// start keeps the live lines fresh until the returned function is called.
func (p *progress) start() (stop func()) {
	if p.width == 0 {
		return func() {}
	}
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				p.mu.Lock()
				p.erase()
				p.mu.Unlock()
				return
			case <-tick.C:
				p.mu.Lock()
				p.erase()
				p.draw()
				p.mu.Unlock()
			}
		}
	}()
	return func() { close(quit); <-gone }
}

// event takes the runner's news.
func (p *progress) event(e shard.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	switch e.State {
	case shard.Fetching:
		p.active[e.ID] = activity{what: "fetching", since: time.Now()}
	case shard.Waiting:
		delete(p.active, e.ID)
	case shard.Booting:
		p.active[e.ID] = activity{what: "in its VM", since: time.Now()}
	case shard.Retrying:
		fmt.Fprintf(p.out, "%s %s  %s\n", p.paint("[RETRY]", yellow), e.ID, report.OneLine(e.Reason, 500))
	case shard.Emulating:
		fmt.Fprintf(p.out, "%s %s  KVM is given up, all VMs of this run are emulated: %s\n", p.paint("[TCG]", yellow), e.ID, report.OneLine(e.Reason, 500))
	case shard.Done:
		delete(p.active, e.ID)
		p.result(e)
	}
	p.draw()
}

func (p *progress) result(e shard.Event) {
	k := e.Result
	word, color := wordOfKernel(&k)
	p.done[word]++
	if k.Reused != nil {
		fmt.Fprintf(p.out, "%s %s  (cached) %s", p.paint("["+word+"]", color), k.ID, report.OneLine(k.Reused.Words(), 500))
	} else {
		fmt.Fprintf(p.out, "%s %s  %s", p.paint("["+word+"]", color), k.ID, seconds(e.Took))
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
		fmt.Fprintf(p.out, ", %d of %s skipped", skipped, count(len(k.Tests), "test"))
	}
	groups := report.Groups(&report.Merged{Kernels: []report.Kernel{k}})
	as := p.seenOn(groups)
	if as != "" {
		fmt.Fprintf(p.out, ", as on %s", as)
	}
	fmt.Fprintln(p.out)
	p.remarks(&k)
	if as == "" {
		p.causes(&k, groups)
	}
}

// Limits of what is printed beside one line for each kernel. The reports have
// the rest.
const (
	maxCauses  = 3   // of one kernel
	maxExcerpt = 6   // lines of one cause
	maxRemarks = 5   // of a kind, of one kernel
	maxDetails = 300 // lines of all kernels
	maxListed  = 50  // kernels of a list
)

// detail prints a line below a kernel's, as long as there is room for it.
func (p *progress) detail(format string, args ...any) {
	if p.details++; p.details > maxDetails {
		if p.details == maxDetails+1 {
			fmt.Fprintf(p.out, "       what follows is one line for each kernel; %s\n", p.rest())
		}
		return
	}
	fmt.Fprintf(p.out, "       "+format+"\n", args...)
}

// rest says where everything stands that the screen has no room for.
func (p *progress) rest() string {
	return fmt.Sprintf("all is in %s and %s", joinPath(p.dir, resultsName+"/"), joinPath(p.dir, cmp.Or(p.record, report.ReportName)))
}

// resultsName is the directory of the consoles.
const resultsName = "results"

// seenOn names the kernel below which all of a kernel's failures stand already,
// "" when there is none such.
func (p *progress) seenOn(groups []report.Group) string {
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

// remarks print what a kernel's result says beside its failures. What other
// kernels said before is not said again.
func (p *progress) remarks(k *report.Kernel) {
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
	var emulator []string
	for _, a := range k.History {
		if a.EmulatorFailed() {
			emulator = append(emulator, a.Words())
		}
	}
	say("", emulator)
	say("module ", k.Modules)
	var splats, flaky []string
	for _, s := range k.Splats {
		splats = append(splats, fmt.Sprintf("%s (%s)", report.OneLine(s.Title, 300), report.OneLine(s.Allowed.Reason, 300)))
	}
	for _, f := range k.Flaky {
		flaky = append(flaky, f.Words())
	}
	say("allowed splat: ", splats)
	say("", flaky)
	say("not as expected: ", k.Surprises)
	say("note: ", k.Problems)
	if k.Forgiven() {
		say("expected: ", []string{k.ExpectedWords()})
		say("", []string{causeTitle(k)})
	}
}

// causeTitle is a kernel's cause in one line.
func causeTitle(k *report.Kernel) string {
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

// causes print why a kernel failed, each cause that no kernel had before with
// the beginning of what was said.
func (p *progress) causes(k *report.Kernel, groups []report.Group) {
	if len(groups) == 0 {
		return
	}
	if k.Cause != nil {
		p.detail("%s", causeTitle(k))
	}
	for i, g := range groups {
		if g.Verdict == report.Pass { // a stale expectation, which is said above
			p.seen[g.Key] = k.ID
			continue
		}
		if i == maxCauses {
			tests := 0
			for _, g := range groups[i:] {
				tests += len(g.Tests)
			}
			p.detail("and %d more failures of %s; %s", len(groups)-i, count(tests, "test"), p.rest())
			break
		}
		id, seen := p.seen[g.Key]
		if len(g.Tests) > 0 {
			name := report.OneLine(g.Tests[0], 200)
			if n := len(g.Tests) - 1; n > 0 {
				name += " and " + count(n, "more test")
			}
			if took := tookOf(k, g.Tests[0]); took > 0 && len(g.Tests) == 1 {
				name += " (" + seconds(took) + ")"
			}
			if seen {
				name += ", as on " + id
			}
			p.detail("--- FAIL: %s", name)
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
		var missing []string
		for t, has := range k.Facts.Targets {
			if !has {
				missing = append(missing, t)
			}
		}
		if slices.Sort(missing); len(missing) > 0 {
			p.detail("not in this kernel's BTF: %s", report.OneLine(strings.Join(missing, ", "), 300))
		}
	}
	if k.Console != "" {
		p.detail("console: %s", joinPath(p.dir, report.OneLine(k.Console, 500)))
	}
}

func tookOf(k *report.Kernel, test string) time.Duration {
	for _, t := range k.Tests {
		if t.Name == test {
			return t.Duration
		}
	}
	return 0
}

// wordOfKernel is how a result is printed.
func wordOfKernel(k *report.Kernel) (string, ansi) {
	switch {
	case len(k.Surprises) > 0 && (k.Verdict == report.Pass || !k.Verdict.Tested()):
		return "STALE", red
	case k.Forgiven():
		return "XFAIL", yellow
	}
	return wordOf(k.Verdict)
}

// repeated tells of one of several runs of a kernel.
func (p *progress) repeated(id string, repeat int, k report.Kernel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	word, color := wordOf(k.Verdict)
	fmt.Fprintf(p.out, "%s %s  run %d, %s", p.paint("["+word+"]", color), id, repeat, seconds(time.Duration(k.Phases["vm"])))
	if k.Attempts > 1 {
		fmt.Fprintf(p.out, " on attempt %d", k.Attempts)
	}
	if k.Cause != nil {
		fmt.Fprintf(p.out, "  %s", report.OneLine(k.Cause.Title, 500))
	}
	fmt.Fprintln(p.out)
	p.draw()
}

// wordOf is how a verdict is printed.
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

func joinPath(dir, name string) string {
	if dir == "." || dir == "" {
		return name
	}
	return strings.TrimSuffix(dir, "/") + "/" + name
}

// indent prints the beginning of a guest's text.
func (p *progress) indent(s string) {
	if strings.TrimSpace(s) == "" {
		return
	}
	lines := strings.Split(strings.Trim(report.Text(s), "\n"), "\n")
	for i, line := range lines {
		if i == maxExcerpt && len(lines) > maxExcerpt+1 {
			p.detail("| ... %s more", count(len(lines)-i, "line"))
			return
		}
		p.detail("| %s", cutLine(line))
	}
}

// cutLine keeps a line from filling the screen.
func cutLine(s string) string {
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// phaseTimes says where a kernel's time went.
func phaseTimes(k report.Kernel) string {
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

// end prints the last line.
func (p *progress) end(o report.Outcome, results []report.Kernel) {
	line := fmt.Sprintf("%d passed, %d failed", o.Passed, o.Failed) + restOf(o.Counts)
	if n, _ := report.ReusedOf(results); n > 0 {
		line += fmt.Sprintf(", %d of them cached", n)
	}
	if p.skipped > 0 {
		line += fmt.Sprintf(", %d skipped", p.skipped)
	}
	if d := p.downloads(); d != "" {
		fmt.Fprintf(p.out, "\n%s", d)
	}
	if groups := report.Groups(&report.Merged{Kernels: results}); onKernels(groups) > 1 { // of one, all is said above
		fmt.Fprintln(p.out)
		p.failures(groups, nil)
	}
	fmt.Fprintf(p.out, "\n%s in %s; summary in %s\n", line, seconds(time.Since(p.begin)), joinPath(p.dir, report.SummaryName))
	for _, k := range results { // the others have a line of their own
		if k.Verdict == report.Missing && k.Cause != nil {
			fmt.Fprintf(p.out, "not tested: %s\n", report.OneLine(k.Cause.Title, 500))
			break
		}
	}
	p.lookInto(results)
}

// onKernels counts the kernels of all groups.
func onKernels(groups []report.Group) int {
	kernels := map[string]bool{}
	for _, g := range groups {
		for _, id := range g.Kernels {
			kernels[id] = true
		}
	}
	return len(kernels)
}

// failures print each failure once with its kernels, numbered as in the
// reports, and where a console is that shows it, by kernel.
func (p *progress) failures(groups []report.Group, consoles map[string]string) {
	const most = 10 // failures
	fmt.Fprintf(p.out, "%s on %s:\n", count(len(groups), "failure"), count(onKernels(groups), "kernel"))
	for i, g := range groups {
		if i == most {
			fmt.Fprintf(p.out, "  and %d more; %s\n", len(groups)-i, p.rest())
			break
		}
		fmt.Fprintf(p.out, "  %d. %s: %s\n", i+1, report.OneLine(g.Words(), 500), report.OneLine(g.Title, 300))
		if !g.Verdict.Tested() {
			g.Boundaries = nil // nothing is known of these kernels
		}
		for j, b := range g.Boundaries {
			if j == maxRemarks {
				fmt.Fprintf(p.out, "     and on %d more distributions\n", len(g.Boundaries)-j)
				break
			}
			fmt.Fprintf(p.out, "     %s\n", report.OneLine(b.Words(), 500))
		}
		if len(g.Boundaries) == 0 {
			fmt.Fprintf(p.out, "     %s\n", namesOf(g.Kernels, 4))
		}
		if c := consoles[g.Example]; c != "" {
			fmt.Fprintf(p.out, "     console: %s\n", joinPath(p.dir, report.OneLine(c, 500)))
		}
	}
}

// namesOf names a few of a list.
func namesOf(ids []string, most int) string {
	s := strings.Join(ids[:min(len(ids), most)], ", ")
	if n := len(ids) - most; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

// lookInto says how to look into the first kernels that failed.
func (p *progress) lookInto(results []report.Kernel) {
	const most = 3
	n := 0
	for _, k := range results {
		if !k.Verdict.Tested() && k.Verdict != report.NoBoot || k.Verdict == report.Pass || k.Reproduce == "" {
			continue // a kernel that could not be had has no shell
		}
		if n++; n > most {
			continue
		}
		if n == 1 {
			fmt.Fprintln(p.out, "a shell in a kernel that did not pass:")
		}
		fmt.Fprintf(p.out, "  %s\n", report.Command("--from", cmp.Or(p.dir, "."), k.ID))
	}
}

func (p *progress) erase() {
	if p.drawn > 0 {
		_ = raw(p.out, fmt.Sprintf("\x1b[%dA\x1b[J", p.drawn)) // as for all that is printed
		p.drawn = 0
	}
}

// raw writes what moves the cursor.
func raw(w io.Writer, s string) error {
	if l, ok := w.(*github.Log); ok {
		return l.Raw(s)
	}
	_, err := io.WriteString(w, s)
	return err
}

const maxLive = 12 // lines of the live display

func (p *progress) draw() {
	if p.width == 0 {
		return
	}
	n := 0
	for _, c := range p.done {
		n += c
	}
	head := fmt.Sprintf("%d of %d done, %s", n, p.total, time.Since(p.begin).Round(time.Second))
	if d := p.downloads(); d != "" {
		head += ", " + d
	}
	lines := []string{head}
	ids := make([]string, 0, len(p.active))
	for id := range p.active {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids[:min(len(ids), maxLive)] {
		a := p.active[id]
		what := a.what
		if a.of > 0 {
			what += fmt.Sprintf(" %s of %s", size(p.bytes[id]), size(a.of))
		}
		lines = append(lines, fmt.Sprintf("  %s  %s, %s", id, what, time.Since(a.since).Round(time.Second)))
	}
	for _, l := range lines {
		if len(l) >= p.width {
			l = l[:p.width-1]
		}
		fmt.Fprintln(p.out, l)
	}
	p.drawn = len(lines)
}

type ansi string

const (
	red    ansi = "\x1b[31m"
	green  ansi = "\x1b[32m"
	yellow ansi = "\x1b[33m"
)

func (p *progress) paint(s string, c ansi) string {
	if !p.color {
		return s
	}
	return string(c) + s + "\x1b[0m"
}
