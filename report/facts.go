package report

import "slices"

// Facts is a kernel's fingerprint: what BPF programs depend on. Strings are as
// the kernel prints them; empty ones are not known.
type Facts struct {
	BTF             bool              `json:"btf"`
	Lockdown        string            `json:"lockdown,omitempty"`
	LSMs            []string          `json:"lsms,omitempty"`
	PreemptRT       bool              `json:"preempt_rt"`
	UnprivilegedBPF string            `json:"unprivileged_bpf_disabled,omitempty"`
	JIT             string            `json:"bpf_jit_enable,omitempty"`
	JITHarden       string            `json:"bpf_jit_harden,omitempty"`
	Config          map[string]string `json:"config,omitempty"`                    // build options without CONFIG_: y, m, n or a value
	Targets         map[string]bool   `json:"targets,omitempty"`                   // whether the kernel has what the payload's programs attach to, by section name
	Kind            string            `json:"kind,omitempty" limit:"word"`         // names all that the payload's BPF objects find on this kernel: two kernels of one kind are alike to them
	Deps            []Dep             `json:"dependencies,omitempty" limit:"1000"` // what the payload's BPF programs depend on
}

// Dep is something of the kernel's that the payload's BPF programs depend on,
// as the kernel's files have it; package shard/preflight finds them out.
type Dep struct {
	Kind      string   `json:"kind"` // field, kfunc ..., or as in a section's name: fentry, kprobe ...
	Name      string   `json:"name"`
	Status    string   `json:"status"`              // present, absent, changed, inlined, transformed, duplicated, unknown
	Signature string   `json:"signature,omitempty"` // on this kernel, in C
	Note      string   `json:"note,omitempty"`
	Programs  []string `json:"programs,omitempty"` // that depend on it; of objects as their tests are called
	Breaks    []string `json:"breaks,omitempty"`   // of these, those that will not load for it
}

// MaxDeps is how many dependencies of a kernel are written down.
const MaxDeps = 1000

// Fit returns a dependency within the limits of a shard file, with short texts.
func (d Dep) Fit() Dep {
	cut := func(list []string) []string {
		const most = 50
		out := slices.Clone(list[:min(len(list), most)])
		for i := range out {
			out[i] = OneLine(out[i], 200)
		}
		return out
	}
	d.Name, d.Signature, d.Note = OneLine(d.Name, 300), OneLine(d.Signature, 600), OneLine(d.Note, 300)
	d.Programs, d.Breaks = cut(d.Programs), cut(d.Breaks)
	return d
}
