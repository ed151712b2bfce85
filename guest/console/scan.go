package console

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is what a finding is about.
type Kind uint8

// Kinds of findings. Unknown is never used for one.
const (
	Unknown     Kind = iota
	Panic            // the kernel gave up
	Oops             // an exception or BUG in the kernel
	Splat            // WARN, UBSAN, KASAN, lockdep: the kernel went on
	Lockup           // soft or hard lockup
	Stall            // RCU stall
	HungTask         // a task blocked for too long
	OutOfMemory      // the OOM killer ran; no crash by itself
)

var kindNames = [...]string{"unknown", "panic", "oops", "splat", "lockup", "stall", "hung task", "out of memory"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Crash says whether a finding of this kind makes the kernel's verdict crash.
func (k Kind) Crash() bool { return k != OutOfMemory }

// Fatal says whether a finding of this kind is the end of the machine.
func (k Kind) Fatal() bool { return k == Panic || k == Oops || k == Unknown }

// Finding is one thing the kernel said about itself.
type Finding struct {
	Kind Kind
	// Title is what it is and in which function, in one printable line of at
	// most 200 bytes without addresses, so that equal crashes have equal titles.
	Title    string
	Location string        // file:line, else function+offset/size; empty when the report does not say
	Offset   int64         // of the report in the console, in bytes
	At       time.Duration // when it began, by the time stamps of the kernel's messages
	Excerpt  string        // the report without registers, lines of at most 16 KiB together
	Taint    uint64        // bits of the kernel's taint that such a report sets
	Overflow bool          // stands for reports that were too many to be kept

	// Impossible is what in the report no processor does, whatever its kernel did,
	// in one line: an emulator's fault may be behind it. "": nothing.
	Impossible string
}

const (
	maxLine     = 8 << 10 // longer lines are looked at in parts, longer messages are cut
	maxStamp    = 64      // bytes of a time stamp with what belongs to it
	maxTitle    = 200
	maxExcerpt  = 16 << 10
	maxLines    = 250 // of a report that are looked at
	maxFindings = 64  // a kernel that prints splats without end
	// A report is printed in one go. What comes later, in seconds of the
	// kernel's time, is another's.
	maxPause = 3.0
)

// Scanner finds what the kernel reports in a console as it is written. Lines
// may come in pieces. The zero value is ready for use.
type Scanner struct {
	partial []byte
	offset  int64
	start   int64 // of the line in partial

	findings []Finding
	seen     map[string]bool // reports that were found, by what is in them
	open     *rawReport
	before   []string // messages since a report was announced; nil: none was
	at       float64  // the last message's time

	lockups       int
	stalls        int
	panicked      bool
	unrecoverable bool
	oops          bool
	halted        bool
}

// Write scans p. It never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		piece := p
		if i >= 0 {
			piece = p[:i]
		}
		if len(s.partial) == 0 {
			s.start = s.offset
		}
		for len(piece) > maxLine-len(s.partial) {
			room := maxLine - len(s.partial)
			s.partial = append(s.partial, piece[:room]...)
			piece = piece[room:]
			s.part()
		}
		s.partial = append(s.partial, piece...)
		if i < 0 {
			s.offset += int64(len(p))
			break
		}
		s.offset += int64(i + 1)
		p = p[i+1:]
		s.line(bytes.TrimRight(s.partial, "\r"))
		s.partial = s.partial[:0]
	}
	return n, nil
}

// part takes what a line that is too long has so far, but for a message that has
// just begun: the kernel can go on behind a payload's line without end.
func (s *Scanner) part() {
	end := len(s.partial)
	if i := bytes.IndexByte(s.partial[end-maxStamp:], '['); i >= 0 {
		end += i - maxStamp
	}
	if m := stampRE().FindIndex(s.partial[maxLine/2:]); m != nil {
		end = min(end, maxLine/2+m[0])
	}
	s.line(s.partial[:end])
	s.partial = append(s.partial[:0], s.partial[end:]...)
	s.start += int64(end)
}

// Findings returns what was found so far, in order. A line that has not ended
// yet counts as far as it is known. More may be written afterwards.
func (s *Scanner) Findings() []Finding {
	now := *s
	now.findings, now.seen = slices.Clone(s.findings), maps.Clone(s.seen)
	if s.open != nil {
		open := *s.open
		open.lines = slices.Clone(open.lines)
		now.open = &open
	}
	if len(s.partial) > 0 {
		now.line(bytes.TrimRight(s.partial, "\r"))
	}
	now.close()
	return now.findings
}

// Panicked says whether the kernel has panicked: nothing good can follow.
func (s *Scanner) Panicked() bool { return s.panicked }

// Unrecoverable says whether the guest cannot come back: it panicked or is about
// to, is locked up, or reported a second soft lockup or a third stall.
func (s *Scanner) Unrecoverable() bool { return s.unrecoverable || s.lockups > 1 || s.stalls > 2 }

