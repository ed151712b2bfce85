package testrunner

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// readFacts asks this machine. What cannot be read is left out; the fields
// that need it are then not checked.
func readFacts(dir string) check.Facts {
	f := check.Facts{
		NS:        map[string]uint64{},
		BPFTramp:  hasTrampolines(),
		Overlayfs: hasOverlayfs(),
		Dir:       dir,
	}
	for _, ns := range []string{"uts", "ipc", "mnt", "net", "cgroup", "time", "pid"} {
		var st unix.Stat_t
		if unix.Stat("/proc/self/ns/"+ns, &st) == nil {
			f.NS[ns] = st.Ino
		}
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err == nil {
		f.IPv6 = true
	}
	if b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		f.LastCap, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	return f
}

// hasTrampolines tells whether the kernel can attach BPF trampolines to its
// functions. It needs ftrace's direct calls and a JIT compiler that makes trampolines.
// The second came later on some architectures, and no common symbol shows it: only
// names in the compilers of s390, arm64, powerpc and riscv do. x86-64 has both on all
// kernels with BTF.
func hasTrampolines() bool {
	if runtime.GOARCH == "amd64" {
		return true
	}
	b, _ := os.ReadFile("/sys/kernel/btf/vmlinux") // nothing: there are no trampolines without
	has := func(name string) bool { return bytes.Contains(b, []byte("\x00"+name+"\x00")) }
	return has("register_ftrace_direct") &&
		(has("bpf_tramp_jit") || has("prepare_trampoline") || has("bpf_jit_build_fentry_stubs") || has("__arch_prepare_bpf_trampoline"))
}

// hasOverlayfs tells whether overlayfs is built in, its module is loaded, or
// the kernel came with a module that should be: one that does not load is a
// failure and no reason to skip.
func hasOverlayfs() bool {
	if brought, _ := filepath.Glob(wire.ModulesDir + "/*-overlay.ko"); len(brought) > 0 {
		return true
	}
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) > 0 && string(f[len(f)-1]) == "overlay" {
			return true
		}
	}
	return false
}
