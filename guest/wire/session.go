package wire

import (
	"strconv"
	"strings"
)

// What the host and the shell of a debugging session agree on.
const (
	SessionMark = "BKC_MARK"  // environment variable: mark of the lines around a script's output
	SessionMotd = "/etc/motd" // what the shell says first
	HostTag     = "bkc-host"  // of the 9p share
	// ResultsNone is a value of ParamResults: nobody listens.
	ResultsNone = "none"
)

// MarkBegin is the line before a script's output, without its newline. The end
// is marked in the middle of a line where the output does not end with one.
func MarkBegin(mark string) string { return "@session:" + mark + " begin" }

// MarkEnd is the line after a script's output.
func MarkEnd(mark string, status int) string {
	return "@session:" + mark + " end " + strconv.Itoa(status)
}

// ParseMarkEnd returns the status of an end mark at the end of a line, and what
// stands before it.
func ParseMarkEnd(line, mark string) (before string, status int, ok bool) {
	before, rest, ok := strings.Cut(line, "@session:"+mark+" end ")
	if !ok {
		return line, 0, false
	}
	status, err := strconv.Atoi(strings.TrimSpace(rest))
	return before, status, err == nil && status >= 0 && status <= 255
}
