package report

import (
	"strings"
	"testing"
)

func programs(verdicts ...Verdict) (all []Program) {
	for i, v := range verdicts {
		p := Program{Name: string(rune('a' + i)), Verdict: v}
		if v != Pass {
			p.Cause, p.TestsOnly = &Cause{Title: "why"}, v == Fail
		}
		all = append(all, p)
	}
	return all
}

func TestTestPrograms(t *testing.T) {
	k := Result{Programs: []Program{{Name: "a"}, {Name: "a/b"}, {Name: "example.com/x/c"}}}
	of := k.TestPrograms()
	for test, want := range map[string]struct {
		i    int
		name string
	}{
		"a/TestX": {0, "TestX"}, "a/TestX/sub": {0, "TestX/sub"}, "a": {0, "a"}, "a/": {0, ""}, "a/b/TestX": {1, "TestX"}, "a/b": {1, "a/b"},
		"ab/TestX": {-1, "ab/TestX"}, "example.com/x/c/T/d": {2, "T/d"}, "example.com/x/T": {-1, "example.com/x/T"}, "": {-1, ""}, "/": {-1, "/"},
	} {
		if i, name := of(test); i != want.i || name != want.name {
			t.Errorf("%q: %d, %q, want %d, %q", test, i, name, want.i, want.name)
		}
	}
}

// at is where programs crashed.
func at(location string, programs ...Program) []Program {
	for i := range programs {
		if c := programs[i].Cause; c != nil {
			c.Location = location
		}
	}
	return programs
}

// What programs say must not contradict the kernel, their tests or themselves.
func TestCheckResultOfPrograms(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Result)
		want   string
	}{
		"good":                {func(*Result) {}, ""},
		"no name":             {func(k *Result) { k.Programs[0].Name = "" }, "is no printable text"},
		"same name":           {func(k *Result) { k.Programs[1].Name = "a" }, `it has two programs "a"`},
		"no verdict":          {func(k *Result) { k.Programs[1].Verdict = Unknown }, `its program "b" has no verdict`},
		"passed with a cause": {func(k *Result) { k.Programs[0].Cause = &Cause{Title: "no"} }, `its program "a" passed and has a cause not to`},
		"passed with a failed test": {
			func(k *Result) { k.Tests = []Test{{Name: "a/T", Verdict: TestFail}} },
			`its program "a" passed and its test "a/T" did not`,
		},
		"failed test of a name within another's": {func(k *Result) {
			k.Programs[0].Name, k.Tests = "b/a", []Test{{Name: "b/a/T", Verdict: TestFail}}
		}, ""},
		"kernel passed":     {func(k *Result) { k.Verdict, k.Cause = Pass, nil }, `it passed, and its program "b" did not: fail`},
		"name of lines":     {func(k *Result) { k.Programs[0].Name = "a\nb" }, "is no printable text"},
		"long name":         {func(k *Result) { k.Programs[0].Name = strings.Repeat("a", 500) }, "a text of 500 bytes"},
		"other direction":   {func(k *Result) { k.Programs[0].Name = "a\u202eb" }, "is no printable text"},
		"too many":          {func(k *Result) { k.Programs = make([]Program, 1001) }, "a list of 1001"},
		"another's console": {func(k *Result) { k.Programs[0].Console = "results/debian/2.txt" }, `file "results/debian/2.txt": want it in results/debian/1/`},
		"a way out":         {func(k *Result) { k.Programs[0].Console = "results/debian/1/../x.txt" }, "want letters, digits"},
		"too many tests":    {func(k *Result) { k.Programs[0].Tests = 100_001 }, "tests: 100001: want 0 "},
		"left too much":     {func(k *Result) { k.Programs[0].Left = make([]string, 101) }, "a list of 101"},
		"time":              {func(k *Result) { k.Programs[0].Duration = -1 }, "duration_ns: -1"},
	} {
		k := Result{ID: "debian/1", Verdict: Fail, Cause: &Cause{Title: "b: why"}, Programs: programs(Pass, Fail)}
		c.change(&k)
		err := k.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		// A writer loses neither the verdict nor the cause, whatever is wrong.
		if cut := k.Truncated(); k.Verdict == Fail && (cut.Check() != nil || cut.Verdict != Fail || cut.Cause == nil) {
			t.Errorf("%s: cut to %+v: %v", name, cut, cut.Check())
		}
	}
}

