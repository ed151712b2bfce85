package testrunner

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// markerGenerator forks a child once all other generators have ended: when an
// event about it comes, all events before it have come.
const markerGenerator = "marker"

// session is one live run.
type session struct {
	opt     options
	print   *printer
	machine machine

	facts   check.Facts
	build   check.Build
	mu      sync.Mutex
	ran     map[string]*generated
	running []string // tests whose generators run
	last    []string // tests whose generator ended last
	unknown []string // tests that could not be judged
}

// generated is a generator that ran.
type generated struct {
	out        check.Output
	start, end time.Duration // since the tracer's start
}

func (s *session) run(ctx context.Context) {
	s.print.started(check.StartTest)
	s.print.rep.Run(check.StartTest, false)
	s.facts = s.machine.facts(s.opt.dir)
	s.build = askHelp(ctx, s.opt.tracer, s.opt.limits.help)
	// Before the tracer runs, so that it makes no events. Without it fork_exec
	// fails and says so.
	_ = placeDoNothing(s.opt.generators, s.opt.dir)

	started := s.machine.now()
	t, err := startTracer(s.opt.tracer, s.build.Args(s.facts.BPFTramp), s.machine.now, s.whatRuns)
	if err != nil {
		s.notStarted(fmt.Sprintf("start EventsTrace: %s", err), "", s.machine.now().Sub(started))
		return
	}
	defer t.kill()
	why := s.awaitReady(ctx, t)
	load := s.machine.now().Sub(started)
	s.print.rep.Phase("load", load)
	if why != "" {
		log := t.stderr.String()
		s.print.stderr(log)
		s.notStarted(why, "\n"+check.Said(log), load)
		return
	}
	s.print.ended(check.Result{Name: check.StartTest, Verdict: wire.TestPass, Details: check.Form(s.build, t.snapshot())}, load)
	s.generate(ctx, t, started)
	s.judge(ctx, t, started)
	tests := s.machine.now().Sub(started) - load
	s.print.rep.Phase("test", tests)
	s.print.note(fmt.Sprintf("EventsTrace was ready after %.2fs; the tests took %.2fs", load.Seconds(), tests.Seconds()))
}

// awaitReady returns why the tracer did not get ready.
func (s *session) awaitReady(ctx context.Context, t *tracer) string {
	timer := time.NewTimer(s.opt.limits.ready)
	defer timer.Stop()
	why := ""
	select {
	case <-t.ready:
	case <-t.ended:
		why = "EventsTrace ended before it was ready: " + t.why
	case <-timer.C:
		why = fmt.Sprintf("EventsTrace runs, but was not ready within %s: no line with \"probes_initialized\": true", s.opt.limits.ready)
	case <-ctx.Done():
		why = "interrupted before EventsTrace was ready"
	}
	log := t.snapshot()
	if why == "" || log.Init != nil {
		return ""
	}
	why += fmt.Sprintf("\nit printed %d lines on stdout", log.Lines)
	for _, line := range log.Strange {
		why += "\n  " + line
	}
	return why
}

// notStarted fails Start alone: without a tracer no other test can be judged.
func (s *session) notStarted(why, said string, took time.Duration) {
	var tests []string
	for _, t := range s.opt.tests() {
		tests = append(tests, t.Name)
	}
	tests = append(tests, check.StreamTest)
	// The report is complete: who expects Start to fail expects no other test.
	s.print.ended(check.Result{Name: check.StartTest, Verdict: wire.TestFail, Details: why + "\n" + check.NotJudged(tests) + said}, took)
}

// generate runs the generators of all selected tests, as many at a time as
// there are processors: each has its own files, ports and pids. On one
// processor more would gain nothing, and a kernel that preempts BPF programs
// (7.x) skips a program for a process that comes while another is in it. Once
// the tracer dies no further one is started.
func (s *session) generate(ctx context.Context, t *tracer, started time.Time) {
	s.mu.Lock()
	s.ran = map[string]*generated{}
	s.mu.Unlock()
	var order []string
	users := map[string][]string{}
	for _, test := range s.opt.tests() {
		if test.Generator == "" {
			s.print.started(test.Name)
			continue
		}
		if users[test.Generator] == nil {
			order = append(order, test.Generator)
		}
		users[test.Generator] = append(users[test.Generator], test.Name)
	}
	slots := make(chan struct{}, runtime.NumCPU())
	var wg sync.WaitGroup
	for _, name := range order {
		slots <- struct{}{}
		if t.dies() {
			break
		}
		for _, test := range users[name] {
			s.print.started(test)
		}
		wg.Go(func() {
			defer func() { <-slots }()
			s.runs(users[name], true)
			s.generateOne(ctx, name, started)
			s.runs(users[name], false)
		})
	}
	wg.Wait()
}

