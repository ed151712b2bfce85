package main

import (
	"fmt"
	"sync"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// reporter sends records to the host and counts what the end record must say.
type reporter struct {
	w      *wire.Writer
	con    *serialConsole
	stream *programIO // of a job with Stream

	mu                      sync.Mutex
	passed, failed, skipped int
	complete                bool
	problem                 string
	unready                 string
	taint                   *kernelTaint
	before                  uint64 // the taint when init started
	err                     error
}

func (r *reporter) send(rec wire.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec.At = uptime()
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
	if err := r.w.Write(rec); err != nil && r.err == nil {
		r.err = err
		r.con.logf("%v", err)
	}
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

// lost notes that some of what the payload said is lost, whatever it reported.
func (r *reporter) lost(problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete, r.problem = false, problem
}

func (r *reporter) end(nonce string) error {
	taint, err := r.taint.read()
	r.mu.Lock()
	if r.err == nil {
		r.err = err // an unknown taint is not an empty one
	}
	end := &wire.End{
		Nonce: nonce, Tests: r.passed + r.failed + r.skipped,
		Passed: r.passed, Failed: r.failed, Skipped: r.skipped,
		Complete: r.complete && r.err == nil, Problem: r.problem, Unready: r.unready,
		Taint: taint &^ r.before,
	}
	if r.err != nil {
		end.Problem = r.err.Error()
	}
	r.mu.Unlock()
	r.con.logf("%d passed, %d failed, %d skipped", end.Passed, end.Failed, end.Skipped)
	if err := r.w.Write(wire.Record{Type: wire.TypeEnd, At: uptime(), End: end}); err != nil {
		return fmt.Errorf("report the end: %w", err)
	}
	return nil
}
