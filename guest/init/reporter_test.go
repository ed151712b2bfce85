package main

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// A program's end counts just the tests that came before it, though others come at
// the same time.
func TestEndOfProgramCountsWhatCame(t *testing.T) {
	taint, err := openTaint()
	if err != nil {
		t.Fatal(err)
	}
	defer taint.file.Close()
	for range 300 {
		vm := &reporter{w: wire.NewWriter(&bytes.Buffer{}, "nonce"), taint: taint}
		r := &reporter{vm: vm, program: "p", taint: taint}
		var all sync.WaitGroup
		started := make(chan struct{}, 4)
		for range 4 {
			all.Go(func() {
				started <- struct{}{}
				for range 50 {
					r.send(wire.Record{Type: wire.TypeTest, Test: &wire.Test{Name: "T", Verdict: wire.TestPass}})
				}
			})
		}
		<-started
		end := r.close(nil, 0)
		all.Wait()
		if end.Tests != vm.passed {
			b, _ := json.Marshal(end)
			t.Fatalf("%d tests were sent, and the end is %s", vm.passed, b)
		}
	}
}