// runs notes that the generator of some tests starts or has ended.
func (s *session) runs(tests []string, starts bool) {
	for _, test := range tests {
		s.print.rep.Run(test, !starts)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = slices.DeleteFunc(s.running, func(name string) bool { return slices.Contains(tests, name) })
	if starts {
		s.running = append(s.running, tests...)
	} else {
		s.last = tests
	}
}

// whatRuns says in words which tests run.
func (s *session) whatRuns() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.running) == 1:
		return s.running[0] + " ran"
	case len(s.running) > 1:
		return strings.Join(s.running, ", ") + " ran"
	case s.last == nil:
		return "no test had run yet"
	}
	return "no test ran; before it, " + strings.Join(s.last, ", ") + " had run"
}

func (s *session) generateOne(ctx context.Context, name string, started time.Time) check.Output {
	g := &generated{start: s.machine.now().Sub(started)}
	g.out = runGenerator(ctx, s.opt, name)
	g.end = s.machine.now().Sub(started)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran[name] = g
	return g.out
}

// judge waits until every event that will come has come, and prints the
// verdicts.
func (s *session) judge(ctx context.Context, t *tracer, started time.Time) {
	s.print.started(check.StreamTest)
	s.print.rep.Run(check.StreamTest, false)
	var pids []int64
	problem, silent := "", ""
	if !t.dies() {
		pids, problem = s.mark(ctx, started)
	}
	if len(pids) > 0 {
		t.await(pids...)
		if !s.awaitFence(ctx, t) {
			silent = fmt.Sprintf("no event about the marker, processes %s, came within %s", strings.Trim(strings.ReplaceAll(fmt.Sprint(pids), " ", " and "), "[]"), s.opt.limits.fence)
		}
	}
	// Whether an event comes twice shows only in what comes after it.
	s.machine.pause(ctx, s.opt.limits.settle, t.dying)
	t.awaitEnd(ctx)
	s.facts.Overlayfs = s.machine.facts(s.opt.dir).Overlayfs // the mount may have loaded it
	results := s.verify(t, pids, silent)
	// An event that is still missing is late at best, and only what is said of
	// it can change: the wait is one for all tests, and short.
	missing := slices.ContainsFunc(results, func(r check.Result) bool { return r.Missing })
	if missing && t.gone() == "" && silent == "" {
		before := t.snapshot().Lines
		s.machine.pause(ctx, s.opt.limits.grace, t.dying)
		t.awaitEnd(ctx)
		if t.gone() != "" || t.snapshot().Lines > before {
			results = s.verify(t, pids, silent)
		}
	}
	t.kill()
	s.print.stderr(t.stderr.String())
	for _, r := range results {
		if r.Name == check.StreamTest && r.Verdict == wire.TestPass && problem != "" {
			r.Verdict, r.Details = wire.TestFail, problem
		}
		s.print.ended(r, s.took(r))
	}
	s.print.notJudged(s.unknown)
}

// awaitFence waits for the marker's first event: the limit is for a tracer that
// prints nothing, not for one that has much to print before it.
func (s *session) awaitFence(ctx context.Context, t *tracer) bool {
	for limit := s.opt.limits.ready; limit > 0; limit -= s.opt.limits.fence {
		before := t.snapshot().Lines
		if s.machine.pause(ctx, s.opt.limits.fence, t.fence, t.dying) {
			return true
		}
		if t.snapshot().Lines == before {
			return false
		}
	}
	return false
}

// mark runs the marker and returns its processes.
func (s *session) mark(ctx context.Context, started time.Time) (pids []int64, problem string) {
	out := s.generateOne(ctx, markerGenerator, started)
	o, err := out.Parse()
	if err != nil {
		return nil, fmt.Sprintf("the generator %s: %s", markerGenerator, err)
	}
	for _, key := range []string{"tgid", "child_pid"} {
		if pid, ok := o.Int(key); ok {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return nil, fmt.Sprintf("the generator %s printed no pid", markerGenerator)
	}
	return pids, ""
}

func (s *session) verify(t *tracer, marker []int64, silent string) []check.Result {
	r := check.Run{
		Build:   s.build,
		Facts:   s.facts,
		Outputs: map[string]check.Output{},
		Ended:   t.gone(), // before the log is taken: what it printed to its end is in it
		Silent:  silent,
		Log:     t.snapshot(),
		Stderr:  t.stderr.String(),
	}
	if r.Ended != "" {
		r.Running = t.during
	}
	r.Fence = check.Marker(r.Log, marker...)
	for name, g := range s.ran {
		r.Outputs[name] = g.out
	}
	var results []check.Result
	results, s.unknown = check.VerifyAll(s.opt.tests(), r)
	return results
}

// took is the time from the start of a test's generator to its last event.
func (s *session) took(r check.Result) time.Duration {
	for _, t := range s.opt.tests() {
		if g := s.ran[t.Generator]; t.Name == r.Name && g != nil {
			return max(g.end, r.Last) - g.start
		}
	}
	return 0
}

// pause waits until one of the channels is closed, and tells whether that
// happened in time.
func pause(ctx context.Context, d time.Duration, first <-chan struct{}, more ...<-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	var second <-chan struct{}
	if len(more) > 0 {
		second = more[0]
	}
	select {
	case <-first:
		return true
	case <-second:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}
