package shard

import (
	"regexp"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// The programs of a payload that is no BPF object are in the result, and no others:
// with instructions where the kernel tells them, from 5.16 on.
func TestPayloadsBPF(t *testing.T) {
	for _, tt := range []struct {
		name, source, glob string
		insns              bool
	}{
		{"5.10", "debian:bullseye:cloud-amd64", "debian/5.10.*", false},
		{"6.1", vmSource, vmGlob, true},
		{"7.x", "debian:sid:cloud-amd64", "debian/7.*", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			tracer, err := guest.Program(t.Context(), "amd64", guest.Tracer)
			if err != nil {
				t.Fatal(err)
			}
			p, err := guest.EventsTracePayload(t.Context(), "amd64", tracer, far)
			if err != nil {
				t.Fatal(err)
			}
			k, _ := l.run(t, l.runner(t, p), []plan.Entry{newestOf(t, tt.source, tt.glob)}...)
			if k.Verdict != report.Pass {
				t.Errorf("verdict %v, %+v", k.Verdict, k.Cause)
			}
			tag := regexp.MustCompile(`^[0-9a-f]{16}$`)
			long, of := false, map[string]int{}
			for _, p := range k.BPF {
				t.Logf("%+v", p)
				if p.Type != "tracing" && p.Type != "raw_tracepoint" && p.Type != "kprobe" {
					continue // a probe for a feature, which happened to be seen
				}
				of[p.Type]++
				long = long || len(p.Name) > 15
				if !tag.MatchString(p.Tag) || p.Jited == 0 || p.MapMemory == 0 || (p.Insns > 0) != tt.insns {
					t.Errorf("%+v: want instructions: %v", p, tt.insns)
				}
			}
			if of["tracing"] < 10 || of["raw_tracepoint"] < 3 || !long {
				t.Errorf("programs %v, one of a long name: %v", of, long)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		l := theLab(t)
		if k, _ := l.run(t, l.runner(t, l.passPayload(t))); len(k.BPF) > 0 || k.Verdict != report.Pass {
			t.Errorf("%v, of a payload without any: %+v", k.Verdict, k.BPF)
		}
	})
}
