package expect

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

func TestReadExpectations(t *testing.T) {
	good := `# known
- kernels: debian/5.10.*
  tests: TestRingbuf*
  reason: ringbuf needs 5.8
  link: https://example.org/7
  expires: 2027-01-31
- kernels: [debian/6.1.*, fedora/*]
  verdict: crash
  reason: "fixed in 6.2"
`
	got, err := Read(strings.NewReader(good), "x.yml")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Where != "x.yml:2" || got[0].Expires != "2027-01-31" || got[1].Verdict != report.Crash || len(got[1].Kernels) != 2 {
		t.Errorf("got %+v", got)
	}
	for _, empty := range []string{"", "# nothing\n", "[]\n", "null\n"} {
		if got, err := Read(strings.NewReader(empty), "x.yml"); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v, want nothing", empty, got, err)
		}
	}
	bad := []struct{ text, want string }{
		{"- kernels: a/*\n  tests: T\n", "x.yml:1: the entry has no reason"},
		{"- kernels: a/*\n  tests: T\n  reason: ''\n", "x.yml:3: a value is empty"},
		{"- kernels: a/*\n  tests: T\n  reason:\n", "x.yml:3: a value is empty"},
		{"\n- tests: T\n  reason: r\n", "x.yml:2: the entry has no kernels"},
		{"- kernels: a/*\n  reason: r\n", "neither tests nor verdict"},
		{"- kernels: a/*\n  reason: r\n  tests: T\n  verdict: crash\n", "want an entry for each"},
		{"- kernels: a/*\n  reason: r\n  verdict: infra\n", "x.yml:1: verdict infra: want crash, timeout or no-boot"},
		{"- kernels: a/*\n  reason: r\n  verdict: missing\n", "want crash"},
		{"- kernels: a/*\n  reason: r\n  verdict: fail\n", "want crash"},
		{"- kernels: a/*\n  reason: r\n  tests: T\n  expires: soon\n", "x.yml:1: expires \"soon\": want a day"},
		{"- kernels: 'a/['\n  reason: r\n  tests: T\n", "x.yml:1: kernel glob \"a/[\" is not valid"},
		{"- kernels: a/*\n  reason: r\n  test: T\n", "x.yml:3: unknown key \"test\""},
		{"- kernels: a/*\n  kernels: b/*\n  reason: r\n  tests: T\n", "x.yml:2: mapping key \"kernels\" already defined at line 1"},
		{"kernels: a/*\n", "x.yml:1: !!map cannot stand here: want a list"},
		{"- just text\n", "cannot stand here: want a list of entries"},
		{"- {kernels: [}\n", "no YAML"},
		{"[]\n---\n[]\n", "more than one YAML document"},
	}
	for _, tt := range bad {
		_, err := Read(strings.NewReader(tt.text), "x.yml")
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

func FuzzReadExpectations(f *testing.F) {
	f.Add("- kernels: debian/5.10.*\n  tests: [T*, U]\n  reason: r\n  link: https://l/\n  expires: 2027-01-31\n", "T1")
	f.Add("- kernels: '*/*'\n  verdict: timeout\n  reason: r\n", "")
	f.Add("&a [*a]", "x")
	f.Fuzz(func(t *testing.T, text, test string) {
		entries, err := Read(strings.NewReader(text), "x.yml")
		if err != nil {
			if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "x.yml") {
				t.Fatalf("error %q", err)
			}
			return
		}
		for _, e := range entries {
			if e.Reason == "" || len(e.Kernels) == 0 || (len(e.Tests) == 0) == (e.Verdict == report.Unknown) {
				t.Fatalf("entry %+v", e)
			}
		}
		// Whatever is expected, what is not named stays a failure.
		for _, v := range []report.Verdict{report.Infra, report.Missing} {
			k := report.Result{ID: "debian/1", Verdict: v, Cause: &report.Cause{Title: "x"}}
			(&List{Entries: entries}).Apply(&k, time.Now())
			if k.FailedAsExpected() || k.OK() {
				t.Fatalf("%v is forgiven", v)
			}
		}
	})
}

