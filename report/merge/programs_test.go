package merge

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

// newProgramSet has the files of calls of one shard each, which all passed. A
// call's payload is its program's.
func newProgramSet(kernels int, programs ...string) *testSet {
	s := newSet(1, kernels)
	s.files = nil
	for _, name := range programs {
		s.addProgram(name)
	}
	return s
}

func (s *testSet) addProgram(name string) *testFile {
	f := s.add(1, 1)
	f.name = fmt.Sprintf("call-%d/x.ndjson", len(s.files))
	f.plan.Program, f.plan.Payload = name, "sha256:"+name
	return f
}

func verdictsOf(k report.Result) (s string) {
	for _, p := range k.Programs {
		s += p.Name + ":" + p.Verdict.String() + " "
	}
	return strings.TrimSpace(s)
}

func TestJoinGreen(t *testing.T) {
	for _, plan := range []bool{false, true} {
		s := newProgramSet(3, "b", "a/x.test")
		s.file(1).kernel(0).Tests = []report.Test{{Name: "b", Verdict: report.TestPass}} // it reports no tests
		o := testOptions()
		if plan {
			o.Plan = s.plan
		}
		m := s.merge(t, o)
		if m.Verdict != report.Pass || len(m.Refusals) != 0 || len(m.Kernels) != 3 || m.List != s.plan.List || m.RunID != "1000" || m.HeadSHA != "abc" || m.Arch != "amd64" || m.Shards != 1 || m.Attempt != 1 {
			t.Fatalf("plan %v: %v, %v, %+v", plan, m.Verdict, m.Refusals, m)
		}
		k := m.Kernels[0]
		if got := verdictsOf(k); got != "a/x.test:pass b:pass" {
			t.Errorf("programs %s", got)
		}
		var names []string
		for _, test := range k.Tests {
			names = append(names, test.Name)
		}
		if d := cmp.Diff([]string{"a/x.test/FileCreate", "a/x.test/Other", "b"}, names); d != "" {
			t.Error(d)
		}
		if k.Phases["vm"] != 4e9 || k.Attempts != 1 || k.Cause != nil || k.Programs[1].Tests != 1 {
			t.Errorf("%+v", k)
		}
		if err := m.Check(); err != nil {
			t.Error(err)
		}
	}
}

// One call alone has the names that it has among others.
// Each program's BPF programs stay its own, and name its tests as the result does.
func TestJoinBPF(t *testing.T) {
	s := newProgramSet(1, "a", "b")
	s.file(1).kernel(0).BPF = []report.BPFProgram{{Name: "f", Type: "kprobe", Insns: 5}}
	s.file(2).kernel(0).BPF = []report.BPFProgram{{Name: "f", Type: "kprobe", Test: "o/f", Insns: 7}}
	want := []report.BPFProgram{{Name: "f", Type: "kprobe", Program: "a", Insns: 5}, {Name: "f", Type: "kprobe", Program: "b", Test: "b/o/f", Insns: 7}}
	if d := cmp.Diff(want, s.merge(t, testOptions()).Kernels[0].BPF); d != "" {
		t.Error(d)
	}
}

func TestJoinOne(t *testing.T) {
	m := newProgramSet(1, "a").merge(t, testOptions())
	if k := m.Kernels[0]; m.Verdict != report.Pass || verdictsOf(k) != "a:pass" || k.Tests[0].Name != "a/FileCreate" {
		t.Errorf("%v, %+v", m.Verdict, k)
	}
}

