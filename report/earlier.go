package report

import (
	"maps"
	"slices"
	"strings"
)

// Earlier are results of earlier runs, the last one of each kernel, without texts;
// in byte order of the ids.
type Earlier struct {
	Kernels     []Result      `json:"kernels" limit:"100000"`
	Represented []Represented `json:"represented,omitempty" limit:"100000"` // by these kernels
}

// Keep returns the results that base has of the known kernels, so that the report of a
// run which left these out can be the next base; nil if none is known. base is whole,
// or nil. Where it is not the base of the plan, it may lack some: they are missing.
func Keep(base *Merged, known map[string]bool) *Earlier {
	e, lost := &Earlier{}, maps.Clone(known)
	if base != nil {
		for i := range base.Kernels {
			if k := &base.Kernels[i]; known[k.ID] {
				e.Kernels = append(e.Kernels, k.Slim())
				delete(lost, k.ID)
			}
		}
		for _, r := range base.Represented {
			if known[r.ID] && known[r.By] && !lost[r.By] {
				e.Represented = append(e.Represented, r)
				delete(lost, r.ID)
			}
		}
	}
	for id, isKnown := range lost {
		if isKnown {
			e.Kernels = append(e.Kernels, Result{ID: id, Verdict: Missing})
		}
	}
	if len(e.Kernels) == 0 {
		return nil
	}
	slices.SortFunc(e.Kernels, func(a, b Result) int { return strings.Compare(a.ID, b.ID) })
	return e
}

// Whole is a result with those of Earlier among its own, to compare with. Its
// verdict is still about its own.
func (m *Merged) Whole() *Merged {
	if m.Earlier == nil {
		return m
	}
	w, own := *m, m.IDs()
	w.Earlier = nil
	w.Kernels = slices.Concat(m.Kernels, slices.DeleteFunc(slices.Clone(m.Earlier.Kernels), func(k Result) bool { return own[k.ID] }))
	w.Represented = slices.Concat(m.Represented, slices.DeleteFunc(slices.Clone(m.Earlier.Represented), func(r Represented) bool { return own[r.ID] || own[r.By] }))
	slices.SortFunc(w.Kernels, func(a, b Result) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(w.Represented, func(a, b Represented) int { return strings.Compare(a.ID, b.ID) })
	return &w
}

// IDs are the kernels of a run's list: those that were to be booted, and those that
// others represent.
func (m *Merged) IDs() map[string]bool {
	ids := map[string]bool{}
	for _, k := range m.Kernels {
		ids[k.ID] = true
	}
	for _, r := range m.Represented {
		ids[r.ID] = true
	}
	return ids
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
