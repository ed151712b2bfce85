package wire

import (
	"strings"
	"testing"
)

func TestCheckProgramName(t *testing.T) {
	for _, good := range []string{"a", "probe.test", "github.com/cilium/ebpf/internal", "_x", "a@v1+b~c-d", strings.Repeat("a", 200)} {
		if err := CheckProgramName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "../a", "a/../b", "/a", "a/", "a//b", "-a", "a b", "a\n", "a/.b", "ä", strings.Repeat("a", 201)} {
		if CheckProgramName(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestProgramTest(t *testing.T) {
	for _, tt := range [][3]string{{"", "T", "T"}, {"p", "T", "p/T"}, {"p", "p", "p"}, {"p", "", "p/"}} {
		if got := ProgramTest(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%q: %q", tt, got)
		}
	}
	if got := ProgramTest("p", strings.Repeat("x", MaxName)); len(got) > MaxName || !strings.HasPrefix(got, "p/x") {
		t.Errorf("%d bytes", len(got))
	}
}

// Each program's file has a good name of its own, however long.
func TestProgramFile(t *testing.T) {
	long := strings.Repeat("x", 180)
	seen := map[string]string{}
	for _, program := range []string{"a", "A/b", "a_b", "A_b", "p-x", "p-x-00000000", strings.Repeat("n", 200), strings.Repeat("n", 199)} {
		for _, name := range []string{"files/coverage.out", "files/" + long, "files/" + long + "y", "files/tmp/a~b", "verifier/a.log", "verifier/a/b/c.log", "verifier/a_b/c.log", "files" + strings.Repeat("/d", 12)} {
			got := ProgramFile(program, name)
			if err := CheckFileName(got); err != nil {
				t.Errorf("%s of %s: %v", name, program, err)
			}
			if was := seen[got]; was != "" {
				t.Errorf("%s is %s, and %s of %s", got, was, name, program)
			}
			seen[got] = name + " of " + program
		}
	}
	if got := ProgramFile("a", "files/coverage.out"); got != "files/a/coverage.out" {
		t.Error(got)
	}
}
