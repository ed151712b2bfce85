package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// running knows which tests run, from what the payload tells, and since when.
// What it is told decides no verdict but a timeout's.
type running struct {
	mu     sync.Mutex
	since  map[string]time.Time // when the time of each began that counts for its limit
	began  map[string]time.Time // when each began
	held   map[string]time.Time // those of since that the host was not told of yet
	done   map[string]bool      // those that were reported
	told   int
	last   string // the test that was reported last
	closed bool   // the payload is to be ended: what it tells now is of no account
	end    time.Time
	send   func(wire.Run)
}

const (
	maxRunning = 10_000 // tests at a time that are known
	tellAtOnce = 2_000  // runs that the host is told of as they come
	tellLater  = 250 * time.Millisecond
	maxTold    = wire.MaxRecords / 4
)

func newRunning(send func(wire.Run)) *running {
	return &running{since: map[string]time.Time{}, began: map[string]time.Time{}, held: map[string]time.Time{}, done: map[string]bool{}, send: send}
}

// run is told that a test runs, or is paused. A serial line is slow, so that
// of many short tests the host hears only when they turn out to be long.
func (r *running) run(t wire.Run, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.touch(t.Name, now)
	_, known := r.since[t.Name]
	if t.Paused {
		if _, held := r.held[t.Name]; known && !held && r.told < maxTold {
			r.told++
			r.send(t)
		}
		delete(r.since, t.Name)
		delete(r.held, t.Name)
		return
	}
	if known || len(r.since) >= maxRunning {
		return
	}
	r.since[t.Name] = now
	if _, again := r.began[t.Name]; !again && len(r.began) < maxRunning {
		r.began[t.Name] = now
	}
	if r.told < tellAtOnce {
		r.told++
		r.send(t)
		return
	}
	r.held[t.Name] = now
}

// ended is told of a test's outcome.
func (r *running) ended(name string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.touch(name, now)
	delete(r.since, name)
	delete(r.began, name)
	delete(r.held, name)
	if len(r.done) < maxRunning {
		r.done[name] = true
	}
	if !r.closed {
		r.last = name
	}
}

// touch gives the tests that name is a part of their time anew: the limit is
// for a test that does not go on.
func (r *running) touch(name string, now time.Time) {
	for at := strings.LastIndexByte(name, '/'); at > 0; at = strings.LastIndexByte(name[:at], '/') {
		if _, ok := r.since[name[:at]]; ok {
			r.since[name[:at]] = now
		}
	}
}

// tick tells the host of what has run for a while, and returns the test that
// has run for longer than limit (0: none), "" for none.
func (r *running) tick(now time.Time, limit time.Duration) (late string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, since := range r.held {
		if now.Sub(since) >= tellLater && r.told < maxTold {
			r.told++
			r.send(wire.Run{Name: name})
			delete(r.held, name)
		}
	}
	for name, since := range r.since {
		if limit > 0 && now.Sub(since) > limit && (late == "" || r.before(name, late)) {
			late = name
		}
	}
	return late
}

// before orders by start; of those at one time, the part before the whole.
func (r *running) before(a, b string) bool {
	return cmp.Or(r.since[a].Compare(r.since[b]), cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) < 0
}

// close returns what runs now, first first and the innermost before what it is
// part of, and takes no more.
func (r *running) close(first string, now time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.end = true, now
	names := slices.SortedFunc(maps.Keys(r.since), func(a, b string) int {
		switch {
		case a == b:
			return 0
		case r.isPart(a, b) || !r.isPart(b, a) && r.before(a, b):
			return -1
		}
		return 1
	})
	if i := slices.Index(names, first); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, first)
	}
	return names[:min(len(names), wire.MaxRunning)]
}

func (r *running) isPart(a, b string) bool { return strings.HasPrefix(a, b+"/") }

// reported says whether a test has an outcome.
func (r *running) reported(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done[name]
}

// ran is for how long a test had run that close returned.
func (r *running) ran(name string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	began, ok := r.began[name]
	if !ok {
		return 0
	}
	return r.end.Sub(began)
}

// previous is the test that was reported last, "" for none.
func (r *running) previous() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}
