package main

import (
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// A process that cannot be killed keeps the pipes open: nobody reads them once
// they are given up.
func TestOutputThatDoesNotEnd(t *testing.T) {
	p, err := startPayload(wire.Job{Args: []string{"/bin/sleep", "1000"}, Reports: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(p.pid, nil, 0, nil)
	}()
	r := &reporter{w: wire.NewWriter(io.Discard, "n"), con: newConsole(nil)}
	copied, reported := make(chan struct{}), make(chan struct{})
	go func() { defer close(copied); _, _ = io.Copy(io.Discard, p.out) }()
	go func() {
		defer close(reported)
		relay(p.report, r, true, newRunning(func(wire.Run) {}))
	}()
	if p.await(time.Millisecond, copied, reported) {
		t.Error("the output has ended")
	}
	if r.complete || r.problem == "" {
		t.Errorf("a report that did not end is complete: %q", r.problem)
	}
}

// A report is read while init tells that it runs.
func TestReporterIsShared(t *testing.T) {
	r := &reporter{w: wire.NewWriter(io.Discard, "n"), con: newConsole(nil)}
	pr, pw := io.Pipe()
	var all sync.WaitGroup
	all.Go(func() { relay(pr, r, true, newRunning(func(wire.Run) {})) })
	all.Go(func() {
		for range 100 {
			r.send(wire.Record{Type: wire.TypeAlive})
		}
	})
	_, err := io.WriteString(pw, `{"type":"test","test":{"name":"a","verdict":"pass"}}`+"\n"+`{"type":"done","done":{"tests":1}}`+"\n")
	pw.Close()
	all.Wait()
	if err != nil || !r.complete || r.passed != 1 {
		t.Errorf("%v, %+v", err, r)
	}
}
