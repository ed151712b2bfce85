package analysis

import (
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
)

// Whatever a loader says of types that it did not find is one reason; what goes on
// without them, or is about the object's own, is none.
func TestSaysNoBTF(t *testing.T) {
	for line, want := range map[string]bool{
		"field F: program p: apply CO-RE relocations: no BTF found for kernel version 4.19.0-6-amd64: not supported": true,
		"libbpf: failed to find valid kernel BTF":                                                                                      true,
		"libbpf: Error loading vmlinux BTF: -3":                                                                                        true,
		"libbpf: kernel BTF is missing at '/sys/kernel/btf/vmlinux', was CONFIG_DEBUG_INFO_BTF enabled?":                               true,
		"the program needs the kernel's BTF, which is missing":                                                                         true,
		"Error: FileError { path: \"/sys/kernel/btf/vmlinux\", error: Os { code: 2, message: \"No such file or directory\" } }":        true,
		"read the kernel's BTF: no BTF found for kernel version 5.4.0: not supported; the kernel needs CONFIG_DEBUG_INFO_BTF and /sys": true,
		"All ways tried to find vmlinux BTF, but not found":                                                                            true,
		"system does not support BTF: cannot load":                                                                                     true,
		"libbpf: BTF is required, but is missing or corrupted.":                                                                        false,
		"libbpf: Kernel doesn't support BTF, skipping uploading it: failed":                                                            false,
		"no BTF found for kernel version 5.4.0: not supported, falling back to offsets":                                                false,
		"permission denied": false,
		"":                  false,
	} {
		if got := SaysNoBTF("starting\n" + line + "\n"); got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}

// It is one entry of the report, of tests and of programs alike.
func TestNoBTFIsOneReason(t *testing.T) {
	want := newReason(NoBTF, true)
	for _, output := range []string{"libbpf: failed to find valid kernel BTF", "exit status 3\nlibbpf: Error loading vmlinux BTF: -3"} {
		output = WithNoBTF(WithNoBTF(output))
		if got := testReason(output); got != want {
			t.Errorf("%q: %+v, want %+v", output, got, want)
		}
	}
	if got := kernelReason(report.Result{Verdict: report.Fail, Cause: &report.Cause{Title: NoBTF, Excerpt: "fatal error: pid 17"}}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
