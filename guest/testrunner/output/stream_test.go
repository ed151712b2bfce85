package output

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// outcome is what a parser makes of a whole output.
type outcome struct {
	tests []string
	cut   bool
}

func parseGoTest(text string, status int, set func(*Parser)) outcome {
	var tests []Test
	p := New("prog", func(t Test) { tests = append(tests, t) })
	set(p)
	_, _ = p.Write([]byte(text))
	cut := p.Finish(fmt.Sprintf("exit status %d", status), status, time.Second)
	return outcome{brief(tests), cut != ""}
}

// Each run of a Go test binary needs its own end; one inside a test is that
// test's text.
func TestStreams(t *testing.T) {
	const unfinished = "it started and did not end: exit status "
	tests := []struct {
		name   string
		text   []string
		status int
		want   []string
		cut    bool
	}{
		{name: "two programs", text: []string{"=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS", "=== RUN   TestB", "--- PASS: TestB (0.00s)", "PASS"}, want: []string{"pass TestA", "pass TestB"}},
		{
			name: "the second is cut short after a test", text: []string{"=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS", "=== RUN   TestB", "--- PASS: TestB (0.00s)"},
			want: []string{"pass TestA", "pass TestB", "fail prog: its output ends without PASS or FAIL: exit status 0"}, cut: true,
		},
		{name: "the second is cut short in a test", text: []string{"=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS", "=== RUN   TestB"}, want: []string{"pass TestA", "fail TestB: " + unfinished + "0"}, cut: true},
		{
			name: "marked, the second is not and is cut short", text: []string{"\x16=== RUN   TestA", "\x16--- PASS: TestA (0.00s)", "\x16PASS", "=== RUN   TestB", "--- PASS: TestB (0.00s)"},
			want: []string{"pass TestA", "pass TestB", "fail prog: its output ends without PASS or FAIL: exit status 0"}, cut: true,
		},
		{
			name: "not marked, the second is and is cut short", text: []string{"=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS", "\x16=== RUN   TestB", "\x16--- PASS: TestB (0.00s)"},
			want: []string{"pass TestA", "pass TestB", "fail prog: its output ends without PASS or FAIL: exit status 0"}, cut: true,
		},
		{
			name: "both marked, a PASS that is text", text: []string{"\x16=== RUN   TestA", "\x16--- PASS: TestA (0.00s)", "\x16PASS", "\x16=== RUN   TestB", "\x16--- PASS: TestB (0.00s)", "PASS"},
			want: []string{"pass TestA", "pass TestB", "fail prog: its output ends without PASS or FAIL: exit status 0"}, cut: true,
		},
		{
			name: "the first fails, the second is cut short", text: []string{"=== RUN   TestA", "--- FAIL: TestA (0.00s)", "FAIL", "=== RUN   TestB", "--- PASS: TestB (0.00s)"}, status: 1,
			want: []string{"fail TestA", "pass TestB", "fail prog: its output ends without PASS or FAIL: exit status 1"}, cut: true,
		},
		{name: "a failure, and cut short", text: []string{"=== RUN   TestA", "--- FAIL: TestA (0.00s)"}, status: 1, want: []string{"fail TestA"}, cut: true},
		{name: "a failure without -v, and cut short", text: []string{"--- FAIL: TestA (0.00s)", "    a_test.go:1: x"}, status: 1, want: []string{"fail TestA: a_test.go:1: x"}, cut: true},
		{name: "a failure without -v", text: []string{"--- FAIL: TestA (0.00s)", "    a_test.go:1: x", "FAIL"}, status: 1, want: []string{"fail TestA: a_test.go:1: x"}},
		{
			name: "PASS inside a test is no end", text: []string{"=== RUN   TestA", "PASS", "--- PASS: TestA (0.00s)"},
			want: []string{"pass TestA", "fail prog: its output ends without PASS or FAIL: exit status 0"}, cut: true,
		},
		{
			name: "a test's words end in PASS", text: []string{"=== RUN   TestA", "one: PASS", "--- PASS: TestA (0.00s)"},
			want: []string{"pass TestA", "fail prog: its output ends without PASS or FAIL: exit status 0"}, cut: true,
		},
		{name: "coverage after PASS", text: []string{"=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS", "coverage: 12.0% of statements"}, want: []string{"pass TestA"}},
		{
			name: "go test of packages, one panics", text: []string{"=== RUN   TestA", "panic: x", "", "goroutine 1 [running]:", "exit status 2", "FAIL\tp\t0.01s", "=== RUN   TestB", "--- PASS: TestB (0.00s)", "PASS", "ok  \tq\t0.01s", "FAIL"}, status: 1,
			want: []string{"fail TestA: it started and did not end: panic: x; FAIL\tp\t0.01s", "pass TestB"}, cut: true,
		},
		{
			name: "go test of packages, one fails", text: []string{"=== RUN   TestA", "--- FAIL: TestA (0.00s)", "FAIL", "FAIL\tp\t0.01s", "=== RUN   TestB", "--- PASS: TestB (0.00s)", "PASS", "ok  \tq\t0.01s", "FAIL"}, status: 1,
			want: []string{"fail TestA", "pass TestB"},
		},

		{
			name: "a child", text: []string{"=== RUN   TestA", "=== RUN   TestA", "=== RUN   TestA/x", "    --- FAIL: TestA/x (0.00s)", "--- FAIL: TestA (0.00s)", "FAIL", "--- PASS: TestA (0.02s)", "=== RUN   TestB", "--- PASS: TestB (0.00s)", "PASS"},
			want: []string{"pass TestA", "pass TestB"},
		},
		{
			name: "a child's failure that the parent minds", text: []string{"=== RUN   TestA", "=== RUN   TestA", "--- FAIL: TestA (0.00s)", "FAIL", "--- FAIL: TestA (0.02s)", "FAIL"}, status: 1,
			want: []string{"fail TestA: === RUN   TestA"},
		},
		{
			name: "a child in a subtest", text: []string{"=== RUN   TestA", "=== RUN   TestA/x", "=== RUN   TestA", "=== RUN   TestA/x", "--- PASS: TestA/x (0.00s)", "--- PASS: TestA (0.00s)", "PASS", "--- PASS: TestA (0.02s)", "    --- PASS: TestA/x (0.01s)", "PASS"},
			want: []string{"pass TestA", "pass TestA/x"},
		},
		{
			name: "two children and a grandchild", text: []string{"=== RUN   TestA", "=== RUN   TestH", "--- PASS: TestH (0.00s)", "PASS", "=== RUN   TestH", "=== RUN   TestG", "--- FAIL: TestG (0.00s)", "FAIL", "--- PASS: TestH (0.00s)", "PASS", "--- PASS: TestA (0.02s)", "PASS"},
			want: []string{"pass TestA"},
		},
		{name: "a child of another name that dies", text: []string{"=== RUN   TestA", "=== RUN   TestHelper", "boom", "--- PASS: TestA (0.02s)", "PASS"}, want: []string{"pass TestA"}},
		{name: "a child that panics", text: []string{"=== RUN   TestA", "=== RUN   TestA", "--- FAIL: TestA (0.00s)", "panic: x", "--- PASS: TestA (0.02s)", "=== RUN   TestB", "--- FAIL: TestB (0.00s)", "FAIL"}, status: 1, want: []string{"pass TestA", "fail TestB"}},
		{name: "the parent dies after its child", text: []string{"=== RUN   TestA", "=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS", "boom"}, status: 1, want: []string{"fail TestA: " + unfinished + "1"}, cut: true},
		{name: "the parent dies before its child's end", text: []string{"=== RUN   TestA", "=== RUN   TestA", "--- PASS: TestA (0.00s)"}, status: 1, want: []string{"fail TestA: " + unfinished + "1"}, cut: true},
		{name: "one end of two, and nothing says whose", text: []string{"=== RUN   TestA", "=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS"}, want: []string{"fail TestA: " + unfinished + "0"}, cut: true},
		{
			name: "benchmarks pass, and one fails", text: []string{"\x16=== RUN   BenchmarkA", "\x16=== RUN   BenchmarkA/one", "BenchmarkA/one-2 \t1\t1 ns/op", "\x16=== NAME  ", "\x16=== RUN   BenchmarkA/two", "\x16--- FAIL: BenchmarkA/two-2", "    a_test.go:1: no", "\x16--- FAIL: BenchmarkA", "\x16FAIL"}, status: 1,
			want: []string{"pass BenchmarkA/one", "fail BenchmarkA/two: a_test.go:1: no", "fail BenchmarkA"},
		},
		{name: "benchmarks without marks", text: []string{"BenchmarkA", "--- FAIL: BenchmarkA", "    a_test.go:1: no", "BenchmarkB", "--- SKIP: BenchmarkB", "    a_test.go:2: why", "FAIL"}, status: 1, want: []string{"fail BenchmarkA: a_test.go:1: no", "skip BenchmarkB: a_test.go:2: why"}},
		{name: "an example", text: []string{"\x16=== RUN   ExampleA", "\x16--- FAIL: ExampleA (0.00s)", "got:", "a", "want:", "b", "\x16=== NAME   ", "\x16FAIL"}, status: 1, want: []string{"fail ExampleA: got:"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := joined(tt.text...)
			for _, text := range []string{text, strings.ReplaceAll(text, "\n", "\r\n")} {
				got := parseGoTest(text, tt.status, func(*Parser) {})
				if d := cmp.Diff(tt.want, got.tests); d != "" || got.cut != tt.cut {
					t.Errorf("cut short: %v, want %v; tests (-want +got):\n%s", got.cut, tt.cut, d)
				}
			}
			// The same with marks on all of the program's own lines.
			if !strings.Contains(text, "\x16") && !strings.Contains(text, "FAIL\t") && !strings.HasPrefix(text, "Benchmark") {
				var b strings.Builder
				for _, line := range tt.text {
					for _, frame := range []string{"=== ", "--- ", "    --- ", "PASS", "FAIL"} {
						if strings.HasPrefix(line, frame) && tt.name != "PASS inside a test is no end" {
							line = "\x16" + strings.TrimLeft(line, " ")
							break
						}
					}
					b.WriteString(line + "\n")
				}
				if strings.HasPrefix(b.String(), "\x16") {
					got := parseGoTest(b.String(), tt.status, func(*Parser) {})
					if d := cmp.Diff(tt.want, got.tests); d != "" || got.cut != tt.cut {
						t.Errorf("with marks: cut short: %v, want %v; tests (-want +got):\n%s", got.cut, tt.cut, d)
					}
				}
			}
		})
	}
}

