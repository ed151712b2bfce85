package merge

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
)

// byProgram sorts shard files by the program that they are of. It is nil where
// no file names one.
func byProgram(files []*File) map[string][]*File {
	programs := map[string][]*File{}
	for _, f := range files {
		programs[f.Plan.Program] = append(programs[f.Plan.Program], f)
	}
	if len(programs[""]) == len(files) {
		return nil
	}
	return programs
}

// noProgram stands for the name of what has none.
const noProgram = "(no program)"

// join merges each program's files by themselves, and makes one result of them.
// A kernel has the worst of its programs' verdicts, and is missing where one of
// them has no result of it.
func (g *merger) join(programs map[string][]*File) {
	var parts []*merger
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		p := newMerger(g.plan)
		p.program = cmp.Or(name, noProgram)
		p.collect(programs[name])
		for _, r := range p.m.Refusals {
			g.refuse(r.Shard, r.Kernel, "%s: %s", p.program, r.Reason)
		}
		g.more += p.more
		g.files = append(g.files, p.files...)
		parts = append(parts, p)
	}
	if files := programs[""]; len(files) > 0 {
		g.refuse(0, "", "%s is of no program, others are of programs: merge the results of run and those of exec apart", files[0].Name)
	}
	agree := func(what string, of func(*report.Merged) string) string {
		want := of(parts[0].m)
		for _, p := range parts[1:] {
			if got := of(p.m); got != want {
				g.refuse(0, "", "%s: its %s is %q, that of %s is %q", p.program, what, got, parts[0].program, want)
				return ""
			}
		}
		return want
	}
	agree("run", func(m *report.Merged) string { return m.RunID })
	g.m.List = parts[0].m.List
	for _, p := range parts {
		if p.m.List != parts[0].m.List {
			g.m.List = ""
			g.refuse(0, "", "%s was run on another list of kernels than %s: run all programs on the same one", p.program, parts[0].program)
		}
	}
	g.m.Algorithm = agree("algorithm", func(m *report.Merged) string { return m.Algorithm })
	g.m.Arch = agree("architecture", func(m *report.Merged) string { return m.Arch })
	g.m.HeadSHA = agree("commit", func(m *report.Merged) string { return m.HeadSHA })
	first := parts[0].m.Represented
	ids, represented := map[string]bool{}, first
	for _, p := range parts {
		if compareRuns(p.m.RunID, g.m.RunID) > 0 {
			g.m.RunID = p.m.RunID
		}
		g.m.Attempt, g.m.Shards = max(g.m.Attempt, p.m.Attempt), max(g.m.Shards, p.m.Shards)
		g.m.Gone = append(g.m.Gone, p.m.Gone...)
		maps.Copy(g.left, p.left)
		g.unknown = g.unknown || p.unknown
		if !slices.Equal(p.m.Represented, first) {
			g.refuse(0, "", "%s: other kernels are represented than for %s", p.program, parts[0].program)
			represented = nil
		}
		for id := range p.kernels {
			ids[id] = true
		}
	}
	slices.Sort(g.m.Gone)
	g.m.Gone = slices.Compact(g.m.Gone)
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		g.m.Kernels = append(g.m.Kernels, g.joinKernel(id, parts))
	}
	g.represent(represented, func(id string) bool { return ids[id] })
}

// joinKernel makes one result of those that a kernel has of several programs.
func (g *merger) joinKernel(id string, parts []*merger) report.Result {
	j := joined{splats: map[report.Splat]bool{}, moved: map[string]origin{}}
	none := &report.Result{ID: id, Verdict: report.Missing, Cause: &report.Cause{Title: "the program was not run on this kernel"}}
	for _, p := range parts {
		of := part{program: p.program, file: p.from[id], Result: none}
		if k := p.kernels[id]; k != nil {
			of.Result = &k.Result
		}
		of.against = against(*of.Result)
		if d := of.Digest; d != "" && j.digest != "" && d != j.digest {
			g.refuse(0, id, "%s: %s tested it with the digest %q, %s with %q", id, p.program, d, j.digestOf, j.digest)
		} else if d != "" {
			j.digest, j.digestOf = d, p.program
		}
		j.parts = append(j.parts, of)
	}
	k := j.result(id)
	if len(j.moved) > 0 || j.worst.file != nil {
		from := &File{}
		if j.worst.file != nil {
			*from = *j.worst.file
		}
		from.evidence.moved = j.moved
		g.from[id] = from
	}
	return k
}

