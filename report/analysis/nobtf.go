package analysis

import (
	"regexp"
	"strings"
)

// NoBTF is why a payload failed that needs types on a kernel that has none, however
// it said so: one reason on all such kernels.
const NoBTF = "payload needs BTF and this kernel has none (--btf gives it to BPF objects)"

var (
	// What loaders say: ebpf-go, libbpf, aya and the like, the guest's own.
	saysNoBTF = regexp.MustCompile(`(?i)no BTF found for kernel|(kernel|vmlinux|system)( does(n't| not) (have|support|expose|provide)| has no| lacks|'s)? (types|BTF)|/sys/kernel/btf|BTF .*\b(kernel|vmlinux|system)\b|DEBUG_INFO_BTF`)
	// A program that goes on without may fail by something else.
	goesOn = regexp.MustCompile(`(?i)optional|ignor|skip|fall(s|ing)?[ -]?back|disabl`)
)

// SaysNoBTF says whether a program's output gives a kernel without BTF as the reason
// why it failed. It is for kernels that have none: of others it says nothing.
func SaysNoBTF(output string) bool {
	for _, l := range outputLines(output) {
		if saysNoBTF.MatchString(l) && complains.MatchString(l) && !goesOn.MatchString(l) {
			return true
		}
	}
	return false
}

// WithNoBTF puts the reason at the head of a failed test's output.
func WithNoBTF(output string) string {
	if strings.HasPrefix(output, NoBTF) {
		return output
	}
	return NoBTF + "\n" + output
}
