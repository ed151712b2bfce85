package merge

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

// Represented kernels are the plan's, or those that all shards agree on; no shard
// takes a kernel out of the list.
func TestRepresented(t *testing.T) {
	list := []report.Represented{{ID: "debian/6.0", By: "debian/6.1.000"}}
	for name, tt := range map[string]struct {
		change func(*testSet)
		plan   bool
		want   []report.Represented
		refuse string
	}{
		"of all shards": {change: func(s *testSet) {
			s.file(1).plan.Represented, s.file(2).plan.Represented = list, list
		}, want: list},
		"of the plan": {change: func(s *testSet) {
			s.plan.Represented, s.file(1).plan.Represented, s.file(2).plan.Represented = list, list, list
		}, plan: true, want: list},
		"of the plan, and a shard is missing": {change: func(s *testSet) {
			s.plan.Represented, s.file(1).plan.Represented, s.files = list, list, s.files[:1]
		}, plan: true, want: list, refuse: "shard 2 of 2 left no shard file"},
		"of one shard": {change: func(s *testSet) { s.file(1).plan.Represented = list }, refuse: "other kernels are represented than in the plan or in other shards"},
		"of one shard, against the plan": {change: func(s *testSet) {
			s.file(1).plan.Represented = list
		}, plan: true, refuse: "other kernels are represented than in the plan or in other shards"},
		"of the plan, against the shards": {change: func(s *testSet) {
			s.plan.Represented = list
		}, plan: true, want: list, refuse: "other kernels are represented than in the plan or in other shards"},
		"a kernel of another shard": {change: func(s *testSet) {
			own := []report.Represented{{ID: "debian/6.1.001", By: "debian/6.1.000"}}
			s.file(1).plan.Represented = own // which its reader cannot tell
			f := s.file(2)
			f.plan.Represented = own
			f.plan.Kernels, f.lines = f.plan.Kernels[1:], f.lines[1:]
		}, plan: true, refuse: "other kernels are represented than in the plan or in other shards"},
		"of other programs": {change: func(s *testSet) {
			other := []report.Represented{{ID: "debian/6.0", By: "debian/6.1.000", Kind: "a"}}
			s.file(1).plan.Represented, s.file(2).plan.Represented = other, other
			s.file(1).kernel(0).Facts = &report.Facts{Kind: "b"}
		}, refuse: report.OtherPrograms},
		"by a kernel that nobody boots": {change: func(s *testSet) {
			for _, f := range s.files {
				f.plan.Represented = []report.Represented{{ID: "debian/6.0", By: "debian/6.9"}}
			}
		}, refuse: "debian/6.0 is said to be represented by debian/6.9, which was given to no shard"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSet(2, 4)
			tt.change(s)
			o := testOptions()
			if tt.plan {
				o.Plan = s.plan
			}
			m := s.merge(t, o)
			if d := cmp.Diff(tt.want, m.Represented); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			refused := ""
			for _, r := range m.Refusals {
				refused += r.Reason + "\n"
			}
			if (m.Verdict == report.Pass) != (tt.refuse == "") || !strings.Contains(refused, tt.refuse) {
				t.Errorf("%v: %s", m.Verdict, refused)
			}
			if tt.plan && len(m.Kernels) != 4 {
				t.Errorf("%d kernels", len(m.Kernels))
			}
			var b bytes.Buffer
			if err := report.WriteReport(&b, m); err != nil {
				t.Error(err)
			}
		})
	}
}

// Of what picks would have done, the base of a run with picks tells.
func TestPicksOfTheBase(t *testing.T) {
	s := newSet(1, 2)
	s.file(1).plan.Represented = []report.Represented{{ID: "debian/6.0", By: "debian/6.1.000"}}
	o := testOptions()
	o.Base = &report.Merged{Kernels: []report.Result{{ID: "debian/5.9"}, {ID: "debian/6.0"}}, Picks: &report.Picks{Kernels: 9}}
	m := s.merge(t, o)
	if d := cmp.Diff(&report.Picks{Base: true, Kernels: 9}, m.Picks); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"debian/5.9"}, m.Change.Gone); d != "" { // not the represented one
		t.Errorf("gone (-want +got):\n%s", d)
	}
}

// What represents what is the same for all programs of a run, or nothing is.
func TestJoinRepresented(t *testing.T) {
	list := []report.Represented{{ID: "debian/6.0", By: "debian/6.1.000"}}
	for name, tt := range map[string]struct{ a, b, want []report.Represented }{
		"the same":      {list, list, list},
		"of one":        {list, nil, nil},
		"of the other":  {nil, list, nil},
		"by another":    {list, []report.Represented{{ID: "debian/6.0", By: "debian/6.1.001"}}, nil},
		"none at all":   {nil, nil, nil},
		"of each other": {list, []report.Represented{{ID: "debian/5.9", By: "debian/6.1.001"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newProgramSet(2, "a", "b")
			s.file(1).plan.Represented, s.file(2).plan.Represented = tt.a, tt.b
			m := s.merge(t, testOptions())
			want := report.Missing
			if cmp.Equal(tt.a, tt.b) {
				want = report.Pass
			}
			if d := cmp.Diff(tt.want, m.Represented); d != "" || m.Verdict != want {
				t.Errorf("%v (-want +got):\n%s", m.Verdict, d)
			}
		})
	}
}

// Which kind a kernel is of is known for each program, not for all of them.
func TestJoinKinds(t *testing.T) {
	s := newProgramSet(2, "a", "b")
	for _, f := range s.files {
		f.kernel(0).Facts = &report.Facts{BTF: true, Kind: "of " + f.plan.Program}
	}
	m := s.merge(t, testOptions())
	if d := cmp.Diff(&report.Facts{BTF: true}, m.Kernels[0].Facts); d != "" || m.Picks != nil || m.Verdict != report.Pass {
		t.Errorf("%v, %+v (-want +got):\n%s", m.Verdict, m.Picks, d)
	}
}