// part is what one program has of a kernel.
type part struct {
	program string
	*report.Result
	file    *File // nil: there is none
	against int
}

// joined is a kernel's result while it is put together.
type joined struct {
	parts            []part
	worst            *part
	digest, digestOf string
	moved            map[string]origin
	failed, others   []report.Test // tests
	splats           map[report.Splat]bool
}

// against orders results by how much they say against a kernel, without what is
// stale: that never makes a pass the worst of several.
func against(k report.Result) int {
	k.StaleExpectations = nil
	return 100*rank(&k) + k.Verdict.Badness()
}

func (j *joined) result(id string) report.Result {
	ok := true
	j.worst = &j.parts[0]
	for i := range j.parts {
		p := &j.parts[i]
		ok = ok && p.OK()
		if p.against > j.worst.against {
			j.worst = p
		}
	}
	w := j.worst
	k := report.Result{
		ID: id, Digest: j.digest, Verdict: w.Verdict, Accel: w.Accel, Console: w.Console, Release: w.Release, Facts: w.Facts,
		Boot: w.Boot, Machine: w.Machine, AccelNote: w.AccelNote, Reproduce: w.Reproduce, Phases: map[string]int64{},
		TestsOnly: w.Verdict == report.Fail,
	}
	if w.Cause != nil {
		k.Cause = &report.Cause{Title: report.OneLine(w.program+": "+w.Cause.Title, 500), Excerpt: w.Cause.Excerpt, Location: w.Cause.Location}
	}
	for i := range j.parts {
		j.add(&k, &j.parts[i])
	}
	if !ok && k.OK() {
		k.Expected = nil // what was expected of one program forgives no other
	}
	for _, l := range []*[]string{&k.Mounts, &k.Modules, &k.Problems} {
		slices.Sort(*l)
		*l = slices.Compact(*l)
	}
	if n := len(j.parts) - report.MaxPrograms; n > 0 {
		k.Problems = append(k.Problems, fmt.Sprintf("%d programs more than %d are not shown one by one", n, report.MaxPrograms))
	}
	if k.Facts != nil { // its kind is that of one program
		facts := *k.Facts
		facts.Kind, k.Facts = "", &facts
	}
	j.reused(&k)
	k.Tests = slices.Concat(j.failed, j.others) // if there are too many, those that passed are cut
	return k.Truncated()
}

// How much of its lists a result has, as report has it.
const (
	maxList   = 10_000
	maxSplats = 1000
)

// fitting is as much of what follows a list as there is room for.
func fitting[T any](list, more []T, room int) []T {
	return more[:min(len(more), max(0, room-len(list)))]
}

