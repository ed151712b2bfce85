package merge

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

func TestMergeGreen(t *testing.T) {
	for _, plan := range []bool{false, true} {
		s := newSet(3, 7)
		o := testOptions()
		if plan {
			o.Plan = s.plan
			o.Plan.Gone = []string{"debian/gone"}
		}
		m := s.merge(t, o)
		if plan != slices.Equal(m.Gone, []string{"debian/gone"}) {
			t.Errorf("gone %q", m.Gone)
		}
		if m.Verdict != report.Pass || m.Outcome().ExitCode() != report.ExitPass || len(m.Refusals) != 0 {
			t.Fatalf("plan %v: %v, %v", plan, m.Verdict, m.Refusals)
		}
		var ids []string
		for _, k := range m.Kernels {
			ids = append(ids, k.ID)
		}
		if len(ids) != 7 || !slices.IsSorted(ids) {
			t.Errorf("kernels %v", ids)
		}
		if m.List != s.plan.List || m.Shards != 3 || m.RunID != "1000" || m.Attempt != 1 || m.HeadSHA != "abc" || m.Arch != "amd64" || m.Algorithm != "rendezvous" {
			t.Errorf("%+v", m)
		}
	}
}

// A shard without kernels is a success, and so is a run of one shard.
func TestMergeEmptyShard(t *testing.T) {
	for _, n := range []int{1, 5} {
		s := newSet(n, 3)
		if m := s.merge(t, testOptions()); m.Verdict != report.Pass {
			t.Errorf("%d shards: %v, %v", n, m.Verdict, m.Refusals)
		}
	}
}