func TestExpectations(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	of := func(tests ...string) Entry {
		return Entry{Kernels: []string{"debian/6.*"}, Tests: tests, Reason: "known", Where: "x:1"}
	}
	whole := func(v report.Verdict) Entry {
		return Entry{Kernels: []string{"debian/6.*"}, Verdict: v, Reason: "known", Where: "x:2"}
	}
	until := func(e Entry, day string) Entry { e.Expires = day; return e }
	kernel := func(v report.Verdict, tests ...string) report.Result {
		k := report.Result{ID: "debian/6.1", Verdict: v, TestsOnly: v == report.Fail}
		if v != report.Pass {
			k.Cause = &report.Cause{Title: "x"}
		}
		for _, s := range tests {
			verdict, name, _ := strings.Cut(s, " ")
			k.Tests = append(k.Tests, report.Test{Name: name, Verdict: verdict})
		}
		return k
	}
	incomplete := kernel(report.Fail, "fail A")
	incomplete.TestsOnly = false
	other := kernel(report.Fail, "fail A")
	other.ID = "fedora/6.1"
	hung := kernel(report.Timeout, "pass A", "fail B")
	hung.Running = []string{"B"}
	tests := []struct {
		name     string
		k        report.Result
		x        []Entry
		forgiven bool
		stale    bool
		exit     int
	}{
		{"nothing is expected", kernel(report.Fail, "fail A"), nil, false, false, report.ExitFail},
		{"the failure that was expected", kernel(report.Fail, "fail A", "pass B"), []Entry{of("A")}, true, false, report.ExitPass},
		{"by a glob", kernel(report.Fail, "fail A/x", "fail A/y/z", "fail A"), []Entry{of("A*")}, true, false, report.ExitPass},
		{"by two entries", kernel(report.Fail, "fail A", "fail B"), []Entry{of("A"), of("B")}, true, false, report.ExitPass},
		{"another failure", kernel(report.Fail, "fail A", "fail B"), []Entry{of("A")}, false, false, report.ExitFail},
		{"on another kernel", other, []Entry{of("A")}, false, false, report.ExitFail},
		{"more than its tests is wrong", incomplete, []Entry{of("A")}, false, false, report.ExitFail},
		{"a crash beside it", kernel(report.Crash, "fail A"), []Entry{of("*")}, false, false, report.ExitFail},
		{"a timeout beside it", kernel(report.Timeout, "fail A"), []Entry{of("*")}, false, false, report.ExitFail},
		{"a crash that was expected", kernel(report.Crash, "pass A"), []Entry{whole(report.Crash)}, true, false, report.ExitPass},
		{"a crash that was expected, and a failure", kernel(report.Crash, "fail A"), []Entry{whole(report.Crash)}, false, false, report.ExitFail},
		{"a crash and a failure, both expected", kernel(report.Crash, "fail A"), []Entry{whole(report.Crash), of("A")}, true, false, report.ExitPass},
		{"another verdict", kernel(report.Crash), []Entry{whole(report.Timeout)}, false, true, report.ExitFail},
		{"a timeout, with the test that hung", hung, []Entry{whole(report.Timeout)}, true, false, report.ExitPass},
		{"no boot", kernel(report.NoBoot), []Entry{whole(report.NoBoot)}, true, false, report.ExitPass},
		{"infra is never forgiven", kernel(report.Infra), []Entry{whole(report.NoBoot), of("*")}, false, false, report.ExitNotTested},
		{"missing is never forgiven", kernel(report.Missing), []Entry{whole(report.Crash)}, false, false, report.ExitNotTested},
		{"it passes", kernel(report.Pass, "pass A"), []Entry{of("A")}, false, true, report.ExitFail},
		{"it passes, and others fail as expected", kernel(report.Fail, "pass A", "fail B"), []Entry{of("A"), of("B")}, false, true, report.ExitFail},
		{"one of an entry passes, the other fails", kernel(report.Fail, "pass A", "fail B"), []Entry{of("A", "B")}, false, true, report.ExitFail},
		{"some of a glob pass", kernel(report.Fail, "pass A/x", "fail A/y"), []Entry{of("A/*")}, true, false, report.ExitPass},
		{"it was skipped", kernel(report.Pass, "skip A", "pass B"), []Entry{of("A")}, false, false, report.ExitPass},
		{"it is not among the tests", kernel(report.Pass, "pass B"), []Entry{of("A")}, false, false, report.ExitPass},
		{"on its last day", kernel(report.Fail, "fail A"), []Entry{until(of("A"), "2026-11-24")}, true, false, report.ExitPass},
		{"expired", kernel(report.Fail, "fail A"), []Entry{until(of("A"), "2026-11-23")}, false, true, report.ExitFail},
		{"expired, and mended", kernel(report.Pass, "pass A"), []Entry{until(of("A"), "2026-11-23")}, false, true, report.ExitFail},
		{"an expired crash", kernel(report.Crash), []Entry{until(whole(report.Crash), "2026-11-23")}, false, true, report.ExitFail},
		{"the kernel passes, and a crash was expected", kernel(report.Pass, "pass A"), []Entry{whole(report.Crash)}, false, true, report.ExitFail},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := tt.k
			x := &List{Entries: tt.x}
			x.Apply(&k, now)
			if k.Verdict != tt.k.Verdict {
				t.Errorf("the verdict is %v, it was %v", k.Verdict, tt.k.Verdict)
			}
			if k.FailedAsExpected() != tt.forgiven || (len(k.StaleExpectations) > 0) != tt.stale {
				t.Errorf("forgiven %v, want %v; surprises %q, want some: %v", k.FailedAsExpected(), tt.forgiven, k.StaleExpectations, tt.stale)
			}
			if got := report.RunOutcome(1, []report.Result{k}, false).ExitCode(); got != tt.exit {
				t.Errorf("exit code %d, want %d", got, tt.exit)
			}
			// To say it only, nothing that passed may fail.
			lenient := tt.k
			(&List{Entries: tt.x, Lenient: true}).Apply(&lenient, now)
			if len(lenient.StaleExpectations) > 0 || tt.stale && len(lenient.Problems) == 0 {
				t.Errorf("lenient: surprises %q, problems %q", lenient.StaleExpectations, lenient.Problems)
			}
			if tt.k.Verdict == report.Pass && !lenient.OK() {
				t.Error("lenient: a pass is not green")
			}
		})
	}
}

