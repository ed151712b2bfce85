package shard

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// However a kernel's result is put together from several VMs, the BPF programs of all
// are in it, with the largest numbers.
func TestBPFOfSeveralVMs(t *testing.T) {
	of := func(program string, insns int, more ...report.BPFProgram) report.Result {
		k := resultOf("fail", "pass A", "fail B")
		k.Programs = []report.Program{{Name: program, Verdict: report.Pass}}
		k.BPF = append([]report.BPFProgram{{Name: "f", Type: "kprobe", Tag: "1", Insns: insns}}, more...)
		return k
	}
	g := report.BPFProgram{Name: "g", Type: "xdp", Tag: "2"}
	want := []report.BPFProgram{{Name: "f", Type: "kprobe", Tag: "1", Insns: 9}, g}
	again := newReruns(of("p", 7), nil)
	again.add(1, nil, []report.Result{of("p", 9, g)})
	for name, k := range map[string]report.Result{
		"repeats": combine([]report.Result{of("p", 9), of("p", 7, g)}),
		"VMs":     joinVMs([]wire.Program{{Name: "p"}, {Name: "q"}}, []report.Result{of("p", 7), of("q", 9, g)}, 0),
		"reruns":  again.settle(false),
	} {
		if d := cmp.Diff(want, k.BPF); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
