package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// fingerprint asks the running kernel what it is. What cannot be read is left
// out.
func fingerprint(version string) *wire.Kernel {
	k := &wire.Kernel{
		PreemptRT:       strings.Contains(version, "PREEMPT_RT") || text("/sys/kernel/realtime") == "1",
		UnprivilegedBPF: text("/proc/sys/kernel/unprivileged_bpf_disabled"),
		JIT:             text("/proc/sys/net/core/bpf_jit_enable"),
		JITHarden:       text("/proc/sys/net/core/bpf_jit_harden"),
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err == nil {
		k.BTF = true
	}
	// "[none] integrity confidentiality": the one in force is in brackets.
	if _, rest, ok := strings.Cut(text("/sys/kernel/security/lockdown"), "["); ok {
		k.Lockdown, _, _ = strings.Cut(rest, "]")
	}
	if lsm := text("/sys/kernel/security/lsm"); lsm != "" {
		k.LSMs = strings.Split(lsm, ",")
	}
	if b, err := os.ReadFile("/proc/config.gz"); err == nil {
		if z, err := gzip.NewReader(bytes.NewReader(b)); err == nil {
			k.Config, _ = wire.ParseConfig(z)
		}
	}
	return k
}

// text is a file of one line, and empty when it cannot be read.
func text(path string) string {
	b, _ := os.ReadFile(path)
	return wire.Truncate(strings.TrimSpace(string(b)), 500)
}
