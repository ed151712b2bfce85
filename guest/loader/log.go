package main

import (
	"fmt"
	"regexp"
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

func join(log []string) string {
	if len(log) == 0 {
		return ""
	}
	return strings.Join(log, "\n") + "\n"
}

// processed reads the number of instructions from a verifier's log: its line
// "processed N insns (limit ...)". 0 when there is none.
func processed(log string) int {
	return processedLines(strings.Split(log, "\n"))
}

func processedLines(log []string) int {
	for i := len(log) - 1; i >= 0; i-- {
		if rest, ok := strings.CutPrefix(log[i], "processed "); ok {
			number, _, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(number)
			if err == nil && n > 0 {
				return n
			}
			return 0
		}
	}
	// Given up for size, some kernels print no statistics.
	for i := len(log) - 1; i >= 0 && i >= len(log)-4; i-- {
		if rest, ok := strings.CutPrefix(log[i], "BPF program is too large. Processed "); ok {
			number, _, _ := strings.Cut(rest, " ")
			n, _ := strconv.Atoi(number)
			return max(0, n)
		}
	}
	return 0
}

// lastInsn finds the instruction at which the verifier stopped: the number
// that begins the log's last such line. -1 when there is none.
func lastInsn(log []string) int {
	insn := regexp.MustCompile(`^(\d+): \([0-9a-f]{2}\) `)
	for i := len(log) - 1; i >= 0; i-- {
		if m := insn.FindStringSubmatch(log[i]); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return -1
			}
			return n
		}
	}
	return -1
}

// verdictLine is the verifier's own reason: the last line that is neither
// statistics nor an instruction nor a state.
func verdictLine(log []string) string {
	noise := regexp.MustCompile(`^(\d+: |processed |insns processed |verification time |stack depth |from \d+ to |;|\s|$|mark_precise:|old state:|cur state:)`)
	for i := len(log) - 1; i >= max(0, len(log)-40); i-- {
		if !noise.MatchString(log[i]) {
			return strings.TrimSpace(log[i])
		}
	}
	return ""
}
