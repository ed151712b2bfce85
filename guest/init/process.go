package main

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/lines"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// process is a payload that was started.
type process struct {
	pid    int
	out    *os.File // its standard output and error
	report *os.File // its records

	in, err *os.File // of a job with Stream: its standard input, and its standard error alone
}

func (p process) close() {
	p.out.Close()
	p.report.Close()
	p.err.Close() // does nothing without a file
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

// reportFD is the descriptor that a payload reports on.
const reportFD = 3

// startPayload starts a job's program in a session of its own, its standard input
// the null device.
func startPayload(job wire.Job) (process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return process{}, fmt.Errorf("open the null device: %w", err)
	}
	defer null.Close()
	outR, outW, err := lines.Pipe()
	if err != nil {
		return process{}, err
	}
	defer outW.Close()
	// Not larger than it comes: what is in it when the payload has ended still has
	// to go over a slow line, in the time that await gives.
	repR, repW, err := os.Pipe()
	if err != nil {
		outR.Close()
		return process{}, fmt.Errorf("make a pipe: %w", err)
	}
	defer repW.Close()
	env, files := baseEnv(), []uintptr{null.Fd(), outW.Fd(), outW.Fd()}
	if job.Reports {
		env = append(env, fmt.Sprintf("%s=%d", wire.ReportFDEnv, reportFD))
		files = append(files, repW.Fd())
	}
	p := process{out: outR, report: repR}
	if job.Stream {
		// Small pipes: what is in them when the payload has ended still has to go over
		// the line.
		for _, end := range []struct {
			fd        *uintptr
			ours      **os.File
			programIn bool
		}{{&files[0], &p.in, true}, {&files[1], &p.out, false}, {&files[2], &p.err, false}} {
			r, w, err := os.Pipe()
			if err != nil {
				p.close()
				return process{}, fmt.Errorf("make a pipe: %w", err)
			}
			mine, its := r, w
			if end.programIn {
				mine, its = w, r
			}
			defer its.Close()
			*end.ours, *end.fd = mine, its.Fd()
		}
		outR.Close()
	}
	// Not by package os/exec: reap waits for all children.
	p.pid, err = syscall.ForkExec(job.Args[0], job.Args, &syscall.ProcAttr{
		Dir: "/", Env: setEnv(env, job.Env), Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		p.close()
		return process{}, fmt.Errorf("start %s: %w", job.Args[0], err)
	}
	return p, nil
}
