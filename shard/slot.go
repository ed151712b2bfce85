package shard

import (
	"context"
	"sync"
)

// slot is one VM's place among those that run at a time.
type slot struct {
	of chan struct{} // holds something for each place that is taken

	mu   sync.Mutex
	held bool
}

// Acquire waits for a place, unless the slot holds one already. It returns false
// if ctx ended first.
func (s *slot) Acquire(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case s.of <- struct{}{}:
		s.held = true
		return true
	}
}

// Release gives the place to another VM, if the slot holds one.
func (s *slot) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held {
		<-s.of
		s.held = false
	}
}
