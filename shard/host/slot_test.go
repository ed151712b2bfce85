package host

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestAcquireSlots(t *testing.T) {
	dir := t.TempDir()
	acquire := func(want int, timeout time.Duration) (Slots, error) {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		return AcquireSlots(ctx, dir, want, 3)
	}
	a, err := acquire(2, time.Minute)
	if err != nil || len(a) != 2 {
		t.Fatal(len(a), err)
	}
	b, err := acquire(2, time.Minute)
	if err != nil || len(b) != 1 {
		t.Fatalf("%d places beside two of three, %v", len(b), err)
	}
	if c, err := acquire(1, 3*slotPoll); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%d places of none, %v", len(c), err)
	}
	time.AfterFunc(2*slotPoll, a.Release)
	c, err := acquire(3, time.Minute)
	if err != nil || len(c) != 2 {
		t.Fatalf("%d places when two are free, %v", len(c), err)
	}
	b.Release()
	c.Release()
	if _, err := AcquireSlots(t.Context(), dir+"/nowhere", 1, 1); err == nil {
		t.Error("places in no directory")
	}
}
