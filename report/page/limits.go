package page

import "github.com/elastic/bpf-kernel-check/report"

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

	maxConsole     = 256 << 10 // bytes of a console that are shown
	maxReadConsole = 65 << 20  // and that are looked at

	maxKernelTests  = 2_000    // of one kernel
	maxKernelOutput = 1 << 20  // bytes of what its tests printed
	maxOutput       = 64 << 10 // bytes of one text
	maxFailed       = 100      // failed tests of a kernel that a search finds
	maxMember       = 64 << 10 // bytes of any other member of a kernel's record
)

// cutOutput is a text of some maxOutput bytes at most.
func cutOutput(s string) string { return report.CutMiddle(s, maxOutput) }
