package vm

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

func bpfRecord(p wire.BPFProgram) wire.Record { return wire.Record{Type: wire.TypeBPF, BPF: &p} }

// What a guest says of its BPF programs is held to what can be, and decides nothing.
func TestJudgeTakesBPF(t *testing.T) {
	good := wire.BPFProgram{Name: "handle_exec", Type: "kprobe", Tag: "0123456789abcdef", Insns: 7, States: 6, PeakStates: 5, Stack: 4, Jited: 3, MapMemory: 2}
	kept := report.BPFProgram{Name: "handle_exec", Type: "kprobe", Tag: "0123456789abcdef", Insns: 7, States: 6, PeakStates: 5, Stack: 4, Jited: 3, MapMemory: 2}
	hostile := wire.BPFProgram{Name: "a\x1b[2J\nb" + strings.Repeat("x", 9000), Type: "<b>", Tag: "zz", Test: strings.Repeat("t", 9000), Insns: -1, Jited: 1 << 62, MapMemory: -5}
	o := passed()
	o.Records = slices.Insert(o.Records, 1, bpfRecord(good), bpfRecord(hostile), bpfRecord(good))
	v := o.Judge()
	if v.Verdict != report.Pass || len(v.BPF) != 2 {
		t.Fatalf("%v, %+v", v.Verdict, v.BPF)
	}
	if d := cmp.Diff(kept, v.BPF[0]); d != "" {
		t.Error(d)
	}
	p := v.BPF[1]
	if strings.ContainsAny(p.Name, "\x1b\n") || len(p.Name) > wire.MaxName || p.Type != "unknown" || p.Tag != "" || len(p.Test) > wire.MaxName || p.Insns != 0 || p.Jited != 1<<40 || p.MapMemory != 0 {
		t.Errorf("%+v", p)
	}
	k := report.Result{ID: "debian/1", Digest: "x", Verdict: v.Verdict, Attempts: 1, Tests: v.Tests, BPF: v.BPF}
	if d := cmp.Diff(k.Truncated(), k); d != "" {
		t.Errorf("the result's limits are tighter: %s", d)
	}
	o.Records = slices.Insert(o.Records, 1, slices.Repeat([]wire.Record{bpfRecord(good)}, 20_000)...)
	if v := o.Judge(); len(v.BPF) > report.MaxBPF {
		t.Errorf("%d programs", len(v.BPF))
	}
}

// Of several programs each has those that came while it ran.
func TestJudgeGivesProgramsTheirBPF(t *testing.T) {
	o := passedPrograms()
	at := func(program string) int {
		return 1 + slices.IndexFunc(o.Records, func(r wire.Record) bool { return r.Program != nil && r.Program.Name == program && r.Program.End == nil })
	}
	o.Records = slices.Insert(o.Records, at("b"), bpfRecord(wire.BPFProgram{Name: "f", Type: "xdp"}))
	o.Records = slices.Insert(o.Records, at("a"), bpfRecord(wire.BPFProgram{Name: "f", Type: "xdp", Test: "a/o/f"}))
	o.Records = slices.Insert(o.Records, 1, bpfRecord(wire.BPFProgram{Name: "of none of them", Type: "xdp"}))
	want := []report.BPFProgram{{Name: "f", Type: "xdp", Program: "a", Test: "a/o/f"}, {Name: "f", Type: "xdp", Program: "b"}}
	v := o.Judge()
	if d := cmp.Diff(want, v.BPF); d != "" || v.Verdict != report.Pass {
		t.Errorf("%v, %s", v.Verdict, d)
	}
}
