package check

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// verifyStream holds the tracer's output as a whole: every line is a JSON
// object within the limit, nothing was lost, and the tracer did not end early.
// It is a test of its own, because a line that cannot be read belongs to no
// other test, and must not go unseen.
func verifyStream(r Run, unknown []string) Result {
	var details []string
	count := func(n int, what string) {
		if n > 0 {
			details = append(details, fmt.Sprintf("%d %s", n, what))
		}
	}
	c := r.Log.Counts
	unescaped := c.Unescaped
	note := ""
	if r.older() {
		if unescaped > 0 {
			note = fmt.Sprintf("an older build, not held to: escaping, which %d line(s) lack", unescaped)
		}
		unescaped = 0
	}
	var ended []string
	switch {
	case r.Ended != "":
		ended = []string{fmt.Sprintf("EventsTrace ended before the tests did: %s", r.Ended), "when it ended, " + r.Running}
	case r.Silent != "":
		ended = []string{"EventsTrace runs, but stopped printing: " + r.Silent}
	}
	if len(ended) > 0 {
		if len(unknown) > 0 {
			ended = append(ended, NotJudged(unknown))
		}
		last := "it printed no event"
		if e := r.Log.last(); e != nil {
			last = fmt.Sprintf("its last event, line %d of %d: %s", e.Line, r.Log.Lines, clip(string(e.Raw), maxExcerpt))
		}
		details = append(details, append(ended, Said(r.Stderr), last)...)
	}
	count(unescaped, "line(s) of its output hold strings that are not escaped, so that they are no JSON")
	count(c.Invalid, "line(s) of its output are no JSON object")
	count(c.Long, "line(s) of its output are longer than the limit")
	count(c.Lost, "line(s) of its output say that it lost events")
	count(c.Evicted, fmt.Sprintf("event(s) did not fit into the %d MiB that are kept of its output", MaxKept>>20))
	for _, s := range r.Log.Strange {
		details = append(details, "  "+s)
	}
	if unescaped > 0 {
		for _, s := range r.Log.unescaped {
			details = append(details, "  "+s)
		}
	}
	if marks := lostMarks(r.Stderr); len(marks) > 0 {
		details = append(details, "on its stderr it said that it lost events:")
		details = append(details, marks...)
	}
	res := Result{Name: StreamTest, Verdict: wire.TestPass, Details: note}
	if len(details) > 0 {
		res.Verdict, res.Details = wire.TestFail, strings.Join(details, "\n")
	}
	return res
}

var lostMark = regexp.MustCompile(`(?i)\blost [1-9][0-9]* (\w+ )?events?\b`)

// lostMarks finds lines such as "lost 12 FILE_MODIFY events".
func lostMarks(stderr string) []string {
	var marks []string
	for line := range strings.Lines(stderr) {
		// libbpf's log is long, and on an emulated processor matching all of
		// it is not cheap.
		if len(marks) < maxStrange && strings.Contains(line, "ost ") && lostMark.MatchString(line) {
			marks = append(marks, "  "+clip(strings.TrimRight(line, "\r\n"), maxExcerpt))
		}
	}
	return marks
}

// Marker finds the line of the first event about any of the marker's
// processes. Everything that happened before the marker was started stands
// before it, because EventsTrace's events pass through one ring buffer, in
// order. It returns 0 when there is none yet.
func Marker(l *Log, pids ...int64) int {
	first := 0
	for _, pid := range pids {
		if about := l.About(pid); len(about) > 0 && (first == 0 || about[0].Line < first) {
			first = about[0].Line
		}
	}
	return first
}
