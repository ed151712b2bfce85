// Package probe is an example payload: a Go test that loads a BPF program,
// attaches it and checks what it saw.
//
//	CGO_ENABLED=0 go test -c -o probe.test ./.github/example/probe
//	bpf-kernel-check run --kernels debian:bookworm:cloud-amd64 --test './probe.test -test.v'
package probe

import (
	"os"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// The program counts forks in a map of one element.
func TestCountsForks(t *testing.T) {
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatalf("make the map: %v", err)
	}
	defer counts.Close()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.TracePoint, License: "Dual MIT/GPL",
		Instructions: asm.Instructions{
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, counts.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatalf("load the program: %+v", err)
	}
	defer prog.Close()
	tp, err := link.Tracepoint("sched", "sched_process_fork", prog, nil)
	if err != nil {
		t.Fatalf("attach the program: %v", err)
	}
	defer tp.Close()

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(exe, "-test.run=^$").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var n uint64
	if err := counts.Lookup(uint32(0), &n); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Error("the program saw no fork")
	}
}
