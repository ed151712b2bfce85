package shard

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// A place is taken once however often it is entered, given back once, and can be
// taken again; whoever waits for one gives up with its context.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		in := make(chan struct{}, 1)
		a, b := &room{in: in}, &room{in: in}
		if !a.enter(ctx) || !a.enter(ctx) {
			t.Fatal("no place where all are free")
		}
		var entered atomic.Int32
		go func() {
			if b.enter(ctx) {
				entered.Add(1)
			}
		}()
		synctest.Wait()
		if entered.Load() != 0 {
			t.Fatal("two in one place")
		}
		a.leave()
		a.leave()
		synctest.Wait()
		if entered.Load() != 1 || len(in) != 1 {
			t.Fatalf("%d entered, %d places taken, want one", entered.Load(), len(in))
		}
		again := make(chan bool, 1)
		go func() { again <- a.enter(ctx) }()
		synctest.Wait()
		cancel()
		if <-again {
			t.Error("a place that was another's")
		}
		b.leave()
		a.leave() // holds none
		if len(in) != 0 {
			t.Errorf("%d places are left taken", len(in))
		}
	})
}

// The next VM need not wait for one whose payload has ended well. After any other
// end init still has much to tell, and so it waits until that is told.
func TestPlaceIsLeftWhenThePayloadHasEnded(t *testing.T) {
	for _, tt := range []struct {
		name string
		exit *wire.Exit
		want []int // how often it was left after each record
	}{
		{"well", &wire.Exit{}, []int{0, 0, 1, 2}},
		{"badly", &wire.Exit{Code: 1}, []int{0, 0, 0, 1}},
		{"by a signal", &wire.Exit{Code: -1, Signal: "SIGSEGV"}, []int{0, 0, 0, 1}},
	} {
		left := 0
		w := &watch{limits: Limits{Boot: time.Hour, Payload: time.Hour, Off: time.Hour, ended: func() { left++ }}, con: io.Discard, cancel: func() {}, start: time.Now()}
		w.arm(time.Hour, stopBoot)
		for i, r := range []wire.Record{
			{Type: wire.TypeHello, Hello: &wire.Hello{}},
			{Type: wire.TypeTest, Test: &wire.Test{Name: "a", Verdict: wire.TestPass}},
			{Type: wire.TypeExit, Exit: tt.exit},
			{Type: wire.TypeEnd, End: &wire.End{}},
		} {
			w.record(r)
			if left != tt.want[i] {
				t.Errorf("%s: left %d times after the %s record, want %d", tt.name, left, r.Type, tt.want[i])
			}
		}
		w.disarm()
	}
}
