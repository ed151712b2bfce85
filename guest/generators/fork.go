package main

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// script is what a forked child does: system calls one after the other, the
// first that fails ending it. A child of a Go process has one thread, so the
// runtime's others are gone, and it must not run any code that could need
// them: no allocation, no growing of the stack, no scheduling. A list of calls
// that is made ready before the fork needs none of it.
type script struct {
	steps []step
	kept  []any // what the calls' arguments point to
}

// step is one system call.
type step struct {
	call     uintptr
	args     [5]uintptr
	last     bool   // the first argument is the result of the step before
	optional bool   // its failure is no failure of the script
	doing    string // for the error, told by the parent
}

func (s *script) do(doing string, call uintptr, args ...uintptr) {
	st := step{call: call, doing: doing}
	copy(st.args[:], args)
	s.steps = append(s.steps, st)
}

// onResult is do with the result of the step before as first argument.
func (s *script) onResult(doing string, call uintptr) {
	s.steps = append(s.steps, step{call: call, doing: doing, last: true})
}

// try is do with a call that may fail.
func (s *script) try(call uintptr, args ...uintptr) {
	s.do("", call, args...)
	s.steps[len(s.steps)-1].optional = true
}

// text is the address of a C string that lives as long as the script.
func (s *script) text(text string) uintptr {
	b := append([]byte(text), 0)
	p := &b[0]
	s.kept = append(s.kept, p)
	return address(p)
}

// texts is the address of a null-terminated array of C strings.
func (s *script) texts(texts ...string) uintptr {
	list := make([]uintptr, 0, len(texts)+1)
	for _, t := range texts {
		list = append(list, s.text(t))
	}
	list = append(list, 0)
	p := &list[0]
	s.kept = append(s.kept, list, p)
	return address(p)
}

// failedStep is how a child tells which of its steps failed.
type failedStep struct{ index, errno uint32 }

// child is a forked process.
type child struct {
	pid    int
	script *script
	status *os.File
}

// fork starts a child that runs the script and exits with 0. It is one
// clone(2) with nothing but a signal, as fork(2) makes it; arm64 has no other.
func fork(s *script) (*child, error) {
	status, told, err := pipe()
	if err != nil {
		return nil, err
	}
	calls := append([]step(nil), s.steps...)
	report := new(failedStep)
	// A signal's handler would run the Go runtime in the child.
	all, old := ^uint64(0), uint64(0)
	if err := sigmask(&all, &old); err != nil {
		status.Close()
		told.Close()
		return nil, err
	}
	pid, errno := forkAndRun(calls, report, told.Fd())
	err = sigmask(&old, nil)
	runtime.KeepAlive(s)
	told.Close()
	if errno != 0 {
		status.Close()
		return nil, wrap("fork", errno)
	}
	c := &child{pid: int(pid), script: s, status: status}
	if err != nil {
		_ = c.kill()
		return nil, err
	}
	return c, nil
}

// pipe returns a pipe's ends for reading and writing, which do not pass an exec.
func pipe() (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, wrap("make a pipe", err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}

func sigmask(set, old *uint64) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK,
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(*set), 0, 0)
	if errno != 0 {
		return wrap("set the signal mask", errno)
	}
	return nil
}

// forkAndRun forks; the child does not return from it. The child works on its
// own copy of this stack, which must not grow, hence nosplit.
//
//go:nosplit
//go:noinline
//go:norace
func forkAndRun(calls []step, report *failedStep, status uintptr) (pid uintptr, errno syscall.Errno) {
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	var result uintptr
	for i := range calls {
		c := &calls[i]
		first := c.args[0]
		if c.last {
			first = result
		}
		result, _, errno = syscall.RawSyscall6(c.call, first, c.args[1], c.args[2], c.args[3], c.args[4], 0)
		if errno != 0 && !c.optional {
			report.index, report.errno = uint32(i), uint32(errno)
			_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, status, uintptr(unsafe.Pointer(report)), unsafe.Sizeof(*report))
			for {
				_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
			}
		}
	}
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// wait waits for the child's end and returns what went wrong in it.
func (c *child) wait() error {
	defer c.status.Close()
	ws, err := wait4(c.pid)
	if err != nil {
		return err
	}
	var report failedStep
	b := unsafe.Slice((*byte)(unsafe.Pointer(&report)), unsafe.Sizeof(report))
	if n, _ := c.status.Read(b); n == len(b) && int(report.index) < len(c.script.steps) {
		return wrap(c.script.steps[report.index].doing, syscall.Errno(report.errno))
	}
	switch {
	case ws.Signaled():
		return errors.New("the child was ended by signal " + strconv.Itoa(int(ws.Signal())))
	case ws.ExitStatus() != 0:
		return errors.New("the child ended with exit status " + strconv.Itoa(ws.ExitStatus()))
	}
	return nil
}

// kill ends the child and reaps it, so that no orphan holds our output open.
func (c *child) kill() error {
	defer c.status.Close()
	if err := unix.Kill(c.pid, unix.SIGKILL); err != nil {
		return wrap("kill the child", err)
	}
	for {
		ws, err := wait4(c.pid)
		if err != nil || ws.Exited() || ws.Signaled() {
			return err
		}
	}
}

func wait4(pid int) (unix.WaitStatus, error) {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if err != unix.EINTR {
			return ws, wrap("wait for the child", err)
		}
	}
}
