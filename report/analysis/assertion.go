package analysis

import (
	"regexp"
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

const maxParts = 6 // lines of a message that are looked at

var (
	testifyLabel = regexp.MustCompile(`^(Error Trace|Error|Test|Messages|Diff):(?:\s+(.*))?$`)
	ginkgoHead   = regexp.MustCompile(`\[(?:FAILED|PANICKED|TIMEDOUT|INTERRUPTED)\] \[[\d.]+ seconds\]`)
	ginkgoWhy    = regexp.MustCompile(`^\s*\[(?:FAILED|PANICKED|TIMEDOUT|INTERRUPTED)\] (\S.*)$`)
	ginkgoIn     = regexp.MustCompile(`^(In|in) \[\w+\]|^-{5,}$|^\[FAIL|^•|^/\S+:\d+$`)
	gomegaHead   = regexp.MustCompile(`^(?:[\w./-]+\.go:\d+: ?)?(Expected|Unexpected error:|Timed out after .*|Expected success, but got an error:|No future change is possible.*)$`)
	wantGot      = regexp.MustCompile(`\([-+][\w ]+,? ?[-+][\w ]+\):?$`)
)

// testifyError reads
//
//	Error Trace:	/src/a_test.go:10
//	Error:      	Not equal:
//	            	expected: 1
//	            	actual  : 2
//	Test:       	TestA
//	Messages:   	of the map
func testifyError(lines []string) string {
	label, message, parts := "", "", 0
	for _, l := range lines {
		l = strings.TrimSpace(l)
		m := testifyLabel.FindStringSubmatch(l)
		switch {
		case m != nil && m[1] == "Error" && label == "" && m[2] != "":
			label, message = "Error", m[2]
		case label == "":
		case m != nil && m[1] == "Messages":
			return message + " (" + m[2] + ")"
		case m != nil && (m[1] == "Error" || m[1] == "Error Trace"):
			return message // the next failure
		case m != nil:
			label = m[1]
		case label == "Error" && parts < maxParts:
			parts++
			message += " " + strings.Replace(l, "actual  :", "actual:", 1)
		}
	}
	return message
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
				spec = strings.TrimSpace(lines[i+1])
			}
			continue
		}
		m := ginkgoWhy.FindStringSubmatch(l)
		if m == nil || ginkgoIn.MatchString(m[1]) {
			continue
		}
		message := m[1]
		for n, l := range lines[i+1:] {
			l = strings.TrimSpace(l)
			if n == maxParts || ginkgoIn.MatchString(l) {
				break
			}
			message += " " + l
		}
		if spec == "" {
			return message
		}
		return spec + ": " + message
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
		m := gomegaHead.FindStringSubmatch(strings.TrimSpace(l))
		if m == nil || i+1 == len(lines) {
			continue
		}
		message, indent := m[1], len(l)-len(strings.TrimLeft(l, " \t"))
		for n, l := range lines[i+1:] {
			in := len(l) - len(strings.TrimLeft(l, " \t"))
			l = strings.TrimSpace(l)
			if n == maxParts || in < indent && located.FindStringSubmatch(l) == nil && m[0] == m[1] || ginkgoIn.MatchString(l) || strings.HasPrefix(l, "--- ") {
				break
			}
			message += " " + l
		}
		return message
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
	parts := map[string]string{}
	for i := 0; i+1 < len(lines); i++ {
		switch l := strings.TrimSpace(lines[i]); l {
		case "error:", "comment:", "got:", "want:":
			if _, known := parts[l]; !known && (l == "error:" || parts["error:"] != "") {
				parts[l] = strings.TrimSpace(lines[i+1])
			}
		}
	}
	message := parts["error:"]
	if message == "" {
		return ""
	}
	if c := parts["comment:"]; c != "" {
		message += " (" + c + ")"
	}
	if got, want := parts["got:"], parts["want:"]; got != "" && want != "" {
		message += ": got " + got + ", want " + want
	}
	return message
}

// cmpDiff reads what go-cmp finds, which mostly stands below a line such as
// "a_test.go:10: mismatch (-want +got):".
func cmpDiff(lines []string) string {
	for i, l := range lines {
		l = strings.TrimSpace(l)
		if !wantGot.MatchString(l) {
			continue
		}
		message, had := l, map[byte]bool{}
		for _, l := range lines[i+1:] {
			l = strings.TrimSpace(l)
			if located.MatchString(l) || strings.HasPrefix(l, "--- ") {
				break
			}
			if sign := l[0]; (sign == '-' || sign == '+') && !had[sign] && len(strings.TrimSpace(l[1:])) > 0 {
				had[sign] = true
				message += " " + l
			}
		}
		if len(had) > 0 {
			return message
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
