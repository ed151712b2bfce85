// Package thrift keeps down what code runs in a restored VM. Under emulation each
// block of it costs 10 µs when it runs for the first time, and a restored VM has
// run nothing yet: a page that is cleared, a thread that is made or a signal that
// nobody waits for is a millisecond or more. Processes that wait in a saved VM do
// these things before.
package thrift

import (
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Prepare has the runtime make now what it would make later: room on the heap,
// threads, larger stacks, and what it keeps of its settings when a timer is made.
// It also has the runtime watch its threads less often.
func Prepare() {
	threads()
	calm()
	defer stacks()()
	time.NewTimer(time.Hour).Stop()
	const enough = 4 << 20
	b := make([]byte, enough)
	for i := 0; i < len(b); i += 4 << 10 {
		b[i] = 1
	}
	runtime.KeepAlive(b)
	runtime.GC() // it is free now, and stays the program's
}

const enoughThreads = 5

// threads has the runtime start threads, which it keeps: those that wait in the
// kernel cannot run other goroutines.
func threads() {
	var all sync.WaitGroup
	for range enoughThreads {
		all.Go(func() {
			ts := unix.NsecToTimespec((20 * time.Millisecond).Nanoseconds())
			_ = unix.Nanosleep(&ts, nil)
		})
	}
	all.Wait()
}

// stacks has the runtime, when it next collects garbage, find that goroutines have
// stacks of 16 KiB, and give new ones as much at once (adaptivestackstart of
// GODEBUG). Call done then.
func stacks() (done func()) {
	const enough = 16
	end := make(chan struct{})
	var deep, all sync.WaitGroup
	deep.Add(enough)
	for range enough {
		all.Go(func() {
			grow(&deep, end)
		})
	}
	deep.Wait()
	return func() { close(end); all.Wait() }
}

//go:noinline
func grow(deep *sync.WaitGroup, end <-chan struct{}) byte {
	var frame [9 << 10]byte
	frame[len(frame)-1] = 1
	deep.Done()
	<-end
	return frame[0] + frame[len(frame)-1]
}

// IgnoreChildren takes the runtime's handler for SIGCHLD away, which does nothing
// where nobody asked to be notified: that a child ended is what wait tells. The
// default, unlike being ignored, leaves children to be waited for.
func IgnoreChildren() {
	var byDefault [4]uint64 // the kernel's struct sigaction: handler, flags, restorer, mask
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0)
}
