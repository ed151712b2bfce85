package wire

import "runtime"

// SpareFDEnv tells a testrunner that was started before there was anything to
// do the descriptor that its Start comes on. Under emulation the start of a
// program costs a tenth of a second, which a restored VM then has behind it.
const SpareFDEnv = "BPF_KERNEL_CHECK_START_FD"

// Room has this program's heap take memory that it will need. In a restored VM
// each growth would be more of the kernel's code to translate, and pages to
// clear.
func Room() {
	const enough = 4 << 20
	b := make([]byte, enough)
	for i := 0; i < len(b); i += 4 << 10 {
		b[i] = 1
	}
	runtime.KeepAlive(b)
	runtime.GC() // it is free now, and stays the program's
}

// Start is what a spare testrunner is told, as JSON up to the end of the file.
type Start struct {
	Args []string `json:"args"` // with the program's name
	Env  []string `json:"env"`  // all of it, as NAME=VALUE
}