// Each change of a green set of three programs keeps it from being a pass.
func TestJoinRefuses(t *testing.T) {
	expectCrash := func(k *report.Result) {
		k.Verdict, k.Cause, k.Tests = report.Crash, &report.Cause{Title: "BUG: x"}, nil
		k.Expected = []report.Expected{{Verdict: report.Crash, Reason: "known"}}
	}
	for _, c := range []struct {
		name   string
		change func(*testSet)
		want   string // the first kernel's programs
		cause  string // of the first kernel; "" for none
		refuse string // in a refusal
		exit   int    // ExitNotTested unless given
	}{
		{name: "failed", change: func(s *testSet) { s.file(2).fail(0) }, want: "a:pass b:fail c:pass", cause: "b: FileCreate: no event", exit: report.ExitFail},
		{name: "worst", change: func(s *testSet) {
			s.file(1).fail(0)
			k := s.file(3).kernel(0)
			k.Verdict, k.Cause = report.Crash, &report.Cause{Title: "BUG: x"}
			k = s.file(2).kernel(0)
			k.Verdict, k.Cause, k.Tests = report.Infra, &report.Cause{Title: "QEMU died"}, nil
		}, want: "a:fail b:infra c:crash", cause: "c: BUG: x", exit: report.ExitFail},
		{name: "not tested", change: func(s *testSet) {
			k := s.file(2).kernel(0)
			k.Verdict, k.Cause, k.Tests = report.NoBoot, &report.Cause{Title: "no sign of init"}, nil
		}, want: "a:pass b:no-boot c:pass", cause: "b: no sign of init"},
		{name: "a program lacks a kernel", change: func(s *testSet) {
			f := s.file(2)
			f.plan.Kernels, f.lines = f.plan.Kernels[1:], f.lines[1:]
			f.plan.List = report.ListDigest(s.plan.Kernels[1:])
		}, want: "a:pass b:missing c:pass", cause: "b: the program was not run on this kernel", refuse: "b was run on another list of kernels than a"},
		{name: "a call was cut short", change: func(s *testSet) {
			f := s.file(2)
			f.lines, f.sealed = nil, false
		}, want: "a:pass b:missing c:pass", cause: "b: shard 1 of 1, attempt 1: it has no end record", refuse: "b: shard 1 of 1, attempt 1: it has no end record"},
		{name: "a shard of a program is not there", change: func(s *testSet) {
			s.file(2).plan.Shards = 2
		}, want: "a:pass b:pass c:pass", refuse: "b: shard 2 of 2 left no shard file"},
		{name: "other bytes of a kernel", change: func(s *testSet) {
			f := s.file(2)
			f.kernel(0).Digest = "sha256:other"
			f.plan.List = report.ListDigest([]report.PlanKernel{{ID: f.kernel(0).ID, Digest: "sha256:other"}, s.plan.Kernels[1]})
		}, want: "a:pass b:pass c:pass", refuse: `b tested it with the digest "sha256:other", a with`},
		{name: "another run", change: func(s *testSet) { s.file(2).plan.RunID = "1001" }, want: "a:pass b:pass c:pass", refuse: `b: its run is "1001", that of a is "1000"`},
		{name: "another commit", change: func(s *testSet) { s.file(2).plan.HeadSHA = "def" }, want: "a:pass b:pass c:pass", refuse: `b: its commit is "def"`},
		{name: "another architecture", change: func(s *testSet) { s.file(2).plan.Arch = "arm64" }, want: "a:pass b:pass c:pass", refuse: `b: its architecture is "arm64"`},
		{name: "no program", change: func(s *testSet) { s.file(2).plan.Program = "" }, want: "(no program):pass a:pass c:pass", refuse: "call-2/x.ndjson is of no program, others are of programs"},
		{name: "called twice, the second fails", change: func(s *testSet) { s.addProgram("b").fail(0) }, want: "a:pass b:fail c:pass", cause: "b: FileCreate: no event", exit: report.ExitFail},
		{name: "called twice, the first fails", change: func(s *testSet) { s.addProgram("b"); s.file(2).fail(0) }, want: "a:pass b:fail c:pass", cause: "b: FileCreate: no event", exit: report.ExitFail},
		{name: "called twice, the second was cut short", change: func(s *testSet) {
			f := s.addProgram("b")
			f.lines, f.sealed = f.lines[:1], false
		}, want: "a:pass b:pass c:pass", refuse: "it has no end record"},
		{name: "called twice with other arguments", change: func(s *testSet) { s.addProgram("b").plan.Payload = "sha256:b2" }, want: "a:pass b:pass c:pass", refuse: "has two files of attempt 1"},
		{
			name: "damaged", change: func(s *testSet) { s.file(2).end = func(e *report.End) { e.Kernels++ } }, want: "a:pass b:missing c:pass",
			cause: "b: shard 1 of 1, attempt 1: it is said to have passed, but cannot be believed", refuse: "its end record counts",
		},
		{name: "a crash is expected of one, another fails", change: func(s *testSet) {
			expectCrash(s.file(1).kernel(0))
			k := s.file(2).kernel(0)
			k.Verdict, k.Cause = report.Fail, &report.Cause{Title: "the payload: exit status 1"}
		}, want: "a:crash b:fail c:pass", cause: "b: the payload: exit status 1", exit: report.ExitFail},
		{name: "a crash is expected of one, another crashes", change: func(s *testSet) {
			expectCrash(s.file(1).kernel(0))
			expectCrash(s.file(2).kernel(0))
			s.file(2).kernel(0).Expected = nil
		}, want: "a:crash b:crash c:pass", cause: "b: BUG: x", exit: report.ExitFail},
		{name: "a crash is expected of one, another was not tested", change: func(s *testSet) {
			expectCrash(s.file(1).kernel(0))
			k := s.file(2).kernel(0)
			k.Verdict, k.Cause, k.Tests = report.Infra, &report.Cause{Title: "QEMU died"}, nil
		}, want: "a:crash b:infra c:pass", cause: "b: QEMU died"},
		{name: "stale", change: func(s *testSet) { s.file(2).kernel(0).StaleExpectations = []string{"TestX passes"} }, want: "a:pass b:pass c:pass", exit: report.ExitFail},
		{name: "stale, and another was not tested", change: func(s *testSet) {
			s.file(2).kernel(0).StaleExpectations = []string{"TestX passes"}
			k := s.file(3).kernel(0)
			k.Verdict, k.Cause, k.Tests = report.Infra, &report.Cause{Title: "QEMU died"}, nil
		}, want: "a:pass b:pass c:infra", cause: "c: QEMU died", exit: report.ExitFail},
	} {
		for _, plan := range []bool{false, true} {
			s := newProgramSet(2, "a", "b", "c")
			c.change(s)
			o := testOptions()
			if plan {
				o.Plan = s.plan
			}
			m := s.merge(t, o)
			name := fmt.Sprintf("%s, plan %v", c.name, plan)
			if c.exit == 0 {
				c.exit = report.ExitNotTested
			}
			if got := m.Outcome().ExitCode(); got != c.exit || m.Verdict == report.Pass {
				t.Errorf("%s: %v, exit code %d, want %d; %v", name, m.Verdict, got, c.exit, m.Refusals)
			}
			if err := m.Check(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if plan && c.refuse != "" {
				if len(m.Refusals) == 0 {
					t.Errorf("%s: nothing is refused", name)
				}
				continue // with other words
			}
			k := m.Kernels[0]
			if got := verdictsOf(k); got != c.want {
				t.Errorf("%s: %s, want %s", name, got, c.want)
			}
			cause := ""
			if k.Cause != nil {
				cause = k.Cause.Title
			}
			if !strings.HasPrefix(cause, c.cause) || c.cause == "" && cause != "" {
				t.Errorf("%s: cause %q, want %q", name, cause, c.cause)
			}
			if !slices.ContainsFunc(m.Refusals, func(r report.Refusal) bool { return c.refuse != "" && strings.Contains(r.Reason, c.refuse) }) && (c.refuse != "" || len(m.Refusals) > 0) {
				t.Errorf("%s: refusals %v, want %q", name, m.Refusals, c.refuse)
			}
		}
	}
}

// What passes though it could be taken for something else.
func TestJoinPasses(t *testing.T) {
	for name, change := range map[string]func(*testSet){
		"called twice": func(s *testSet) { s.addProgram("b") },
		"run again": func(s *testSet) {
			s.file(2).fail(0)
			f := s.addProgram("b")
			f.plan.Attempt = 2
		},
		"an expected failure": func(s *testSet) {
			s.file(2).fail(0)
			k := s.file(2).kernel(0)
			k.TestsOnly, k.Expected = true, []report.Expected{{Test: "FileCreate", Reason: "known"}}
		},
		"an expected crash, and an expected failure": func(s *testSet) {
			k := s.file(1).kernel(0)
			k.Verdict, k.Cause, k.Tests = report.Crash, &report.Cause{Title: "BUG: x"}, nil
			k.Expected = []report.Expected{{Verdict: report.Crash, Reason: "known"}}
			s.file(2).fail(0)
			k = s.file(2).kernel(0)
			k.TestsOnly, k.Expected = true, []report.Expected{{Test: "FileCreate", Reason: "known"}}
		},
		"a flaky test that is allowed": func(s *testSet) {
			k := s.file(2).kernel(0)
			k.FlakyOK, k.Flaky = true, []report.Flaky{{Name: "FileCreate", Failed: 1, Runs: 2}}
			k.History = []report.Attempt{{Attempt: 1, Verdict: report.Fail, Cause: "FileCreate failed"}, {Rerun: 1, Attempt: 1, Verdict: report.Pass}}
		},
		"an expected crash": func(s *testSet) {
			k := s.file(2).kernel(0)
			k.Verdict, k.Cause, k.Tests = report.Crash, &report.Cause{Title: "BUG: x"}, nil
			k.Expected = []report.Expected{{Verdict: report.Crash, Reason: "known"}}
		},
	} {
		s := newProgramSet(2, "a", "b")
		change(s)
		m := s.merge(t, testOptions())
		if m.Verdict != report.Pass || len(m.Kernels[0].Tests) == 0 {
			t.Errorf("%s: %v, %v, %v, %+v", name, m.Verdict, m.Refusals, verdictsOf(m.Kernels[0]), m.Kernels[0])
		}
	}
}

// The consoles and files of all programs are there, none over another's.
func TestJoinEvidence(t *testing.T) {
	s := newProgramSet(1, "a", "x/b", "X b")
	s.file(2).fail(0)
	id := s.file(1).kernel(0).ID
	for _, f := range s.files {
		k := f.kernel(0)
		k.Files = []string{"results/" + id + "/files/core.gz"}
		k.Attempts = 2
		k.History = []report.Attempt{{Attempt: 1, Verdict: report.Infra, Cause: "QEMU died", Console: "results/" + id + ".attempt-1.txt"}}
	}
	fsys := s.fs(t)
	for _, f := range s.files {
		for _, name := range []string{id + ".txt", id + ".attempt-1.txt", id + "/files/core.gz"} {
			data := *fsys[f.name]
			data.Data = []byte(f.plan.Program + " " + name)
			fsys[path.Join(path.Dir(f.name), "results", name)] = &data
		}
	}
	m, from := Merge(collectFS(fsys), testOptions())
	dir := t.TempDir()
	out, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	CopyEvidence(out, m, from)
	k := m.Kernels[0]
	if len(k.Problems) > 0 || m.Check() != nil {
		t.Errorf("%q, %v", k.Problems, m.Check())
	}
	dirOf := "results/" + id + "/consoles/"
	if a := k.History[0]; a.Cause != "QEMU died (X b)" {
		t.Errorf("cause %q", a.Cause)
	}
	if got, want := []string{k.Programs[0].Console, k.Programs[1].Console, k.Programs[2].Console}, []string{dirOf + "X_b~1906e791/console.txt", dirOf + "a/console.txt", k.Console}; !slices.Equal(got, want) {
		t.Errorf("consoles %q, want %q", got, want)
	}
	got := map[string]string{}
	for _, name := range slices.Concat(k.Files, []string{k.Console, k.History[2].Console}) {
		b, err := os.ReadFile(path.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got[strings.TrimPrefix(name, "results/debian/6.1.000")] = strings.ReplaceAll(string(b), id, "ID")
	}
	if d := cmp.Diff(map[string]string{
		".txt":                    "x/b ID.txt",
		".attempt-1.txt":          "x/b ID.attempt-1.txt",
		"/consoles/a/console.txt": "a ID.txt", "/consoles/a/console.attempt-1.txt": "a ID.attempt-1.txt", "/files/a/core.gz": "a ID/files/core.gz",
		"/files/x_b~b68ad6bd/core.gz":        "x/b ID/files/core.gz",
		"/consoles/X_b~1906e791/console.txt": "X b ID.txt", "/consoles/X_b~1906e791/console.attempt-1.txt": "X b ID.attempt-1.txt", "/files/X_b~1906e791/core.gz": "X b ID/files/core.gz",
	}, got); d != "" {
		t.Error(d)
	}
}

// What is not in the artifact is noted, and no console leads nowhere.
func TestJoinEvidenceIsLost(t *testing.T) {
	s := newProgramSet(1, "a", "b")
	fsys := s.fs(t)
	for name := range fsys {
		if inEvidence(name) {
			delete(fsys, name)
		}
	}
	m, from := Merge(collectFS(fsys), testOptions())
	out, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	CopyEvidence(out, m, from)
	k := m.Kernels[0]
	if k.Console != "" || len(k.Files) > 0 || len(k.Problems) != 2 || k.Programs[0].Console != "" || k.Programs[1].Console != "" {
		t.Errorf("%q, %q, %q, %+v", k.Console, k.Files, k.Problems, k.Programs)
	}
}

// A directory of a program's files is one part of a path, and no other program's.
func FuzzDirectory(f *testing.F) {
	for _, s := range []string{"a", "a/b", "a_b", "a b", "..", ".", "-x", "", "A", strings.Repeat("x", 200), "a~b", "\u202e", "a_b~4c5d4a3b"} {
		f.Add(s, "a_b")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		d := directory(a)
		k := report.Result{ID: "debian/1", Verdict: report.Pass, Files: []string{"results/debian/1/consoles/" + d + "/console.txt"}}
		if err := k.Check(); err != nil || strings.ContainsAny(d, "/\\") {
			t.Errorf("%q: %q: %v", a, d, err)
		}
		if a != b && d == directory(b) {
			t.Errorf("%q and %q are both %q", a, b, d)
		}
	})
}

// A large module on many kernels: a hundred calls of 500 kernels each.
func TestJoinLarge(t *testing.T) {
	kernels, programs := 500, 100
	if testing.Short() {
		kernels = 50
	}
	s := newProgramSet(kernels)
	for i := range programs {
		f := s.addProgram(fmt.Sprintf("example.com/project/internal/package%d/package%d.test", i, i))
		for n := range f.lines {
			k := f.kernel(n)
			k.Facts = &report.Facts{BTF: true, Config: map[string]string{}}
			for o := range 35 {
				k.Facts.Config[fmt.Sprintf("BPF_OPTION_%d", o)] = "y"
			}
		}
	}
	s.file(7).fail(3)
	fsys := s.fs(t)
	for _, f := range s.files {
		f.lines = nil
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	c := collectFS(fsys)
	m, _ := Merge(c, testOptions())
	took := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(c)
	used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d kernels with %d programs: %v, %d MiB", kernels, programs, took.Round(time.Millisecond), used>>20)
	if m.Verdict != report.Fail || len(m.Kernels) != kernels || len(m.Kernels[0].Programs) != programs || len(m.Refusals) > 0 {
		t.Errorf("%v, %d kernels, %v", m.Verdict, len(m.Kernels), m.Refusals)
	}
	if used > 1<<30 {
		t.Errorf("it takes %d MiB", used>>20)
	}
}

// What programs of full results come to is never larger than one full result, and
// the last one's failed test is in it.
func TestJoinIsBounded(t *testing.T) {
	j := joined{splats: map[report.Splat]bool{}, moved: map[string]origin{}}
	full := report.Result{ID: "debian/1", Verdict: report.Pass}
	for i := range 6000 {
		full.Tests = append(full.Tests, report.Test{Name: fmt.Sprint("T", i), Verdict: report.TestPass})
		full.Problems = append(full.Problems, fmt.Sprint("note ", i))
	}
	const parts = report.MaxPrograms + 20
	for i := range parts {
		k := full
		if i%50 > 0 && i < parts-1 {
			k.Tests, k.Problems = nil, nil
		}
		for n := range 5 {
			k.Splats = append(k.Splats, report.Splat{Title: fmt.Sprint("WARNING ", i, " ", n), Allowed: report.AllowEntry{Pattern: "WARNING", Reason: "known"}})
		}
		if i == parts-1 {
			k.Verdict, k.TestsOnly, k.Cause = report.Fail, true, &report.Cause{Title: "T: no"}
			k.Tests = append(slices.Clone(k.Tests), report.Test{Name: "T", Verdict: report.TestFail})
		}
		j.parts = append(j.parts, part{program: fmt.Sprint("p", i), Result: &k, against: against(k)})
	}
	var k report.Result
	for i := range j.parts {
		j.worst = &j.parts[i]
		j.add(&k, j.worst)
	}
	if len(k.Programs) > report.MaxPrograms || len(k.Splats) > maxSplats || len(k.Problems) > maxList || len(j.others) > report.MaxTests+1 {
		t.Errorf("%d programs, %d splats, %d problems, %d tests", len(k.Programs), len(k.Splats), len(k.Problems), len(j.others))
	}
	j.failed, j.others, j.splats = nil, nil, map[report.Splat]bool{}
	k = j.result("debian/1")
	if k.Check() != nil || len(k.Tests) != report.MaxTests {
		t.Fatalf("%d tests; %v, %q", len(k.Tests), k.Check(), k.Problems[:min(3, len(k.Problems))])
	}
	if k.Verdict != report.Fail || k.TestsOnly || k.Tests[0].Name != fmt.Sprintf("p%d/T", parts-1) {
		t.Errorf("%v, %v, the first test is %q", k.Verdict, k.TestsOnly, k.Tests[0].Name)
	}
}
