package page

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of a page. Together they keep it below some 30 MiB.
const (
	maxKernels  = 20_000    // in the list; those that did not pass come first
	maxGroups   = 300       // of failures, in full
	maxTiles    = 60        // kernels of a cell of the grid that have a sign of their own
	maxTests    = 1_000     // in the list of tests
	maxCounts   = 1_000_000 // of instructions, over all programs and kernels
	maxDetails  = 12 << 20  // bytes of all kernels' details as they stand in the file
	maxConsoles = 8 << 20   // bytes of all consoles as they stand in the file
	maxChunk    = 96 << 10  // bytes of details that are packed as one

	maxConsoleHead = 64 << 10  // bytes of a console's beginning
	maxConsoleTail = 192 << 10 // and of its end, where the crash is
	maxReadConsole = 65 << 20  // bytes of a console that are looked at

	maxKernelTests  = 2_000    // of one kernel
	maxKernelOutput = 1 << 20  // bytes of what its tests printed
	maxOutput       = 64 << 10 // bytes of one text
	maxFailed       = 100      // failed tests of a kernel that a search finds
	maxEntries      = 1_000    // of any other list or map
	maxMore         = 64 << 10 // bytes of what this version has no place for
)

// cutMiddle keeps the beginning and the end of a text, whole lines where there
// are any, and says how much is left out.
func cutMiddle(s string, head, tail int) string {
	if len(s) <= head+tail {
		return s
	}
	h, t := s[:head], s[len(s)-tail:]
	if i := strings.LastIndexByte(h, '\n'); i > head/2 {
		h = h[:i+1]
	}
	if i := strings.IndexByte(t, '\n'); i >= 0 && i < tail/2 {
		t = t[i+1:]
	}
	for len(h) > 0 {
		if r, n := utf8.DecodeLastRuneInString(h); r != utf8.RuneError || n != 1 {
			break
		}
		h = h[:len(h)-1]
	}
	for len(t) > 0 && !utf8.RuneStart(t[0]) {
		t = t[1:]
	}
	out := len(s) - len(h) - len(t)
	if !strings.HasSuffix(h, "\n") {
		h += "\n"
	}
	return h + fmt.Sprintf("... %d bytes are left out here ...\n", out) + t
}

// cutText is a text of at most maxOutput bytes.
func cutText(s string) string { return cutMiddle(s, maxOutput/4, maxOutput-maxOutput/4) }
