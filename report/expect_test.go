package report

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
	got, err := ReadExpectations(strings.NewReader(good), "x.yml")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Where != "x.yml:2" || got[0].Expires != "2027-01-31" || got[1].Verdict != Crash || len(got[1].Kernels) != 2 {
		t.Errorf("got %+v", got)
	}
	for _, empty := range []string{"", "# nothing\n", "[]\n", "null\n"} {
		if got, err := ReadExpectations(strings.NewReader(empty), "x.yml"); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v, want nothing", empty, got, err)
		}
	}
	bad := []struct{ text, want string }{
		{"- kernels: a/*\n  tests: T\n", "x.yml:1: the entry has no reason"},
		{"- kernels: a/*\n  tests: T\n  reason: ''\n", "x.yml:1: the entry has no reason"},
		{"- kernels: a/*\n  tests: T\n  reason:\n", "x.yml:3: reason: want a text"},
		{"\n- tests: T\n  reason: r\n", "x.yml:2: the entry has no kernels"},
		{"- kernels: a/*\n  reason: r\n", "neither tests nor verdict"},
		{"- kernels: a/*\n  reason: r\n  tests: T\n  verdict: crash\n", "want an entry for each"},
		{"- kernels: a/*\n  reason: r\n  verdict: infra\n", "x.yml:3: verdict: want crash, timeout or no-boot"},
		{"- kernels: a/*\n  reason: r\n  verdict: missing\n", "want crash"},
		{"- kernels: a/*\n  reason: r\n  verdict: fail\n", "want crash"},
		{"- kernels: a/*\n  reason: r\n  tests: T\n  expires: soon\n", "x.yml:4: expires: \"soon\": want a day"},
		{"- kernels: 'a/['\n  reason: r\n  tests: T\n", "x.yml:1: kernels: kernel glob \"a/[\" is not valid"},
		{"- kernels: a/*\n  reason: r\n  test: T\n", "x.yml:3: test: no such key"},
		{"- kernels: a/*\n  kernels: b/*\n  reason: r\n  tests: T\n", "stands twice"},
		{"kernels: a/*\n", "x.yml:1: want a list"},
		{"- just text\n", "x.yml:1: want an entry"},
		{"- {kernels: [}\n", "no YAML"},
		{"[]\n---\n[]\n", "more than one YAML document"},
	}
	for _, tt := range bad {
		_, err := ReadExpectations(strings.NewReader(tt.text), "x.yml")
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
		entries, err := ReadExpectations(strings.NewReader(text), "x.yml")
		if err != nil {
			if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "x.yml") {
				t.Fatalf("error %q", err)
			}
			return
		}
		for _, e := range entries {
			if e.Reason == "" || len(e.Kernels) == 0 || (len(e.Tests) == 0) == (e.Verdict == Unknown) {
				t.Fatalf("entry %+v", e)
			}
		}
		// Whatever is expected, what is not named stays a failure.
		for _, v := range []Verdict{Infra, Missing} {
			k := Kernel{ID: "debian/1", Verdict: v, Cause: &Cause{Title: "x"}}
			(&Expectations{Entries: entries}).Apply(&k, time.Now())
			if k.Forgiven() || k.Green() {
				t.Fatalf("%v is forgiven", v)
			}
		}
	})
}

