package main

import (
	"fmt"
	"sync"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// reporter sends records to the host and counts what the end record must say. One
// of a program counts that program's, and sends them by the reporter of the VM.
type reporter struct {
	w      *wire.Writer
	con    *serialConsole
	stream *programIO // of a job with Stream

	vm      *reporter // nil for the VM's own
	program string
	closed  bool // the program has ended: nothing that comes now is its

	mu                      sync.Mutex
	passed, failed, skipped int
	records                 int
	complete                bool
	problem                 string
	unready                 string
	taint                   *kernelTaint
	before                  uint64 // the taint when init, or the program, started
	err                     error
}

func (r *reporter) send(rec wire.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	rec.At = uptime()
	r.records++
	if t := rec.Test; t != nil {
		switch t.Verdict {
		case wire.TestPass:
			r.passed++
		case wire.TestSkip:
			r.skipped++
		default:
			r.failed++
		}
	}
	if r.vm != nil {
		r.vm.send(r.named(rec))
		return
	}
	if err := r.w.Write(rec); err != nil && r.err == nil {
		r.err = err
		r.con.logf("%v", err)
	}
}

// named is a record under the program's name.
func (r *reporter) named(rec wire.Record) wire.Record {
	switch {
	case rec.Test != nil:
		t := *rec.Test
		t.Name = wire.ProgramTest(r.program, t.Name)
		rec.Test = &t
	case rec.Run != nil:
		run := *rec.Run
		run.Name = wire.ProgramTest(r.program, run.Name)
		rec.Run = &run
	case rec.BPF != nil && rec.BPF.Test != "":
		p := *rec.BPF
		p.Test = wire.ProgramTest(r.program, p.Test)
		rec.BPF = &p
	case rec.Exit != nil:
		e := *rec.Exit
		e.Tests = nil
		for _, t := range rec.Exit.Tests {
			e.Tests = append(e.Tests, wire.ProgramTest(r.program, t))
		}
		rec.Exit = &e
	case rec.File != nil && rec.File.Note != "":
		f := *rec.File
		f.Note = wire.Truncate(r.program+": "+f.Note, wire.MaxName)
		rec.File = &f
	case rec.File != nil:
		f := *rec.File
		f.Name = wire.ProgramFile(r.program, f.Name)
		rec.File = &f
	}
	return rec
}

// completed notes that the payload said all that it had to say.
func (r *reporter) completed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete = true
}

// fails notes why the payload's report is not complete.
func (r *reporter) fails(problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problem = problem
}

// crowded says that there may be no room for another program's records.
func (r *reporter) crowded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.records > wire.MaxRecords/4
}

// close sends the end mark of the reporter's program, after which it sends
// nothing, and has the VM's reporter know what was wrong.
func (r *reporter) close(left []string, index int) *wire.End {
	end := r.tally()
	r.vm.send(wire.Record{Type: wire.TypeProgram, Program: &wire.ProgramMark{Name: r.program, Index: index, End: end, Left: left}})
	return end
}

// lost notes that some of what the payload said is lost, whatever it reported.
func (r *reporter) lost(problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete, r.problem = false, problem
}

func (r *reporter) end(nonce string) error {
	end := r.tally()
	end.Nonce = nonce
	r.con.logf("%d passed, %d failed, %d skipped", end.Passed, end.Failed, end.Skipped)
	if err := r.w.Write(wire.Record{Type: wire.TypeEnd, At: uptime(), End: end}); err != nil {
		return fmt.Errorf("report the end: %w", err)
	}
	return nil
}

// tally is what the end record says but for the nonce. Nothing of a program that
// comes later is counted, or sent.
func (r *reporter) tally() *wire.End {
	taint, err := r.taint.read()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = r.vm != nil
	if r.err == nil {
		r.err = err // an unknown taint is not an empty one
	}
	end := &wire.End{
		Tests:  r.passed + r.failed + r.skipped,
		Passed: r.passed, Failed: r.failed, Skipped: r.skipped,
		Complete: r.complete && r.err == nil, Problem: r.problem, Unready: r.unready,
		Taint: taint &^ r.before,
	}
	if r.err != nil {
		end.Problem = r.err.Error()
	}
	return end
}