// Each change of a green set is refused with a line that names what is wrong.
func TestMergeRefuses(t *testing.T) {
	type change struct {
		name   string
		change func(*testSet)
		want   string // in one of the refusals
		plan   string // "only" with the plan, "never" with it, "": both ways
		exit   int    // ExitNotTested unless given
	}
	tests := []change{
		{name: "missing shard", want: "shard 2 of 3 left no shard file", change: func(s *testSet) { s.files = slices.Delete(s.files, 1, 2) }},
		{name: "no shard", want: "no shard file was found", change: func(s *testSet) { s.files = nil }},
		{name: "doubled", want: "shard 2 of 3 has two files of attempt 1", change: func(s *testSet) {
			s.add(2, 1).name = "copy/x.ndjson"
		}},
		{name: "doubled with another result", want: "has two files of attempt 1", exit: report.ExitFail, change: func(s *testSet) {
			f := s.add(2, 1)
			f.name = "copy/x.ndjson"
			f.fail(0)
		}},
		{name: "other list digest", want: `shard 2 of 3, attempt 1: its list's digest is "sha256:0"`, change: func(s *testSet) { s.file(2).plan.List = "sha256:0" }},
		{name: "other list digest everywhere", want: `digest`, change: func(s *testSet) {
			for _, f := range s.files {
				f.plan.List = "sha256:0"
			}
		}},
		{name: "other algorithm", want: `its algorithm is "lpt"`, change: func(s *testSet) { s.file(3).plan.Algorithm = "lpt" }},
		{name: "other architecture", want: `its architecture is "arm64"`, change: func(s *testSet) { s.file(3).plan.Arch = "arm64" }},
		{name: "other payload", want: `its payload is "sha256:b"`, change: func(s *testSet) { s.file(3).plan.Payload = "sha256:b" }},
		{name: "other commit", want: `its commit is "def"`, change: func(s *testSet) { s.file(3).plan.HeadSHA = "def" }},
		{name: "other number of shards", want: `its number of shards is "4"`, change: func(s *testSet) { s.file(3).plan.Shards = 4 }},
		{name: "number of shards lowered", want: `its number of shards is "2"`, change: func(s *testSet) {
			s.files = s.files[:2]
			s.file(1).plan.Shards, s.file(2).plan.Shards = 2, 2
		}, plan: "only"},
		{name: "number of shards lowered without a plan", want: "are not the list that was cut", change: func(s *testSet) {
			s.files = s.files[:2]
			s.file(1).plan.Shards, s.file(2).plan.Shards = 2, 2
		}, plan: "never"},
		{name: "other run", want: "is of run 999, others are of run 1000", change: func(s *testSet) { s.file(2).plan.RunID = "999" }},
		{name: "no run", want: "is of no run, others are of run 1000", change: func(s *testSet) { s.file(2).plan.RunID = "" }},
		{name: "end record missing", want: "it has no end record: the job was cut short after 2 of 2 kernels", change: func(s *testSet) { s.file(2).sealed = false }},
		{name: "cut after a kernel", want: "cut short after 1 of 2 kernels", change: func(s *testSet) {
			s.file(2).sealed = false
			s.file(2).lines = s.file(2).lines[:1]
		}},
		{name: "last line truncated", want: "line 4 ends in its middle", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return b[:len(b)-10] }
		}},
		{name: "last newline missing", want: "line 4 ends in its middle", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return b[:len(b)-1] }
		}},
		{name: "line in the middle truncated", want: "line 2: ", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return bytes.Replace(b, []byte(`"vm":2000000000}`), nil, 1) }
		}},
		{name: "byte changed", want: "its end record's digest is not that of its bytes", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return bytes.Replace(b, []byte(`"boot":1`), []byte(`"boot":2`), 1) }
		}},
		{name: "upgraded byte by byte", want: "its end record's digest is not that of its bytes", change: func(s *testSet) {
			s.file(2).kernel(0).Verdict = report.Crash
			s.file(2).raw = func(b []byte) []byte { return bytes.Replace(b, []byte(`"crash"`), []byte(`"pass"`), 1) }
		}},
		{name: "empty file", want: "x.ndjson: it is empty", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return nil }
		}},
		{name: "no shard file", want: "x.ndjson: line 1 is no record", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return append([]byte("hello\n"), b...) }
		}},
		{name: "no plan", want: "line 1 is no plan record", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return b[bytes.IndexByte(b, '\n')+1:] }
		}},
		{name: "other schema", want: "its schema is 2, and this version reads schema 1 only", change: func(s *testSet) { s.file(2).plan.Schema = 2 }},
		{name: "no schema", want: "it names no schema", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return bytes.Replace(b, []byte(`"schema":1,`), nil, 1) }
		}},
		{name: "schema of another type", want: "its schema is v1.0", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return bytes.Replace(b, []byte(`"schema":1,`), []byte(`"schema":"v1.0",`), 1) }
		}},
		{name: "unknown record", want: `a record of unknown type "note"`, change: func(s *testSet) {
			s.file(2).lines = append(s.file(2).lines, report.Record{Type: "note"})
		}},
		{name: "record of two types", want: `a record of type `, change: func(s *testSet) {
			s.file(2).lines[0].End = &report.End{}
		}},
		{name: "second plan", want: "line 4 is a second plan", change: func(s *testSet) {
			p := s.file(2).plan
			s.file(2).lines = append(s.file(2).lines, report.Record{Type: "plan", Plan: &p})
		}},
		{name: "records after the end", want: "it goes on after its end record", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return append(b, b[bytes.IndexByte(b, '\n')+1:]...) }
		}},
		{name: "wrong count", want: "its end record counts 3 kernels, and it holds 2", change: func(s *testSet) { s.file(2).end = func(e *report.End) { e.Kernels++ } }},
		{name: "wrong verdicts", want: "or they count other verdicts", change: func(s *testSet) {
			s.file(2).end = func(e *report.End) { e.Verdicts = map[string]int{"pass": 1, "fail": 1} }
		}},
		{name: "result left out", want: "it has an end record, and results of 1 kernels of its plan are not in it", change: func(s *testSet) {
			s.file(2).lines = s.file(2).lines[:1]
		}},
		{name: "kernel left out of the plan too", want: "debian/6.1.004, which the plan gives it", plan: "only", change: func(s *testSet) {
			s.file(2).lines, s.file(2).plan.Kernels = s.file(2).lines[:1], s.file(2).plan.Kernels[:1]
		}},
		{name: "kernel left out without a plan", want: "are not the list that was cut", plan: "never", change: func(s *testSet) {
			s.file(2).lines, s.file(2).plan.Kernels = s.file(2).lines[:1], s.file(2).plan.Kernels[:1]
		}},
		{name: "failed kernel left out", want: "", change: func(s *testSet) {
			s.file(2).fail(1)
			s.file(2).lines, s.file(2).plan.Kernels = s.file(2).lines[:1], s.file(2).plan.Kernels[:1]
		}},
		{name: "foreign kernel", want: "debian/6.2, which the plan does not give it", plan: "only", change: addForeign},
		{name: "foreign kernel without a plan", want: "are not the list that was cut", plan: "never", change: addForeign},
		{name: "kernel in two shards", want: "debian/6.1.000 was given to shard 1 and to shard 2", change: func(s *testSet) {
			s.file(2).lines = append(s.file(2).lines, s.file(1).lines[0])
			s.file(2).plan.Kernels = append(s.file(2).plan.Kernels, "debian/6.1.000")
		}},
		{name: "kernel in two shards, failed in the first", want: "was given to shard 1 and to shard 2", exit: report.ExitFail, change: func(s *testSet) {
			k := *s.file(1).kernel(0)
			k.Tests = slices.Clone(k.Tests)
			s.file(1).fail(0)
			k.Tests[0].Verdict = "pass"
			s.file(2).lines = append(s.file(2).lines, report.Record{Type: "kernel", Kernel: &k})
			s.file(2).plan.Kernels = append(s.file(2).plan.Kernels, k.ID)
		}},
		{name: "shards overlap wholly", want: "was given to shard 1 and to shard 2", change: func(s *testSet) {
			s.file(2).lines, s.file(2).plan.Kernels = s.file(1).lines, s.file(1).plan.Kernels
		}},
		{name: "shards swapped", want: "which the plan does not give it", plan: "only", change: func(s *testSet) {
			s.file(1).plan.Shard, s.file(2).plan.Shard = 2, 1
		}},
		{name: "shard beyond the number", want: "it is shard 4 of 3", change: func(s *testSet) { s.file(2).plan.Shard = 4 }},
		{name: "other digest than planned", want: `debian/6.1.001 with the digest "sha256:1", the plan pins`, plan: "only", change: otherDigest},
		{name: "other digest without a plan", want: "are not the list that was cut", plan: "never", change: otherDigest},
		{name: "second result of a kernel", want: "kernel debian/6.1.001 is not in its plan, or has a result already", exit: report.ExitFail, change: func(s *testSet) {
			k := *s.file(2).kernel(0)
			k.Tests = slices.Clone(k.Tests)
			s.file(2).fail(0)
			k.Tests[0].Verdict = "pass"
			s.file(2).lines = append(s.file(2).lines, report.Record{Type: "kernel", Kernel: &k})
		}},
		{name: "result outside its plan", want: "kernel debian/6.2 is not in its plan", change: func(s *testSet) {
			k := *s.file(2).kernel(0)
			k.ID, k.Console = "debian/6.2", ""
			s.file(2).lines = append(s.file(2).lines, report.Record{Type: "kernel", Kernel: &k})
		}},
		{name: "verdict that does not exist", want: `verdict "passed": want one of`, change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte {
				return bytes.ReplaceAll(b, []byte(`"verdict":"pass"`), []byte(`"verdict":"passed"`))
			}
		}},
		{name: "no verdict", want: "it has no verdict", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return bytes.Replace(b, []byte(`"verdict":"pass",`), nil, 1) }
		}},
		{name: "pass with a failed test", want: "it passed and its test FileCreate did not", change: func(s *testSet) { s.file(2).kernel(0).Tests[0].Verdict = "fail" }},
		{name: "pass with a cause", want: "it passed and has a cause not to", change: func(s *testSet) { s.file(2).kernel(0).Cause = &report.Cause{Title: "oops"} }},
		{name: "test without a verdict", want: `did not: ""`, change: func(s *testSet) { s.file(2).kernel(0).Tests[0].Verdict = "" }},
		{name: "verdict twice in a record", want: `the key "verdict" stands twice in one object`, change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"verdict":"pass",`), []byte(`"verdict":"fail","verdict":"pass",`), 1)
			}
		}},
		{name: "negative duration", want: "duration_ns: -1", change: func(s *testSet) { s.file(2).kernel(0).Tests[0].Duration = -1 }},
		{name: "negative phase", want: `phases_ns: "vm": -1`, change: func(s *testSet) { s.file(2).kernel(0).Phases["vm"] = -1 }},
		{name: "duration that is no number", want: "line 2: ", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return bytes.Replace(b, []byte(`"vm":2000000000`), []byte(`"vm":NaN`), 1) }
		}},
		{name: "duration beyond numbers", want: "line 2: ", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte { return bytes.Replace(b, []byte(`"vm":2000000000`), []byte(`"vm":1e999`), 1) }
		}},
		{name: "id that leaves the directory", want: `"../etc" is no kernel's id`, change: func(s *testSet) {
			s.file(2).plan.Kernels[0] = "../etc"
			s.file(2).kernel(0).ID = "../etc"
		}},
		{name: "console of another kernel", want: "want results/debian/6.1.001.txt", change: func(s *testSet) { s.file(2).kernel(0).Console = "results/debian/6.1.000.txt" }},
		{name: "console elsewhere", want: `console "../../etc/passwd"`, change: func(s *testSet) { s.file(2).kernel(0).Console = "../../etc/passwd" }},
		{name: "file elsewhere", want: `file "results/debian/6.1.001/../../x"`, change: func(s *testSet) {
			s.file(2).kernel(0).Files = []string{"results/debian/6.1.001/../../x"}
		}},
		{name: "deep", want: "nested deeper than 16", change: func(s *testSet) {
			s.file(2).raw = func(b []byte) []byte {
				deep := `{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `,"type":"kernel"`
				return bytes.Replace(b, []byte(`{"type":"kernel"`), []byte(deep), 1)
			}
		}},
		{name: "not tested", want: "", change: func(s *testSet) {
			k := s.file(2).kernel(0)
			k.Verdict, k.Cause = report.Infra, &report.Cause{Title: "QEMU died"}
		}},
		{name: "failed", exit: report.ExitFail, change: func(s *testSet) { s.file(2).fail(0) }},
		{name: "failed and cut short", want: "cut short", exit: report.ExitFail, change: func(s *testSet) {
			s.file(2).fail(0)
			s.file(2).sealed = false
		}},
		{name: "failed and damaged", want: "digest", exit: report.ExitFail, change: func(s *testSet) {
			s.file(2).fail(0)
			s.file(2).end = func(e *report.End) { e.Digest = "" }
		}},
		// A run whose failed jobs were started again.
		{name: "rerun cut short after a green attempt", want: "shard 2 of 3, attempt 2: it has no end record", change: func(s *testSet) {
			f := s.add(2, 2)
			f.sealed, f.lines = false, nil
		}},
		{name: "rerun failed after a green attempt", exit: report.ExitFail, change: func(s *testSet) { s.add(2, 2).fail(0) }},
		{name: "rerun unreadable after a green attempt", want: "it is empty", change: func(s *testSet) {
			s.add(2, 2).raw = func([]byte) []byte { return nil }
		}},
		{name: "rerun of another schema after a green attempt", want: "its schema is 9", change: func(s *testSet) { s.add(2, 2).plan.Schema = 9 }},
		{name: "rerun of another list", want: `list's digest is "sha256:9"`, change: func(s *testSet) { s.add(2, 2).plan.List = "sha256:9" }},
		{name: "one of the failed shards was not run again", exit: report.ExitFail, change: func(s *testSet) {
			s.file(1).fail(0)
			s.file(2).fail(0)
			s.add(2, 2)
		}},
	}
	for _, tt := range tests {
		for _, plan := range []bool{false, true} {
			if plan && tt.plan == "never" || !plan && tt.plan == "only" {
				continue
			}
			name := tt.name
			if plan {
				name += ", with the plan"
			}
			t.Run(name, func(t *testing.T) {
				s := newSet(3, 7)
				tt.change(s)
				o := testOptions()
				if plan {
					o.Plan = s.plan
				}
				m := s.merge(t, o)
				if m.Verdict == report.Pass || m.Outcome().ExitCode() == report.ExitPass {
					t.Fatal("it is green")
				}
				want := tt.exit
				if want == 0 {
					want = report.ExitNotTested
				}
				if m.Outcome().ExitCode() != want {
					t.Errorf("exit code %d, want %d", m.Outcome().ExitCode(), want)
				}
				if tt.want != "" && !slices.ContainsFunc(m.Refusals, func(r report.Refusal) bool { return strings.Contains(r.Reason, tt.want) }) {
					t.Errorf("no refusal with %q:\n%v", tt.want, m.Refusals)
				}
				if plan {
					known := map[string]bool{}
					for _, k := range m.Kernels {
						known[k.ID] = true
						if k.Verdict == report.Missing && (k.Cause == nil || k.Cause.Title == "") {
							t.Errorf("%s is missing for no reason", k.ID)
						}
					}
					for _, k := range s.plan.Kernels {
						if !known[k.ID] {
							t.Errorf("%s is planned and not in the result", k.ID)
						}
					}
				}
				for _, r := range m.Refusals {
					if r.Reason == "" || strings.ContainsAny(r.Reason, "\n\r\x1b") {
						t.Errorf("refusal %q", r.Reason)
					}
				}
				if err := m.Check(); err != nil {
					t.Errorf("the result is none that can be read back: %v", err)
				}
			})
		}
	}
}

// A pass that cannot be believed is none, in no report.
func TestMergeTakesPassesBack(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*testSet)
		plan   bool
		want   string
	}{
		"damaged file":    {func(s *testSet) { s.file(2).end = func(e *report.End) { e.Digest = "sha256:0" } }, false, "it is said to have passed, but cannot be believed: its end record's digest"},
		"other bytes":     {otherDigest, true, "it tested other bytes than the plan pins"},
		"second result":   {func(s *testSet) { s.file(2).lines = append(s.file(2).lines, s.file(2).lines[0]) }, false, "cannot be believed"},
		"nothing like it": {func(s *testSet) { s.file(2).sealed = false }, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSet(3, 7)
			tt.change(s)
			o := testOptions()
			if tt.plan {
				o.Plan = s.plan
			}
			for _, k := range s.merge(t, o).Kernels {
				if k.ID != "debian/6.1.001" {
					continue
				}
				if tt.want == "" {
					if k.Verdict != report.Pass {
						t.Errorf("%v: a run that was cut short keeps what it knew", k.Verdict)
					}
					return
				}
				if k.Verdict != report.Missing || !strings.Contains(k.Cause.Title, tt.want) || k.Console == "" {
					t.Errorf("%v: %+v, console %q", k.Verdict, k.Cause, k.Console)
				}
				return
			}
			t.Error("the kernel is gone")
		})
	}
}

