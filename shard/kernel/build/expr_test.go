package build

import (
	"strings"
	"testing"
)

func TestExpr(t *testing.T) {
	c := config{"Y": "y", "Z": "y", "M": "m", "N": "n", "VER": "124", "HEX": "0x10", "STR": `"gcc 12"`}
	for _, tc := range []struct {
		in    string
		want  tristate
		blame string
	}{
		{"Y", yes, ""},
		{"M", mod, "M is m"},
		{"N", no, "N is n"},
		{"ABSENT", no, "ABSENT is n"},
		{"!N", yes, ""},
		{"!Y", no, "Y is y"},
		{"!M", mod, "M is m"},
		{"!!Y", yes, ""},
		{"!(Y && N)", yes, ""},
		{"!(Y || N)", no, "!(Y || N) does not hold"},
		{"Y && N && ABSENT", no, "N is n, ABSENT is n"},
		{"Y&&!N", yes, ""},
		{"Y || N && N", yes, ""}, // && binds stronger
		{"(Y || N) && N", no, "N is n"},
		{"N || ABSENT", no, "N is n and ABSENT is n"},
		{"M || N", mod, "M is m and N is n"},
		{"VER >= 121", yes, ""},
		{"VER < 121", no, "VER < 121 does not hold (it is 124)"},
		{"VER > 99", yes, ""}, // as numbers: "124" sorts before "99"
		{"HEX = 16", yes, ""},
		{"ABSENT >= 1", yes, ""}, // as kconfig has it: "n" against "1", as texts
		{"N = n", yes, ""},
		{"Y != n", yes, ""},
		{`STR = "gcc 12"`, yes, ""},
		{"STR = 'x'", no, `STR = "x" does not hold (it is "gcc 12")`},
		{"$(cc-option,-fx(y)) && Y", unknown, ""},
		{"$(cc-option,-fx) && N", no, "N is n"},
		{"$(success,true) || Y", yes, ""},
		{"N || $(success,true)", unknown, ""},
		{"!$(success,true)", unknown, ""},
		{"$(ver) >= 1", unknown, ""},
		{"y", yes, ""},
		{"n", no, "n is n"},
	} {
		x, err := parseExpr(tc.in)
		if err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		if got := x.eval(c); got != tc.want {
			t.Errorf("%s = %v, want %v", tc.in, got, tc.want)
		}
		if tc.blame != "" {
			if got := x.blame(c); got != tc.blame {
				t.Errorf("%s: blame %q, want %q", tc.in, got, tc.blame)
			}
		}
	}
	for _, bad := range []string{"", "&&", "A &&", "A B", "(A", "A)", "!", "A = ", "A = (B)", `"A`, "$(A", "A & B", strings.Repeat("(", 100) + "A" + strings.Repeat(")", 100), "A" + strings.Repeat("&&A", 2000)} {
		if x, err := parseExpr(bad); err == nil {
			t.Errorf("%.40q was read as %v", bad, x)
		}
	}
}

// What is printed of an expression is the same expression.
func FuzzExpr(f *testing.F) {
	for _, s := range []string{"A && !B || (C = 'x' && $(d,(e)))", "VER >= 121 && (X || Y=n)", "!(A||B)&&!!C", `"q" != A`} {
		f.Add(s, "A")
	}
	f.Fuzz(func(t *testing.T, s, set string) {
		x, err := parseExpr(s)
		if err != nil || len(s) > maxTerms { // two long chains may be printed as one
			return
		}
		text := x.String()
		again, err := parseExpr(text)
		if err != nil {
			if strings.ContainsAny(s, `"'`) {
				return // a text that holds the other quote
			}
			t.Fatalf("%q, printed as %q: %v", s, text, err)
		}
		c := config{set: "y", "B": "m"}
		if x.eval(c) != again.eval(c) || again.String() != text {
			t.Fatalf("%q, printed as %q, reads as %q", s, text, again)
		}
		x.blame(c)
	})
}
