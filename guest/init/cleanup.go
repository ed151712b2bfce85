package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// waitForKernelCleanup gives the kernel time to crash on what the payload's end
// started: its programs and maps are freed after a grace period, by work queues.
// What goes wrong then is as much a crash as before, and shows in the taint.
func waitForKernelCleanup() {
	const (
		global = 1 // MEMBARRIER_CMD_GLOBAL: returns after a grace period
		most   = 2 * time.Second
		queues = 50 * time.Millisecond
	)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0)
	}()
	select {
	case <-done:
	case <-time.After(most): // RCU is stuck, and the kernel will say so
	}
	time.Sleep(queues)
}
