package vm

import (
	"fmt"
	"slices"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// Program is one of several that a VM is to run one after the other.
type Program struct {
	Name    string
	Timeout time.Duration
}

// judgePrograms judges each program by what the VM showed of it, as if it had run
// alone, and the kernel by the worst of them and of the VM as a whole. A program
// that did not begin is missing, and so is the kernel then, unless another one
// failed. Where none began, what is said of the VM is said of each. What is wrong
// with the VM and with none of them is the last one's that began: another one's
// failure, which may be expected, must not hide it.
func (o Observation) judgePrograms() Verdict {
	whole := o.judge()
	parts, wrong := o.split()
	unproven := func(v *Verdict) {
		if wrong != "" {
			v.atLeast(report.Fail, &report.Cause{Title: "the marks of its programs: " + wrong, Excerpt: o.Tail})
		}
	}
	unproven(&whole)
	v := whole
	v.Tests, v.BPF, v.Running, v.TestsOnly = nil, nil, nil, whole.TestsOnly || whole.Verdict == report.Pass
	last := -1 // that began
	for i, p := range parts {
		if p.begun {
			last = i
		}
	}
	o.share(parts, last)
	of := o.testPrograms()
	for i, p := range parts {
		r := report.Program{Name: p.Name, Verdict: report.Missing}
		var full *report.Cause
		switch {
		case p.begun:
			one := o.of(p).judge()
			unproven(&one)
			if i == last && p.end != nil {
				if rest := o.withoutPrograms().judge(); rest.Verdict.Badness() >= report.Fail.Badness() {
					one.atLeast(rest.Verdict, rest.Cause)
				}
			}
			for _, t := range one.Tests {
				own := t.Name
				t.Name = wire.ProgramTest(p.Name, own)
				if of(t.Name) != p.Name {
					one.atLeast(report.Fail, &report.Cause{Title: report.OneLine(fmt.Sprintf("its test %q has a name of another program's tests, %q: rename one of them", own, t.Name), 300)})
					continue
				}
				v.Tests = append(v.Tests, t)
				r.Tests++
			}
			for _, b := range one.BPF {
				if b.Program = p.Name; b.Test != "" {
					b.Test = wire.ProgramTest(p.Name, b.Test)
				}
				v.BPF = append(v.BPF, b)
			}
			full = one.Cause
			r.Verdict, r.Cause = one.Verdict, brief(one.Cause)
			for _, name := range one.Running {
				v.Running = append(v.Running, wire.ProgramTest(p.Name, name))
			}
			r.TestsOnly = one.TestsOnly
			v.TestsOnly = v.TestsOnly && (one.TestsOnly || one.Verdict == report.Pass)
			r.Duration, r.Left = p.facts()
		case last < 0:
			r.Verdict, r.Cause = whole.Verdict, whole.Cause
		default:
			r.Cause = notRun(v.Programs[last], whole)
			full = r.Cause
		}
		// The kernel's is the first of the worst ones; a program's says more than
		// that of the VM as a whole.
		worse := r.Verdict.Badness() - v.Verdict.Badness()
		if last >= 0 && (worse > 0 || worse == 0 && r.Verdict != report.Pass && v.Cause == whole.Cause) {
			v.Verdict, v.Cause = r.Verdict, OfProgram(p.Name, full)
		}
		v.Programs = append(v.Programs, r)
	}
	v.BPF = report.JoinBPF(v.BPF) // no more than there may be
	v.TestsOnly = v.TestsOnly && v.Verdict == report.Fail
	return v
}

// atLeast makes a verdict that bad, and more than its tests' failure.
func (v *Verdict) atLeast(bad report.Verdict, c *report.Cause) {
	v.TestsOnly = false
	if bad.Badness() > v.Verdict.Badness() {
		v.Verdict, v.Cause = bad, c
	}
}

// notRun says why a program was not: the last one that ran, or the whole VM.
func notRun(last report.Program, whole Verdict) *report.Cause {
	title := last.Name + " ended the VM"
	switch {
	case last.Cause != nil:
		title += " (" + last.Cause.Title + ")"
	case whole.Verdict == report.Infra:
		title = "the VM ended after " + last.Name + " (" + whole.Cause.Title + ")"
	case len(last.Left) > 0:
		title += " (it left behind: " + last.Left[0] + ")"
	}
	return &report.Cause{Title: report.OneLine("not run: "+title, 300)}
}

// testPrograms finds the name of a test's program as a result's readers do.
func (o Observation) testPrograms() func(test string) (program string) {
	var k report.Result
	for _, name := range o.Others {
		k.Programs = append(k.Programs, report.Program{Name: name})
	}
	for _, p := range o.Programs {
		k.Programs = append(k.Programs, report.Program{Name: p.Name})
	}
	find := k.TestPrograms()
	return func(test string) string {
		if i, _ := find(test); i >= 0 {
			return k.Programs[i].Name
		}
		return ""
	}
}

// withoutPrograms is what was seen of the VM when each program that began has
// ended, without what those did wrong.
func (o Observation) withoutPrograms() Observation {
	rest := o
	rest.Programs, rest.Findings, rest.Records, rest.Payload = nil, nil, nil, false
	findings, _, taint := o.Allowed.withoutAllowed(o.ID, o.Findings)
	if slices.ContainsFunc(findings, func(f console.Finding) bool { return f.Kind.Crash() }) {
		taint = wire.CrashTaint
	}
	failed, complete := 0, true
	for _, r := range o.Records {
		switch {
		case r.Exit != nil || r.Run != nil:
			continue
		case r.Test != nil && r.Test.Verdict != wire.TestPass && r.Test.Verdict != wire.TestSkip:
			failed++
			r.Test = &wire.Test{Verdict: wire.TestSkip}
		case r.Program != nil && r.Program.End != nil:
			complete = complete && r.Program.End.Complete
			taint |= r.Program.End.Taint
		case r.End != nil:
			end := *r.End
			if end.Failed == failed {
				end.Failed = 0
			} else {
				end.Failed = max(end.Failed, 1)
			}
			end.Taint &^= taint
			end.Complete = end.Complete || !complete
			r.End = &end
			rest.Records = append(rest.Records, wire.Record{Type: wire.TypeExit, Exit: &wire.Exit{}})
		}
		rest.Records = append(rest.Records, r)
	}
	return rest
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
