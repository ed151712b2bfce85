package main

import (
	"fmt"
	"sync"
	"time"
)

// A lossCounter counts one way in which events get lost.
type lossCounter struct {
	message string // for fmt, with the count
	read    func() (uint64, error)
}

// lossCounters are all ways that the kernel tells of.
func (l *loader) lossCounters() []lossCounter {
	var out []lossCounter
	for i, typ := range typeNames {
		message := "lost %d " + typ + " events: the ring buffer was full"
		out = append(out, lossCounter{message, func() (n uint64, err error) {
			err = l.maps["lost"].Lookup(uint32(i+1), &n)
			return n, err
		}})
	}
	return out
}

// watchLost reports what gets lost, about once a second while anything does.
// stop reports the rest.
func watchLost(counters []lossCounter, warn func(string)) (stop func()) {
	told := make([]uint64, len(counters))
	look := func() {
		for i, c := range counters {
			n, err := c.read()
			if err != nil || n == told[i] {
				continue // a kernel that does not count
			}
			warn(fmt.Sprintf(c.message, n-told[i]))
			told[i] = n
		}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-done:
				look()
				return
			case <-tick.C:
				look()
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}
