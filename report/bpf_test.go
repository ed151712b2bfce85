package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJoinBPF(t *testing.T) {
	a := BPFProgram{Name: "a", Type: "kprobe", Tag: "1", Insns: 5, MapMemory: 9}
	b := BPFProgram{Name: "b", Type: "kprobe", Tag: "2"}
	more := BPFProgram{Name: "a", Type: "kprobe", Tag: "1", Insns: 4, States: 3, Jited: 2, MapMemory: 10}
	other := BPFProgram{Name: "a", Type: "kprobe", Tag: "3"}
	of := BPFProgram{Name: "a", Type: "kprobe", Tag: "1", Program: "p"}
	both := BPFProgram{Name: "a", Type: "kprobe", Tag: "1", Insns: 5, States: 3, Jited: 2, MapMemory: 10}
	for _, tt := range []struct {
		name  string
		lists [][]BPFProgram
		want  []BPFProgram
	}{
		{"none", nil, nil},
		{"one", [][]BPFProgram{{a, b}}, []BPFProgram{a, b}},
		{"twice", [][]BPFProgram{{a, b}, {more}}, []BPFProgram{both, b}},
		{"in one list", [][]BPFProgram{{a, more}}, []BPFProgram{both}},
		{"another of that name, and another program's", [][]BPFProgram{{a}, {other, of}}, []BPFProgram{a, other, of}},
	} {
		if d := cmp.Diff(tt.want, JoinBPF(tt.lists...)); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
	many := make([]BPFProgram, MaxBPF+5)
	for i := range many {
		many[i].Insns, many[i].Name = i, string(rune('a'+i%26))+string(rune(0x1000+i))
	}
	if n := len(JoinBPF(many, many)); n != MaxBPF {
		t.Errorf("%d of too many", n)
	}
}

// A result of an older version has instructions in its tests alone.
func TestCosts(t *testing.T) {
	k := Result{
		BPF:   []BPFProgram{{Name: "f", Test: "o/f", Insns: 7}, {Name: "g", Test: "o/g"}, {Name: "h"}},
		Tests: []Test{{Name: "o/f", Insns: 6}, {Name: "o/g", Insns: 5}, {Name: "o/i", Insns: 4}, {Name: "o/j"}},
	}
	want := append(k.BPF[:3:3], BPFProgram{Name: "o/g", Test: "o/g", Insns: 5}, BPFProgram{Name: "o/i", Test: "o/i", Insns: 4})
	if d := cmp.Diff(want, k.Costs()); d != "" {
		t.Error(d)
	}
	if len(k.BPF) != 3 {
		t.Errorf("the result has %d", len(k.BPF))
	}
}

func TestInsnLimit(t *testing.T) {
	for release, want := range map[string]int{"": 1_000_000, "5.1.9": 131_072, "4.19.0-1-amd64": 131_072, "5.2.0": 1_000_000, "5.10.0-30-amd64": 1_000_000, "7.2": 1_000_000, "4.18.0-553.el8_10.x86_64": 1_000_000} {
		if got := (&Result{Release: release}).InsnLimit(); got != want {
			t.Errorf("%q: %d, want %d", release, got, want)
		}
	}
	k := Result{Release: "4.19.0", BPF: []BPFProgram{{Insns: 131_073}}}
	if got := k.InsnLimit(); got != 1_000_000 {
		t.Errorf("of a kernel that has taken more: %d", got)
	}
}

func TestParseGrowth(t *testing.T) {
	for s, want := range map[string]int{"20%": 20, "20": 20, "20 %": 20, "1%": 1, "0": 0, "-5%": 0, "": 0, "%": 0, "20%%": 0, "2.5%": 0, "1000000": 0, "more": 0} {
		got, err := ParseGrowth(s)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
}
