package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/lines"
	"github.com/elastic/bpf-kernel-check/guest/oom"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// runPayload runs the job and reports how it went. It says whether all processes
// of the payload have ended.
func runPayload(job wire.Job, r *reporter, con *serialConsole, scale time.Duration) bool {
	out := &payloadOutput{con: con, tail: lines.Clip{Tail: keepTail}}
	run := newRunning(func(t wire.Run) { r.send(wire.Record{Type: wire.TypeRun, Run: &t}) })
	if job.Stream {
		out.most = maxStreamed
	}
	exit, gone := execute(job, out, r, con, run, scale)
	if exit.Timeout {
		reportHung(exit, run, r)
	}
	r.send(wire.Record{Type: wire.TypeExit, Exit: &exit})
	con.logf("the payload ended after %.3f s: %s", exit.Duration.Seconds(), describe(exit))

	if !job.Reports {
		t := wire.Test{Name: wire.Truncate(job.Name, wire.MaxName), Verdict: wire.TestPass, Duration: exit.Duration}
		if exit.Code != 0 {
			t.Verdict = wire.TestFail
			t.Output = describe(exit) + "\n" + out.tail.String()
		}
		r.send(wire.Record{Type: wire.TypeTest, Test: &t})
		r.completed()
	}
	if r.vm == nil {
		return true // nothing runs after it
	}
	select {
	case <-gone:
		return true
	case <-time.After(killGrace * scale):
		return false
	}
}

// describe puts an exit in words.
func describe(e wire.Exit) string {
	switch {
	case e.Error != "":
		return e.Error
	case e.Timeout:
		return "timed out"
	case e.OOM:
		return "killed by the kernel: out of memory"
	case e.Signal != "":
		return "signal: " + e.Signal
	default:
		return fmt.Sprintf("exit status %d", e.Code)
	}
}

// execute starts the payload, reaps everything that ends until the payload
// does, and kills what it left behind. gone is closed when that has ended.
func execute(job wire.Job, out *payloadOutput, r *reporter, con *serialConsole, run *running, scale time.Duration) (_ wire.Exit, gone <-chan struct{}) {
	began := time.Now()
	before := oom.Kills()
	endBPF := func() []wire.BPFProgram { return nil }
	if !job.ReportsBPF {
		endBPF = watchBPF()
	}
	p, err := startPayload(job)
	if err != nil {
		endBPF()
		r.fails("the payload could not be started")
		none := make(chan struct{})
		close(none)
		return wire.Exit{Code: -1, Error: err.Error(), Duration: time.Since(began)}, none
	}
	defer p.close()
	pid := p.pid

	copied, printed := make(chan struct{}), make(chan struct{})
	read := []<-chan struct{}{copied}
	limit := 5 * time.Second
	if job.Stream {
		limit = time.Minute * scale // the host may be slow to take it
		errCopied := make(chan struct{})
		read = append(read, errCopied)
		r.stream.serve(p.in, pid)
		go func() {
			defer close(printed)
			var both sync.WaitGroup
			both.Go(func() { out.copyFrom(io.TeeReader(p.out, r.stream.writer(wire.ChunkOut)), copied) })
			both.Go(func() { out.copyFrom(io.TeeReader(p.err, r.stream.writer(wire.ChunkErr)), errCopied) })
			both.Wait()
		}()
	} else {
		go func() { defer close(printed); out.copyFrom(p.out, copied) }()
	}
	reported := make(chan struct{})
	go func() { defer close(reported); relay(p.report, r, job.Reports, run) }()
	ended := make(chan syscall.WaitStatus, 1)
	reaped := make(chan struct{})
	go func() { defer close(reaped); reap(pid, ended) }()

	exit := wire.Exit{Code: -1}
	var timeout <-chan time.Time
	if job.Timeout > 0 {
		timeout = time.After(job.Timeout)
	}
	tick := time.NewTicker(tellLater)
	defer tick.Stop()
	var status syscall.WaitStatus
	for waiting := true; waiting; {
		late := ""
		select {
		case status = <-ended:
			waiting = false
		case now := <-tick.C:
			if late = run.tick(now, job.TestTimeout); late != "" {
				exit.Timeout, exit.OfTest, exit.Limit = true, true, job.TestTimeout
			}
		case <-timeout:
			exit.Timeout, exit.Limit = true, job.Timeout
		}
		if exit.Timeout {
			exit.Tests = run.close(late, time.Now())
			con.logf("timeout: %s", describeTimeout(exit, run.previous()))
			// Before anything is ended, and shown behind what a Go program says of
			// its goroutines.
			stacks := processes()
			exit.Stuck = !endPayload(pid, ended, scale)
			select {
			case <-printed:
			case <-time.After(time.Second * scale):
			}
			showHang(con, stacks)
			waiting = false
		}
	}
	exit.Duration = time.Since(began)
	switch {
	case exit.Timeout:
	case status.Signaled():
		exit.Signal = unix.SignalName(status.Signal())
		exit.OOM = status.Signal() == unix.SIGKILL && oom.Kills() > before
	default:
		exit.Code = status.ExitStatus()
	}
	// What the payload left behind may hold its pipes open for ever.
	var left []string
	if !exit.Timeout {
		left = leftRunning()
	}
	for _, p := range endBPF() {
		r.send(wire.Record{Type: wire.TypeBPF, BPF: &p})
	}
	_ = unix.Kill(-1, unix.SIGKILL)
	if exit.Stuck {
		limit = min(limit, 5*time.Second)
	}
	if !p.await(limit, append(read, reported)...) {
		con.logf("a process that cannot be killed keeps the payload's output open")
		if job.Stream {
			r.lost("the end of its output is lost: a process that cannot be killed keeps it open")
		}
	}
	<-printed
	if job.Stream {
		n, err := r.stream.total()
		if exit.Chunks = n; err != nil {
			r.lost(err.Error())
		}
	}
	if exit.Timeout {
		con.logf("timeout: %s", describeTimeout(exit, run.previous()))
	}
	if len(left) > 0 {
		con.logf("left running, and ended with the payload (%d): %s", len(left), strings.Join(left[:min(3, len(left))], ", "))
	}
	return exit, reaped
}

