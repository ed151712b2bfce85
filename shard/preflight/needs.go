package preflight

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// needsVersion says what an instruction needs that older kernels do not have.
func needsVersion(ins *asm.Instruction) (d Dep, ok bool) {
	name, since := "", ""
	class := ins.OpCode.Class()
	switch {
	case class == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode:
		switch op := ins.OpCode.AtomicOp(); {
		case op == asm.AddAtomic:
		case op >= 1<<16: // load-acquire, store-release
			name, since = "atomics that acquire and release", "6.15"
		default:
			name, since = "atomics other than an addition", "5.12"
		}
	case class == asm.LdXClass && ins.OpCode.Mode() == asm.MemSXMode:
		name, since = "sign extension", "6.6"
	case class.IsALU():
		switch op := ins.OpCode.ALUOp(); {
		case op == asm.MovSX8, op == asm.MovSX16, op == asm.MovSX32:
			name, since = "sign extension", "6.6"
		case op == asm.SDiv, op == asm.SMod:
			name, since = "signed division", "6.6"
		case op == asm.Mov && ins.Offset != 0:
			name, since = "casts of address spaces", "6.9"
		case op == asm.Swap && class == asm.ALU64Class:
			name, since = "byte swaps without a condition", "6.6"
		}
	case class == asm.Jump32Class && ins.OpCode.JumpOp() == asm.Ja:
		name, since = "long jumps", "6.6"
	case ins.IsLoadOfFunctionPointer():
		name, since = "functions as arguments", "5.13"
	}
	return Dep{Kind: kindInstruction, Name: name, since: since}, name != ""
}

// sleepable notes that a program may sleep, and where.
func (r *reader) sleepable(p *program, ps *ebpf.ProgramSpec) {
	d := Dep{Kind: kindSleep, Name: clean(p.target.kind + "/" + p.target.name)}
	if p.target.kind == "" {
		d.Name = ps.Type.String()
	}
	switch ps.Type {
	case ebpf.Kprobe:
		d.since = "6.0"
	case ebpf.Tracing, ebpf.LSM:
		d.since = "5.10"
		if ps.AttachType == ebpf.AttachTraceIter {
			d.since = "5.19"
		}
	case ebpf.Syscall:
		return
	default:
		d.since = "6.0"
	}
	r.needs(p, d)
}
