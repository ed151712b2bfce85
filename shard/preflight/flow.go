package preflight

import (
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// What the verifier does not reach may ask for what the kernel does not have:
// that is how programs live with several versions. So constants are followed
// through a program as the verifier follows them, though less precisely: where
// two ways meet, what differs between them is forgotten. What this finds
// unreachable the verifier finds unreachable too, but not the other way round.

type valueKind uint8

const (
	nothing    valueKind = iota // not reached yet
	anything                    //
	constant                    // n
	contextPtr                  // the program's context, plus n bytes
	argument                    // argument n of the target
	stackPtr                    // the frame's end, plus n bytes
	heap                        // what a helper returned, or nothing that can be read: no pointer to the stack
	offset                      // of a field of type n, as relocated
	frozen                      // points to memory that does not change: n is its number and, in the low half, where
)

type value struct {
	kind valueKind
	n    int64
	read bool // it comes of memory that does not change: the verifier may know it even where this does not, as in a loop
}

func (v value) join(w value) value {
	switch {
	case v.kind == nothing:
		return w
	case w.kind == nothing:
		return v
	}
	read := v.read || w.read
	switch {
	case v.kind == w.kind && v.n == w.n:
		return value{v.kind, v.n, read}
	case v.kind == anything || w.kind == anything || v.kind == stackPtr || w.kind == stackPtr:
		return value{kind: anything, read: read}
	}
	return value{kind: heap, read: read}
}

const slots = 64 // of the stack, 8 bytes each

type state struct {
	reached bool
	regs    [11]value
	stack   [slots]value
}

func (s *state) join(t *state) (changed bool) {
	if !s.reached {
		*s = *t
		s.reached = true
		return true
	}
	for i := range s.regs {
		if j := s.regs[i].join(t.regs[i]); j != s.regs[i] {
			s.regs[i], changed = j, true
		}
	}
	for i := range s.stack {
		if j := s.stack[i].join(t.stack[i]); j != s.stack[i] {
			s.stack[i], changed = j, true
		}
	}
	return changed
}

// layout says where a program's context holds the target's arguments.
type layout struct {
	arguments map[int16]int // by offset of an 8-byte load
}

// flow is what was found out of a program.
type flow struct {
	reached []bool               // by instruction
	whole   bool                 // false: the program is too large to follow, and all of it counts as reached
	reads   map[int]bool         // arguments that it reads
	guessed bool                 // it depends on something that loaders or the verifier know, and this does not
	used    map[int]map[int]bool // arguments that it takes for pointers to a type, by its number; true: and reads directly
	fixed   map[int]bool         // arguments that it reads behind, at an offset which nothing relocates
	context bool                 // it reads its context at such an offset
}

const (
	maxFollowed = 50_000    // instructions of a program that is followed
	maxSteps    = 4_000_000 // of following one
)

// memory is what is known before the program runs.
type memory struct {
	load func(i int, ins *asm.Instruction) (v value, ok bool)                 // a 64-bit constant, other than the instruction says
	read func(frozen int64, offset int16, size int) (n int64, ok, guess bool) // of memory that does not change; guess: somebody knows what it holds
}

// followProgram finds what can be reached. typeOf numbers the type that a
// relocated instruction's offset is in, -1 when it is none; enters marks where
// functions start that are looked into whether they are called or not.
func followProgram(insns asm.Instructions, l layout, typeOf func(int) int, load memory, enters []bool) flow {
	f := flow{reached: make([]bool, len(insns)), reads: map[int]bool{}, used: map[int]map[int]bool{}, fixed: map[int]bool{}}
	byOffset := map[asm.RawInstructionOffset]int{}
	byName := map[string]int{}
	offsets := make([]asm.RawInstructionOffset, len(insns))
	var at asm.RawInstructionOffset
	for i := range insns {
		byOffset[at], offsets[i] = i, at
		if s := insns[i].Symbol(); s != "" {
			byName[s] = i
		}
		at += insns[i].Width()
	}
	all := func() flow {
		for i := range f.reached {
			f.reached[i] = true
		}
		f.whole = false
		return f
	}
	if len(insns) == 0 || len(insns) > maxFollowed {
		return all()
	}
	// Only where a stretch begins that is always run as a whole, a state is kept.
	leader := make([]bool, len(insns)+1)
	leader[0] = true
	targetOf := func(i int) (to int, ok bool) { // of a jump, a call of the program's own, or a function's address
		ins := &insns[i]
		if name := ins.Reference(); name != "" {
			if to, ok = byName[name]; ok || !ins.IsFunctionCall() && !ins.IsLoadOfFunctionPointer() {
				return to, ok
			}
		}
		by := int64(ins.Offset)
		if ins.IsFunctionCall() || ins.IsLoadOfFunctionPointer() {
			if by = ins.Constant; by < 0 {
				return 0, false
			}
		} else if ins.OpCode.JumpOp() == asm.Ja && ins.OpCode.Class() == asm.Jump32Class {
			by = ins.Constant
		}
		to, ok = byOffset[asm.RawInstructionOffset(int64(offsets[i])+int64(ins.Width())+by)]
		return to, ok
	}
	for i := range insns {
		ins := &insns[i]
		jump := ins.OpCode.Class().IsJump() && ins.OpCode.JumpOp() != asm.Call && ins.OpCode.JumpOp() != asm.Exit
		if jump || ins.IsFunctionCall() || ins.IsLoadOfFunctionPointer() {
			if to, ok := targetOf(i); ok {
				leader[to] = true
			}
		}
		leader[i+1] = leader[i+1] || jump
		leader[i] = leader[i] || i < len(enters) && enters[i]
	}
	states := make([]*state, len(insns))
	queued := make([]bool, len(insns))
	var work []int
	enter := func(i int, s *state) {
		if states[i] == nil {
			states[i] = &state{}
		}
		if states[i].join(s) && !queued[i] {
			queued[i] = true
			work = append(work, i)
		}
	}
	var start state
	start.reached = true
	for i := range start.regs {
		start.regs[i].kind = anything
	}
	for i := range start.stack {
		start.stack[i].kind = anything
	}
	sub := start
	start.regs[asm.R10] = value{kind: stackPtr}
	for r := asm.R2; r <= asm.R5; r++ {
		start.regs[r].kind = heap
	}
	sub.regs[asm.R10] = value{kind: stackPtr}
	start.regs[asm.R1] = value{kind: contextPtr}
	enter(0, &start)
	for i := range enters {
		if enters[i] {
			enter(i, &sub)
		}
	}

	e := evaluator{insns: insns, layout: l, typeOf: typeOf, load: load, flow: &f}
	// run follows a stretch from its beginning to where another one begins.
	run := func(i int, s state, step func(i int, s *state)) (ok bool) {
		for ; ; i++ {
			ins := &insns[i]
			step(i, &s)
			jump := ins.OpCode.Class().IsJump()
			op := ins.OpCode.JumpOp()
			if ins.IsFunctionCall() || ins.IsLoadOfFunctionPointer() {
				to, ok := targetOf(i)
				if !ok {
					return false
				}
				if !e.final {
					enter(to, &sub)
				}
			}
			switch {
			case jump && op == asm.Exit:
				return true
			case jump && op != asm.Call:
				to, ok := targetOf(i)
				if !ok {
					return false
				}
				if e.final {
					return true
				}
				taken, fallen := branch(ins, &s)
				f.guessed = f.guessed || taken && fallen && guesses(ins, &s)
				if taken {
					enter(to, &s)
				}
				if fallen && i+1 < len(insns) {
					enter(i+1, &s)
				}
				return true
			case i+1 == len(insns):
				return true
			case leader[i+1]:
				if !e.final {
					enter(i+1, &s)
				}
				return true
			}
		}
	}
	steps := 0
	for len(work) > 0 {
		i := work[len(work)-1]
		work = work[:len(work)-1]
		queued[i] = false
		if !run(i, *states[i], func(i int, s *state) { steps++; e.step(i, s) }) || steps > maxSteps {
			return all()
		}
	}
	// Once more, now that nothing changes: what is read and how it is used.
	e.final = true
	for i, s := range states {
		if s != nil {
			run(i, *s, func(i int, s *state) { f.reached[i] = true; e.step(i, s) })
		}
	}
	f.whole = true
	return f
}

// evaluator takes single steps.
type evaluator struct {
	insns  asm.Instructions
	layout layout
	typeOf func(int) int
	load   memory
	flow   *flow
	final  bool // note what is seen
}

// use notes that an argument is taken for a pointer to a type; direct says that
// the program itself reads through it, not a helper that takes any address.
func (e *evaluator) use(arg, typ int64, direct bool) {
	if !e.final || typ < 0 {
		return
	}
	m := e.flow.used[int(arg)]
	if m == nil {
		m = map[int]bool{}
		e.flow.used[int(arg)] = m
	}
	m[int(typ)] = m[int(typ)] || direct
}

// fix notes that an argument is read behind at an offset which nothing relocates.
func (e *evaluator) fix(v value, fixed bool) {
	if fixed && v.kind == argument {
		e.flow.fixed[int(v.n)] = true
	}
}

func slotOf(v int64) int {
	if v >= 0 || v%8 != 0 || -v/8 > slots {
		return -1
	}
	return int(-v/8) - 1
}

// step changes s to what it is behind an instruction.
func (e *evaluator) step(i int, s *state) {
	ins := &e.insns[i]
	if ins.Dst > asm.R10 || ins.Src > asm.R10 && ins.OpCode.Class() != asm.LdClass {
		return
	}
	if ins.IsBuiltinCall() && ins.Constant == btf.COREBadRelocationSentinel {
		return // nothing gets past it, but what is behind it may ask for more
	}
	unknown := value{kind: anything}
	switch class := ins.OpCode.Class(); class {
	case asm.LdClass:
		if ins.Dst > asm.R9 {
			return
		}
		s.regs[ins.Dst] = unknown
		switch v, ok := e.load.load(i, ins); {
		case ok:
			s.regs[ins.Dst] = v
		case ins.IsConstantLoad(asm.DWord):
			s.regs[ins.Dst] = e.immediate(i, ins)
		case !ins.OpCode.IsDWordLoad():
			s.regs[asm.R0] = unknown
		}
	case asm.LdXClass:
		src := s.regs[ins.Src]
		v := value{kind: heap} // pointers to the stack are kept on the stack only
		if src.kind == anything || src.kind == stackPtr {
			v = unknown
		}
		switch {
		case src.kind == stackPtr:
			n := slotOf((src.n + int64(ins.Offset)) &^ 7)
			if n >= 0 {
				v.read = s.stack[n].read
			}
			if n := slotOf(src.n + int64(ins.Offset)); n >= 0 && ins.OpCode.Size() == asm.DWord && ins.OpCode.Mode() == asm.MemMode {
				v = s.stack[n]
			}
		case src.kind == contextPtr:
			e.flow.context = e.flow.context || e.typeOf(i) < 0
			// An argument's low half is read alone where it is an int.
			if arg, ok := e.layout.arguments[int16(src.n)+ins.Offset]; ok {
				v = value{kind: argument, n: int64(arg)}
				if e.final {
					e.flow.reads[arg] = true
				}
			}
		case src.kind == argument:
			typ := e.typeOf(i)
			e.use(src.n, int64(typ), true)
			e.fix(src, typ < 0)
		case src.kind == frozen && ins.OpCode.Mode() == asm.MemMode:
			n, ok, guess := e.load.read(src.n, ins.Offset, ins.OpCode.Size().Sizeof())
			if ok {
				v = value{constant, n, true}
			}
			e.flow.guessed = e.flow.guessed || guess
		}
		if ins.Dst <= asm.R9 {
			s.regs[ins.Dst] = v
		}
	case asm.StClass, asm.StXClass:
		switch dst := s.regs[ins.Dst]; dst.kind {
		case stackPtr:
			at := dst.n + int64(ins.Offset)
			whole := class == asm.StXClass && ins.OpCode.Mode() == asm.MemMode && ins.OpCode.Size() == asm.DWord
			for b := at; b < at+8; b += 7 { // both slots that it can touch
				if n := slotOf(b &^ 7); n >= 0 {
					s.stack[n] = value{kind: anything, read: class == asm.StXClass && s.regs[ins.Src].read}
				}
			}
			if n := slotOf(at); n >= 0 && whole {
				s.stack[n] = s.regs[ins.Src]
			}
		case anything: // a pointer, which may be to the stack
			for n := range s.stack {
				s.stack[n] = unknown
			}
		}
		if class == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode && ins.Src <= asm.R9 {
			s.regs[ins.Src], s.regs[asm.R0] = unknown, unknown
		}
	case asm.ALUClass, asm.ALU64Class:
		if ins.Dst <= asm.R9 {
			s.regs[ins.Dst] = e.alu(i, ins, s)
		}
	case asm.JumpClass, asm.Jump32Class:
		if ins.OpCode.JumpOp() == asm.Call {
			e.call(ins, s)
		}
	}
}

// call is what a call leaves behind.
func (e *evaluator) call(ins *asm.Instruction, s *state) {
	unknown := value{kind: anything}
	reads := ins.IsBuiltinCall() && ins.Constant >= int64(asm.FnMapLookupElem) && ins.Constant <= int64(asm.FnMapDeleteElem)
	for n := range s.stack {
		// It can write to the stack by a pointer that it was given.
		if s.stack[n].kind == constant {
			s.stack[n].kind, s.stack[n].n = anything, 0
		}
		for r := asm.R1; r <= asm.R5 && !reads; r++ {
			if p := s.regs[r]; p.kind == anything || p.kind == stackPtr && int64(-8*(n+1)) >= p.n&^7 {
				s.stack[n] = unknown
			}
		}
	}
	for r := asm.R1; r <= asm.R5; r++ {
		s.regs[r] = value{kind: heap}
	}
	s.regs[asm.R0] = unknown
	if ins.IsBuiltinCall() {
		s.regs[asm.R0].kind = heap
	}
}

// immediate is the value of an instruction that loads one.
func (e *evaluator) immediate(i int, ins *asm.Instruction) value {
	if t := e.typeOf(i); t >= 0 {
		return value{kind: offset, n: int64(t)}
	}
	return value{kind: constant, n: ins.Constant}
}

func (e *evaluator) alu(i int, ins *asm.Instruction, s *state) value {
	op, wide := ins.OpCode.ALUOp(), ins.OpCode.Class() == asm.ALU64Class
	a, b := s.regs[ins.Dst], value{kind: constant, n: ins.Constant}
	fromReg := ins.OpCode.Source() == asm.RegSource
	if fromReg {
		b = s.regs[ins.Src]
	} else if t := e.typeOf(i); t >= 0 {
		b = value{kind: offset, n: int64(t)}
	}
	read := b.read || op != asm.Mov && a.read
	unknown := value{kind: anything, read: read}
	if ins.Offset != 0 { // sign extension, signed division
		return unknown
	}
	if op == asm.Mov {
		if b.kind == constant && !wide {
			b.n = int64(uint32(b.n))
		}
		if !wide && b.kind != constant {
			return unknown
		}
		return b
	}
	if op == asm.Add && wide {
		e.fix(a, b.kind != offset)
		e.fix(b, a.kind != offset)
		switch {
		case a.kind == argument && b.kind == offset:
			e.use(a.n, b.n, false)
			return unknown
		case a.kind == offset && b.kind == argument:
			e.use(b.n, a.n, false)
			return unknown
		case a.kind == frozen && b.kind == constant && b.n >= 0 && b.n < 1<<20:
			return value{kind: frozen, n: a.n + b.n}
		case (a.kind == contextPtr || a.kind == stackPtr) && b.kind == constant:
			return value{kind: a.kind, n: a.n + b.n}
		case a.kind == heap && b.kind == constant:
			return a
		}
	}
	if a.kind != constant || b.kind != constant {
		if a.kind == anything || a.kind == stackPtr || fromReg && (b.kind == anything || b.kind == stackPtr) {
			return unknown
		}
		return value{kind: heap, read: read}
	}
	x, y := uint64(a.n), uint64(b.n)
	bits := uint64(63)
	if !wide {
		x, y, bits = uint64(uint32(x)), uint64(uint32(y)), 31
	}
	switch op {
	case asm.Add:
		x += y
	case asm.Sub:
		x -= y
	case asm.Mul:
		x *= y
	case asm.And:
		x &= y
	case asm.Or:
		x |= y
	case asm.Xor:
		x ^= y
	case asm.LSh:
		x <<= y & bits
	case asm.RSh:
		x >>= y & bits
	case asm.ArSh:
		if wide {
			x = uint64(int64(x) >> (y & bits))
		} else {
			x = uint64(uint32(int32(x) >> (y & bits)))
		}
	case asm.Neg:
		x = -x
	default:
		return unknown
	}
	if !wide {
		x = uint64(uint32(x))
	}
	return value{constant, int64(x), read}
}

// guesses says whether the verifier may know which way a jump goes, though both
// seem possible here.
func guesses(ins *asm.Instruction, s *state) bool {
	known := func(r asm.Register) bool { return r <= asm.R10 && s.regs[r].read && s.regs[r].kind != constant }
	return known(ins.Dst) || ins.OpCode.Source() == asm.RegSource && known(ins.Src)
}

// branch says which ways a jump can go.
func branch(ins *asm.Instruction, s *state) (taken, fallen bool) {
	op := ins.OpCode.JumpOp()
	if op == asm.Ja {
		return true, false
	}
	if ins.Dst > asm.R10 || ins.Src > asm.R10 {
		return true, true
	}
	a, b := s.regs[ins.Dst], value{kind: constant, n: ins.Constant}
	if ins.OpCode.Source() == asm.RegSource {
		b = s.regs[ins.Src]
	}
	if a.kind != constant || b.kind != constant {
		return true, true
	}
	x, y := uint64(a.n), uint64(b.n)
	sx, sy := a.n, b.n
	if ins.OpCode.Class() == asm.Jump32Class {
		x, y = uint64(uint32(x)), uint64(uint32(y))
		sx, sy = int64(int32(x)), int64(int32(y))
	}
	test := jumps[op]
	if test == nil {
		return true, true
	}
	yes := test(x, y, sx, sy)
	return yes, !yes
}

// jumps say when a jump is taken, of two numbers as they are without and with
// their signs.
var jumps = map[asm.JumpOp]func(x, y uint64, sx, sy int64) bool{
	asm.JEq:  func(x, y uint64, _, _ int64) bool { return x == y },
	asm.JNE:  func(x, y uint64, _, _ int64) bool { return x != y },
	asm.JGT:  func(x, y uint64, _, _ int64) bool { return x > y },
	asm.JGE:  func(x, y uint64, _, _ int64) bool { return x >= y },
	asm.JLT:  func(x, y uint64, _, _ int64) bool { return x < y },
	asm.JLE:  func(x, y uint64, _, _ int64) bool { return x <= y },
	asm.JSet: func(x, y uint64, _, _ int64) bool { return x&y != 0 },
	asm.JSGT: func(_, _ uint64, x, y int64) bool { return x > y },
	asm.JSGE: func(_, _ uint64, x, y int64) bool { return x >= y },
	asm.JSLT: func(_, _ uint64, x, y int64) bool { return x < y },
	asm.JSLE: func(_, _ uint64, x, y int64) bool { return x <= y },
}
