package analysis

import (
	"slices"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
)

// costing is a result whose kernels have programs, as "ID NAME N".
func costing(lines ...string) *report.Merged {
	m := &report.Merged{Verdict: report.Pass}
	for _, l := range lines {
		f := strings.Fields(l)
		insns := 0
		for _, c := range f[2] {
			insns = 10*insns + int(c-'0')
		}
		p := report.BPFProgram{Name: f[1], Type: "kprobe", Tag: f[2], Insns: insns}
		i := slices.IndexFunc(m.Kernels, func(k report.Result) bool { return k.ID == f[0] })
		if i < 0 {
			i = len(m.Kernels)
			_, release := report.SplitID(f[0])
			m.Kernels = append(m.Kernels, report.Result{ID: f[0], Verdict: report.Pass, Release: release})
		}
		m.Kernels[i].BPF = append(m.Kernels[i].BPF, p)
	}
	return m
}

func plainName(s string) string { return s }

func TestChangeOfCosts(t *testing.T) {
	for _, tt := range []struct {
		name      string
		was, now  []string
		max       int
		want      []string // those that moved; ! marks what is too much
		comp, unk int
	}{
		{"the same", []string{"d/6.1.0-1-a f 5000"}, []string{"d/6.1.0-1-a f 5000"}, 1, nil, 1, 0},
		{"too little to be named", []string{"d/6.1.0-1-a f 10"}, []string{"d/6.1.0-1-a f 1009"}, 20, nil, 1, 0},
		{"enough", []string{"d/6.1.0-1-a f 10"}, []string{"d/6.1.0-1-a f 1010"}, 20, []string{"!f: 10 → 1,010 instructions on d/6.1.0-1-a: under 1 % of the limit of a million"}, 1, 0},
		{"under the limit", []string{"d/6.1.0-1-a f 10000"}, []string{"d/6.1.0-1-a f 12000"}, 20, []string{"f: 10,000 → 12,000 instructions on d/6.1.0-1-a: 1 % of the limit of a million"}, 1, 0},
		{"exactly the limit", []string{"d/6.1.0-1-a f 10000"}, []string{"d/6.1.0-1-a f 11000"}, 10, []string{"f: 10,000 → 11,000 instructions on d/6.1.0-1-a: 1 % of the limit of a million"}, 1, 0},
		{"over it", []string{"d/6.1.0-1-a f 10000"}, []string{"d/6.1.0-1-a f 12001"}, 20, []string{"!f: 10,000 → 12,001 instructions on d/6.1.0-1-a: 1 % of the limit of a million"}, 1, 0},
		{"no limit", []string{"d/6.1.0-1-a f 10000"}, []string{"d/6.1.0-1-a f 900000"}, 0, []string{"f: 10,000 → 900,000 instructions on d/6.1.0-1-a: 90 % of the limit of a million"}, 1, 0},
		{"less", []string{"d/6.1.0-1-a f 10000"}, []string{"d/6.1.0-1-a f 100"}, 20, []string{"f: 10,000 → 100 instructions on d/6.1.0-1-a: under 1 % of the limit of a million"}, 1, 0},
		{"less than a hundredth", []string{"d/6.1.0-1-a f 500000"}, []string{"d/6.1.0-1-a f 501500"}, 20, nil, 1, 0},
		{
			"on several kernels alike",
			[]string{"d/5.10.0-1-a f 10000", "d/5.10.0-2-a f 10000", "d/6.1.0-1-a f 9000"},
			[]string{"d/5.10.0-1-a f 40000", "d/5.10.0-2-a f 40000", "d/6.1.0-1-a f 20000"},
			200,
			[]string{"!f: 10,000 → 40,000 instructions on 5.10 (2 kernels): 4 % of the limit of a million", "f: 9,000 → 20,000 instructions on d/6.1.0-1-a: 2 % of the limit of a million"},
			3, 0,
		},
		{"a new program, and one that is gone", []string{"d/6.1.0-1-a f 5000"}, []string{"d/6.1.0-1-a g 90000"}, 20, nil, 0, 1},
		{"one more of the name, and smaller", []string{"d/6.1.0-1-a f 5000"}, []string{"d/6.1.0-1-a f 90", "d/6.1.0-1-a f 5000"}, 20, nil, 1, 1},
		{"one more of the name", []string{"d/6.1.0-1-a f 5000"}, []string{"d/6.1.0-1-a f 5000", "d/6.1.0-1-a f 90000"}, 20, nil, 1, 1},
		{"more of the name, of which one has changed", []string{"d/6.1.0-1-a f 5000"}, []string{"d/6.1.0-1-a f 3", "d/6.1.0-1-a f 9000"}, 20, []string{"!f: 5,000 → 9,000 instructions on d/6.1.0-1-a: under 1 % of the limit of a million"}, 1, 1},
		{"the smaller of one name", []string{"d/6.1.0-1-a f 500000", "d/6.1.0-1-a f 1000"}, []string{"d/6.1.0-1-a f 499000", "d/6.1.0-1-a f 500001"}, 20, []string{"!f: 1,000 → 499,000 instructions on d/6.1.0-1-a: 49 % of the limit of a million"}, 2, 0},
		{"alike twice on one kernel", []string{"d/6.1.0-1-a f 10000", "d/6.1.0-1-a f 10000"}, []string{"d/6.1.0-1-a f 20000", "d/6.1.0-1-a f 20000"}, 20, []string{"!f: 10,000 → 20,000 instructions on d/6.1.0-1-a: 2 % of the limit of a million"}, 2, 0},
		{"one of two with one name", []string{"d/6.1.0-1-a f 9000", "d/6.1.0-1-a f 5000"}, []string{"d/6.1.0-1-a f 9000", "d/6.1.0-1-a f 8000"}, 20, []string{"!f: 5,000 → 8,000 instructions on d/6.1.0-1-a: under 1 % of the limit of a million"}, 2, 0},
		{"nothing known any more", []string{"d/6.1.0-1-a f 5000"}, []string{"d/6.1.0-1-a f 0"}, 20, nil, 0, 1},
		{
			"the next build of a kernel",
			[]string{"d/6.1.0-1-a f 10000", "d/6.1.0-2-a f 20000", "d/6.1.0-9-rt f 5000"},
			[]string{"d/6.1.0-3-a f 50000"},
			20,
			[]string{"f: 20,000 → 50,000 instructions on d/6.1.0-3-a: 5 % of the limit of a million, compared with d/6.1.0-2-a"},
			0, 1,
		},
		{"the next build of a kernel, under the limit", []string{"d/6.1.0-2-a f 20000"}, []string{"d/6.1.0-10-a f 21000"}, 20, []string{"f: 20,000 → 21,000 instructions on d/6.1.0-10-a: 2 % of the limit of a million, compared with d/6.1.0-2-a"}, 1, 0},
		{"the newest of several builds", []string{"d/6.1.0-10-a f 10000", "d/6.1.0-9-a f 20000"}, []string{"d/6.1.0-11-a f 10000"}, 20, nil, 1, 0},
		{"another series", []string{"d/6.1.0-1-a f 10000"}, []string{"d/6.2.0-1-a f 50000"}, 20, nil, 0, 1},
		{"another distribution", []string{"d/6.1.0-1-a f 10000"}, []string{"e/6.1.0-1-a f 50000"}, 20, nil, 0, 1},
		{"a base without numbers", []string{"d/6.1.0-1-a f 0"}, []string{"d/6.1.0-1-a f 50000"}, 20, nil, 0, 1},
		{"an old kernel's limit", []string{"d/4.19.0-1-a f 10000"}, []string{"d/4.19.0-1-a f 120000"}, 0, []string{"f: 10,000 → 120,000 instructions on d/4.19.0-1-a: 91 % of the limit of 131,072"}, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := NewChange(costing(tt.was...), costing(tt.now...), tt.max)
			var got []string
			for _, one := range c.Costs {
				s := ChangeWords(one, plainName)
				if one.TooMuch {
					s = "!" + s
				}
				got = append(got, s)
			}
			if !slices.Equal(got, tt.want) || c.CostsCompared != tt.comp || c.CostsUnknown != tt.unk {
				t.Errorf("%d compared, %d unknown, %q\nwant %d, %d, %q", c.CostsCompared, c.CostsUnknown, got, tt.comp, tt.unk, tt.want)
			}
			m := costing(tt.now...)
			m.Change = c
			if over := strings.HasPrefix(strings.Join(tt.want, ""), "!"); over != (m.Outcome().Verdict == report.Fail) || over != (len(Annotations(m)) > 0) {
				t.Errorf("verdict %v, %d annotations", m.Outcome().Verdict, len(Annotations(m)))
			}
		})
	}
}

