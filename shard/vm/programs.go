package vm

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Program is one of several that a VM is to run one after the other.
type Program struct {
	Name    string
	Timeout time.Duration
}

// part is what a VM showed of one of its programs.
type part struct {
	Program
	begun   bool
	records []wire.Record     // between its marks, with names as the program itself gave them
	end     *wire.ProgramMark // nil: the VM ended before the program did
}

// judgePrograms judges each program by what the VM showed of it, as if it had run
// alone, and the kernel by the worst of them and of the VM as a whole. A program
// that did not begin is missing, and so is the kernel then, unless another one
// failed. Where none began, what is said of the VM is said of each.
func (o Observation) judgePrograms() Verdict {
	whole := o.judge()
	parts, wrong := o.split()
	unproven := func(v *Verdict) {
		if wrong != "" && report.Fail.Badness() > v.Verdict.Badness() {
			v.Verdict, v.Cause = report.Fail, &report.Cause{Title: "the marks of its programs: " + wrong, Excerpt: o.Tail}
		}
	}
	unproven(&whole)
	v := whole
	v.Tests, v.Running, v.TestsOnly = nil, nil, whole.TestsOnly || whole.Verdict == report.Pass
	begun := slices.ContainsFunc(parts, func(p part) bool { return p.begun })
	for i, p := range parts {
		r := report.Program{Name: p.Name, Verdict: report.Missing, Cause: &report.Cause{Title: "the VM ended before it was started"}}
		full := r.Cause
		switch {
		case p.begun:
			one := o.of(parts, i).judge()
			unproven(&one)
			full = one.Cause
			r.Verdict, r.Cause, r.Tests = one.Verdict, brief(one.Cause), len(one.Tests)
			for _, t := range one.Tests {
				t.Name = wire.ProgramTest(p.Name, t.Name)
				v.Tests = append(v.Tests, t)
			}
			for _, name := range one.Running {
				v.Running = append(v.Running, wire.ProgramTest(p.Name, name))
			}
			r.TestsOnly = one.TestsOnly
			v.TestsOnly = v.TestsOnly && (one.TestsOnly || one.Verdict == report.Pass)
			r.Duration, r.Left = p.facts()
		case !begun:
			r.Verdict, r.Cause = whole.Verdict, whole.Cause
		}
		// The kernel's is the first of the worst ones; a program's says more than
		// that of the VM as a whole.
		worse := r.Verdict.Badness() - v.Verdict.Badness()
		if begun && (worse > 0 || worse == 0 && r.Verdict != report.Pass && v.Cause == whole.Cause) {
			v.Verdict, v.Cause = r.Verdict, OfProgram(p.Name, full)
		}
		v.Programs = append(v.Programs, r)
	}
	v.TestsOnly = v.TestsOnly && v.Verdict == report.Fail
	return v
}

// OfProgram is a program's cause as its kernel's.
func OfProgram(name string, c *report.Cause) *report.Cause {
	kernels := *c
	kernels.Title = report.OneLine(name+": "+c.Title, 300)
	return &kernels
}

// brief is a program's cause in a result that may have a thousand of them.
func brief(c *report.Cause) *report.Cause {
	const most = 8 << 10 // bytes
	if c == nil {
		return nil
	}
	short := *c
	short.Excerpt = wire.Truncate(c.Excerpt, most)
	return &short
}

// facts are a program's run time and what it left behind.
func (p part) facts() (took time.Duration, left []string) {
	for _, r := range p.records {
		if r.Exit != nil && r.Exit.Duration > 0 && r.Exit.Duration < 7*24*time.Hour {
			took = r.Exit.Duration
		}
	}
	if p.end == nil {
		return took, nil
	}
	for _, l := range p.end.Left[:min(len(p.end.Left), wire.MaxLeft)] {
		left = append(left, report.OneLine(l, 500))
	}
	return took, left
}

