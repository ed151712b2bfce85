package thrift

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The runtime has a thread that watches the others (sysmon). While there is
// something to do it sleeps for 20 µs at a time, which under emulation is a tenth
// of what a guest does at all. It sleeps for as long as when it has found nothing
// for a while once the kernel may wake it late. That it then takes so long to find
// a thread that waits in the kernel costs nothing: goroutines that could run
// meanwhile are few here.
const lateMonitor = 10 * time.Millisecond

// slack is by how much timers of this program's threads may be late, in ns, but
// for the one whose may be later; 0: all are the same.
var slack atomic.Uintptr

// calm makes the runtime's watching thread sleep longer, where it can be found.
func calm() {
	if slack.Load() != 0 {
		return
	}
	had, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_TIMERSLACK, 0, 0)
	tid := monitor()
	if errno != 0 || had == 0 || tid == 0 {
		return
	}
	file := "/proc/" + strconv.Itoa(tid) + "/timerslack_ns" // since Linux 4.6
	if os.WriteFile(file, strconv.AppendInt(nil, lateMonitor.Nanoseconds(), 10), 0) == nil {
		slack.Store(had)
	}
}

// monitor is the thread that sleeps for a time while a goroutine runs; 0: it was
// not found.
func monitor() int {
	sleeps := strconv.Itoa(unix.SYS_NANOSLEEP) + " "
	const enough = 3 // times that it is seen, and no other
	seen, times := 0, 0
	for until := time.Now().Add(time.Second); time.Now().Before(until) && times < enough; {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return 0
		}
		var asleep []int
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			// What the thread waits in: the call's number and what it was given.
			if b, err := ReadFile("/proc/self/task/" + t.Name() + "/syscall"); err == nil && strings.HasPrefix(string(b), sleeps) {
				asleep = append(asleep, tid)
			}
		}
		switch {
		case len(asleep) == 0: // it is at work
		case len(asleep) > 1 || seen != 0 && asleep[0] != seen:
			seen, times = 0, 0
		default:
			seen, times = asleep[0], times+1
		}
	}
	if times < enough {
		return 0
	}
	return seen
}

// Fork calls start, which starts a process: from a thread whose timers are as
// precise as when this program began, since threads that the watching one made
// have its own, and a process has its thread's.
func Fork(start func() error) error {
	if had := slack.Load(); had != 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, had, 0)
	}
	return start()
}

// ForkExec is syscall.ForkExec by way of Fork.
func ForkExec(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	err = Fork(func() error {
		pid, err = syscall.ForkExec(path, argv, attr)
		return err
	})
	return pid, err
}