// What was rejected has cost nothing that says anything: a program that loads at last
// has not grown.
func TestCostsOfWhatDidNotLoad(t *testing.T) {
	of := func(verdict string, insns int) *report.Merged {
		return &report.Merged{Kernels: []report.Result{{ID: "d/6.1", Verdict: report.Fail, Tests: []report.Test{{Name: "o/f", Verdict: verdict, Insns: insns}}}}}
	}
	for _, tt := range []struct {
		was, now string
		compared int
	}{{report.TestPass, report.TestPass, 1}, {report.TestFail, report.TestPass, 0}, {report.TestPass, report.TestFail, 0}} {
		if c := NewChange(of(tt.was, 200), of(tt.now, 50_000), 20); c.CostsCompared != tt.compared || len(c.Costs) != tt.compared {
			t.Errorf("%s, then %s: %+v", tt.was, tt.now, c)
		}
	}
}

func TestCostsOfKernels(t *testing.T) {
	m := costing("d/4.19.0-1-a f 119000", "d/6.1.0-1-a f 900000", "d/6.1.0-2-a f 900000", "d/6.1.0-2-a g 899999", "d/6.1.0-2-a h 3")
	var got []string
	for _, c := range Costs(m) {
		got = append(got, c.Words(plainName))
	}
	want := []string{
		"f: 119,000 instructions on d/4.19.0-1-a: 90 % of the limit of 131,072",
		"g: 899,999 instructions on d/6.1.0-2-a: 89 % of the limit of a million",
		"h: 3 instructions on d/6.1.0-2-a: under 1 % of the limit of a million",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if n := NearLimit(Costs(m)); len(n) != 1 || n[0].Name != "f" {
		t.Errorf("close to the limit: %+v", n)
	}
	if s := CostLine(nil, nil, plainName); s != "" {
		t.Errorf("of nothing: %q", s)
	}
	if s := CostLine(&report.Change{MaxInsnsGrowth: 20}, nil, plainName); !strings.HasSuffix(s, "whether one grew is not known") {
		t.Errorf("of nothing, held to a limit: %q", s)
	}
}
