package wire

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
)

// Kernel is a kernel's fingerprint: what BPF programs depend on, as the
// running kernel says it. Strings are as the kernel prints them; empty ones are
// not known.
type Kernel struct {
	BTF             bool              `json:"btf"`                                 // /sys/kernel/btf/vmlinux is there
	Lockdown        string            `json:"lockdown,omitempty"`                  // none, integrity, confidentiality
	LSMs            []string          `json:"lsms,omitempty"`                      // active ones, in order
	PreemptRT       bool              `json:"preempt_rt"`                          //
	UnprivilegedBPF string            `json:"unprivileged_bpf_disabled,omitempty"` // 0, 1, 2
	JIT             string            `json:"bpf_jit_enable,omitempty"`            // 0, 1, 2
	JITHarden       string            `json:"bpf_jit_harden,omitempty"`            // 0, 1, 2
	Config          map[string]string `json:"config,omitempty"`                    // of ConfigOptions: y, m, n or a value
}

// ConfigOptions are the build options that BPF programs depend on, without
// CONFIG_.
func ConfigOptions() []string {
	return []string{
		"BPF_EVENTS", "BPF_JIT", "BPF_JIT_ALWAYS_ON", "BPF_KPROBE_OVERRIDE", "BPF_LSM", "BPF_SYSCALL", "BPF_UNPRIV_DEFAULT_OFF",
		"CGROUPS", "CGROUP_BPF", "DEBUG_INFO_BTF", "DEBUG_INFO_BTF_MODULES", "DYNAMIC_FTRACE", "DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
		"FPROBE", "FTRACE_SYSCALLS", "FUNCTION_ERROR_INJECTION", "FUNCTION_TRACER", "HAVE_EBPF_JIT", "IPV6", "KALLSYMS_ALL",
		"KPROBES", "KPROBE_EVENTS", "LSM", "NET_ACT_BPF", "NET_CLS_BPF", "NETFILTER_BPF_LINK", "OVERLAY_FS", "PREEMPT_RT", "SECURITYFS",
		"SECURITY_LOCKDOWN_LSM", "STREAM_PARSER", "UPROBE_EVENTS", "XDP_SOCKETS",
	}
}

const maxConfig = 4 << 20 // bytes of a .config that are read; real ones have 300 kB

// ParseConfig picks ConfigOptions out of a kernel's .config. Those that the
// file does not name are "n".
func ParseConfig(r io.Reader) (map[string]string, error) {
	options := ConfigOptions()
	config := make(map[string]string, len(options))
	for _, o := range options {
		config[o] = "n"
	}
	sc := bufio.NewScanner(io.LimitReader(r, maxConfig))
	sc.Buffer(nil, maxConfig)
	lines := 0
	for sc.Scan() {
		option, ok := strings.CutPrefix(sc.Text(), "CONFIG_")
		name, value, set := strings.Cut(option, "=")
		if !ok || !set {
			continue
		}
		lines++
		if slices.Contains(options, name) {
			config[name] = Truncate(strings.Trim(strings.TrimSpace(value), `"`), 200)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if lines == 0 {
		return nil, errors.New("no CONFIG_ line in it")
	}
	return config, nil
}