func TestMergeOfNoKernelsIsNotGreen(t *testing.T) {
	m := newSet(2, 0).merge(t, testOptions())
	if m.Verdict != report.Missing || len(m.Refusals) != 1 || m.Refusals[0].Reason != "no kernel was tested" {
		t.Errorf("%v %v", m.Verdict, m.Refusals)
	}
}

func addForeign(s *testSet) {
	k := *s.file(2).kernel(0)
	k.ID, k.Console = "debian/6.2", ""
	s.file(2).lines = append(s.file(2).lines, report.Record{Type: "kernel", Kernel: &k})
	s.file(2).plan.Kernels = append(s.file(2).plan.Kernels, k.ID)
}

func otherDigest(s *testSet) { s.file(2).kernel(0).Digest = "sha256:1" }

// Of a shard that was run again the last attempt counts, of the others the
// first one.
func TestMergeAttempts(t *testing.T) {
	for name, change := range map[string]func(*testSet){
		"a failed shard": func(s *testSet) {
			s.file(2).fail(0)
			s.add(2, 2)
		},
		"a shard that was cut short": func(s *testSet) {
			s.file(2).sealed = false
			s.add(2, 2)
		},
		"a damaged file": func(s *testSet) {
			s.file(2).end = func(e *report.End) { e.Kernels = 99 }
			s.add(2, 2)
		},
		"all of them, twice": func(s *testSet) {
			s.file(1).fail(0)
			for i := range 3 {
				s.add(i+1, 2).fail(0)
			}
			for i := range 3 {
				s.add(i+1, 3)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSet(3, 7)
			change(s)
			for range 2 {
				m := s.merge(t, testOptions())
				if m.Verdict != report.Pass || m.Attempt < 2 {
					t.Errorf("%v, attempt %d, %v", m.Verdict, m.Attempt, m.Refusals)
				}
				slices.Reverse(s.files)
			}
		})
	}
}

