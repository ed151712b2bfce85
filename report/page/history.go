package page

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
)

// MaxRuns is how many runs of the past a page shows.
const MaxRuns = 30

// Limits of a directory of earlier reports.
const (
	maxHistoryFiles = 500       // that are looked at, the newest by name first
	maxHistoryFile  = 128 << 20 // bytes of one
	maxHistoryDepth = 3         // of directories
	maxWarnings     = 5
	maxRunTests     = 2_000_000 // results of tests that are kept of a run
)

// History is what earlier runs of the same project left, oldest first.
type History struct {
	runs   []run
	tests  []string       // of tests
	byName map[string]int // places in tests
}

// run is one earlier run.
type run struct {
	at      time.Time
	id      string // of the run and its attempt
	sha     string
	arch    string
	verdict report.Verdict
	all     int
	pass    int
	failed  int
	time    time.Duration // of all VMs
	kernels map[string]pastKernel
}

type pastKernel struct {
	verdict report.Verdict
	green   bool // it passed, or failed as expected
	tries   int
	time    time.Duration
	tests   []pastTest
}

type pastTest struct {
	name    int32
	verdict uint8 // as verdictAt
}

// ReadHistory reads the earlier reports in a directory, report.json files of
// any name, and keeps the latest. What cannot be read, or is no such report, is
// skipped with a warning; so is a directory that is not there.
func ReadHistory(dir string, warn func(string)) *History {
	h := &History{byName: map[string]int{}}
	root, err := os.OpenRoot(dir)
	if err != nil {
		warn(fmt.Sprintf("history %s: %v; earlier runs are not shown", dir, err))
		return h
	}
	defer root.Close()
	warned := 0
	skip := func(name string, err error) {
		if warned++; warned <= maxWarnings {
			warn(fmt.Sprintf("history: %s is skipped: %v", path.Join(dir, name), err))
		}
	}
	files := h.find(root.FS(), skip)
	for _, name := range files {
		if err := h.read(root, name); err != nil {
			skip(name, err)
		}
	}
	if warned > maxWarnings {
		warn(fmt.Sprintf("history %s: and %d more files are skipped", dir, warned-maxWarnings))
	}
	return h
}

// find lists the files that may be reports.
func (h *History) find(fsys fs.FS, skip func(string, error)) []string {
	var files []string
	err := fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			skip(name, err)
			if e != nil && e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir() && strings.Count(name, "/") >= maxHistoryDepth:
			return fs.SkipDir
		case !e.Type().IsRegular() || !strings.HasSuffix(name, ".json"):
			return nil
		case path.Base(name) == report.TimingsName || path.Base(name) == "plan.json":
			return nil // what stands beside reports
		case len(files) >= 20*maxHistoryFiles:
			return fs.SkipAll
		}
		files = append(files, name)
		return nil
	})
	if err != nil {
		skip(".", err)
	}
	slices.Sort(files)
	if n := len(files); n > maxHistoryFiles {
		skip(".", fmt.Errorf("it holds more than %d reports: only the last by name are read", maxHistoryFiles))
		files = files[n-maxHistoryFiles:]
	}
	return files
}

// read adds a report, and drops the oldest when there are too many.
func (h *History) read(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > maxHistoryFile {
		return fmt.Errorf("it has more than %d MiB", maxHistoryFile>>20)
	}
	m, err := report.ReadReport(f)
	if err != nil {
		return err
	}
	if m.At.Year() < 2000 || m.At.Year() > 9999 {
		return errors.New("it has no date")
	}
	h.add(m)
	return nil
}

func (h *History) add(m *report.Merged) {
	o := m.Outcome()
	r := run{
		at: m.At.UTC(), id: m.RunID, sha: m.HeadSHA, arch: m.Arch, kernels: map[string]pastKernel{},
		verdict: o.Verdict, all: o.Kernels, pass: o.Passed + o.FailedAsExpected, failed: o.Failed,
	}
	room := maxRunTests
	for i := range m.Kernels {
		k := &m.Kernels[i]
		p := pastKernel{verdict: k.Verdict, green: k.OK(), tries: k.Attempts, time: k.VMTime()}
		r.time += p.time
		if k.Verdict == report.Pass || k.Verdict == report.Fail {
			for _, t := range k.Tests[:min(len(k.Tests), room)] {
				p.tests = append(p.tests, pastTest{h.name(t.Name), uint8(verdictAt(t))})
			}
			room -= len(p.tests)
		}
		r.kernels[k.ID] = p
	}
	for i := range h.runs { // a run that was merged again
		if o := &h.runs[i]; o.id != "" && o.id == r.id && o.arch == r.arch || o.at.Equal(r.at) && o.sha == r.sha && o.arch == r.arch {
			if r.at.After(o.at) {
				*o = r
			}
			h.sort()
			return
		}
	}
	h.runs = append(h.runs, r)
	h.sort()
	if len(h.runs) > MaxRuns {
		h.runs = slices.Delete(h.runs, 0, len(h.runs)-MaxRuns)
	}
}

func (h *History) sort() {
	slices.SortStableFunc(h.runs, func(a, b run) int {
		return cmp.Or(a.at.Compare(b.at), strings.Compare(a.id, b.id), strings.Compare(a.sha, b.sha))
	})
}