func TestExpectations(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	of := func(tests ...string) Expectation {
		return Expectation{Kernels: []string{"debian/6.*"}, Tests: tests, Reason: "known", Where: "x:1"}
	}
	whole := func(v Verdict) Expectation {
		return Expectation{Kernels: []string{"debian/6.*"}, Verdict: v, Reason: "known", Where: "x:2"}
	}
	until := func(e Expectation, day string) Expectation { e.Expires = day; return e }
	kernel := func(v Verdict, tests ...string) Kernel {
		k := Kernel{ID: "debian/6.1", Verdict: v, TestsOnly: v == Fail}
		if v != Pass {
			k.Cause = &Cause{Title: "x"}
		}
		for _, s := range tests {
			verdict, name, _ := strings.Cut(s, " ")
			k.Tests = append(k.Tests, Test{Name: name, Verdict: verdict})
		}
		return k
	}
	incomplete := kernel(Fail, "fail A")
	incomplete.TestsOnly = false
	other := kernel(Fail, "fail A")
	other.ID = "fedora/6.1"
	hung := kernel(Timeout, "pass A", "fail B")
	hung.Running = []string{"B"}
	tests := []struct {
		name     string
		k        Kernel
		x        []Expectation
		forgiven bool
		stale    bool
		exit     int
	}{
		{"nothing is expected", kernel(Fail, "fail A"), nil, false, false, ExitFail},
		{"the failure that was expected", kernel(Fail, "fail A", "pass B"), []Expectation{of("A")}, true, false, ExitPass},
		{"by a glob", kernel(Fail, "fail A/x", "fail A/y/z", "fail A"), []Expectation{of("A*")}, true, false, ExitPass},
		{"by two entries", kernel(Fail, "fail A", "fail B"), []Expectation{of("A"), of("B")}, true, false, ExitPass},
		{"another failure", kernel(Fail, "fail A", "fail B"), []Expectation{of("A")}, false, false, ExitFail},
		{"on another kernel", other, []Expectation{of("A")}, false, false, ExitFail},
		{"more than its tests is wrong", incomplete, []Expectation{of("A")}, false, false, ExitFail},
		{"a crash beside it", kernel(Crash, "fail A"), []Expectation{of("*")}, false, false, ExitFail},
		{"a timeout beside it", kernel(Timeout, "fail A"), []Expectation{of("*")}, false, false, ExitFail},
		{"a crash that was expected", kernel(Crash, "pass A"), []Expectation{whole(Crash)}, true, false, ExitPass},
		{"a crash that was expected, and a failure", kernel(Crash, "fail A"), []Expectation{whole(Crash)}, false, false, ExitFail},
		{"a crash and a failure, both expected", kernel(Crash, "fail A"), []Expectation{whole(Crash), of("A")}, true, false, ExitPass},
		{"another verdict", kernel(Crash), []Expectation{whole(Timeout)}, false, true, ExitFail},
		{"a timeout, with the test that hung", hung, []Expectation{whole(Timeout)}, true, false, ExitPass},
		{"no boot", kernel(NoBoot), []Expectation{whole(NoBoot)}, true, false, ExitPass},
		{"infra is never forgiven", kernel(Infra), []Expectation{whole(NoBoot), of("*")}, false, false, ExitNotTested},
		{"missing is never forgiven", kernel(Missing), []Expectation{whole(Crash)}, false, false, ExitNotTested},
		{"it passes", kernel(Pass, "pass A"), []Expectation{of("A")}, false, true, ExitFail},
		{"it passes, and others fail as expected", kernel(Fail, "pass A", "fail B"), []Expectation{of("A"), of("B")}, false, true, ExitFail},
		{"one of an entry passes, the other fails", kernel(Fail, "pass A", "fail B"), []Expectation{of("A", "B")}, false, true, ExitFail},
		{"some of a glob pass", kernel(Fail, "pass A/x", "fail A/y"), []Expectation{of("A/*")}, true, false, ExitPass},
		{"it was skipped", kernel(Pass, "skip A", "pass B"), []Expectation{of("A")}, false, false, ExitPass},
		{"it is not among the tests", kernel(Pass, "pass B"), []Expectation{of("A")}, false, false, ExitPass},
		{"on its last day", kernel(Fail, "fail A"), []Expectation{until(of("A"), "2026-11-24")}, true, false, ExitPass},
		{"expired", kernel(Fail, "fail A"), []Expectation{until(of("A"), "2026-11-23")}, false, true, ExitFail},
		{"expired, and mended", kernel(Pass, "pass A"), []Expectation{until(of("A"), "2026-11-23")}, false, true, ExitFail},
		{"an expired crash", kernel(Crash), []Expectation{until(whole(Crash), "2026-11-23")}, false, true, ExitFail},
		{"the kernel passes, and a crash was expected", kernel(Pass, "pass A"), []Expectation{whole(Crash)}, false, true, ExitFail},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := tt.k
			x := &Expectations{Entries: tt.x}
			x.Apply(&k, now)
			if k.Verdict != tt.k.Verdict {
				t.Errorf("the verdict is %v, it was %v", k.Verdict, tt.k.Verdict)
			}
			if k.Forgiven() != tt.forgiven || (len(k.Surprises) > 0) != tt.stale {
				t.Errorf("forgiven %v, want %v; surprises %q, want some: %v", k.Forgiven(), tt.forgiven, k.Surprises, tt.stale)
			}
			if got := RunOutcome(1, []Kernel{k}, false).ExitCode(); got != tt.exit {
				t.Errorf("exit code %d, want %d", got, tt.exit)
			}
			// To say it only, nothing that passed may fail.
			lenient := tt.k
			(&Expectations{Entries: tt.x, Lenient: true}).Apply(&lenient, now)
			if len(lenient.Surprises) > 0 || tt.stale && len(lenient.Problems) == 0 {
				t.Errorf("lenient: surprises %q, problems %q", lenient.Surprises, lenient.Problems)
			}
			if tt.k.Verdict == Pass && !lenient.Green() {
				t.Error("lenient: a pass is not green")
			}
		})
	}
}

func TestExpectationsDigest(t *testing.T) {
	var none *Expectations
	a := &Expectations{Entries: []Expectation{{Kernels: []string{"a/*"}, Tests: []string{"T"}, Reason: "r", Where: "x:1"}}}
	b := &Expectations{Entries: []Expectation{{Kernels: []string{"a/*"}, Tests: []string{"T"}, Reason: "r", Where: "y:2"}}}
	c := &Expectations{Entries: a.Entries, Lenient: true}
	if none.Digest() != "" || a.Digest() != b.Digest() || a.Digest() == c.Digest() || a.Digest() == "" {
		t.Errorf("digests %q %q %q %q", none.Digest(), a.Digest(), b.Digest(), c.Digest())
	}
}

func TestUnusedTests(t *testing.T) {
	x := &Expectations{Entries: []Expectation{
		{Where: "x.yml:1", Kernels: []string{"d/6.1"}, Tests: []string{"TestA", "TestFial", "TestSub*"}},
		{Where: "x.yml:5", Kernels: []string{"d/5.10"}, Tests: []string{"TestOld"}}, // its kernel was not tested
		{Where: "x.yml:9", Kernels: []string{"d/6.1"}, Verdict: Crash},
	}}
	kernels := []Kernel{
		{ID: "d/6.1", Tests: []Test{{Name: "TestA"}, {Name: "TestSub/a"}}},
		{ID: "d/6.12", Tests: []Test{{Name: "TestFial"}}},
		{ID: "d/5.10", Verdict: Infra},
	}
	want := []string{"x.yml:1: no test that ran has the name TestFial"}
	if d := cmp.Diff(want, x.UnusedTests(kernels)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := (*Expectations)(nil).UnusedTests(kernels); got != nil {
		t.Errorf("without expectations: %q", got)
	}
}