// baseEnv is what every payload has. testrunner gives its program a terminal, to
// which nobody wants colours or a progress bar to be written.
func baseEnv() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/", "HOME=/root", "USER=root", "LOGNAME=root", "TMPDIR=/tmp",
		"TERM=dumb", "NO_COLOR=1",
	}
	if _, err := os.Stat("/bin/sh"); err == nil {
		env = append(env, "SHELL=/bin/sh")
	}
	return env
}

// setEnv sets each K=V of more in env.
func setEnv(env, more []string) []string {
	for _, kv := range more {
		key, _, _ := strings.Cut(kv, "=")
		env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, key+"=") })
		env = append(env, kv)
	}
	return env
}

// reap waits for every child, as PID 1 must, and tells when pid has ended. It
// returns when there are none any more.
func reap(pid int, ended chan<- syscall.WaitStatus) {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // no children at all: pid was reaped before
			return
		case got == pid && (status.Exited() || status.Signaled()):
			ended <- status
		}
	}
}

// relay passes a payload's records on to the host. Only what a payload may
// say passes.
func relay(src io.Reader, r *reporter, reports bool, run *running) {
	from := lines.NewReader(src, wire.MaxLine)
	tests, programs := 0, 0 // programs: of BPF
	var files wire.FileBudget
	problem := "the payload ended before its report did"
	defer func() {
		// Drained to its end, so that the payload never blocks.
		for err := error(nil); err == nil; {
			_, _, err = from.Next()
		}
		if reports && problem != "" {
			r.fails(problem)
		}
	}()
	for {
		line, long, err := from.Next()
		switch {
		case long:
			problem = "the payload's report has a line that is too long"
			return
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			problem = err.Error()
			return
		}
		var rec wire.Record
		if err := json.Unmarshal(line, &rec); err != nil {
			problem = fmt.Sprintf("the payload's report is damaged: %v", err)
			return
		}
		switch {
		case rec.Type == wire.TypeTest && rec.Test != nil && tests < wire.MaxRecords/2:
			tests++
			rec.Test.Name = wire.Truncate(rec.Test.Name, wire.MaxName)
			rec.Test.Output = wire.Truncate(rec.Test.Output, wire.MaxOutput)
			run.ended(rec.Test.Name, time.Now())
			r.send(wire.Record{Type: wire.TypeTest, Test: rec.Test})
		case rec.Type == wire.TypeRun && rec.Run != nil:
			rec.Run.Name = wire.Truncate(rec.Run.Name, wire.MaxName)
			run.run(*rec.Run, time.Now())
		case rec.Type == wire.TypeFile && rec.File != nil && reports:
			// Files are evidence, no verdict hangs on them: what is too much
			// is left out, and the host sees from the numbers that it is.
			if !wire.Collected(rec.File.Name) && rec.File.Note == "" && files.Take(rec.File) {
				r.send(wire.Record{Type: wire.TypeFile, File: rec.File})
			}
		case rec.Type == wire.TypeBPF && rec.BPF != nil && reports:
			// No verdict hangs on them either.
			if programs++; programs <= wire.MaxBPF {
				r.send(wire.Record{Type: wire.TypeBPF, BPF: rec.BPF})
			}
		case rec.Type == wire.TypePhase && rec.Phase != nil:
			r.send(wire.Record{Type: wire.TypePhase, Phase: rec.Phase})
		case rec.Type == wire.TypeDone && rec.Done != nil:
			if rec.Done.Tests != tests {
				problem = fmt.Sprintf("the payload reported %d tests and says it ran %d", tests, rec.Done.Tests)
				return
			}
			if rec.Done.Incomplete != "" {
				problem = wire.Truncate(rec.Done.Incomplete, wire.MaxName)
				return
			}
			problem = ""
			r.completed()
			return
		case rec.Type == wire.TypeTest && rec.Test != nil:
			problem = fmt.Sprintf("the payload reports more than %d tests", wire.MaxRecords/2)
			return
		default:
			problem = fmt.Sprintf("the payload's report holds a %q record, which it may not send", rec.Type)
			return
		}
	}
}
