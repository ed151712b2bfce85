package analysis

import (
	"regexp"
	"slices"
	"strings"
)

// assertion is what a library for assertions, or a test framework, printed of a
// failure, in one line; "" where none is known to have. lines have something on
// them, and their indentation.
func assertion(lines []string) string {
	for _, find := range []func([]string) string{testifyError, ginkgoFailure, gomegaFailure, quicktestError, cmpDiff, exampleDiff} {
		if s := find(lines); s != "" {
			return strings.Join(strings.Fields(s), " ")
		}
	}
	return ""
}

var (
	testifyLabel = regexp.MustCompile(`^\s*(Error Trace|Error|Test|Messages|Diff):(?:\s+(.*))?$`)
	ginkgoHead   = regexp.MustCompile(`\[(?:FAILED|PANICKED|TIMEDOUT|INTERRUPTED)\] \[[\d.]+ seconds\]`)
	ginkgoWhy    = regexp.MustCompile(`^\s*\[(?:FAILED|PANICKED|TIMEDOUT|INTERRUPTED)\] (\S.*)$`)
	ginkgoIn     = regexp.MustCompile(`^\s*((In|in) \[\w+\]|-{5,}$|\[FAIL|•|/\S+:\d+$|--- )`)
	gomegaHead   = regexp.MustCompile(`^(\s*)([\w./-]+\.go:\d+: ?)?(Expected|Unexpected error:|Timed out after .*|Expected success, but got an error:|No future change is possible.*)$`)
	wantGot      = regexp.MustCompile(`\([-+][\w ]+,? ?[-+][\w ]+\):?$`)
)

// message joins the first line of a message with those that follow, up to one
// that ends it.
func message(first string, rest []string, ends func(string) bool) string {
	const most = 6 // lines
	for _, l := range rest[:min(len(rest), most)] {
		if ends(l) {
			break
		}
		first += " " + l
	}
	return first
}

// testifyError reads
//
//	Error Trace:	/src/a_test.go:10
//	Error:      	Not equal:
//	            	expected: 1
//	            	actual  : 2
//	Test:       	TestA
//	Messages:   	of the map
func testifyError(lines []string) string {
	why := ""
	for i, l := range lines {
		m := testifyLabel.FindStringSubmatch(l)
		switch {
		case m == nil:
		case why == "" && m[1] == "Error" && m[2] != "":
			why = strings.Replace(message(m[2], lines[i+1:], testifyLabel.MatchString), "actual  :", "actual:", 1)
		case why != "" && m[1] == "Messages":
			return why + " (" + m[2] + ")"
		case why != "" && strings.HasPrefix(m[1], "Error"):
			return why // the next failure
		}
	}
	return why
}

// ginkgoFailure reads
//
//   - [FAILED] [0.001 seconds]
//     Maps [It] are found
//     /src/a_test.go:12
//     [FAILED] Expected
//     <int>: 1
//     to equal
//     <int>: 2
//     In [It] at: /src/a_test.go:13
func ginkgoFailure(lines []string) string {
	spec := ""
	for i, l := range lines {
		if ginkgoHead.MatchString(l) {
			if spec == "" && i+1 < len(lines) {
				spec = strings.TrimSpace(lines[i+1]) + ": "
			}
			continue
		}
		if m := ginkgoWhy.FindStringSubmatch(l); m != nil && !ginkgoIn.MatchString(m[1]) {
			return spec + message(m[1], lines[i+1:], ginkgoIn.MatchString)
		}
	}
	return ""
}

// gomegaFailure reads
//
//	Expected
//	    <int>: 1
//	to equal
//	    <int>: 2
func gomegaFailure(lines []string) string {
	for i, l := range lines {
		m := gomegaHead.FindStringSubmatch(l)
		if m == nil || i+1 == len(lines) {
			continue
		}
		return message(m[3], lines[i+1:], func(l string) bool {
			outside := m[2] == "" && !strings.HasPrefix(l, m[1]) && !located.MatchString(strings.TrimSpace(l))
			return outside || ginkgoIn.MatchString(l)
		})
	}
	return ""
}

// quicktestError reads
//
//	error:
//	  values are not equal
//	got:
//	  int(1)
//	want:
//	  int(2)
func quicktestError(lines []string) string {
	from := slices.IndexFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "error:" })
	if from < 0 {
		return ""
	}
	after := func(label string) string {
		for i, l := range lines[from : len(lines)-1] {
			if strings.TrimSpace(l) == label {
				return strings.TrimSpace(lines[from+i+1])
			}
		}
		return ""
	}
	why := after("error:")
	if c := after("comment:"); c != "" {
		why += " (" + c + ")"
	}
	if got, want := after("got:"), after("want:"); got != "" && want != "" {
		why += ": got " + got + ", want " + want
	}
	return why
}

// cmpDiff reads what go-cmp finds, which mostly stands below a line such as
// "a_test.go:10: mismatch (-want +got):".
func cmpDiff(lines []string) string {
	for i, l := range lines {
		l = strings.TrimSpace(l)
		if !wantGot.MatchString(l) {
			continue
		}
		diff, had := l, map[byte]bool{}
		for _, l := range lines[i+1:] {
			l = strings.TrimSpace(l)
			if located.MatchString(l) || strings.HasPrefix(l, "--- ") {
				break
			}
			if sign := l[0]; (sign == '-' || sign == '+') && !had[sign] && len(strings.TrimSpace(l[1:])) > 0 {
				had[sign] = true
				diff += " " + l
			}
		}
		if len(had) > 0 {
			return diff
		}
	}
	return ""
}

// exampleDiff reads what an example of Go's printed and should have, the first
// line in which they differ.
func exampleDiff(lines []string) string {
	if len(lines) == 0 || strings.TrimSpace(lines[0]) != "got:" {
		return ""
	}
	var got, want []string
	to := &got
	for _, l := range lines[1:] {
		if l == "want:" || l == "want (unordered):" {
			to = &want
			continue
		}
		*to = append(*to, l)
	}
	if to == &got {
		return ""
	}
	at := func(of []string, i int) string {
		if i < len(of) {
			return of[i]
		}
		return "nothing more"
	}
	for i := range max(len(got), len(want)) {
		if g, w := at(got, i), at(want, i); g != w {
			return "got: " + g + ", want: " + w
		}
	}
	return "got: " + at(got, 0) + ", want: " + at(want, 0)
}
