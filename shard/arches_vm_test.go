package shard

import (
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// rareLabs are of the newest kernels that Debian has for the architectures that are
// not usual.
var rareLabs = map[string]func() (*lab, error){
	"riscv64": sync.OnceValues(func() (*lab, error) { return newLab("riscv64", "debian:sid:riscv64", "debian/[7-9].*") }),
	"s390x":   sync.OnceValues(func() (*lab, error) { return newLab("s390x", "debian:sid:s390x", "debian/[7-9].*") }),
	"ppc64le": sync.OnceValues(func() (*lab, error) { return newLab("ppc64le", "debian:sid:powerpc64le", "debian/[7-9].*") }),
}

// On each architecture the embedded tracer passes all of its tests, and a panic is
// seen, through whatever the console and the results come on there.
func TestRareArches(t *testing.T) {
	for arch, setUp := range rareLabs {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			if testing.Short() {
				t.Skip("boots VMs")
			}
			l, err := setUp()
			if err != nil {
				t.Fatalf("set up the VM tests for %s: %v", arch, err)
			}
			tracer, err := guest.Program(t.Context(), arch, guest.Tracer)
			if err != nil {
				t.Fatal(err)
			}
			p, err := guest.EventsTracePayload(t.Context(), arch, tracer, far)
			if err != nil {
				t.Fatal(err)
			}
			k, _ := l.run(t, l.runner(t, p))
			passed := 0
			for _, test := range k.Tests {
				if test.Verdict == wire.TestPass {
					passed++
				} else {
					t.Errorf("%s: %s: %.500s", test.Name, test.Verdict, test.Output)
				}
			}
			if k.Verdict != report.Pass || passed < 22 {
				t.Errorf("verdict %v, %d tests passed, %+v", k.Verdict, passed, k.Cause)
			}

			p, err = guest.TestPayload(t.Context(), l.hostile, strings.Fields("sysrq-loop-c"), "/", arch, far)
			if err != nil {
				t.Fatal(err)
			}
			k, _ = l.run(t, l.runner(t, p))
			if k.Verdict != report.Crash || k.Cause == nil || !regexp.MustCompile(`Kernel panic - not syncing: sysrq triggered crash`).MatchString(k.Cause.Title) {
				t.Errorf("verdict %v, want a crash: %+v", k.Verdict, k.Cause)
			}
		})
	}
}
