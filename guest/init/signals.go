package main

import (
	"os"
	"os/signal"
	"syscall"
)

// ignoreSignals keeps signals from ending init: a payload may send them, and a
// PID 1 that ends is a kernel panic, for which the kernel would be blamed. The
// kernel holds back those without a handler; Go has one for most, which ends the
// program. Init's own faults still end it. signal.Ignore would do the same to the
// payload, which inherits what is ignored.
func ignoreSignals() {
	drop := make(chan os.Signal, 1) // nobody listens: what does not fit is dropped
	signal.Notify(drop)
	signal.Reset(syscall.SIGURG) // the runtime's own, by which it interrupts goroutines
}
