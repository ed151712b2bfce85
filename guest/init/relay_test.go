package main

import (
	"bytes"
	"io"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// A report in which tests can be missing, as the payload itself says, is not
// complete, whatever its numbers.
func TestRelaySaysThatAReportIsIncomplete(t *testing.T) {
	for _, why := range []string{"", "its output ends without PASS or FAIL: exit status 1"} {
		var report bytes.Buffer
		rep := wire.NewReporter(&report)
		rep.Report(wire.Test{Name: "TestA", Verdict: wire.TestFail, Duration: 1, Output: "it failed, as expected"})
		if why != "" {
			rep.Incomplete(why)
			rep.Incomplete("a later reason")
		}
		if err := rep.Done(); err != nil {
			t.Fatal(err)
		}
		r := &reporter{w: wire.NewWriter(io.Discard, "")}
		relay(&report, r, true, newRunning(func(wire.Run) {}))
		if r.complete != (why == "") || r.problem != why || r.failed != 1 {
			t.Errorf("%q: complete: %v, problem %q, %d failed", why, r.complete, r.problem, r.failed)
		}
	}
}
