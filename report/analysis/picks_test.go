package analysis

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

// kernelsOfKinds makes a result of lines "id kind verdict [failed test]".
func kernelsOfKinds(lines ...string) *report.Merged {
	m := &report.Merged{Arch: "amd64", HeadSHA: "abc"}
	for _, l := range lines {
		f := strings.Fields(l)
		k := report.Result{ID: f[0], Facts: &report.Facts{Kind: strings.Trim(f[1], "-")}}
		if err := k.Verdict.UnmarshalText([]byte(f[2])); err != nil {
			panic(err)
		}
		for _, name := range f[3:] {
			k.Tests = append(k.Tests, report.Test{Name: name, Verdict: report.TestFail})
		}
		m.Kernels = append(m.Kernels, k)
	}
	return m
}

func TestScorePicks(t *testing.T) {
	few := []string{"d/6.1.1 A pass", "d/6.1.2 A pass", "d/6.1.3 B fail T"}
	many := []string{"d/6.1.1 A pass", "d/6.1.2 A fail T", "d/6.1.3 A pass", "d/6.1.4 A pass", "d/6.1.5 A pass", "d/6.1.6 A pass", "d/6.1.7 A pass", "d/6.1.8 A pass", "d/6.1.9 A pass", "d/6.1.10 A pass"}
	expected := kernelsOfKinds("d/6.1.1 A fail T", "d/6.1.2 A pass")
	expected.Kernels[0].TestsOnly, expected.Kernels[0].Expected = true, []report.Expected{{Test: "T", Reason: "x"}}
	picked := kernelsOfKinds(few...)
	picked.Represented = []report.Represented{{ID: "d/6.1.0", By: "d/6.1.1"}}
	for _, tt := range []struct {
		name string
		m    *report.Merged
		want *report.Picks
	}{
		{"no kinds", kernelsOfKinds("d/6.1.1 - pass"), nil},
		{"a run with picks", picked, nil},
		{"all alike", kernelsOfKinds(few...), &report.Picks{Kernels: 3, Boots: 2, Kinds: 2, Failures: 1, Found: 1}},
		{"one differs", kernelsOfKinds(many...), &report.Picks{Kernels: 10, Boots: 2, Kinds: 1, Failures: 1, Mixed: []string{"d/6.1.2"}, MixedKinds: 1}},
		{"other tests failed", kernelsOfKinds("d/6.1.1 A fail T", "d/6.1.2 A fail U"), &report.Picks{Kernels: 2, Boots: 1, Kinds: 1, Failures: 2, Found: 2, Mixed: []string{"d/6.1.1"}, MixedKinds: 1}},
		{"an expected failure is an outcome", expected, &report.Picks{Kernels: 2, Boots: 1, Kinds: 1, Mixed: []string{"d/6.1.1"}, MixedKinds: 1}},
		{"series and flavours apart", kernelsOfKinds("d/6.1.1 A pass", "d/6.1.2-rt A pass", "d/6.2.1 A pass", "e/6.1.1 A pass"), &report.Picks{Kernels: 4, Boots: 4, Kinds: 4}},
		{"not tested", kernelsOfKinds("d/6.1.1 A fail T", "d/6.1.2 A missing", "d/6.1.3 A infra", "d/6.1.4 - pass"), &report.Picks{Kernels: 2, Boots: 2, Kinds: 1, Failures: 1, Found: 1}},
	} {
		if tt.want != nil {
			tt.want.HeadSHA = "abc"
		}
		if d := cmp.Diff(tt.want, ScorePicks(tt.m)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestPicksWords(t *testing.T) {
	for want, p := range map[string]*report.Picks{
		"": nil,
		"Last full run: 0 of 15 kinds were mixed; picks would have found 4 of 4 failures in 16 of 84 boots.":            {Base: true, Kernels: 84, Boots: 16, Kinds: 15, Failures: 4, Found: 4},
		"This full run: 0 of 1 kind were mixed; picks would have taken 1 of 2 boots, and there was no failure to find.": {Kernels: 2, Boots: 1, Kinds: 1},
		"This full run: 1 of 2 kinds was mixed; picks would have found 0 of 1 failure in 2 of 5 boots. 1 kernel had another result than the kernel that would have stood for it: <d/6.1.2>; later picks boot it.": {
			Kernels: 5, Boots: 2, Kinds: 2, Failures: 1, Mixed: []string{"d/6.1.2"}, MixedKinds: 1,
		},
	} {
		if got := PicksWords(p, func(s string) string { return "<" + s + ">" }); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestStanding(t *testing.T) {
	represented := []report.Represented{{ID: "d/6.1.1", By: "d/6.1.3"}, {ID: "d/6.1.2", By: "d/6.1.3"}, {ID: "d/6.2.1", By: "d/6.2.2"}}
	alike := " represented by a kernel of their kind, on which the payload's BPF programs find the same types, functions and options. They were not booted."
	for _, tt := range []struct {
		kernels               []string
		headline, first, rest string
	}{
		{[]string{"d/6.1.3 A pass", "d/6.2.2 A pass"}, "all 2 kernels pass, standing for 5", "2 booted, standing for 5 kernels", "3 are" + alike},
		{[]string{"d/6.1.3 A fail", "d/6.2.2 A pass"}, "1 of 2 kernels fails, 1 passes, the 2 stand for 5", "2 booted, standing for 5 kernels", "3 are" + alike},
		{
			[]string{"d/6.1.3 A infra", "d/6.2.2 A pass"},
			"1 of 2 kernels passes, 1 not tested, the 1 tested stand for 2 of 5", "1 booted, standing for 2 of 5 kernels",
			"1 is represented by a kernel of its kind, on which the payload's BPF programs find the same types, functions and options. It was not booted. Nothing is known of the other 3: 1 was not tested, and 2 are represented by it.",
		},
		{[]string{"d/6.1.3 A infra", "d/6.2.2 A no-boot"}, "0 of 2 kernels pass, 2 not tested", "0 booted, standing for 0 of 5 kernels", "Nothing is known of the 5: 2 were not tested, and 3 are represented by them."},
		{
			[]string{"d/6.1.3 series pass", "d/6.2.2 series pass"},
			"all 2 kernels pass, standing for 5", "2 booted, standing for 5 kernels",
			"3 are represented by a kernel of their kind, here a newer one of the same series, since the payload's BPF programs are not known before it runs. They were not booted.",
		},
	} {
		m := kernelsOfKinds(tt.kernels...)
		m.Represented, m.Verdict = represented, report.RunOutcome(2, m.Kernels, false).Verdict
		if got := Headline(m); got != tt.headline {
			t.Errorf("%q, want %q", got, tt.headline)
		}
		if first, rest := NewStanding(m).Words(); first != tt.first || rest != tt.rest {
			t.Errorf("%q: %q, want %q: %q", first, rest, tt.first, tt.rest)
		}
	}
	var more []int
	for _, g := range Groups(reporttest.Picked()) {
		if more = append(more, g.More); !g.Verdict.Tested() && g.MoreWords() != "" {
			t.Errorf("%s%s", g.Title, g.MoreWords())
		}
	}
	if d := cmp.Diff([]int{3, 0, 0, 0, 0, 0, 2, 0}, more); d != "" {
		t.Errorf("the failing kernels stand for others (-want +got):\n%s", d)
	}
}

func TestBecame(t *testing.T) {
	expected := report.Result{Verdict: report.Fail, TestsOnly: true, Tests: []report.Test{{Name: "A", Verdict: report.TestFail}}, Expected: []report.Expected{{Test: "A", Reason: "known"}}}
	for want, k := range map[string]report.Result{
		"": {Verdict: report.Pass}, " (failed)": {Verdict: report.Crash}, " (not tested)": {Verdict: report.NoBoot}, " (failed as expected)": expected,
	} {
		if got := Became(&k); got != want {
			t.Errorf("%v: %q, want %q", k.Verdict, got, want)
		}
	}
}

// A boundary offers the command that bisects, where bisect finds the same boundary.
func TestBisectAtBoundaries(t *testing.T) {
	const command = "bpf-kernel-check bisect --kernels debian --good d/6.1.1 --bad d/6.12.1 --objects o"
	for _, tt := range []struct {
		name        string
		spec        map[string]string
		represented string // id
		others      string // what is said of them
		want        string
	}{
		{"nothing between", map[string]string{"d/6.1.1": "+", "d/6.12.1": "-"}, "d/6.12.2", "from 6.12.1", ""},
		{"represented", map[string]string{"d/6.1.1": "+", "d/6.12.1": "-"}, "d/6.1.2", "from 6.12.1; 1 between is represented, not booted", command},
		{"not tested", map[string]string{"d/6.1.1": "+", "d/6.2.1": "?", "d/6.3.1": "noboot", "d/6.12.1": "-"}, "d/6.12.2", "from 6.12.1; 1 between did not boot; 1 between was not tested", command},
		{"fixed", map[string]string{"d/6.1.1": "-", "d/6.12.1": "+"}, "d/6.1.2", "from 6.12.1; 1 between is represented, not booted", strings.ReplaceAll(strings.NewReplacer("d/6.1.1", "X", "d/6.12.1", "d/6.1.1").Replace(command), "X", "d/6.12.1")},
		{"of another flavour", map[string]string{"d/6.1.1": "+", "d/6.12.1": "-"}, "d/6.1.2-rt", "from 6.12.1", ""},
		{"another distribution", map[string]string{"d/6.1.1": "+", "d/6.12.1": "-"}, "e/6.1.2", "from 6.12.1", ""},
		{"fails otherwise between", map[string]string{"d/6.1.1": "+", "d/6.2.1": "other", "d/6.12.1": "-"}, "d/6.1.2", "from 6.12.1; 1 between fails otherwise; 1 between is represented, not booted", ""},
		{"the good one fails otherwise", map[string]string{"d/6.1.1": "elsewhere", "d/6.12.1": "-"}, "d/6.1.2", "from 6.12.1; 1 between is represented, not booted", ""},
	} {
		m := &report.Merged{Kernels: kernelsOf(tt.spec), Represented: []report.Represented{{ID: tt.represented, By: "d/6.12.1"}}}
		for i := range m.Kernels {
			k := &m.Kernels[i]
			k.Reproduce = report.Command("--kernels", "debian", "--objects", "o", k.ID)
		}
		groups := Groups(m)
		i := slices.IndexFunc(groups, func(g Group) bool { return g.Title == "rejected: x" })
		if b := groups[i].Boundaries[0]; !strings.HasSuffix(b.Text(strings.Clone), " "+tt.others) || b.Bisect != tt.want {
			t.Errorf("%s: %q, %q; want %q, %q", tt.name, b.Text(strings.Clone), b.Bisect, tt.others, tt.want)
		}
	}
}