// A Go test binary that is known for one has to come to its own end.
func TestGoTestEnd(t *testing.T) {
	replaced := joined("\x16=== RUN   TestA", "\x16=== RUN   TestA", "\x16--- PASS: TestA (0.00s)", "\x16=== RUN   TestB", "\x16--- PASS: TestB (0.00s)", "\x16PASS")
	tests := []struct {
		name         string
		marked, sure bool
		text         string
		status       int
		want         []string
		cut          bool
	}{
		{name: "quiet", text: "PASS\n", want: []string{"pass prog"}},
		{name: "quiet, for test2json", marked: true, text: "\x16PASS\n", want: []string{"pass prog"}},
		{name: "a PASS of TestMain's own", marked: true, text: "PASS\n", cut: true, want: []string{"fail prog: no PASS after the tests: the program ended before go test's code was done, by os.Exit or by a TestMain that does not call m.Run; exit status 0"}},
		{name: "a TestMain that takes the marks away", marked: true, text: joined("=== RUN   TestA", "--- PASS: TestA (0.00s)", "PASS"), want: []string{"pass TestA"}},
		{name: "dies in TestMain", marked: true, text: "boom\n", status: 1, cut: true, want: []string{"fail prog: exit status 1"}},
		{name: "fails quietly", text: "FAIL\n", status: 1, want: []string{"fail prog: exit status 1"}},
		{name: "a child without an end, or execve", marked: true, sure: true, text: replaced, want: []string{"pass TestA", "pass TestB"}},
		{name: "the same where os.Exit(0) can end a test", marked: true, text: replaced, cut: true, want: []string{"fail TestA: it started and did not end: exit status 0"}},
		{name: "the same, exit status 1", marked: true, sure: true, status: 1, text: replaced, cut: true, want: []string{"fail TestA: it started and did not end: exit status 1"}},
		{name: "the same, a failure behind it", marked: true, sure: true, text: replaced + "\x16--- FAIL: TestZ (0.00s)\n", cut: true, want: []string{"fail TestA: it started and did not end: exit status 0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := parseGoTest(tt.text, tt.status, func(p *Parser) { p.ExpectGoTest(tt.marked, tt.sure) })
			if d := cmp.Diff(tt.want, got.tests); d != "" || got.cut != tt.cut {
				t.Errorf("cut short: %v, want %v; tests (-want +got):\n%s", got.cut, tt.cut, d)
			}
		})
	}
}

