package main

import (
	"cmp"
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"
	"golang.org/x/sync/errgroup"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/bisect"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// listBisection bisects kernels of sources.
type listBisection struct {
	*bisection
	index    string // file; "": none
	forecast *shard.Forecast
}

// kernelLine are the kernels that succeed one another, from old to new.
type kernelLine struct {
	name      string
	entries   []plan.Entry
	good, bad int // places; -1: not given
}

func (c *command) bisectList(ctx context.Context, o *bisectOptions, args []string) error {
	if len(o.make) > 0 {
		return usagef("--make goes with --src: give both")
	}
	specs, err := o.src.specs(args, "no kernels to bisect")
	if err != nil {
		return err
	}
	accel, err := c.checkRun(&o.run, o.payload)
	if err != nil {
		return err
	}
	x, err := openIndex(o.index)
	if err != nil {
		return err
	}
	defer x.Close()
	x.OnDamage(func(err error) { c.warn("--index: " + err.Error()) })
	ctx, cancel := o.run.limits.within(ctx, o.run.started)
	defer cancel()
	payload, err := c.readPayload(ctx, o.payload, o.run.arch, o.run.limits.payload)
	if err != nil {
		return cmp.Or(c.timeUp(ctx, err), err)
	}
	srcs, err := c.sources(specs, payload.arch)
	if err != nil {
		return err
	}
	list, err := plan.Select(ctx, srcs, c.filter(&o.src, payload.arch))
	if err != nil {
		c.printSkipped(c.stderr, list)
		return cmp.Or(c.timeUp(ctx, err), err)
	}
	if list.ForArch(payload.arch) == 0 {
		return notForArch(payload)
	}
	c.noteKinds(list)
	lines, err := bisectLines(list.Entries, o.good, o.bad)
	if err != nil {
		return err
	}
	b := &listBisection{bisection: c.newBisection(o), index: o.index}
	o.run.bisect = b.run(func(ctx context.Context) error {
		b.forecast = b.runner.Forecast(x)
		var ends []bisect.End
		for _, l := range lines {
			end, err := b.search(ctx, l)
			if err != nil {
				return err
			}
			ends = append(ends, end)
		}
		return bisectCode(ends)
	})
	return c.test(ctx, o.run, accel, payload, list)
}

// bisectLines sorts kernels into lines. What is given as good or bad chooses its
// own.
func bisectLines(entries []plan.Entry, good, bad string) (lines []kernelLine, err error) {
	of := map[string][]plan.Entry{}
	for _, e := range entries {
		name := analysis.Line(e.ID())
		of[name] = append(of[name], e)
	}
	names := slices.Sorted(maps.Keys(of))
	for _, given := range []struct {
		flag string
		id   *string
	}{{"--good", &good}, {"--bad", &bad}} {
		if *given.id == "" {
			continue
		}
		if *given.id, err = kernelMeant(entries, given.flag, *given.id); err != nil {
			return nil, err
		}
		name := analysis.Line(*given.id)
		if !slices.Contains(names, name) {
			return nil, usagef("--good %s is of %s, and --bad %s of %s: want two of one distribution and flavour", good, names[0], bad, name)
		}
		names = []string{name}
	}
	if good != "" && good == bad {
		return nil, usagef("--good and --bad are both %s: want two kernels", good)
	}
	for _, name := range names {
		l := kernelLine{name: name, entries: of[name]}
		slices.SortFunc(l.entries, func(a, b plan.Entry) int { return analysis.CompareKernels(a.ID(), b.ID()) })
		place := func(id string) int {
			return slices.IndexFunc(l.entries, func(e plan.Entry) bool { return e.ID() == id })
		}
		l.good, l.bad = place(good), place(bad)
		if l.good >= 0 && l.bad >= 0 { // the others do not matter
			l.entries = l.entries[min(l.good, l.bad) : max(l.good, l.bad)+1]
			l.good, l.bad = place(good), place(bad)
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// kernelMeant returns the id of the one kernel that a flag names.
func kernelMeant(entries []plan.Entry, flag, what string) (string, error) {
	if err := report.CheckKernelGlob(what); err != nil {
		return "", usagef("%s: %w", flag, err)
	}
	var ids, meant []string
	for _, e := range entries {
		ids = append(ids, e.ID())
		if report.MatchKernel([]string{what, what + "__*"}, e.ID()) {
			meant = append(meant, e.ID())
		}
	}
	switch len(meant) {
	case 1:
		return meant[0], nil
	case 0:
		near := func(id string) int {
			_, name := report.SplitID(id)
			return max(alike(what, id), alike(what, name))
		}
		slices.SortStableFunc(ids, func(a, b string) int { return near(b) - near(a) })
		return "", usagef("%s %q is none of the kernels: name one of %s", flag, what, someOf(ids))
	}
	return "", usagef("%s %q means %d kernels: name one of %s", flag, what, len(meant), someOf(meant))
}

// bisectCode is the exit code of bisect, as an error; nil: found.
func bisectCode(ends []bisect.End) error {
	switch {
	case slices.ContainsFunc(ends, func(e bisect.End) bool { return e != bisect.Alike && e != bisect.Found }):
		return exitError(report.ExitNotTested)
	case slices.Contains(ends, bisect.Found):
		return nil
	}
	return exitError(report.ExitFail)
}

// search bisects a line and says what came of it.
func (b *listBisection) search(ctx context.Context, l kernelLine) (bisect.End, error) {
	b.say("%s of %s, from %s to %s", count(len(l.entries), "kernel"), l.name, l.entries[0].ID(), l.entries[len(l.entries)-1].ID())
	s := &bisect.Bisection{Kernels: b.look(ctx, l.entries), Good: l.good, Bad: l.bad, MaxBoots: b.maxBoots}
	s.Boot = func(ctx context.Context, at int) (bisect.Outcome, error) {
		kernels, boots := s.Left()
		b.say("\nboot %d of about %d, %s left: %s", s.Boots+1, s.Boots+boots, count(kernels, "kernel"), l.entries[at].ID())
		return b.boot(ctx, l.entries[at])
	}
	end, err := s.Run(ctx)
	if err == nil || s.Low >= 0 {
		b.tell(context.WithoutCancel(ctx), l, s, end)
	}
	return end, err
}

// look says what preflight knows of kernels.
func (b *listBisection) look(ctx context.Context, entries []plan.Entry) []bisect.Kernel {
	known := make([]bisect.Kernel, len(entries))
	if !b.forecast.Possible() {
		return known
	}
	var looking errgroup.Group
	looking.SetLimit(max(1, b.runner.Jobs))
	for i, e := range entries {
		looking.Go(func() error {
			if k := b.forecast.Kernel(ctx, e); k != nil {
				known[i].Word, known[i].Kind = b.forecast.Of(k)
			}
			return nil
		})
	}
	_ = looking.Wait() // none fails
	n := 0
	for _, k := range known {
		if k.Word != "" {
			n++
		}
	}
	b.say("preflight knows %d of them", n)
	return known
}

// tell prints what came of a line.
func (b *listBisection) tell(ctx context.Context, l kernelLine, s *bisect.Bisection, end bisect.End) {
	id := func(i int) string { return l.entries[i].ID() }
	does := [...]string{bisect.Good: "passes", bisect.Bad: "fails"}
	switch {
	case end == bisect.NotAsGiven && l.good >= 0 && l.bad >= 0 && s.Outcomes[l.good] == bisect.Bad && s.Outcomes[l.bad] == bisect.Good:
		b.say("\n--good %s fails, and --bad %s passes: is it the other way round?", id(l.good), id(l.bad))
		return
	case end == bisect.NotAsGiven && l.good >= 0 && s.Outcomes[l.good] != bisect.Good:
		b.tellNotAsGiven("--good", id(l.good))
		return
	case end == bisect.NotAsGiven:
		b.tellNotAsGiven("--bad", id(l.bad))
		return
	case end == bisect.Alike:
		b.say("\n%s: nothing to find: %s %s, and so does %s", l.name, id(s.Low), does[s.Outcomes[s.Low]], id(s.High))
		if s.Outcomes[s.Low] == bisect.Bad {
			b.tellFailures(l.has, id(s.High))
		}
		return
	}
	why := map[bisect.End]string{
		bisect.NotNarrowed: "the others could not be tested", bisect.TooMany: "--max-boots ends the search", bisect.Unfinished: "the search was ended",
	}[end]
	if s.Low < 0 {
		b.say("\n%s: no two kernels are known that differ: %s", l.name, why)
		return
	}
	what, bad := "broke", s.High
	if s.Outcomes[s.Low] == bisect.Bad {
		what, bad = "mended", s.Low
	}
	low, high := l.entries[s.Low], l.entries[s.High]
	if end == bisect.Found {
		b.say("\n%s: %s is the kernel that %s it (%s of %s)", l.name, high.ID(), what, count(s.Boots, "boot"), count(len(l.entries), "kernel"))
	} else {
		b.say("\n%s: one of the %s after %s %s it: %s", l.name, count(s.High-s.Low, "kernel"), low.ID(), what, why)
	}
	for _, i := range []int{s.Low, s.High} {
		b.say("  %-6s %s", does[s.Outcomes[i]], id(i))
	}
	b.tellFailures(l.has, id(bad))
	changed := b.tellDifference(ctx, low, high)
	b.tellChangelog(ctx, low, high, changed)
	if b.index != "" {
		b.say("all that changed between them for BPF programs:\n  %s", shellquote.Join("bpf-kernel-check", "index", "diff", "--index", b.index, low.ID(), high.ID()))
	}
	b.tellCommands(low, high)
}

func (l *kernelLine) has(id string) bool { return analysis.Line(id) == l.name }

// tellDifference says what changed from one kernel to the next for the payload, and
// returns the names in it.
func (b *listBisection) tellDifference(ctx context.Context, low, high plan.Entry) (names []string) {
	if !b.forecast.Possible() {
		b.say("what changed for the payload is not known: no BPF objects were found in it")
		return nil
	}
	x, y := b.forecast.Kernel(ctx, low), b.forecast.Kernel(ctx, high)
	if x == nil || y == nil {
		b.say("what changed for the payload is not known: the kernels cannot be read")
		return nil
	}
	d := b.forecast.Difference(x, y)
	if len(d.Changes) == 0 {
		b.say("preflight knows of nothing that changed for the payload")
		return nil
	}
	b.say("what changed for the payload:")
	for _, line := range d.Lines(10) {
		b.say("  %s", line)
	}
	for _, c := range d.Changes {
		names = append(names, c.Name)
	}
	return names
}

// concerning are words of changes that may concern BPF programs.
var concerning = regexp.MustCompile(`(?i)\b(e?bpf|btf|xdp|libbpf|pahole|ftrace|fprobe|kprobes?|tracepoints?|tracing)\b`)

// tellChangelog prints the changelog between two kernels, as far as the package of
// the newer has it: first what has one of some names.
func (b *listBisection) tellChangelog(ctx context.Context, low, high plan.Entry, names []string) {
	_, after, _ := strings.Cut(low.Name, "__")
	_, upTo, _ := strings.Cut(high.Name, "__")
	if after == "" || !slices.Contains([]string{"debian", "ubuntu"}, high.Distro) {
		return
	}
	im, err := high.Source.Open(ctx, high.Ref)
	var c kernel.Changes
	if err == nil {
		c, err = im.ReadChangelog(ctx, after, upTo)
	}
	switch {
	case err != nil:
		b.warn(err.Error())
		return
	case len(c.Versions) == 0:
		b.say("changelog: the package of %s has none that goes back to %s", high.ID(), after)
		return
	}
	naming := mentioning(names)
	var named, others []string
	for _, line := range c.Lines {
		if naming.MatchString(line) {
			named = append(named, line)
		} else if concerning.MatchString(line) {
			others = append(others, line)
		}
	}
	found := append(named, others...)
	b.say("changelog of %s, %s to %s: %s, %d of BPF and tracing", high.Distro, c.Versions[len(c.Versions)-1], c.Versions[0], count(len(c.Lines), "change"), len(found))
	const most = 10
	for _, line := range found[:min(len(found), most)] {
		b.say("  %s", report.OneLine(line, 200))
	}
	if len(found) > most {
		b.say("  and %d more", len(found)-most)
	}
}

// mentioning matches text that has a word of dependencies' names, such as "struct
// task_struct.state". Short and common words say nothing.
func mentioning(names []string) *regexp.Regexp {
	var words []string
	for _, name := range names {
		for _, w := range regexp.MustCompile(`\w+`).FindAllString(name, -1) {
			if len(w) > 4 && w != "struct" && w != "union" {
				words = append(words, w)
			}
		}
	}
	if len(words) == 0 {
		return regexp.MustCompile(`$.`) // nothing
	}
	return regexp.MustCompile(`\b(` + strings.Join(words, "|") + `)\b`)
}
