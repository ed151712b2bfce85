package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// laps say where a job's time went.
type laps struct {
	begin, last time.Time
	said        []string // "QEMU 12.1": seconds since what was before
}

// startLaps begins with what the steps before took: for the program since STARTED,
// for caches and plan since the first step left the inputs.
func (s *actionStep) startLaps() *laps {
	l := &laps{begin: time.Now()}
	if started, err := strconv.ParseFloat(s.c.getenv("STARTED"), 64); err == nil {
		l.begin = time.UnixMilli(int64(started * 1000))
	}
	l.last = l.begin
	if info, err := os.Stat(s.file); err == nil {
		l.endAt("program", info.ModTime())
	}
	l.endAt("caches", time.Now())
	return l
}

// end gives the time since the last end a name.
func (l *laps) end(name string) {
	if l != nil { // this is the action
		l.endAt(name, time.Now())
	}
}

func (l *laps) endAt(name string, at time.Time) {
	if at.After(l.last) { // clocks can be set back
		l.said = append(l.said, fmt.Sprintf("%s %.1f", name, at.Sub(l.last).Seconds()))
		l.last = at
	}
}

func (l *laps) String() string {
	return fmt.Sprintf("%.1f s: %s", l.last.Sub(l.begin).Seconds(), strings.Join(l.said, ", "))
}