// What stands in testdata is whole: cut anywhere, it is known for cut short, or
// at least does not pass.
func TestEveryPrefixIsCutShort(t *testing.T) {
	for _, name := range []string{"gov.txt", "govtest2json.txt", "goquiet.txt", "gobench.txt", "gojson.txt"} {
		whole := sample(t, name)
		if got := parseGoTest(whole, 1, func(*Parser) {}); got.cut {
			t.Errorf("%s is cut short", name)
		}
		started := false
		for at := range len(whole) {
			if whole[at] != '\n' || strings.Count(whole[at:], "\n") <= 4 { // the end, and what can follow it
				continue
			}
			got := parseGoTest(whole[:at+1], 1, func(*Parser) {})
			if started = started || got.tests[0] != "fail prog: exit status 1"; started && !got.cut {
				t.Errorf("%s is not known to be cut short after %q", name, whole[max(0, at-60):at])
			}
		}
		if !started {
			t.Errorf("%s has no tests", name)
		}
	}
}

// The same of go test -json: what a test runs is that test's text.
func TestJSONStreams(t *testing.T) {
	events := func(s ...string) string {
		var b strings.Builder
		for _, e := range s {
			action, test, _ := strings.Cut(e, " ")
			switch {
			case action == "says":
				b.WriteString(`{"Action":"output","Package":"p","Output":"` + test + `\n"}` + "\n")
			case test == "":
				b.WriteString(`{"Action":"` + action + `","Package":"p"}` + "\n")
			default:
				b.WriteString(`{"Action":"` + action + `","Package":"p","Test":"` + test + `"}` + "\n")
			}
		}
		return b.String()
	}
	for _, tt := range []struct {
		name   string
		text   string
		status int
		want   []string
		cut    bool
	}{
		{name: "a child", text: events("start", "run TestA", "run TestA", "fail TestA", "pass TestA", "says PASS", "pass"), want: []string{"pass TestA"}},
		{name: "a child of another name", text: events("start", "run TestA", "run TestB", "run TestB/x", "fail TestB/x", "fail TestB", "pass TestA", "says PASS", "pass"), want: []string{"pass TestA"}},
		{name: "a child that dies", text: events("start", "run TestA", "run TestA", "pass TestA", "says PASS", "pass"), want: []string{"pass TestA"}},
		{name: "the parent dies after its child", text: events("start", "run TestA", "run TestA", "pass TestA", "says PASS", "fail"), status: 1, want: []string{"fail TestA: it started and did not end: exit status 1"}, cut: true},
		{name: "parallel tests are no children", text: events("start", "run TestA", "pause TestA", "run TestB", "pause TestB", "cont TestA", "cont TestB", "fail TestB", "pass TestA", "says FAIL", "fail"), status: 1, want: []string{"fail TestB", "pass TestA"}},
		{name: "a failure", text: events("start", "run TestA", "fail TestA", "says FAIL", "fail"), status: 1, want: []string{"fail TestA"}},
		{name: "a failure, and cut short", text: events("start", "run TestA", "fail TestA", "fail"), status: 1, want: []string{"fail TestA"}, cut: true},
		{name: "no end at all", text: events("start", "run TestA", "fail TestA"), status: 1, want: []string{"fail TestA"}, cut: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parseGoTest(tt.text, tt.status, func(*Parser) {})
			if d := cmp.Diff(tt.want, got.tests); d != "" || got.cut != tt.cut {
				t.Errorf("cut short: %v, want %v; tests (-want +got):\n%s", got.cut, tt.cut, d)
			}
		})
	}
}
