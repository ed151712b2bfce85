package report

import (
	"slices"
	"strings"
)

// Earlier are results of earlier runs, each the last of its kernel, without texts;
// in byte order of the ids.
type Earlier struct {
	Kernels     []Result      `json:"kernels" limit:"100000"`
	Represented []Represented `json:"represented,omitempty" limit:"100000"` // by these kernels
}

// Keep returns what a base, which is whole, knows of the kernels that a run left out, so that the
// run's report can be the next one's base; nil if nothing.
func (base *Merged) Keep(leftOut map[string]bool) *Earlier {
	e, kept := &Earlier{}, map[string]bool{}
	for i := range base.Kernels {
		if k := &base.Kernels[i]; leftOut[k.ID] {
			e.Kernels = append(e.Kernels, k.Slim())
			kept[k.ID] = true
		}
	}
	for _, r := range base.Represented {
		if leftOut[r.ID] && kept[r.By] {
			e.Represented = append(e.Represented, r)
		}
	}
	if len(e.Kernels) == 0 {
		return nil
	}
	return e
}

// Whole is a result with those of Earlier among its own, for runs that compare with
// it. Its verdict is still about its own.
func (m *Merged) Whole() *Merged {
	if m.Earlier == nil {
		return m
	}
	w, own := *m, map[string]bool{}
	w.Earlier = nil
	for _, k := range m.Kernels {
		own[k.ID] = true
	}
	for _, r := range m.Represented {
		own[r.ID] = true
	}
	w.Kernels, w.Represented = slices.Clone(m.Kernels), slices.Clone(m.Represented)
	for _, k := range m.Earlier.Kernels {
		if !own[k.ID] {
			w.Kernels = append(w.Kernels, k)
		}
	}
	for _, r := range m.Earlier.Represented {
		if !own[r.ID] && !own[r.By] {
			w.Represented = append(w.Represented, r)
		}
	}
	slices.SortFunc(w.Kernels, func(a, b Result) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(w.Represented, func(a, b Represented) int { return strings.Compare(a.ID, b.ID) })
	return &w
}

// Slim is a result without its texts, facts and files. It can be read and compared
// with as the whole can.
func (k *Result) Slim() Result {
	slim := Result{
		ID: k.ID, Digest: k.Digest, Verdict: k.Verdict, Phases: k.Phases, Accel: k.Accel, Attempts: k.Attempts, Release: k.Release, Repeats: k.Repeats,
		TestsOnly: k.TestsOnly, Expected: k.Expected, StaleExpectations: k.StaleExpectations, Running: k.Running,
	}
	if k.Cause != nil {
		slim.Cause = &Cause{Title: k.Cause.Title}
	}
	for _, p := range k.Programs { // what was expected depends on them
		slim.Programs = append(slim.Programs, Program{Name: p.Name, Verdict: p.Verdict, TestsOnly: p.TestsOnly})
	}
	for _, t := range k.Tests {
		slim.Tests = append(slim.Tests, Test{Name: t.Name, Verdict: t.Verdict, Duration: t.Duration, Insns: t.Insns})
	}
	for _, p := range k.BPF { // tags are of what comes at all, and no comparison needs them
		slim.BPF = append(slim.BPF, BPFProgram{Name: p.Name, Type: p.Type, Program: p.Program, Test: p.Test, Insns: p.Insns})
	}
	slim.BPF = JoinBPF(slim.BPF)
	return slim
}