// Panicking says whether the kernel is ending by itself: it panics, or had an oops
// that makes it panic.
func (s *Scanner) Panicking() bool { return s.panicked || s.oops }

// Halted says whether the kernel has stopped as it was told to. A machine need
// not go off by that.
func (s *Scanner) Halted() bool { return s.halted }

func (s *Scanner) line(b []byte) {
	for _, m := range messages(b) {
		s.message(string(m.text), m.at)
	}
}

// halted are a kernel's last words where it does not restart.
var halted = map[string]bool{
	"reboot: Power down":    true,
	"reboot: System halted": true,
	"reboot: Power off not available: System halted instead": true, // since 6.10
}

// message takes one message of the kernel.
func (s *Scanner) message(m string, at float64) {
	if s.open != nil && (at-s.at > maxPause || len(s.open.lines) == maxLines) {
		s.close()
	}
	if at-s.at > maxPause {
		s.before = nil
	}
	s.at = at
	switch {
	case strings.HasPrefix(m, "---[ end Kernel panic"), strings.HasPrefix(m, "---[ end trace"):
		s.close()
		return
	case halted[m]:
		s.halted = true
	case strings.HasPrefix(m, "------------[ cut here ]"):
		if s.open == nil || s.open.rule.set&cause == 0 {
			s.close()
			s.before = []string{}
		}
		return
	}
	if r, groups := match(m); r != nil {
		s.begin(r, groups, m)
		return
	}
	if s.open != nil && s.open.complete(m) {
		s.close()
	}
	switch {
	case s.open != nil:
		s.open.lines = append(s.open.lines, m)
	case s.before != nil && len(s.before) < 8:
		s.before = append(s.before, m)
	}
}

// begin takes the first line of a report, or one that makes the open report
// more precise.
func (s *Scanner) begin(r *rule, groups map[string]string, m string) {
	switch {
	case r.kind == Panic:
		s.panicked = true
	case r.kind == Oops:
		s.oops = true
	case r.set&lockup != 0:
		s.lockups++
	case r.set&stall != 0:
		s.stalls++
	}
	if r.set&unrecoverable != 0 {
		s.unrecoverable = true
	}
	if o := s.open; o != nil && o.goesOnWith(r) {
		o.join(r, groups)
		o.lines = append(o.lines, m)
		return
	}
	before, announced := s.before, s.before != nil
	s.close()
	taint := r.taint
	if r.set&words != 0 && !announced {
		taint = 0 // a driver's words, and no WARN of the kernel
	}
	s.open = &rawReport{rule: r, kind: r.kind, taint: taint, groups: groups, offset: s.start, at: seconds(s.at), lines: append(before, m)}
	s.before = nil
}

// close ends the open report. One that was found before is left out: the same
// words, function and trace, whatever the addresses.
func (s *Scanner) close() {
	o := s.open
	s.open, s.before = nil, nil
	if o == nil {
		return
	}
	f := o.finding()
	key := fmt.Sprintf("%d %s\n%s\n%s", f.Kind, f.Title, f.Location, chance().ReplaceAllString(f.Excerpt, ""))
	if s.seen[key] {
		return
	}
	switch {
	case len(s.findings) < maxFindings:
	case f.Kind == Panic && s.findings[maxFindings-1].Kind != Panic:
		// How it ended is more than how often it complained.
		s.findings[maxFindings-1] = f
		return
	default:
		// What is not looked at is not known to be harmless.
		if last := &s.findings[maxFindings-1]; !last.Kind.Fatal() {
			*last = Finding{Kind: Splat, Title: fmt.Sprintf("more than %d different reports", maxFindings-1), Offset: last.Offset, Excerpt: last.Excerpt, Overflow: true}
		}
		return
	}
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	s.seen[key] = true
	s.findings = append(s.findings, f)
}

// stamped is a message with its time in seconds.
type stamped struct {
	text []byte
	at   float64
}

// messages returns the kernel's messages in a console line. More than one can
// stand there, and after other text: the kernel does not know where in a line
// the payload's output has stopped.
func messages(b []byte) []stamped {
	stamps := stampRE().FindAllSubmatchIndex(b, -1)
	msgs := make([]stamped, len(stamps))
	for i, m := range stamps {
		end := len(b)
		if i+1 < len(stamps) {
			end = stamps[i+1][0]
		}
		at, _ := strconv.ParseFloat(string(b[m[2]:m[3]]), 64) // it is a number
		msgs[i] = stamped{b[m[1]:end], at}
	}
	return msgs
}

// seconds makes a duration of a message's time.
func seconds(at float64) time.Duration {
	return time.Duration(min(at, math.MaxInt32) * float64(time.Second))
}
