package check

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// Limits of what a log keeps. The tracer's output is not to be trusted with
// the guest's memory: a process that writes in a loop fills a stream in
// seconds.
const (
	MaxKept    = 48 << 20 // bytes of events
	MaxPerPid  = 512      // events of one type and process; more are counted, not kept
	maxStrange = 5        // examples kept of each kind of strange line
	maxExcerpt = 300      // bytes of such an example
)

// Log is the tracer's output as far as tests need it. The zero value is empty
// and ready to use. It is not safe for concurrent use.
type Log struct {
	Lines   int   // lines seen
	Init    *Init // the first init line
	Strange []string
	Counts  Counts
	Own     []int64 // processes of ours: what the tracer makes of their terminal's text is not held against it

	unescaped []string // examples of Counts.Unescaped

	events []*Event // kept, in order
	kept   int      // bytes of them
	per    map[typePid]int
}

// Counts says how much of the output was not a whole JSON object, or was lost.
type Counts struct {
	Invalid   int // lines that are no JSON object, whatever is made of their strings
	Unescaped int // lines that are none because their strings are not escaped
	Long      int // lines above the limit
	Lost      int // the tracer's own marks that it lost events
	Evicted   int // events dropped by this log because the stream was too large
	Skipped   int // events beyond MaxPerPid of one type and process
}

type typePid struct {
	name string
	pid  int64
}

func (e *Event) key() typePid {
	key := typePid{name: e.Type}
	if len(e.Pids) > 0 {
		key.pid = e.Pids[0]
	}
	return key
}

// Add takes the next line, which it keeps no reference to. long says that it
// was cut at the reader's limit. An event in the result refers to the line,
// unless it is kept.
func (l *Log) Add(b []byte, long bool, at time.Duration) Line {
	l.Lines++
	if long {
		l.Counts.Long++
		l.strange(l.Counts.Long, "longer than the limit", b)
		return Line{}
	}
	if blank(b) {
		return Line{}
	}
	line, err := ParseLine(b)
	if err != nil {
		mended, ok := mend(b)
		if ok {
			line, _ = ParseLine(mended) // an event: mend takes nothing else
		}
		switch {
		case !ok:
			l.Counts.Invalid++
			l.strange(l.Counts.Invalid, err.Error(), b)
			return Line{}
		case !l.ours(line.Event):
			l.Counts.Unescaped++
			if l.Counts.Unescaped <= maxStrange {
				l.unescaped = append(l.unescaped, fmt.Sprintf("line %d: %s: %s", l.Lines, err, excerpt(b)))
			}
		}
		b = mended
	}
	switch {
	case line.Event != nil:
		line.Event.Line, line.Event.At = l.Lines, at
		// A process that floods must not push the events of the tests out.
		if l.per[line.Event.key()] >= MaxPerPid {
			l.Counts.Skipped++
			break
		}
		line.Event.Raw = bytes.Clone(b) // the line is the reader's
		l.keep(line.Event)
	case line.Init != nil:
		line.Init.Line = l.Lines
		if l.Init == nil {
			l.Init = line.Init
		}
	case line.Lost != "":
		l.Counts.Lost++
		l.strange(l.Counts.Lost, "the tracer lost events", b)
	}
	return line
}

// ours tells whether an event is of a text that this project's programs wrote.
func (l *Log) ours(e *Event) bool {
	return e.Type == "PROCESS_TTY_WRITE" && len(e.Pids) == 1 && slices.Contains(l.Own, e.Pids[0])
}

func (l *Log) strange(n int, why string, b []byte) {
	if n <= maxStrange {
		l.Strange = append(l.Strange, fmt.Sprintf("line %d: %s: %s", l.Lines, why, excerpt(b)))
	}
}

func (l *Log) keep(e *Event) {
	if l.per == nil {
		l.per = map[typePid]int{}
	}
	l.per[e.key()]++
	l.events = append(l.events, e)
	l.kept += len(e.Raw)
	if l.kept > MaxKept {
		l.evict()
	}
}

// evict drops the older half, so that its cost is spread over many lines.
func (l *Log) evict() {
	half := max(len(l.events)/2, 1)
	for _, e := range l.events[:half] {
		l.kept -= len(e.Raw)
		if key := e.key(); l.per[key] > 1 {
			l.per[key]--
		} else {
			delete(l.per, key)
		}
	}
	l.events = slices.Clone(l.events[half:])
	l.Counts.Evicted += half
}

// Of returns the kept events of one type that are about one process, in order.
func (l *Log) Of(name string, pid int64) []*Event {
	return l.those(func(e *Event) bool { return e.Type == name && slices.Contains(e.Pids, pid) })
}

// About returns the kept events about a process, in order.
func (l *Log) About(pid int64) []*Event {
	return l.those(func(e *Event) bool { return slices.Contains(e.Pids, pid) })
}

// OfType returns the kept events of a type, in order.
func (l *Log) OfType(name string) []*Event {
	return l.those(func(e *Event) bool { return e.Type == name })
}

func (l *Log) those(is func(*Event) bool) (found []*Event) {
	for _, e := range l.events {
		if is(e) {
			found = append(found, e)
		}
	}
	return found
}

// last returns the last kept event; nil when there is none.
func (l *Log) last() *Event {
	if len(l.events) == 0 {
		return nil
	}
	return l.events[len(l.events)-1]
}

// at returns the kept event of a line; nil when there is none.
func (l *Log) at(line int) *Event {
	i, found := slices.BinarySearchFunc(l.events, line, func(e *Event, line int) int { return e.Line - line })
	if !found {
		return nil
	}
	return l.events[i]
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// excerpt quotes the beginning of a line for a terminal: no raw bytes of the
// tracer may reach it.
func excerpt(b []byte) string {
	if len(b) <= maxExcerpt {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q... (%d bytes)", b[:maxExcerpt], len(b))
}

// Clone returns a copy to read from, which stays as it is while l goes on. The
// events are shared: nothing changes them.
func (l *Log) Clone() *Log {
	c := *l
	c.Strange, c.unescaped, c.events = slices.Clone(l.Strange), slices.Clone(l.unescaped), slices.Clone(l.events)
	c.per = nil
	return &c
}
