package thrift

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, n := range []int{0, 1, 4 << 10, 4<<10 + 1, 300 << 10} {
		want := bytes.Repeat([]byte("abc"), n)[:n]
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes of %d, %v", len(got), n, err)
		}
	}
	if _, err := ReadFile(path + "-none"); err != unix.ENOENT {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := ReadFile(filepath.Dir(path)); err != unix.EISDIR {
		t.Errorf("a directory: %v", err)
	}
}

// More than a pipe holds goes through it, while the reader takes its time.
func TestWriteGoesOn(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("0123456789"), 100<<10)
	done := make(chan error, 1)
	go func() {
		err := Write(p[1], want)
		unix.Close(p[1])
		done <- err
	}()
	got, err := ReadAll(p[0])
	if werr := <-done; err != nil || werr != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v, %v", len(got), len(want), err, werr)
	}
	unix.Close(p[0])
	if err := Write(p[0], want); err != unix.EBADF {
		t.Errorf("write to a descriptor that is closed: %v", err)
	}
}

// A program's children can be waited for though nobody hears of their end.
func TestIgnoredChildrenCanBeWaitedFor(t *testing.T) {
	IgnoreChildren()
	for range 3 {
		pid, err := syscall.ForkExec("/proc/self/exe", []string{"thrift.test", "-test.run=^$"}, &syscall.ProcAttr{Files: []uintptr{0}})
		if err != nil {
			t.Fatal(err)
		}
		var status syscall.WaitStatus
		if got, err := syscall.Wait4(pid, &status, 0, nil); got != pid || err != nil || !status.Exited() {
			t.Errorf("wait for %d: %d, %v, %#x", pid, got, err, status)
		}
	}
}

// The threads that were made stay, for goroutines that come later.
func TestPrepareMakesThreads(t *testing.T) {
	Prepare()
	Prepare() // leaves nothing that a second one would wait for
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) <= enoughThreads {
		t.Errorf("%d threads, %v, want more than %d", len(tasks), err, enoughThreads)
	}
}

// A process has precise timers whichever thread it was started from, though the
// runtime's own watching thread has not.
func TestForkKeepsTimersPrecise(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root, which init is, may change another thread's timers")
	}
	calm()
	had := slack.Load()
	if had == 0 || had >= uintptr(lateMonitor.Nanoseconds()) {
		t.Fatalf("no thread that watches was found: timers may be late by %d ns", had)
	}
	late := 0
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile("/proc/" + task.Name() + "/timerslack_ns")
		if err == nil && string(bytes.TrimSpace(b)) == strconv.FormatInt(lateMonitor.Nanoseconds(), 10) {
			late++
		}
	}
	if late == 0 { // threads that the watching one made are late as well
		t.Error("no thread may be late")
	}

	// As on a thread that the watching one made.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, uintptr(lateMonitor.Nanoseconds()), 0); errno != 0 {
		t.Fatal(errno)
	}
	var r, w [2]int
	for _, p := range []*[2]int{&r, &w} {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	pid := 0
	err = Fork(func() (err error) {
		pid, err = syscall.ForkExec("/bin/cat", []string{"cat"}, &syscall.ProcAttr{Files: []uintptr{uintptr(r[0]), uintptr(w[1])}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/timerslack_ns")
	if err != nil || string(bytes.TrimSpace(b)) != strconv.Itoa(int(had)) {
		t.Errorf("the process's timers may be late by %q ns, %v, want %d", b, err, had)
	}
	unix.Close(r[1])
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
}
