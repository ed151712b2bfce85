package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// kernelFacts is what the loader wants to know of the running kernel.
type kernelFacts struct {
	release string   // uname -r
	lsms    []string // active security modules; nil: not known
}

func readKernelFacts() kernelFacts {
	var k kernelFacts
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		k.release = unix.ByteSliceToString(uts.Release[:])
	}
	if b, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil {
		k.lsms = strings.Split(strings.TrimSpace(string(b)), ",")
	}
	return k
}

// bpfLSM says whether LSM programs are run. known is false when the kernel does
// not tell.
func (k kernelFacts) bpfLSM() (active, known bool) {
	return slices.Contains(k.lsms, "bpf"), k.lsms != nil
}

// versionLess compares the major and minor numbers of kernel versions, which
// may have anything behind them.
func versionLess(a, b string) bool {
	return slices.Compare(majorMinor(a), majorMinor(b)) < 0
}

func majorMinor(s string) []int {
	v := []int{0, 0}
	_, _ = fmt.Sscanf(s, "%d.%d", &v[0], &v[1]) // what is no number counts as 0
	return v
}

// helperVersion is the mainline version that brought a helper, "" when it is
// older than the kernels tested here or not in the table. Numbers were given
// out in ascending order and end with 211, so the first of each version says it
// all. Source: the feature versions of the eBPF documentation project
// (isovalent/ebpf-docs), for 119 the date of its commit against the releases'.
func helperVersion(fn int) string {
	versions := []struct {
		first   int
		version string
	}{
		{109, "5.3"},
		{110, "5.4"},
		{111, "5.5"},
		{116, "5.6"},
		{119, "5.7"},
		{125, "5.8"},
		{136, "5.9"},
		{142, "5.10"},
		{156, "5.11"},
		{163, "5.12"},
		{164, "5.13"},
		{166, "5.14"},
		{169, "5.15"},
		{176, "5.16"},
		{180, "5.17"},
		{186, "5.18"},
		{194, "5.19"},
		{204, "6.0"},
		{208, "6.1"},
		{210, "6.2"},
		{212, ""},
	}
	v := ""
	for _, x := range versions {
		if fn >= x.first {
			v = x.version
		}
	}
	return v
}

// helperName is a helper's name in C: FnGetPrandomU32 is bpf_get_prandom_u32.
func helperName(fn asm.BuiltinFunc) string {
	var b strings.Builder
	b.WriteString("bpf")
	for _, r := range strings.TrimPrefix(fn.String(), "Fn") {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}
