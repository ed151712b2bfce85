package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// tailLines is how much of a rejected program's log stands in its test.
const tailLines = 20

// rejection is the output of a rejected program: the reason in one line, the
// log's last lines, and how many instructions the verifier processed (0: it
// does not say).
func rejection(reason error, log []string, insns int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", strings.ReplaceAll(reason.Error(), "\n", " "))
	if insns > 0 {
		fmt.Fprintf(&b, "the verifier processed %d insns\n", insns)
	}
	tail := log[max(0, len(log)-tailLines):]
	if len(tail) > 0 {
		fmt.Fprintf(&b, "the last %d of %d lines of the verifier's log:\n", len(tail), len(log))
	}
	for _, line := range tail {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	return b.String()
}

// processed reads the number of instructions from a verifier's log: its line
// "processed N insns (limit ...)" or, from kernels that print no statistics of a
// program they gave up for its size, "BPF program is too large. Processed N insn".
// 0 when there is none.
func processed(log []string) int {
	for _, line := range slices.Backward(log) {
		word, rest, _ := strings.Cut(strings.TrimPrefix(line, "BPF program is too large. "), " ")
		if !strings.EqualFold(word, "processed") {
			continue
		}
		number, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			return 0
		}
		return max(0, n)
	}
	return 0
}

// lastInsn finds the instruction at which the verifier stopped: the number
// that begins the log's last such line. -1 when there is none.
func lastInsn(log []string) int {
	insn := regexp.MustCompile(`^(\d+): \([0-9a-f]{2}\) `)
	for _, line := range slices.Backward(log) {
		if m := insn.FindStringSubmatch(line); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil {
				return n
			}
			break
		}
	}
	return -1
}

// explained is the line at which the verifier of 7.3 begins to explain at length,
// in the programmer's words, the reason that it has given before.
const explained = "Verification failed: "

// unexplained is a log up to that explanation.
func unexplained(log []string) []string {
	for i, line := range slices.Backward(log) {
		if strings.HasPrefix(line, explained) {
			return log[:i]
		}
	}
	return log
}

// verdictLine is the verifier's own reason: the last line that is neither
// statistics nor an instruction nor a state.
func verdictLine(log []string) string {
	// A short log may begin amid the explanation.
	noise := regexp.MustCompile(`^(\d+: |processed |insns processed |verification time |stack depth |subprog \d+ \(.* insns_self |from \d+ to |;|\s|$|mark_precise:|old state:|cur state:|(Reason|At|Causal path|Suggestion):$)`)
	before := unexplained(log)
	for i := len(before) - 1; i >= max(0, len(before)-40); i-- {
		if !noise.MatchString(before[i]) {
			return strings.TrimSpace(before[i])
		}
	}
	if len(before) < len(log) {
		return strings.TrimSpace(log[len(before)])
	}
	return ""
}

// newRejected is a rejected program's error, of its whole log and whether that
// is cut, of the log's last lines as a short log has them, and of what loading
// again said. The reason is still to be found.
func newRejected(log string, cut bool, short []string, again error) *rejectedError {
	r := &rejectedError{insns: processed(short), tail: strings.Split(strings.TrimSuffix(log, "\n"), "\n"), log: log}
	end := strings.Join(short, "\n") + "\n"
	switch {
	case log == "":
		r.tail = short
		r.log = fmt.Sprintf("[only what the verifier says at its end: %v]\n%s", again, end)
	case cut && processed(r.tail) > 0:
		r.log = fmt.Sprintf("[the last %d MiB of a longer log]\n%s", wholeLogSize>>20, log)
	case cut:
		r.tail = short
		r.log = fmt.Sprintf("[the first %d MiB of a longer log, and its end]\n%s\n[...]\n%s", wholeLogSize>>20, log, end)
	}
	return r
}
