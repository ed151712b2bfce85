package preflight

import (
	"testing"

	"github.com/cilium/ebpf/asm"
)

// Where the verifier knows which way a program goes, and this does not, what is
// found of the program is a guess.
func TestGuessed(t *testing.T) {
	read := asm.LoadMem(asm.R1, asm.R2, 0, asm.Word) // of memory that does not change
	loop := func(changing, counter asm.Register) asm.Instructions {
		return asm.Instructions{
			asm.Add.Imm(changing, 3).WithSymbol("loop"),
			asm.Add.Imm(counter, 1),
			asm.JLT.Imm(counter, 5, "loop"),
		}
	}
	exit := asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return().WithSymbol("exit")}
	for name, tt := range map[string]struct {
		insns asm.Instructions
		want  bool
	}{
		"what is read":                    {asm.Instructions{asm.JEq.Imm(asm.R1, 22, "exit")}, false},
		"changes in a loop":               {append(loop(asm.R1, asm.R4), asm.JEq.Imm(asm.R1, 22, "exit")), true},
		"and is in a register":            {append(loop(asm.R1, asm.R4), asm.Mov.Imm(asm.R5, 22), asm.JEq.Reg(asm.R5, asm.R1, "exit")), true},
		"and is calculated with":          {append(loop(asm.R1, asm.R4), asm.Mov.Reg32(asm.R5, asm.R1), asm.And.Imm(asm.R5, 1), asm.JEq.Imm(asm.R5, 1, "exit")), true},
		"and is kept":                     {append(loop(asm.R1, asm.R4), asm.StoreMem(asm.R10, -4, asm.R1, asm.Word), asm.LoadMem(asm.R5, asm.R10, -4, asm.Word), asm.JEq.Imm(asm.R5, 1, "exit")), true},
		"a loop with a number of its own": {append(loop(asm.R3, asm.R4), asm.JEq.Imm(asm.R3, 22, "exit")), false},
		"a loop as often as is read":      {asm.Instructions{asm.Add.Imm(asm.R4, 1).WithSymbol("loop"), asm.JLT.Reg(asm.R4, asm.R1, "loop")}, false},
		"one of two":                      {asm.Instructions{asm.JEq.Imm(asm.R6, 0, "then"), asm.Mov.Imm(asm.R1, 1), asm.JEq.Imm(asm.R1, 22, "exit").WithSymbol("then")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			insns := append(asm.Instructions{
				asm.Mov.Reg(asm.R6, asm.R1), asm.LoadImm(asm.R2, 1, asm.DWord), read, asm.Mov.Imm(asm.R3, 0), asm.Mov.Imm(asm.R4, 0),
			}, append(tt.insns, exit...)...)
			f := followProgram(insns, layout{}, func(int) int { return -1 }, memory{
				load: func(i int, _ *asm.Instruction) (value, bool) { return value{kind: frozen}, i == 1 },
				read: func(int64, int16, int) (int64, bool, bool) { return 7, true, false },
			}, nil)
			if !f.whole || f.guessed != tt.want {
				t.Errorf("whole %t, guessed %t", f.whole, f.guessed)
			}
		})
	}
}
