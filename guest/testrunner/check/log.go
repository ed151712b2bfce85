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

	kept  int // bytes
	queue []*Event
	byPid map[int64][]*Event
	types map[string][]*Event
	per   map[typePid]int
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
	if l.byPid == nil {
		l.byPid, l.types, l.per = map[int64][]*Event{}, map[string][]*Event{}, map[typePid]int{}
	}
	l.per[e.key()]++
	l.queue = append(l.queue, e)
	l.kept += len(e.Raw)
	for _, pid := range e.Pids {
		l.byPid[pid] = append(l.byPid[pid], e)
	}
	l.types[e.Type] = append(l.types[e.Type], e)
	if l.kept > MaxKept {
		l.evict()
	}
}

// evict drops the older half and builds the indexes again, so that its cost is
// spread over many lines.
func (l *Log) evict() {
	old := l.queue
	half := len(old) / 2
	if half == 0 {
		half = 1
	}
	*l = Log{Lines: l.Lines, Init: l.Init, Strange: l.Strange, Counts: l.Counts, Own: l.Own, unescaped: l.unescaped}
	l.Counts.Evicted += half
	for _, e := range old[half:] {
		l.keep(e)
	}
}

// Of returns the kept events of one type that are about one process, in order.
func (l *Log) Of(name string, pid int64) []*Event {
	var found []*Event
	for _, e := range l.byPid[pid] {
		if e.Type == name {
			found = append(found, e)
		}
	}
	return found
}

// About returns the kept events about a process, in order.
func (l *Log) About(pid int64) []*Event { return l.byPid[pid] }

// last returns the last kept event; nil when there is none.
func (l *Log) last() *Event {
	if len(l.queue) == 0 {
		return nil
	}
	return l.queue[len(l.queue)-1]
}

// at returns the kept event of a line; nil when there is none.
func (l *Log) at(line int) *Event {
	i, found := slices.BinarySearchFunc(l.queue, line, func(e *Event, line int) int { return e.Line - line })
	if !found {
		return nil
	}
	return l.queue[i]
}

// OfType returns the kept events of a type, in order.
func (l *Log) OfType(name string) []*Event { return l.types[name] }

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

// Clone returns a copy that stays as it is while l goes on. The events are
// shared: nothing changes them.
func (l *Log) Clone() *Log {
	c := &Log{Lines: l.Lines, Init: l.Init, Strange: slices.Clone(l.Strange), Counts: l.Counts, Own: l.Own, unescaped: slices.Clone(l.unescaped), kept: l.kept}
	c.queue = slices.Clone(l.queue)
	c.byPid = make(map[int64][]*Event, len(l.byPid))
	for pid, events := range l.byPid {
		c.byPid[pid] = slices.Clip(events)
	}
	c.types = make(map[string][]*Event, len(l.types))
	for name, events := range l.types {
		c.types[name] = slices.Clip(events)
	}
	return c
}