// A run that was started again as a whole may be cut into fewer shards. The
// plan tells; without it nobody can.
func TestMergeFewerShardsThanBefore(t *testing.T) {
	before, now := newSet(4, 7), newSet(3, 7)
	now.files = nil
	for i := range 3 {
		now.add(i+1, 2)
	}
	before.file(4).fail(0)
	now.files = append(now.files, before.files...)
	if m := now.merge(t, testOptions()); m.Verdict == report.Pass {
		t.Error("green without a plan")
	}
	o := testOptions()
	o.Plan = now.plan
	if m := now.merge(t, o); m.Verdict != report.Pass {
		t.Errorf("with the plan: %v, %v", m.Verdict, m.Refusals)
	}
}

func TestMergeOrderChangesNothing(t *testing.T) {
	s := newSet(3, 7)
	s.file(1).fail(0)
	s.add(2, 2).plan.List = "sha256:9"
	s.add(3, 1).name = "zz/x.ndjson"
	s.add(1, 1).plan.RunID = "5"
	c := collectFS(s.fs(t))
	want, _ := Merge(c, testOptions())
	slices.Reverse(c.Files)
	got, _ := Merge(c, testOptions())
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestMergeNeeds(t *testing.T) {
	for _, tt := range []struct {
		needs string
		kern  report.Verdict // of one of the kernels
		want  int
		say   string
	}{
		{`{"test":{"result":"success","outputs":{"matrix":"{\"a\":[1]}"}}}`, report.Pass, report.ExitPass, ""},
		{`["success","success"]`, report.Pass, report.ExitPass, ""},
		{`{"plan":{"result":"success"},"test":{"result":"failure"}}`, report.Pass, report.ExitNotTested, "job test failed, and no kernel that is known did not pass"},
		{`{"test":{"result":"failure"}}`, report.Fail, report.ExitFail, ""},
		{`{"test":{"result":"failure"}}`, report.Infra, report.ExitNotTested, ""},
		{`{"test":{"result":"success"}}`, report.Fail, report.ExitFail, ""},
		{`{"test":{"result":"cancelled"}}`, report.Pass, report.ExitNotTested, "job test was cancelled"},
		{`{"test":{"result":"cancelled"}}`, report.Fail, report.ExitFail, "job test was cancelled"},
		{`{"test":{"result":"skipped"}}`, report.Pass, report.ExitNotTested, "job test was skipped"},
		{`["skipped"]`, report.Pass, report.ExitNotTested, "a job that merge needs was skipped"},
		{`{"test":{}}`, report.Pass, report.ExitNotTested, "job test has no result"},
		{`{"test":{"result":"SUCCESS"}}`, report.Pass, report.ExitNotTested, "job test ended as SUCCESS"},
		{`{"a":{"result":"success"},"te\nst":{"result":"\u001b[31mneutral"}}`, report.Pass, report.ExitNotTested, "job te st ended as neutral"},
		{`{}`, report.Pass, report.ExitNotTested, "it names no job"},
		{`[]`, report.Pass, report.ExitNotTested, "it names no job"},
		{`null`, report.Pass, report.ExitNotTested, "it names no job"},
		{``, report.Pass, report.ExitNotTested, "want toJSON(needs)"},
		{`{"test":"success"}`, report.Pass, report.ExitNotTested, "want toJSON(needs)"},
		{`{"test":{"result":"failure"},"test":{"result":"success"}}`, report.Pass, report.ExitNotTested, "stands twice"},
		{`{"test":{"result":"success"}} {}`, report.Pass, report.ExitNotTested, "something follows"},
	} {
		t.Run(tt.needs, func(t *testing.T) {
			s := newSet(3, 7)
			if tt.kern != report.Pass {
				s.file(2).kernel(0).Verdict = tt.kern
			}
			o := testOptions()
			var err error
			if o.Needs, err = ParseNeeds(tt.needs); err != nil {
				o.Problems = append(o.Problems, err.Error())
			}
			m := s.merge(t, o)
			if m.Outcome().ExitCode() != tt.want {
				t.Errorf("exit code %d, want %d: %v", m.Outcome().ExitCode(), tt.want, m.Refusals)
			}
			if tt.say == "" && len(m.Refusals) > 0 || tt.say != "" && (len(m.Refusals) != 1 || !strings.Contains(m.Refusals[0].Reason, tt.say)) {
				t.Errorf("refusals %v, want %q", m.Refusals, tt.say)
			}
		})
	}
}

func TestMergeChange(t *testing.T) {
	base := newSet(1, 8)
	base.file(1).fail(2)
	base.file(1).fail(3)
	base.file(1).kernel(4).Verdict = report.Infra
	was := base.merge(t, testOptions())
	was.HeadSHA = "older"

	now := newSet(1, 9)
	now.plan.Kernels = now.plan.Kernels[1:]
	now.plan.List = report.ListDigest(now.plan.Kernels)
	now.plan.Shards[0].Kernels = now.plan.Shards[0].Kernels[1:]
	now.files = nil
	f := now.add(1, 1) // kernels 1 to 8 as results 0 to 7
	f.fail(0)
	f.fail(1)
	f.fail(3)
	f.kernel(4).Verdict = report.NoBoot
	f.fail(7)
	o := testOptions()
	o.Base = was
	m := now.merge(t, o)
	want := &report.Change{
		BaseSHA:   "older",
		NewlyFail: []string{"debian/6.1.001"}, // 2 failed before as well, of 4 nothing was known, 5 is not tested now
		Fixed:     []string{"debian/6.1.003"},
		New:       []string{"debian/6.1.008"},
		Gone:      []string{"debian/6.1.000"},

		FirstTested: []string{"debian/6.1.004"}, TestedBefore: []string{"debian/6.1.005"},
	}
	if d := cmp.Diff(want, m.Change); d != "" {
		t.Error(d)
	}
}