// split gives each program the records between its marks. wrong says in what the
// marks are not those of the programs, each once and in order; what was begun is
// not proven then.
func (o Observation) split() (parts []part, wrong string) {
	for _, p := range o.Programs {
		parts = append(parts, part{Program: p})
	}
	note := func(format string, args ...any) {
		if wrong == "" {
			wrong = report.OneLine(fmt.Sprintf(format, args...), 200)
		}
	}
	next, open := 0, false
	for _, r := range o.Records {
		m := r.Program
		switch {
		case m != nil && (next >= len(parts) || m.Index != next || m.Name != parts[next].Name || open != (m.End != nil)):
			note("one of %.100q, number %d, came out of order", m.Name, m.Index+1)
		case m != nil && !open:
			open, parts[next].begun = true, true
		case m != nil:
			open, parts[next].end = false, m
			next++
		case open && r.End != nil:
			note("the end record came while %.100q ran", parts[next].Name)
		case open:
			named, ok := ownName(r, parts[next].Name)
			if !ok {
				note("a record of another program came while %.100q ran", parts[next].Name)
			}
			parts[next].records = append(parts[next].records, named)
		case r.Test != nil || r.Run != nil || r.Exit != nil:
			note("a %s record is of none of them", r.Type)
		}
	}
	return parts, wrong
}

// ownName is a program's record with the names that the program itself gave its
// tests. It is false for one that another program's name begins.
func ownName(r wire.Record, program string) (wire.Record, bool) {
	ok := true
	own := func(name string) string {
		if name == program {
			return name
		}
		rest, found := strings.CutPrefix(name, program+"/")
		ok = ok && found
		return rest
	}
	switch {
	case r.Test != nil:
		t := *r.Test
		t.Name = own(t.Name)
		r.Test = &t
	case r.Run != nil:
		run := *r.Run
		run.Name = own(run.Name)
		r.Run = &run
	case r.Exit != nil:
		e := *r.Exit
		e.Tests = nil
		for _, t := range r.Exit.Tests {
			e.Tests = append(e.Tests, own(t))
		}
		r.Exit = &e
	}
	return r, ok
}

// of is what was seen of a program that began, as if it had run alone: one that
// has ended is as in a VM that went down in order after it.
func (o Observation) of(parts []part, i int) Observation {
	p := parts[i]
	one := o
	one.Programs, one.Records, one.Findings = nil, nil, nil
	for _, r := range o.Records {
		if r.Hello != nil {
			one.Records = append(one.Records, r)
			break
		}
	}
	one.Records = append(one.Records, p.records...)
	one.limits.Payload = p.Timeout
	if p.end != nil {
		end := *p.end.End
		end.Nonce = o.nonce // of the VM's end: the mark has none
		one.Records = append(one.Records, wire.Record{Type: wire.TypeEnd, At: 0, End: &end})
		one.Exit, one.stopped = qemu.Exit{}, notStopped
	}
	for _, f := range o.Findings {
		if _, allowed := o.Allowed.covers(o.ID, f); allowed || slices.Contains(o.owners(parts, f), i) {
			one.Findings = append(one.Findings, f)
		}
	}
	one.Findings = withLog(one.Findings, p.records)
	return one
}

// owners are the programs that what the kernel said is of, by the kernel's log,
// which init reads while each of them runs, and else by when it came: what came
// before the first of them is of all, and what nobody could log is of the one that
// did not end.
func (o Observation) owners(parts []part, f console.Finding) (owners []int) {
	last := -1
	for i, p := range parts {
		if !p.begun {
			break
		}
		last = i
		if logged(p.records, f) {
			owners = append(owners, i)
		}
	}
	switch {
	case len(owners) > 0 || last < 0:
		return owners
	case o.beforePrograms(f):
		for i := range last + 1 {
			owners = append(owners, i)
		}
		return owners
	case parts[last].end == nil || f.Offset <= 0:
		return []int{last}
	}
	for last > 0 && last < len(o.begunAt) && f.Offset < o.begunAt[last] {
		last--
	}
	return []int{last}
}

// beforePrograms says whether the kernel said something before the first program
// began: by both the console and the clock, of which one may be late.
func (o Observation) beforePrograms(f console.Finding) bool {
	for _, r := range o.Records {
		if r.Program != nil {
			return f.Offset > 0 && len(o.begunAt) > 0 && f.Offset < o.begunAt[0] && f.At < r.At
		}
	}
	return true
}

// logged says whether the kernel's log among records has what the console said.
func logged(records []wire.Record, f console.Finding) bool {
	for _, r := range records {
		if r.Log == nil {
			continue
		}
		var s console.Scanner
		_, _ = io.WriteString(&s, r.Log.Text)
		if slices.ContainsFunc(s.Findings(), func(other console.Finding) bool { return same(f, other) }) {
			return true
		}
	}
	return false
}
