package guest

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func TestSelect(t *testing.T) {
	const none = "not"
	for _, tt := range []struct {
		by          selector
		args, tests string
		want        string // none: an error
	}{
		{selectGo, "", "TestA", "-test.run=^(TestA)$"},
		{selectGo, "-test.paniconexit0 -test.v=test2json", "TestB TestA/sub TestA/sub/x TestA", "-test.run=^(TestA|TestB)$ -test.paniconexit0 -test.v=test2json"},
		{selectGo, "-test.run=X --test.run Y -test.run Z -test.bench . -x", "TestA", "-test.run=^(TestA)$ -x"},
		{selectGo, "-test.skip B -test.count=2 -- -test.run=X", "TestA#01", "-test.run=^(TestA)$ -test.skip B -test.count=2 -- -test.run=X"},
		{selectGo, "-run=X -bench fast --test.fuzz Y -test.bench", "TestA", "-test.run=^(TestA)$ -run=X -bench fast"},
		{selectGo, "", "Test_Ä.$", `-test.run=^(Test_Ä\.\$)$`},
		{selectGo, "", "FuzzA/seed#0 ExampleB", "-test.run=^(ExampleB|FuzzA)$"},
		{selectGo, "", "BenchmarkA", none},
		{selectGo, "", "prog.test", none},
		{selectGo, "", "Test|.*", `-test.run=^(Test\|\.\*)$`},
		{selectLibtest, "", "a::b", "--exact a::b"},
		{selectLibtest, "b --nocapture --test-threads 2 --skip c --exact -q d", "a::b a::c", "--nocapture --test-threads 2 -q --exact a::b a::c"},
		{selectLibtest, "--test-threads=1 --format=pretty -- x", "a", "--test-threads=1 --format=pretty --exact a"},
		{selectLibtest, "", "--list", none},
		{selectLibtest, "", "a#01", none},
		{selectGTest, "", "S.A Many/P.B/0", "--gtest_filter=S.A:Many/P.B/0"},
		{selectGTest, "--gtest_filter=S.*-S.C --gtest_output=xml:/run/junit.xml", "S.A", "--gtest_filter=S.A --gtest_output=xml:/run/junit.xml"},
		{selectGTest, "", "S.*", none},
		{selectGTest, "", "S.A:-S.B", none},
		{selectGTest, "", "S.A#01", none},
		{selectGTest, "", "prog", none},
		{nil, "", "a", none},
		{selectGo, "", "", none},
		{selectGo, "", "Test" + strings.Repeat("A", 200<<10), none},
	} {
		run := append([]string{wire.TestrunnerPath, "exec", "--name", "p", "--", "/payload/p"}, strings.Fields(tt.args)...)
		before := strings.Join(run, " ")
		got, err := selectIn(run, tt.by, strings.Fields(tt.tests))
		switch {
		case (err != nil) != (tt.want == none):
			t.Errorf("%s of %s: %v, %q", tt.tests, tt.args, err, got)
		case err == nil:
			if d := cmp.Diff(wire.TestrunnerPath+" exec --name p -- /payload/p "+tt.want, strings.Join(got, " ")); d != "" {
				t.Errorf("%s of %s:\n%s", tt.tests, tt.args, d)
			}
		}
		if strings.Join(run, " ") != before {
			t.Errorf("%s: arguments were changed in place", tt.args)
		}
	}
}

func TestSelectPrograms(t *testing.T) {
	one := func(name string) wire.Program {
		return wire.Program{Name: name, Args: []string{"exec", "--", "/payload/" + name}}
	}
	p := Payload{
		Job:       wire.Job{Programs: []wire.Program{one("a"), one("a/b"), one("c"), one("d")}},
		selectors: map[string]selector{"a": selectGo, "a/b": selectGo, "c": selectGTest},
	}
	job, err := p.Select([]string{"a/TestX/sub", "c/S.T", "a/b/TestY"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range job.Programs {
		got = append(got, x.Name+": "+strings.Join(x.Args, " "))
	}
	want := []string{"a: exec -- /payload/a -test.run=^(TestX)$", "a/b: exec -- /payload/a/b -test.run=^(TestY)$", "c: exec -- /payload/c --gtest_filter=S.T"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(p.Job.Programs) != 4 || len(p.Job.Programs[0].Args) != 3 {
		t.Errorf("the payload's own job was changed: %+v", p.Job.Programs)
	}
	for _, tests := range [][]string{{"d/x"}, {"a"}, {"e/TestX"}} {
		if _, err := p.Select(tests); err == nil {
			t.Errorf("%q was selected", tests)
		}
	}
}

// Select's patterns mean what they are meant to for package testing.
func TestSelectorOf(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	p := ProgramPayload("/x/guest.test", self, []string{"-test.run=Nothing"}, "/", 0)
	job, err := p.Select([]string{"TestSelect/x"})
	if err != nil {
		t.Fatal(err)
	}
	last := job.Args[len(job.Args)-1]
	for _, a := range job.Args {
		if pattern, ok := strings.CutPrefix(a, "-test.run="); ok {
			if re := regexp.MustCompile(pattern); !re.MatchString("TestSelect") || re.MatchString("TestSelectorOf") {
				t.Errorf("%s", a)
			}
		}
	}
	if strings.Contains(last, "Nothing") {
		t.Errorf("%q", job.Args)
	}
	if selectorOf([]byte("\x7fELF RUST_TEST_THREADS"), false) == nil || selectorOf([]byte("gtest_filter"), false) == nil || selectorOf([]byte("x"), false) != nil {
		t.Error("a program is taken for another")
	}
}

func FuzzSelect(f *testing.F) {
	f.Add("-test.run X", "TestA/b")
	f.Add("--skip x y -- z", "a::b")
	f.Add("--gtest_filter=*", "A.B/0")
	f.Fuzz(func(t *testing.T, args, tests string) {
		for _, by := range []selector{selectGo, selectLibtest, selectGTest} {
			got, err := selectIn(append([]string{"exec", "--", "p"}, strings.Fields(args)...), by, strings.Fields(tests))
			if err != nil {
				continue
			}
			if len(got) < 4 || got[2] != "p" {
				t.Errorf("%q", got)
			}
			if pattern, ok := strings.CutPrefix(got[3], "-test.run="); ok {
				re, err := regexp.Compile(pattern)
				if err != nil {
					t.Fatalf("%q: %v", pattern, err)
				}
				for _, test := range strings.Fields(tests) {
					if top, _, _ := strings.Cut(test, "/"); !re.MatchString(repeated.ReplaceAllString(top, "")) {
						t.Errorf("%q does not select %q", pattern, test)
					}
				}
			}
		}
	})
}
