package wire

// SpareFDEnv tells a testrunner that was started before there was anything to
// do the descriptor that its Start comes on. Under emulation the start of a
// program costs a tenth of a second, which a restored VM then has behind it.
const SpareFDEnv = "BPF_KERNEL_CHECK_START_FD"

// Start is what a spare testrunner is told, as JSON up to the end of the file.
type Start struct {
	Args []string `json:"args"` // with the program's name
	Env  []string `json:"env"`  // all of it, as NAME=VALUE
}
