package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
	"github.com/elastic/bpf-kernel-check/report/merge"
	"github.com/elastic/bpf-kernel-check/report/screen"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/bisect"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

// bisection is one call of bisect.
type bisection struct {
	*command
	lines     []kernelLine
	good, bad int // places in the only line; -1: not given
	maxBoots  int
	index     *index.Index
	indexPath string

	runner   *shard.Runner
	ui       *screen.Progress
	forecast shard.Forecast
	results  map[string]report.Result // by id
}

// bisectLines sorts kernels into lines. Those that are given choose theirs, and get
// their ids.
func bisectLines(entries []plan.Entry, o *bisectOptions) ([]kernelLine, error) {
	of := map[string][]plan.Entry{}
	for _, e := range entries {
		line := analysis.Line(e.ID())
		of[line] = append(of[line], e)
	}
	chosen := ""
	for _, x := range []struct {
		flag string
		what *string
	}{{"--good", &o.good}, {"--bad", &o.bad}} {
		if *x.what == "" {
			continue
		}
		e, err := meant(entries, x.flag, *x.what)
		if err != nil {
			return nil, err
		}
		*x.what = e.ID()
		switch line := analysis.Line(e.ID()); {
		case chosen != "" && line != chosen:
			return nil, usagef("--good %s is of %s, and --bad %s of %s: want two of one distribution and flavour", o.good, chosen, o.bad, line)
		default:
			chosen = line
		}
	}
	if o.good != "" && o.good == o.bad {
		return nil, usagef("--good and --bad are both %s: want two kernels", o.good)
	}
	var lines []kernelLine
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if chosen != "" && name != chosen {
			continue
		}
		slices.SortFunc(of[name], func(a, b plan.Entry) int { return analysis.CompareKernels(a.ID(), b.ID()) })
		lines = append(lines, kernelLine{name, of[name]})
	}
	return lines, nil
}

// run bisects each line and reports what was booted.
func (b *bisection) run(ctx context.Context, r *shard.Runner, ui *screen.Progress) error {
	b.runner, b.ui = r, ui
	b.forecast = shard.NewForecast(r.Payload, r.BTF, r.Arch.Name)
	started := time.Now()
	var ends []bisect.End
	var tell []func()
	var err error
	for _, l := range b.lines {
		s := b.search(ctx, l)
		var end bisect.End
		end, err = s.Run(ctx)
		ends = append(ends, end)
		if err == nil || s.Low >= 0 {
			tell = append(tell, func() { b.tell(context.WithoutCancel(ctx), l, s, end) })
		}
		if err != nil {
			break
		}
	}
	if len(b.results) == 0 {
		return err
	}
	if rerr := b.report(started); rerr != nil && err == nil {
		err = rerr
	}
	for _, t := range tell {
		fmt.Fprintln(b.stdout)
		t()
	}
	fmt.Fprintf(b.stdout, "\n%s booted; their report is in %s\n", count(len(b.results), "kernel"), screen.JoinPath(b.dir(), "report.html"))
	if err != nil {
		return err
	}
	return bisectCode(ends)
}

// bisectCode is the exit code of bisect, as an error; nil: found.
func bisectCode(ends []bisect.End) error {
	code := report.ExitFail
	for _, e := range ends {
		switch e {
		case bisect.Alike:
		case bisect.Found:
			code = min(code, report.ExitPass)
		default:
			return exitError(report.ExitNotTested)
		}
	}
	if code == report.ExitPass {
		return nil
	}
	return exitError(code)
}

// search is the bisection of a line.
func (b *bisection) search(ctx context.Context, l kernelLine) *bisect.Bisection {
	fmt.Fprintf(b.stdout, "%s of %s, from %s to %s\n", count(len(l.entries), "kernel"), l.name, l.entries[0].ID(), l.entries[len(l.entries)-1].ID())
	s := &bisect.Bisection{Kernels: b.look(ctx, l.entries), Good: b.good, Bad: b.bad, MaxBoots: b.maxBoots}
	s.Boot = func(ctx context.Context, at ...int) ([]bisect.Outcome, error) {
		var entries []plan.Entry
		var ids []string
		for _, i := range at {
			entries, ids = append(entries, l.entries[i]), append(ids, l.entries[i].ID())
		}
		number := fmt.Sprintf("boot %d", s.Boots+1)
		if len(at) > 1 {
			number = fmt.Sprintf("boots %d and %d", s.Boots+1, s.Boots+2)
		}
		fmt.Fprintf(b.stdout, "\n%s of about %d, %s left: %s\n", number, max(s.Boots+len(at), s.About()), count(s.Left(), "kernel"), strings.Join(ids, " and "))
		if err := b.boot(ctx, entries); err != nil {
			return nil, err
		}
		var outcomes []bisect.Outcome
		for _, id := range ids {
			outcomes = append(outcomes, outcomeOf(b.results[id].Verdict))
		}
		return outcomes, nil
	}
	return s
}