// add adds what one program has, as far as the kernel's result has room for it: an
// artifact may have any number of programs, each with a result of full size.
func (j *joined) add(k *report.Result, p *part) {
	test := func(name string) string {
		if len(p.Tests) == 1 && name == path.Base(p.program) {
			return p.program // one that reports no tests is one itself
		}
		return p.program + "/" + name
	}
	cause := p.Cause
	if cause != nil && p.TestsOnly {
		cause = &report.Cause{Title: cause.Title} // the excerpt is its test's output
	}
	program := report.Program{
		Name: p.program, Verdict: p.Verdict, Cause: cause, Tests: len(p.Tests), TestsOnly: p.TestsOnly, Duration: time.Duration(p.Phases["payload"]),
		Console: j.evidence(k, p),
	}
	if len(k.Programs) < report.MaxPrograms {
		k.Programs = append(k.Programs, program)
	}
	k.TestsOnly = k.TestsOnly && (p.Verdict == report.Pass || p.TestsOnly)
	k.Attempts, k.Repeats = max(k.Attempts, p.Attempts), max(k.Repeats, p.Repeats)
	for _, t := range p.Tests {
		list := &j.others
		if report.TestVerdict(t) == report.TestFail {
			list = &j.failed
		}
		if len(*list) <= report.MaxTests { // one more tells that there are too many
			t.Name = test(t.Name)
			*list = append(*list, t)
		}
	}
	for name, ns := range p.Phases {
		k.Phases[name] += ns
	}
	k.FlakyOK = k.Verdict == report.Pass && (k.FlakyOK || p.FlakyOK)
	for _, f := range fitting(k.Flaky, p.Flaky, maxList) {
		f.Name = test(f.Name)
		k.Flaky = append(k.Flaky, f)
	}
	for _, e := range fitting(k.Expected, p.Expected, maxList) {
		if e.Test != "" {
			e.Test = test(e.Test)
		}
		k.Expected = append(k.Expected, e)
	}
	for _, name := range fitting(k.Running, p.Running, maxList) {
		k.Running = append(k.Running, test(name))
	}
	for _, s := range fitting(k.StaleExpectations, p.StaleExpectations, maxList) {
		k.StaleExpectations = append(k.StaleExpectations, p.program+": "+s)
	}
	for _, s := range p.Splats {
		if !j.splats[s] && len(k.Splats) < maxSplats {
			j.splats[s] = true
			k.Splats = append(k.Splats, s)
		}
	}
	for _, l := range []struct{ all, more *[]string }{{&k.Mounts, &p.Mounts}, {&k.Modules, &p.Modules}, {&k.Problems, &p.Problems}} {
		*l.all = append(*l.all, fitting(*l.all, *l.more, maxList)...)
	}
	for _, b := range fitting(k.BPF, p.BPF, report.MaxBPF) {
		if b.Program = p.program; b.Test != "" {
			b.Test = test(b.Test)
		}
		k.BPF = append(k.BPF, b)
	}
	if k.Facts == nil {
		k.Facts, k.Release = p.Facts, cmp.Or(k.Release, p.Release)
	}
}

// evidence gives the files of a program a place of their own, and the console of
// the worst one the kernel's. It returns the path of the console.
func (j *joined) evidence(k *report.Result, p *part) (console string) {
	results, own := "results/"+k.ID+"/", directory(p.program)
	move := func(as, name string) {
		if p.file != nil {
			k.Files = append(k.Files, as)
			j.moved[as] = origin{p.file.evidence, name}
		}
	}
	for _, f := range fitting(k.Files, p.Files, maxList) {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(f, results), "/")
		move(path.Join(results, kind, own, rest), f)
	}
	console = p.Console
	consoles := results + "consoles/" + own + "/console."
	if p != j.worst && p.Console != "" {
		console = consoles + "txt"
		move(console, p.Console)
	}
	for _, a := range fitting(k.History, p.History, maxList) {
		if a.Console != "" && p != j.worst {
			move(consoles+strings.TrimPrefix(a.Console, "results/"+k.ID+"."), a.Console)
			a.Console = ""
		}
		if a.Cause != "" {
			a.Cause = report.OneLine(a.Cause, 300) + " (" + p.program + ")"
		}
		k.History = append(k.History, a)
	}
	return console
}

// directory is a program's name as one part of a path. One that was changed ends
// with a digest, so that no two are the same.
func directory(program string) string {
	const most = 150
	s := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("._+-", r)) {
			return r
		}
		return '_'
	}, program)
	if s == "" || s[0] == '.' || s[0] == '-' {
		s = "_" + s
	}
	if s != program || len(s) > most {
		s = fmt.Sprintf("%s~%.4x", s[:min(len(s), most)], sha256.Sum256([]byte(program)))
	}
	return s
}

// reused says which programs were not run. If none was, the oldest result tells
// of when.
func (j *joined) reused(k *report.Result) {
	n := 0
	var oldest *report.Reused
	for _, p := range j.parts {
		if r := p.Reused; r != nil {
			if n++; oldest == nil || r.At.Before(oldest.At) {
				oldest = r
			}
		}
	}
	switch {
	case n == len(j.parts):
		k.Reused = oldest
	case n > 0:
		k.Problems = append(k.Problems, fmt.Sprintf("%d of %s were not run: they passed with the same inputs before", n, report.Count(len(j.parts), "program")))
	}
}
