package guest

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func TestJUnit(t *testing.T) {
	for _, tt := range []struct {
		program, framework string
		junit              []string
		want, env          string
	}{
		{"prog -x", "", nil, "-- prog -x", ""},
		{"prog", "", []string{"out/*.xml", "/tmp/a.xml"}, "--junit /src/out/*.xml --junit /tmp/a.xml -- prog", ""},
		{"prog -o x.xml", "catch2", []string{"x.xml"}, "--framework catch2 --junit /src/x.xml -- prog -o x.xml", ""},
		{"prog passes", "catch2", nil, "--framework catch2 --junit /run/junit.xml -- prog -r junit -o /run/junit.xml passes", ""},
		{"prog --gtest_filter=A.*", "gtest", nil, "--framework gtest --junit /run/junit.xml -- prog --gtest_output=xml:/run/junit.xml --gtest_filter=A.*", ""},
		{"python3 -m pytest tests", "pytest", nil, "--framework pytest --junit /run/junit.xml -- python3 -m pytest --junit-xml=/run/junit.xml tests", ""},
		{"/usr/bin/pytest-3 tests", "pytest", nil, "--framework pytest --junit /run/junit.xml -- /usr/bin/pytest-3 --junit-xml=/run/junit.xml tests", ""},
		{"bats t.bats", "bats", nil, "--framework bats --junit /run/report.xml -- bats --report-formatter junit --output /run t.bats", ""},
		{"prog", "cmocka", nil, "--framework cmocka --junit /run/junit-*.xml -- prog", "CMOCKA_MESSAGE_OUTPUT=xml CMOCKA_XML_FILE=/run/junit-%g.xml"},
	} {
		p := Payload{Job: wire.Job{Args: append([]string{wire.TestrunnerPath, "exec", "--"}, strings.Fields(tt.program)...)}}
		before := slices.Clone(p.Job.Args)
		args := p.Job.Args
		if err := p.JUnit(tt.framework, tt.junit, "/src"); err != nil {
			t.Errorf("%s: %v", tt.program, err)
		}
		if d := cmp.Diff(wire.TestrunnerPath+" exec "+tt.want, strings.Join(p.Job.Args, " ")); d != "" || strings.Join(p.Job.Env, " ") != tt.env {
			t.Errorf("%s: %q\n%s", tt.program, p.Job.Env, d)
		}
		if !slices.Equal(args, before) {
			t.Errorf("%s: its arguments were changed in place", tt.program)
		}
	}
	for _, tt := range []struct{ program, framework, junit, want string }{
		{"prog", "gtst", "", `--framework is "gtst": want one of bats, boost, catch2, cmocka, criterion, ctest, doctest, gtest, pytest; for any other, --junit names the files that it writes`},
		{"prog", "", "[", `--junit "["`},
		{"prog --gtest_output=xml", "gtest", "", `the program has "--gtest_output=xml" already`},
		{"prog -rxml", "catch2", "", `the program has "-rxml" already`},
		{"prog -r=xml", "doctest", "", `the program has "-r=xml" already`},
		{"sh t.sh", "pytest", "", "have no pytest"},
	} {
		p := Payload{Job: wire.Job{Args: append([]string{wire.TestrunnerPath, "exec", "--"}, strings.Fields(tt.program)...)}}
		var junit []string
		if tt.junit != "" {
			junit = []string{tt.junit}
		}
		if err := p.JUnit(tt.framework, junit, "/"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.program, err, tt.want)
		}
	}
	p := Payload{Job: wire.Job{Args: []string{"exec", "--", "prog"}}}
	if err := p.JUnit("cmocka", nil, "/"); err != nil {
		t.Fatal(err)
	}
	if err := p.AddEnv([]string{"A=b"}); err != nil || !slices.Contains(p.Job.Env, "A=b") || len(p.Job.Env) != 3 {
		t.Errorf("%v, %q", err, p.Job.Env)
	}
	if err := p.AddEnv([]string{"CMOCKA_XML_FILE=x"}); err == nil {
		t.Error("a variable was set twice")
	}
	several, err := ProgramsPayload([]TestProgram{
		{Name: "a", Path: "/bin/a", Data: []byte("x"), Env: []string{"B=own"}},
		{Name: "c", Path: "/bin/c", Data: []byte("x"), Framework: "cmocka"},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := several.AddEnv([]string{"B=all"}); err != nil {
		t.Error(err)
	}
	if err := several.AddEnv([]string{"CMOCKA_XML_FILE=x"}); err == nil {
		t.Error("a variable that one of several programs needs was set")
	}
	if !slices.IsSorted(Frameworks()) {
		t.Error(Frameworks())
	}
}
