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
		stop := watchLost([]lossCounter{
			{"lost %d", func() (uint64, error) { return full, nil }},
			{"missed %d", func() (uint64, error) { return 9, errors.New("not counted here") }},
		}, func(s string) { got = append(got, s) })
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		full = 5
		stop()
		if want := []string{"lost 2", "lost 3"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