func (h *History) name(s string) int32 {
	n, ok := h.byName[s]
	if !ok {
		n = len(h.tests)
		h.byName[s] = n
		h.tests = append(h.tests, s)
	}
	return int32(n)
}

// with is the history and the present run as its last. Runs of another
// architecture, of this run's earlier merges, and of a later time are left out.
func (h *History) with(m *report.Merged) *History {
	if h == nil || len(h.runs) == 0 {
		return nil
	}
	w := &History{tests: slices.Clone(h.tests), byName: map[string]int{}}
	for i, n := range w.tests {
		w.byName[n] = i
	}
	for _, r := range h.runs {
		if r.arch == m.Arch && !r.at.After(m.At) && (m.RunID == "" || r.id != m.RunID) {
			w.runs = append(w.runs, r)
		}
	}
	if len(w.runs) == 0 {
		return nil
	}
	w.add(m)
	return w
}

// names say which runs they are.
func (h *History) names() []string {
	var names []string
	for _, r := range h.runs {
		names = append(names, r.at.Format("2006-01-02 15:04"))
	}
	return names
}

// of is what a kernel did: run, verdict, milliseconds.
func (h *History) of(k *report.Result) [][3]int64 {
	var all [][3]int64
	for i, r := range h.runs {
		if p, ok := r.kernels[k.ID]; ok {
			all = append(all, [3]int64{int64(i), int64(p.verdict), p.time.Milliseconds()})
		}
	}
	if len(all) < 2 {
		return nil
	}
	return all
}

// flaky is a test, or a kernel, whose result changed back and forth.
type flaky struct {
	Name    string
	Kernels int // on which it did
	Changes int // between one run and the next, over these
	Failed  int // of Results, over these
	Results int
}

const maxFlaky = 20

// track follows one result from run to run.
type track struct {
	flaky
	last, known bool // whether it failed; whether it has a result at all
}

func (t *track) add(failed bool) {
	t.Results++
	if failed {
		t.Failed++
	}
	if t.known && t.last != failed {
		t.Changes++
	}
	t.last, t.known = failed, true
}

// changing says whether the result changed back and forth: what broke once, or
// was mended once, did not.
func (t *track) changing() bool { return t.Changes >= 2 }

// flakyTests are tests that failed and passed in turn on the same kernel.
func (h *History) flakyTests() []flaky {
	type key struct {
		kernel string
		test   int32
	}
	tracks := map[key]*track{}
	// Only what failed at all can have changed.
	for _, r := range h.runs {
		for id, p := range r.kernels {
			for _, t := range p.tests {
				if t.verdict == 1 {
					tracks[key{id, t.name}] = &track{}
				}
			}
		}
	}
	for _, r := range h.runs {
		for id, p := range r.kernels {
			for _, t := range p.tests {
				if k := tracks[key{id, t.name}]; k != nil && t.verdict != 2 {
					k.add(t.verdict == 1)
				}
			}
		}
	}
	sum := map[int32]*flaky{}
	for k, t := range tracks {
		if !t.changing() {
			continue
		}
		f := sum[k.test]
		if f == nil {
			f = &flaky{Name: line(h.tests[k.test])}
			sum[k.test] = f
		}
		f.Kernels++
		f.Changes += t.Changes
		f.Failed += t.Failed
		f.Results += t.Results
	}
	return worst(slices.Collect(maps.Values(sum)))
}

// flakyKernels are kernels whose verdict changed back and forth.
func (h *History) flakyKernels() []flaky {
	tracks := map[string]*track{}
	for _, r := range h.runs {
		for id, p := range r.kernels {
			if !p.verdict.Tested() {
				continue
			}
			if tracks[id] == nil {
				tracks[id] = &track{flaky: flaky{Name: id, Kernels: 1}}
			}
			tracks[id].add(!p.green)
		}
	}
	var all []*flaky
	for _, t := range tracks {
		if t.changing() {
			all = append(all, &t.flaky)
		}
	}
	return worst(all)
}

// worst are the flakiest, those that changed most first.
func worst(of []*flaky) []flaky {
	var all []flaky
	for _, f := range of {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b flaky) int {
		return cmp.Or(cmp.Compare(b.Changes, a.Changes), cmp.Compare(b.Failed, a.Failed), strings.Compare(a.Name, b.Name))
	})
	return all[:min(len(all), maxFlaky)]
}

// Slim is a result without what a history does not need: texts, facts, files.
// It can be read and compared with as the whole can.
func Slim(m *report.Merged) *report.Merged {
	s := *m
	s.Change = nil
	s.Kernels = make([]report.Result, len(m.Kernels))
	for i, k := range m.Kernels {
		slim := report.Result{ID: k.ID, Digest: k.Digest, Verdict: k.Verdict, Phases: k.Phases, Accel: k.Accel, Attempts: k.Attempts, Release: k.Release,
			TestsOnly: k.TestsOnly, Expected: k.Expected, StaleExpectations: k.StaleExpectations, Running: k.Running}
		if k.Cause != nil {
			slim.Cause = &report.Cause{Title: k.Cause.Title}
		}
		for _, t := range k.Tests {
			slim.Tests = append(slim.Tests, report.Test{Name: t.Name, Verdict: t.Verdict, Duration: t.Duration, Insns: t.Insns})
		}
		s.Kernels[i] = slim
	}
	return &s
}
