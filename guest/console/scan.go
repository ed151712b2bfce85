package console

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
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

// Finding is one thing the kernel said about itself.
type Finding struct {
	Kind    Kind
	Title   string // the message without its time stamp, printable, at most 200 bytes
	Offset  int64  // of the line in the console, in bytes
	Excerpt string // the lines from there on, at most maxExcerpt bytes
}

const (
	maxLine     = 8 << 10 // longer lines are cut
	maxTitle    = 200
	maxExcerpt  = 16 << 10
	maxLines    = 80 // of an excerpt
	maxFindings = 64 // a kernel that prints splats without end
)

// rule recognises a kernel message, without its time stamp.
type rule struct {
	kind Kind
	re   *regexp.Regexp
}

// The rules come from libbpf/ci's splat list, syzkaller's reports and the
// kernel's own sources (arch/*/kernel/traps.c, kernel/panic.c, kernel/watchdog.c,
// kernel/rcu/tree_stall.h, kernel/hung_task.c, mm/oom_kill.c). First match counts.
var rules = []rule{
	{Panic, regexp.MustCompile(`^Kernel panic - not syncing`)},
	{Lockup, regexp.MustCompile(`^(watchdog: )?.*(BUG: soft lockup|[Hh]ard LOCKUP)`)},
	{Splat, regexp.MustCompile(`^BUG: (KASAN|KCSAN|KFENCE|KMSAN|sleeping function|scheduling while atomic|workqueue lockup|Bad (page|rss-counter)|using \w+ in preemptible)`)},
	{Oops, regexp.MustCompile(`^BUG[: ]`)},
	{Oops, regexp.MustCompile(`^kernel BUG at `)},
	{Oops, regexp.MustCompile(`^Oops[: ]`)},
	{Oops, regexp.MustCompile(`^(general protection fault|divide error|invalid opcode|int3|bounds|stack segment|double fault|PANIC: double fault|alignment check|traps: PANIC).*\[#\d+\]`)},
	{Oops, regexp.MustCompile(`^(Internal error|Unable to handle kernel|Bad mode in)\b`)},
	{Splat, regexp.MustCompile(`^WARNING[: ]`)},
	{Splat, regexp.MustCompile(`^UBSAN: `)},
	{Stall, regexp.MustCompile(`^(rcu: )?INFO: [_a-z]+ (self-)?detected (expedited )?stall`)},
	{Stall, regexp.MustCompile(`^rcu: .*kthread starved for`)},
	{HungTask, regexp.MustCompile(`^INFO: task .* blocked (for more than|in I/O wait)`)},
	{OutOfMemory, regexp.MustCompile(`^(Out of memory|Memory cgroup out of memory): Kill`)},
}

var endOfReport = regexp.MustCompile(`^---\[ end (trace|Kernel panic)`)

// Scanner finds what the kernel reports in a console as it is written. Lines
// may come in pieces. The zero value is ready for use.
type Scanner struct {
	partial  []byte
	cut      bool // the rest of the line is dropped
	offset   int64
	start    int64 // of the line in partial
	findings []Finding
	open     int // lines the last finding's excerpt may still take
	lockups  int
	panicked bool
	ended    bool
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
		if len(s.partial) == 0 && !s.cut {
			s.start = s.offset
		}
		if room := maxLine - len(s.partial); len(piece) > room {
			s.partial = append(s.partial, piece[:room]...)
			s.cut = true
		} else {
			s.partial = append(s.partial, piece...)
		}
		if i < 0 {
			s.offset += int64(len(p))
			break
		}
		s.offset += int64(i + 1)
		p = p[i+1:]
		s.line(bytes.TrimRight(s.partial, "\r"))
		s.partial, s.cut = s.partial[:0], false
	}
	return n, nil
}

// Findings returns what was found so far, in order. A line that has not ended
// yet counts as far as it is known.
func (s *Scanner) Findings() []Finding {
	if len(s.partial) > 0 {
		s.line(bytes.TrimRight(s.partial, "\r"))
		s.partial = s.partial[:0]
	}
	return s.findings
}

// Panicked says whether the kernel has panicked: nothing good can follow.
func (s *Scanner) Panicked() bool { return s.panicked }

// PanicEnded says whether the panic's report is complete.
func (s *Scanner) PanicEnded() bool { return s.ended }

// Hopeless says whether the guest's fate is certain: it panicked, or reported
// a second lockup.
func (s *Scanner) Hopeless() bool { return s.panicked || s.lockups > 1 }

func (s *Scanner) line(b []byte) {
	msgs := messages(b)
	for _, m := range msgs {
		s.message(m)
	}
	if s.open > 0 {
		s.open--
		f := &s.findings[len(s.findings)-1]
		if len(f.Excerpt)+len(b)+1 > maxExcerpt {
			s.open = 0
		} else {
			f.Excerpt += printable(string(b)) + "\n"
		}
		for _, m := range msgs {
			if endOfReport.Match(m) {
				s.open = 0
			}
		}
	}
}

func (s *Scanner) message(m []byte) {
	if endOfReport.Match(m) && bytes.Contains(m, []byte("Kernel panic")) {
		s.ended = true
		return
	}
	for _, r := range rules {
		if !r.re.Match(m) {
			continue
		}
		switch r.kind {
		case Panic:
			s.panicked = true
		case Lockup:
			s.lockups++
		}
		if len(s.findings) < maxFindings {
			s.findings = append(s.findings, Finding{Kind: r.kind, Title: title(string(m)), Offset: s.start})
			s.open = maxLines
		}
		return
	}
}

// messages returns the kernel's messages in a console line. More than one can
// stand there, and after other text: the kernel does not know where in a line
// the payload's output has stopped.
func messages(b []byte) [][]byte {
	var msgs [][]byte
	from := -1
	for i := 0; i < len(b); i++ {
		n := stampLen(b[i:])
		if n == 0 {
			continue
		}
		if from >= 0 {
			msgs = append(msgs, b[from:i])
			from = -1
		}
		if i == 0 || b[i-1] != quote {
			from = i + n
		}
		i += n - 1
	}
	if from >= 0 {
		msgs = append(msgs, b[from:])
	}
	return msgs
}

func title(m string) string {
	t := strings.TrimSpace(printable(m))
	if len(t) > maxTitle {
		t = strings.ToValidUTF8(t[:maxTitle], "") + "..."
	}
	return t
}

// printable drops what a terminal or a report would act on.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, "?"))
}
