package check

import (
	"fmt"
	"strings"
	"testing"
)

func line(name string, pid int, pad string) []byte {
	return fmt.Appendf(nil, `{"event_type":%q,"pids":{"tgid":%d},"x":%q}`, name, pid, pad)
}

// One process that floods does not push the events of another out.
func TestLogFlood(t *testing.T) {
	var l Log
	l.Add(line("A", 1, ""), false, 0)
	for range 10_000 {
		l.Add(line("A", 2, ""), false, 0)
	}
	if len(l.Of("A", 1)) != 1 || len(l.Of("A", 2)) != MaxPerPid || l.Counts.Skipped != 10_000-MaxPerPid || l.Counts.Evicted != 0 {
		t.Errorf("kept %d and %d, %+v", len(l.Of("A", 1)), len(l.Of("A", 2)), l.Counts)
	}
	if r := verifyStream(Run{Log: &l}, nil); r.Verdict != "pass" {
		t.Errorf("%+v", r)
	}
}

// Events of ever new processes are bounded as well, and that is no pass.
func TestLogBounded(t *testing.T) {
	var l Log
	pad := strings.Repeat("x", 100_000)
	for pid := range 2000 {
		l.Add(line("A", pid+1, pad), false, 0)
		if l.kept > MaxKept {
			t.Fatalf("%d bytes kept", l.kept)
		}
	}
	if len(l.Of("A", 2000)) != 1 || len(l.Of("A", 1)) != 0 || l.Lines != 2000 {
		t.Error("the latest events are not the ones kept")
	}
	if r := verifyStream(Run{Log: &l}, nil); r.Verdict != "fail" || !strings.Contains(r.Details, "did not fit") {
		t.Errorf("%+v", r)
	}
}

func TestLogClone(t *testing.T) {
	var l Log
	l.Add(line("A", 1, ""), false, 0)
	c := l.Clone()
	l.Add(line("A", 1, ""), false, 0)
	if len(c.Of("A", 1)) != 1 || len(c.OfType("A")) != 1 || len(l.Of("A", 1)) != 2 {
		t.Error("the copy changed")
	}
}

func TestFacts(t *testing.T) {
	for last, want := range map[int]string{0: "2199023255551", 40: "2199023255551", 39: "1099511627775"} {
		if got := (Facts{LastCap: last}).allCaps(); got != want {
			t.Errorf("last capability %d: %s, want %s", last, got, want)
		}
	}
}

func TestBuild(t *testing.T) {
	for _, tt := range []struct {
		name, help string
		older      bool
		lacks      string
	}{
		{"nothing printed", "", false, ""},
		{"an error", "unknown option --help", false, ""},
		{"aligned", "  -a, --all                  x\n      --file-create          x\n", true, "file-modify"},
		{"prefix of another", "--all --file-create-x", true, "file-create"},
	} {
		b := ParseHelp(tt.help)
		if (older(b, nil) != "") != tt.older || tt.lacks != "" && b.Has(tt.lacks) || !b.Has("all") {
			t.Errorf("%s: %+v", tt.name, b)
		}
	}
}

// The table has no test that could never fail, and every event in it has an
// option to be known by.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, test := range Tests() {
		if names[test.Name] {
			t.Errorf("%s is there twice", test.Name)
		}
		names[test.Name] = true
		if len(test.Expect) == 0 && len(test.Init) == 0 {
			t.Errorf("%s expects nothing", test.Name)
		}
		for i, e := range test.Expect {
			if option(e.Type) == "" {
				t.Errorf("%s: no option selects %s", test.Name, e.Type)
			}
			v := verifier{test: test, run: Run{Log: &Log{}}, printed: Object{}}
			if _, f, _ := v.process(e); f.Path == "" {
				t.Errorf("%s: event %d names no process", test.Name, i)
			}
		}
	}
	if len(names) != 22 {
		t.Errorf("%d tests", len(names))
	}
}