// An expected failure of one program forgives no other program.
func TestExpectedPrograms(t *testing.T) {
	test := Expected{Test: "a/T", Reason: "r"}
	crash := Expected{Verdict: Crash, Reason: "r"}
	failed := []Test{{Name: "a/T", Verdict: TestFail}}
	for name, c := range map[string]struct {
		k    Result
		want bool
	}{
		"its test":                         {Result{Verdict: Fail, TestsOnly: true, Tests: failed, Expected: []Expected{test}, Programs: programs(Fail, Pass)}, true},
		"another fails without a test":     {Result{Verdict: Fail, TestsOnly: true, Tests: failed, Expected: []Expected{test}, Programs: programs(Fail, Fail)}, false},
		"another is missing":               {Result{Verdict: Fail, TestsOnly: true, Tests: failed, Expected: []Expected{test}, Programs: programs(Fail, Missing)}, false},
		"another was not tested":           {Result{Verdict: Crash, Expected: []Expected{crash}, Programs: programs(Crash, Infra)}, false},
		"crash":                            {Result{Verdict: Crash, Expected: []Expected{crash}, Programs: programs(Crash, Pass)}, true},
		"crash, and another fails":         {Result{Verdict: Crash, Expected: []Expected{crash}, Programs: programs(Crash, Fail)}, false},
		"crash, and another's test":        {Result{Verdict: Crash, Tests: failed, Expected: []Expected{crash, test}, Programs: programs(Fail, Crash)}, true},
		"crash, and another's exit status": {Result{Verdict: Crash, Tests: failed, Expected: []Expected{crash, test}, Programs: []Program{{Name: "a", Verdict: Fail}, {Name: "b", Verdict: Crash}}}, false},
		"crash, and another's time out":    {Result{Verdict: Crash, Expected: []Expected{crash}, Programs: programs(Crash, Timeout)}, false},
		"both crash":                       {Result{Verdict: Crash, Expected: []Expected{crash}, Programs: programs(Crash, Crash)}, false},
		"both time out":                    {Result{Verdict: Timeout, Expected: []Expected{{Verdict: Timeout, Reason: "r"}}, Programs: programs(Timeout, Timeout)}, false},
		"all crash at one place":           {Result{Verdict: Crash, Expected: []Expected{crash}, Programs: at("a.c:1", programs(Crash, Crash)...)}, true},
		"two of three crash at one place":  {Result{Verdict: Crash, Expected: []Expected{crash}, Programs: at("a.c:1", programs(Crash, Crash, Pass)...)}, false},
		"crash, and what ran then":         {Result{Verdict: Crash, Tests: failed, Running: []string{"a/T"}, Expected: []Expected{crash}, Programs: programs(Crash, Pass)}, true},
		"test of a name within another's": {Result{
			Verdict: Fail, TestsOnly: true, Tests: []Test{{Name: "a/b/T", Verdict: TestFail}}, Expected: []Expected{{Test: "a/b/T", Reason: "r"}},
			Programs: []Program{{Name: "a", Verdict: Fail, TestsOnly: true, Cause: &Cause{Title: "why"}}, {Name: "a/b", Verdict: Pass}},
		}, true},
		"no boot":                     {Result{Verdict: NoBoot, Expected: []Expected{{Verdict: NoBoot, Reason: "r"}}, Programs: programs(NoBoot)}, true},
		"a verdict that is not known": {Result{Verdict: Crash, Expected: []Expected{crash}, Programs: programs(Crash, Unknown)}, false},
	} {
		if got := c.k.FailedAsExpected(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		// What the programs say by themselves is the same.
		if got := c.k.programsExpected(); got != c.want {
			t.Errorf("%s: by program %v", name, got)
		}
	}
}

func TestProgramWords(t *testing.T) {
	k := Result{Verdict: NoBoot, Programs: programs(NoBoot, NoBoot)}
	if got := k.ProgramWords(2); got != "" {
		t.Errorf("%q of a kernel that was not tested", got)
	}
	for want, k := range map[string]Result{
		"":                          {Programs: programs(Pass, Pass)},
		"1 of 2 programs failed: b": {Programs: programs(Pass, Fail)},
		"3 of 4 programs failed: a, b (crash) and 1 more": {Programs: programs(Fail, Crash, Pass, Timeout)},
		"2 of 2 programs did not pass: a, b (missing)":    {Programs: programs(Fail, Missing)},
	} {
		if got := k.ProgramWords(2); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