func TestExpectationsDigest(t *testing.T) {
	var none *List
	a := &List{Entries: []Entry{{Kernels: []string{"a/*"}, Tests: []string{"T"}, Reason: "r", Where: "x:1"}}}
	b := &List{Entries: []Entry{{Kernels: []string{"a/*"}, Tests: []string{"T"}, Reason: "r", Where: "y:2"}}}
	c := &List{Entries: a.Entries, Lenient: true}
	if none.Digest() != "" || a.Digest() != b.Digest() || a.Digest() == c.Digest() || a.Digest() == "" {
		t.Errorf("digests %q %q %q %q", none.Digest(), a.Digest(), b.Digest(), c.Digest())
	}
}

func TestUnusedTests(t *testing.T) {
	x := &List{Entries: []Entry{
		{Where: "x.yml:1", Kernels: []string{"d/6.1"}, Tests: []string{"TestA", "TestFial", "TestSub*"}},
		{Where: "x.yml:5", Kernels: []string{"d/5.10"}, Tests: []string{"TestOld"}}, // its kernel was not tested
		{Where: "x.yml:9", Kernels: []string{"d/6.1"}, Verdict: report.Crash},
	}}
	kernels := []report.Result{
		{ID: "d/6.1", Tests: []report.Test{{Name: "TestA"}, {Name: "TestSub/a"}}},
		{ID: "d/6.12", Tests: []report.Test{{Name: "TestFial"}}},
		{ID: "d/5.10", Verdict: report.Infra},
	}
	want := []string{"x.yml:1: no test that ran has the name TestFial"}
	if d := cmp.Diff(want, x.UnusedTests(kernels)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := (*List)(nil).UnusedTests(kernels); got != nil {
		t.Errorf("without expectations: %q", got)
	}
}