// outcomeOf takes for bad whatever was tested and did not pass.
func outcomeOf(v report.Verdict) bisect.Outcome {
	switch {
	case v == report.Pass:
		return bisect.Good
	case v.Failed():
		return bisect.Bad
	}
	return bisect.Skipped
}

// boot runs the payload on some kernels.
func (b *bisection) boot(ctx context.Context, entries []plan.Entry) error {
	slices.SortFunc(entries, func(x, y plan.Entry) int { return strings.Compare(x.ID(), y.ID()) })
	stop := b.ui.Start()
	results, err := b.runner.Run(ctx, plan.Plan{Entries: entries})
	stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, k := range results {
		b.results[k.ID] = k
	}
	return err
}

// look says what preflight knows of kernels: those of the index, and those that are
// in the cache, as a kernel is fetched only to boot it.
func (b *bisection) look(ctx context.Context, entries []plan.Entry) []bisect.Kernel {
	known := make([]bisect.Kernel, len(entries))
	if len(b.forecast.Objects()) == 0 {
		return known
	}
	var looking errgroup.Group
	looking.SetLimit(max(1, b.runner.Jobs))
	for i, e := range entries {
		looking.Go(func() error {
			if k := b.kernel(ctx, e); k != nil {
				known[i].Word, known[i].Kind = b.forecast.Of(k)
			}
			return nil
		})
	}
	_ = looking.Wait() // none fails
	n, changes, last := 0, 0, ""
	for _, k := range known {
		if k.Word == "" {
			continue
		}
		if n++; n > 1 && k.Word != last {
			changes++
		}
		last = k.Word
	}
	fmt.Fprintf(b.stdout, "preflight looked at %d of them: what the payload's programs come to changes %s\n", n, times(changes))
	return known
}

func times(n int) string {
	switch n {
	case 0:
		return "nowhere"
	case 1:
		return "at one place"
	}
	return fmt.Sprintf("at %d places", n)
}

// kernel is what is known of a kernel without fetching it; nil: nothing.
func (b *bisection) kernel(ctx context.Context, e plan.Entry) *preflight.Kernel {
	if f, err := b.index.Facts(e.ID(), e.Digest); err == nil && f != nil {
		if k, err := preflight.NewKernel(f); err == nil {
			return k
		}
	}
	if !b.runner.Cache.Has(e.Digest) {
		return nil
	}
	im, err := e.Source.Open(ctx, e.Ref)
	if err != nil {
		return nil
	}
	k, err := preflight.Load(ctx, im, b.runner.Cache, b.runner.Scratch, "")
	if err == nil {
		err = k.TakeTypes(ctx, b.runner.BTF)
	}
	if err != nil {
		return nil
	}
	return k
}

// dir is the output directory as people know it.
func (b *bisection) dir() string {
	if dir, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(dir, b.runner.Out); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return b.runner.Out
}

// report writes the reports of all kernels that were booted, as of a run of these.
func (b *bisection) report(started time.Time) error {
	os.Remove(filepath.Join(b.runner.Out, shard.PreflightName)) // of the last one alone
	var booted plan.Plan
	for _, l := range b.lines {
		for _, e := range l.entries {
			if _, ok := b.results[e.ID()]; ok {
				booted.Entries = append(booted.Entries, e)
			}
		}
	}
	slices.SortFunc(booted.Entries, func(x, y plan.Entry) int { return strings.Compare(x.ID(), y.ID()) })
	record := b.runner.Record(booted)
	f, err := report.CreateShardFile(b.runner.Out, record)
	if err != nil {
		return err
	}
	for _, e := range booted.Entries {
		if err == nil {
			err = f.Kernel(b.results[e.ID()])
		}
	}
	if cerr := f.Close(err == nil); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	_, err = reportAlone(b.runner.Out, record.ShardFileName(), merge.Options{Tool: version(), At: started}, b.links(), nil)
	return err
}
