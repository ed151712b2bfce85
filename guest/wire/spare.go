package wire

import "errors"

// SpareFDEnv tells a testrunner that was started before there was anything to
// do the descriptor that its Start comes on. Under emulation the start of a
// program costs a tenth of a second, which a restored VM then has behind it.
const SpareFDEnv = "BPF_KERNEL_CHECK_START_FD"

// GoSettings is the environment of init and of a spare testrunner, for Go's
// runtime. Where all is slow the runtime interrupts its threads by signals all the
// time, and nothing in them runs for long; it looks now and then how many
// processors there are, and in the files of cgroups how many it may use; and it
// gives each goroutine a stack that is too small for most of them here.
const GoSettings = "GODEBUG=asyncpreemptoff=1,updatemaxprocs=0,containermaxprocs=0,adaptivestackstart=1"

// Start is what a spare testrunner is told, packed, up to the end of the file.
type Start struct {
	Args []string // with the program's name
	Env  []string // all of it, as NAME=VALUE
}

// PackStart is what ParseStart reads.
func PackStart(s Start) []byte { return packStrings(packStrings(nil, s.Args), s.Env) }

// ParseStart reads a Start that PackStart made.
func ParseStart(b []byte) (Start, error) {
	u := &unpacker{b: b}
	s := Start{Args: u.strings(), Env: u.strings()}
	switch {
	case !u.done():
		return Start{}, errors.New("what a spare testrunner is told is damaged")
	case len(s.Args) == 0:
		return Start{}, errors.New("a spare testrunner is told no arguments")
	}
	return s, nil
}
