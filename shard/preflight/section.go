package preflight

import (
	"strings"

	"github.com/cilium/ebpf"
)

// target is what a program attaches to, as its section says.
type target struct {
	kind     string // fentry, kprobe ...; "": nothing of the kernel's
	name     string
	optional bool // "?": only loaded when the author's loader asks for it
}

// targetOf reads a program's section. Names are what stands in the section: for
// what is only known at run time there is none.
func targetOf(ps *ebpf.ProgramSpec) target {
	section, optional := strings.CutPrefix(ps.SectionName, "?")
	kind, name, _ := strings.Cut(section, "/")
	kind = strings.TrimSuffix(kind, ".s")
	t := target{optional: optional}
	switch kind {
	case "raw_tracepoint", "raw_tp", "raw_tracepoint.w", "raw_tp.w":
		t.kind = "raw_tp"
	case "tracepoint", "tp":
		t.kind = "tracepoint"
	case "kprobe", "kretprobe", "kprobe.multi", "kretprobe.multi", "kprobe.session", "ksyscall", "kretsyscall",
		"fentry", "fexit", "fmod_ret", "fsession", "tp_btf", "lsm", "lsm_cgroup", "iter":
		t.kind = kind
	default:
		return t
	}
	if len(name) <= maxName {
		t.name = name
	}
	if t.name == "" {
		if t.whenAttached() {
			t.kind = ""
		}
	}
	return t
}

// whenAttached says whether the kernel looks for the target when a program is
// attached, not when it is loaded.
func (t target) whenAttached() bool {
	switch t.kind {
	case "fentry", "fexit", "fmod_ret", "fsession", "tp_btf", "lsm", "lsm_cgroup", "iter":
		return false
	}
	return true
}

const maxName = 256 // bytes of a name that is looked up or shown

// function is the kernel function behind a target of BTF.
func (t target) function() string {
	switch t.kind {
	case "lsm", "lsm_cgroup":
		return "bpf_lsm_" + t.name
	case "iter":
		return "bpf_iter_" + t.name
	}
	return t.name
}

// kprobe cuts a kprobe's target, such as do_exit+0x5.
func (t target) symbol() string {
	name, _, _ := strings.Cut(t.name, "+")
	return name
}

// HasTarget says whether the kernel's BTF has what a program of a section such as
// "fentry/vfs_unlink" attaches to. known is false where there is no BTF.
func (k *Kernel) HasTarget(section string) (has, known bool) {
	kind, name, _ := strings.Cut(section, "/")
	switch strings.TrimSuffix(kind, ".s") {
	case "lsm":
		has = k.funcProto("bpf_lsm_"+name) != nil
	case "tp_btf", "raw_tp", "raw_tracepoint":
		has = k.typedefProto("btf_trace_"+name) != nil
	default:
		has = k.funcProto(name) != nil
	}
	return has, k.types != nil
}
