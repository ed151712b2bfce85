package output

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What runs is told when it starts, pauses, goes on and ends: an end before the
// outcome, which waits for the lines that can follow it.
func TestWatch(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"go test", "=== RUN   A\n--- PASS: A (0.00s)\n=== RUN   B\n", "+A -A =A +B"},
		{"the last outcome waits", "=== RUN   A\n--- PASS: A (0.00s)\n", "+A -A"},
		{"subtests", "=== RUN   A\n=== RUN   A/b\n    --- PASS: A/b (0.00s)\n--- PASS: A (0.00s)\n", "+A +A/b -A/b =A/b -A"},
		{"parallel", "=== RUN   A\n=== PAUSE A\n=== RUN   B\n=== PAUSE B\n=== CONT  A\n=== CONT  B\n=== CONT  A\n", "+A -A +B -B +A +B"},
		{"test2json", "\x16=== RUN   A\n=== RUN   no\n\x16--- PASS: A (0.00s)\n", "+A -A"},
		{"go test -json", `{"Action":"run","Package":"p","Test":"A"}` + "\n" + `{"Action":"pause","Package":"p","Test":"A"}` + "\n" + `{"Action":"cont","Package":"p","Test":"A"}` + "\n" + `{"Action":"pass","Package":"p","Test":"A"}` + "\n", "+A -A +A -A =A"},
		{"a benchmark's end is not always told", "=== RUN   BenchmarkA\n", ""},
		{"GoogleTest", "[ RUN      ] A.b\n[       OK ] A.b (0 ms)\n[ RUN      ] A.c\n", "+A.b -A.b =A.b +A.c"},
		{"libtest", "\nrunning 2 tests\ntest a ... x\nok\ntest b ... y\n", "+a -a =a +b"},
		{"TAP", "1..2\nok 1 - a\n", "=a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			p := New("program", func(x Test) { got = append(got, "="+x.Name) })
			p.Watch(func(name string, paused bool) {
				sign := "+"
				if paused {
					sign = "-"
				}
				got = append(got, sign+name)
			})
			if _, err := p.Write([]byte(tt.in)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, strings.Join(got, " ")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestWatchIsBounded(t *testing.T) {
	n := 0
	p := New("program", func(Test) {})
	p.Watch(func(string, bool) { n++ })
	_, _ = p.Write([]byte("=== RUN   A\n"))
	_, _ = p.Write([]byte(strings.Repeat("=== PAUSE A\n=== CONT  A\n", MaxMarks)))
	if n > MaxMarks || n < MaxMarks/2 {
		t.Errorf("told %d times, want at most %d", n, MaxMarks)
	}
}
