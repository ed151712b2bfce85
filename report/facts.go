package report

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
	Config          map[string]string `json:"config,omitempty"`       // build options without CONFIG_: y, m, n or a value
	Targets         map[string]bool   `json:"targets,omitempty"`      // whether the kernel has what the payload's programs attach to, by section name
	Deps            []Dep             `json:"dependencies,omitempty"` // what the payload's BPF programs depend on
}
