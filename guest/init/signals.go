package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/elastic/bpf-kernel-check/guest/thrift"
)

// deafen keeps signals from ending init: a payload may send them, and PID 1
// that ends is a kernel panic, for which the kernel would be blamed. The
// kernel holds back those that have no handler; Go has one for most, which ends
// the program. Faults of init's own still end it.
func deafen() {
	drop := make(chan os.Signal, 1) // nobody listens: what does not fit is dropped
	signal.Notify(drop)
	signal.Reset(syscall.SIGURG) // the runtime's own, which ends nothing, and comes often where all is slow
	thrift.IgnoreChildren()
}
