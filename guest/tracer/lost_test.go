package main

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full uint64 = 2
		var got []string
		stop := watchLost(func(typ uint32) (uint64, error) {
			switch typ {
			case 1:
				return full, nil
			case 2:
				return 9, errors.New("not counted here")
			}
			return 0, nil
		}, func(s string) { got = append(got, s) })
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		full = 5
		stop()
		if want := []string{"lost 2 PROCESS_FORK events: the ring buffer was full", "lost 3 PROCESS_FORK events: the ring buffer was full"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
