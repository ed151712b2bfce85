package thrift

import (
	"bytes"
	"os"
	"path/filepath"
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

func TestPrepare(t *testing.T) {
	Prepare()
	Prepare() // leaves nothing that a second one would wait for
}
