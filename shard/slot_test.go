package shard

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// A place is taken once however often it is acquired, given back once, and can be
// taken again; whoever waits for one gives up with its context.
func TestSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		in := make(chan struct{}, 1)
		a, b := &slot{of: in}, &slot{of: in}
		for range 2 {
			if !a.Acquire(ctx) {
				t.Fatal("no place where all are free")
			}
		}
		var entered atomic.Int32
		go func() {
			if b.Acquire(ctx) {
				entered.Add(1)
			}
		}()
		synctest.Wait()
		if entered.Load() != 0 {
			t.Fatal("two in one place")
		}
		a.Release()
		a.Release()
		synctest.Wait()
		if entered.Load() != 1 || len(in) != 1 {
			t.Fatalf("%d entered, %d places taken, want one", entered.Load(), len(in))
		}
		again := make(chan bool, 1)
		go func() { again <- a.Acquire(ctx) }()
		synctest.Wait()
		cancel()
		if <-again {
			t.Error("a place that was another's")
		}
		b.Release()
		a.Release() // holds none
		if len(in) != 0 {
			t.Errorf("%d places are left taken", len(in))
		}
	})
}
