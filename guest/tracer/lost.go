package main

import (
	"fmt"
	"sync"
	"time"
)

// lost counts the events of a type for which the ring buffer was full.
func (l *loader) lost(typ uint32) (n uint64, err error) {
	err = l.maps["lost"].Lookup(typ, &n)
	return n, err
}

// watchLost reports what gets lost, about once a second while anything does.
// stop reports the rest.
func watchLost(lost func(typ uint32) (uint64, error), warn func(string)) (stop func()) {
	told := make([]uint64, len(typeNames))
	look := func() {
		for i, typ := range typeNames {
			n, err := lost(uint32(i + 1))
			if err == nil && n != told[i] {
				warn(fmt.Sprintf("lost %d %s events: the ring buffer was full", n-told[i], typ))
				told[i] = n
			}
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
