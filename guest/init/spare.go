package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/thrift"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// process is a payload that was started.
type process struct {
	pid    int
	out    *os.File // its standard output and error
	report *os.File // its records
}

func (p process) close() {
	p.out.Close()
	p.report.Close()
}

// await waits until everything is read. What is not read within the limit never
// ends by itself: then the pipes are closed, so that whoever reads them stops.
func (p process) await(limit time.Duration, done ...<-chan struct{}) bool {
	timer := time.AfterFunc(limit, p.close)
	for _, d := range done {
		<-d
	}
	return timer.Stop()
}

// start starts a payload. With a spare testrunner that one takes the job on,
// where it is one for testrunner; in any other case it is ended first.
func start(job wire.Job, spare *spareRunner) (process, error) {
	env := baseEnv()
	if job.Reports {
		env = append(env, fmt.Sprintf("%s=%d", wire.ReportFDEnv, reportFD))
	}
	env = setEnv(env, job.Env)
	if spare != nil && job.Reports && job.Args[0] == "/"+guestTestrunner {
		return spare.process, spare.begin(wire.Start{Args: job.Args, Env: env})
	}
	spare.end()
	return startProcess(job.Args[0], job.Args, env, job.Reports, -1)
}

// Descriptors of a payload.
const (
	reportFD = 3
	startFD  = 4
)

// startProcess starts a program in a session of its own, its standard input the
// null device. The files it has besides are the report, if it reports, and the
// descriptor begin, unless it is negative.
func startProcess(path string, args, env []string, reports bool, begin int) (process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return process{}, fmt.Errorf("open the null device: %w", err)
	}
	defer null.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return process{}, fmt.Errorf("make a pipe: %w", err)
	}
	defer outW.Close()
	// Room for bursts while other processes have the processor. Fd would have
	// reads block, and closing would not end them any more.
	if c, err := outR.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
	}
	repR, repW, err := os.Pipe()
	if err != nil {
		outR.Close()
		return process{}, fmt.Errorf("make a pipe: %w", err)
	}
	defer repW.Close()
	files := []uintptr{null.Fd(), outW.Fd(), outW.Fd()}
	if reports {
		files = append(files, repW.Fd())
	}
	if begin >= 0 {
		files = append(files, uintptr(begin))
	}
	p := process{out: outR, report: repR}
	p.pid, err = thrift.ForkExec(path, args, &syscall.ProcAttr{
		Dir: "/", Env: env, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		p.close()
		return process{}, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// spareRunner is a testrunner that waits for its arguments.
type spareRunner struct {
	process
	args int // descriptor that it reads its arguments from
}

func newSpare() (*spareRunner, error) {
	var args [2]int
	if err := unix.Pipe2(args[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	r, w := args[0], args[1]
	defer unix.Close(r)
	// The payload does not inherit them.
	env := append(baseEnv(), wire.GoSettings, fmt.Sprintf("%s=%d", wire.ReportFDEnv, reportFD), fmt.Sprintf("%s=%d", wire.SpareFDEnv, startFD))
	p, err := startProcess("/"+guestTestrunner, []string{"/" + guestTestrunner}, env, true, r)
	if err != nil {
		unix.Close(w)
		return nil, err
	}
	return &spareRunner{process: p, args: w}, nil
}

// begin tells the spare what to do.
func (s *spareRunner) begin(what wire.Start) error {
	err := thrift.Write(s.args, wire.PackStart(what))
	unix.Close(s.args)
	if err != nil {
		return fmt.Errorf("tell testrunner what to do: %w", err)
	}
	return nil
}

// end kills a spare that is of no use, so that it is not taken for what a
// payload left behind.
func (s *spareRunner) end() {
	if s == nil {
		return
	}
	_ = unix.Kill(s.pid, unix.SIGKILL)
	for {
		if _, err := unix.Wait4(s.pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	unix.Close(s.args)
	s.close()
}

// practise has encoding find out of the types what it keeps, before the VM is
// saved.
func practise() {
	thrift.Prepare()
	oomBefore()
	w := wire.NewWriter(io.Discard, "")
	for _, r := range []wire.Record{
		{Type: wire.TypeHello, Hello: &wire.Hello{}},
		{Type: wire.TypeKernel, Kernel: &wire.Kernel{}},
		{Type: wire.TypeRun, Run: &wire.Run{}},
		{Type: wire.TypeTest, Test: &wire.Test{}},
		{Type: wire.TypeExit, Exit: &wire.Exit{}},
		{Type: wire.TypeEnd, End: &wire.End{}},
	} {
		_ = w.Write(r) // nowhere
	}
	_ = json.Unmarshal([]byte(`{"type":"test","test":{"name":"a"}}`), &wire.Record{})
	_, _ = wire.ParseJob([]byte(`{"args":["a"]}`))
}
