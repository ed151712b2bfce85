package page

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// MaxRuns is how many runs of the past a page shows.
const MaxRuns = 30

// Limits of a directory of earlier reports.
const (
	maxHistoryFiles = 500       // that are looked at, the newest by name first
	maxHistoryFile  = 128 << 20 // bytes of one
	maxHistoryDepth = 4         // of files
	maxWarnings     = 5
)

// History is what earlier runs of the same project left, oldest first.
type History struct {
	runs []*report.Merged // as Slim makes them
}

// ReadHistory reads the earlier reports in a directory, report.json files of
// any name, and keeps the latest. What cannot be read, or is no such report, is
// skipped with a warning; so is a directory that is not there.
func ReadHistory(dir string, warn func(string)) *History {
	h := &History{}
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
	files := findReports(root.FS())
	if n := len(files); n > maxHistoryFiles {
		skip(".", fmt.Errorf("it holds more than %d reports: only the last by name are read", maxHistoryFiles))
		files = files[n-maxHistoryFiles:]
	}
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

// findReports lists the files that may be reports.
func findReports(fsys fs.FS) (files []string) {
	pattern := "*.json"
	for range maxHistoryDepth {
		names, _ := fs.Glob(fsys, pattern) // which is well-formed
		for _, name := range names {
			info, err := fs.Lstat(fsys, name)
			beside := path.Base(name) == report.TimingsName || path.Base(name) == "plan.json" // what stands beside reports
			if err == nil && info.Mode().IsRegular() && !beside {
				files = append(files, name)
			}
		}
		pattern = "*/" + pattern
	}
	slices.Sort(files)
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
	// A run that was merged again is one.
	same := slices.IndexFunc(h.runs, func(r *report.Merged) bool {
		return r.Arch == m.Arch && (r.RunID != "" && r.RunID == m.RunID || r.At.Equal(m.At) && r.HeadSHA == m.HeadSHA)
	})
	if same >= 0 && !m.At.After(h.runs[same].At) {
		return
	}
	if same >= 0 {
		h.runs = slices.Delete(h.runs, same, same+1)
	}
	h.runs = append(h.runs, Slim(m))
	slices.SortStableFunc(h.runs, func(a, b *report.Merged) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.RunID, b.RunID), strings.Compare(a.HeadSHA, b.HeadSHA))
	})
	h.runs = h.runs[max(0, len(h.runs)-MaxRuns):]
}

// with is the history and the present run as its last. Runs of another
// architecture, of this run's earlier merges, and of a later time are left out.
func (h *History) with(m *report.Merged) *History {
	if h == nil {
		return nil
	}
	w := &History{}
	for _, r := range h.runs {
		if r.Arch == m.Arch && !r.At.After(m.At) && (m.RunID == "" || r.RunID != m.RunID) {
			w.runs = append(w.runs, r)
		}
	}
	if len(w.runs) == 0 {
		return nil
	}
	w.add(m)
	return w
}

func dateOf(r *report.Merged) string { return r.At.UTC().Format("2006-01-02 15:04") }

// names say which runs they are.
func (h *History) names() []string {
	var names []string
	for _, r := range h.runs {
		names = append(names, dateOf(r))
	}
	return names
}

// of is what a kernel did: run, verdict, milliseconds.
func (h *History) of(id string) [][3]int64 {
	var all [][3]int64
	for i, r := range h.runs {
		at, ok := slices.BinarySearchFunc(r.Kernels, id, func(k report.Result, id string) int { return strings.Compare(k.ID, id) })
		if ok {
			all = append(all, [3]int64{int64(i), int64(r.Kernels[at].Verdict), r.Kernels[at].VMTime().Milliseconds()})
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
	changes, failed, results int
	last                     bool // whether it failed
}

func (t *track) add(failed bool) {
	if t.results > 0 && t.last != failed {
		t.changes++
	}
	t.results++
	if failed {
		t.failed++
	}
	t.last = failed
}

// flaky are the tests that failed and passed in turn on the same kernel, and the
// kernels whose verdict changed back and forth: what broke once, or was mended
// once, did not.
func (h *History) flaky() (tests, kernels []flaky) {
	type key struct{ kernel, test string } // test "": the kernel's verdict
	tracks := map[key]*track{}
	for _, r := range h.runs {
		for i := range r.Kernels {
			k := &r.Kernels[i]
			follow := func(test string, failed bool) {
				at := key{k.ID, test}
				if tracks[at] == nil {
					tracks[at] = &track{}
				}
				tracks[at].add(failed)
			}
			if k.Verdict.Tested() {
				follow("", !k.OK())
			}
			if k.Verdict != report.Pass && k.Verdict != report.Fail {
				continue
			}
			for _, t := range k.Tests {
				if v := report.TestVerdict(t); v != report.TestSkip {
					follow(t.Name, v == report.TestFail)
				}
			}
		}
	}
	sums := map[key]*flaky{} // of a kernel, or of a test on all kernels
	for at, t := range tracks {
		if t.changes < 2 {
			continue
		}
		name := at.kernel
		if at.test != "" {
			name, at.kernel = at.test, ""
		}
		if sums[at] == nil {
			sums[at] = &flaky{Name: line(name)}
		}
		f := sums[at]
		f.Kernels++
		f.Changes += t.changes
		f.Failed += t.failed
		f.Results += t.results
	}
	for at, f := range sums {
		if at.test != "" {
			tests = append(tests, *f)
		} else {
			kernels = append(kernels, *f)
		}
	}
	for _, l := range []*[]flaky{&tests, &kernels} { // those that changed most first
		slices.SortFunc(*l, func(a, b flaky) int {
			return cmp.Or(cmp.Compare(b.Changes, a.Changes), cmp.Compare(b.Failed, a.Failed), strings.Compare(a.Name, b.Name))
		})
		*l = (*l)[:min(len(*l), maxFlaky)]
	}
	return tests, kernels
}

// Slim is a result without what a history does not need: texts, facts, files.
// It can be read and compared with as the whole can.
func Slim(m *report.Merged) *report.Merged {
	s := *m
	s.Change, s.Earlier = nil, nil
	s.Kernels = make([]report.Result, len(m.Kernels))
	for i := range m.Kernels {
		s.Kernels[i] = m.Kernels[i].Slim()
	}
	return &s
}
