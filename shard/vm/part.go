package vm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// part is what a VM showed of one of its programs.
type part struct {
	Program
	begun   bool
	records []wire.Record     // between its marks, with names as the program itself gave them
	end     *wire.ProgramMark // nil: the VM ended before the program did

	logged   []console.Finding // in the kernel's log among its records
	findings []console.Finding // of the VM's that are judged with it
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
	for i, p := range parts {
		parts[i].logged = withLog(nil, p.records)
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
	case r.BPF != nil && r.BPF.Test != "":
		p := *r.BPF
		p.Test = own(p.Test)
		r.BPF = &p
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
func (o Observation) of(p part) Observation {
	one := o
	one.Programs, one.Records, one.Findings = nil, nil, p.findings
	for _, r := range o.Records {
		if r.Program != nil {
			break
		}
		if r.Hello != nil || r.Kernel != nil {
			one.Records = append(one.Records, r)
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
	return one
}

// share gives the programs that began what the kernel said, and each what its own
// log has besides. What is allowed is all of theirs.
func (o Observation) share(parts []part, last int) {
	for _, f := range o.Findings {
		_, allowed := o.Allowed.covers(o.ID, f)
		for _, i := range o.owners(parts, last, f, allowed) {
			parts[i].findings = append(parts[i].findings, f)
		}
	}
	for i, p := range parts {
		parts[i].findings = addLogged(p.findings, p.logged)
	}
}

// owners are the programs that what the kernel said is of, by the kernel's log,
// which init reads while each of them runs, and else by when it came: what came
// before the first of them is of all, and what nobody could log is of the one that
// did not end.
func (o Observation) owners(parts []part, last int, f console.Finding, allowed bool) (owners []int) {
	all := func(int) bool { return true }
	logged := func(i int) bool {
		return slices.ContainsFunc(parts[i].logged, func(other console.Finding) bool { return same(f, other) })
	}
	pick := func(of func(int) bool) (owners []int) {
		for i := range last + 1 {
			if of(i) {
				owners = append(owners, i)
			}
		}
		return owners
	}
	if allowed {
		return pick(all)
	}
	owners = pick(logged)
	switch {
	case len(owners) > 0 || last < 0:
		return owners
	case o.beforePrograms(f):
		return pick(all)
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
