package console

import (
	"cmp"
	"strings"
)

// initsWord is a line of init's, of Go's runtime in it, or of a kernel that cannot
// run it.
var initsWord = re(`^ *\d+\.\d{3} init: (.+)|^((?:runtime: |fatal error: |panic: |futexwakeup ).+)|(Failed to execute /init \(error -\d+\))|(request_module: runaway loop modprobe binfmt-\S+)`)

// InitsWords says why init did not come up, in the words of a console on which no
// payload has run yet: the last that init said, or else the first that others said.
// "": nobody said anything. The words can be long.
func InitsWords(text string) (words string) {
	for line := range strings.Lines(text) {
		m := initsWord().FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil || strings.HasPrefix(m[1], "reboot: ") {
			continue
		}
		if m[1] != "" || words == "" {
			words = cmp.Or(m[1], m[2], m[3], m[4])
		}
	}
	return words
}
