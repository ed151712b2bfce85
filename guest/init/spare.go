package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

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
	return startProcess(job.Args[0], job.Args, env, job.Reports, nil)
}

// Descriptors of a payload.
const (
	reportFD = 3
	startFD  = 4
)

// startProcess starts a program in a session of its own, its standard input the
// null device. The files it has besides are the report, if it reports, and begin.
func startProcess(path string, args, env []string, reports bool, begin *os.File) (process, error) {
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
	// Room for bursts while other processes have the processor.
	_, _ = unix.FcntlInt(outR.Fd(), unix.F_SETPIPE_SZ, 1<<20)
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
	if begin != nil {
		files = append(files, begin.Fd())
	}
	p := process{out: outR, report: repR}
	p.pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{
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
	args *os.File
}

func newSpare() (*spareRunner, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer r.Close()
	// Where all is slow the runtime interrupts its threads by signals all the
	// time; nothing there runs for long. The payload does not inherit it.
	env := append(baseEnv(), "GODEBUG=asyncpreemptoff=1", fmt.Sprintf("%s=%d", wire.ReportFDEnv, reportFD), fmt.Sprintf("%s=%d", wire.SpareFDEnv, startFD))
	p, err := startProcess("/proc/self/exe", []string{"/" + guestTestrunner}, env, true, r)
	if err != nil {
		w.Close()
		return nil, err
	}
	return &spareRunner{process: p, args: w}, nil
}

// begin tells the spare what to do.
func (s *spareRunner) begin(what wire.Start) error {
	b, err := json.Marshal(what)
	if err == nil {
		_, err = s.args.Write(b)
	}
	if err = errors.Join(err, s.args.Close()); err != nil {
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
	s.args.Close()
	s.close()
}

// practise has encoding find out of the types what it keeps, before the VM is
// saved.
func practise() {
	wire.Room()
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
	_, _ = json.Marshal(wire.Start{})
	if b, err := json.Marshal(wire.Handover{Now: 1, Entropy: make([]byte, wire.MinEntropy), Archives: []wire.HandoverPackage{{}}}); err == nil {
		_, _ = wire.ParseHandover(b)
	}
}
