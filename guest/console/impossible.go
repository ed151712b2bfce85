package console

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// An emulator has faults of its own, which look like its guest's. What a report
// shows that no processor does is a mark of them. It takes more than a strange
// crash: a kernel whose memory was overwritten makes any of them.

// dump is what a report shows of the processor when it was in the kernel.
type dump struct {
	symbol      bool   // the instruction is in a function that the kernel knows
	before      byte   // the byte before the instruction
	code        []byte // the instruction and what follows it
	rsp, eflags uint64
	cr2         uint64
	hasCR2      bool
}

var (
	ripRE   = re(`^RIP: (?:0010|e030):(.*)`)
	codeRE  = re(`^Code: ((?:[0-9a-f]{2} )*)<([0-9a-f]{2})>((?: [0-9a-f]{2})*)`)
	rspRE   = re(`^RSP: (?:0018|0000):([0-9a-f]{16}) EFLAGS: ([0-9a-f]{8,16})`)
	cr2RE   = re(`^CR2: ([0-9a-f]{16}) `)
	dr7RE   = re(`^DR3: .*DR7: `) // is there only when a debug register is set
	armCode = re(`^Code: (?:[0-9a-f]{8} )*\(([0-9a-f]{8})\)`)
	stackRE = re(`stack guard page|stack overflow|Insufficient stack`)
	anyRIP  = re(`^RIP: `)
)

// dumps are those of the kernel itself, of user space none, in order.
func (o *rawReport) dumps() []dump {
	var all []dump
	var d *dump // nil: of user space, or none
	for _, l := range o.lines {
		if m := ripRE().FindStringSubmatch(l); m != nil {
			all = append(all, dump{symbol: kernelPC().MatchString(l)})
			d = &all[len(all)-1]
		} else if anyRIP().MatchString(l) {
			d = nil
		}
		if d == nil {
			continue
		}
		if m := codeRE().FindStringSubmatch(l); m != nil {
			before, _ := hex.DecodeString(strings.ReplaceAll(m[1], " ", ""))
			d.code, _ = hex.DecodeString(m[2] + strings.ReplaceAll(m[3], " ", ""))
			if len(before) > 0 {
				d.before = before[len(before)-1]
			}
		}
		if m := rspRE().FindStringSubmatch(l); m != nil {
			d.rsp, _ = strconv.ParseUint(m[1], 16, 64)
			d.eflags, _ = strconv.ParseUint(m[2], 16, 64)
		}
		if m := cr2RE().FindStringSubmatch(l); m != nil {
			d.cr2, _ = strconv.ParseUint(m[1], 16, 64)
			d.hasCR2 = true
		}
	}
	return all
}

// Bits of EFLAGS: one that is always set, and those that never are (Intel SDM,
// volume 1, 3.4.3). Not even a kernel that loads garbage into it can change them.
const (
	flagsSet   = 1 << 1
	flagsClear = 1<<3 | 1<<5 | 1<<15 | 0xffffffffffc00000
)

// impossible says what in the report no processor does, whatever its kernel did;
// "": nothing.
func (o *rawReport) impossible() string {
	dumps := o.dumps()
	for _, d := range dumps {
		// Registers that were saved on a stack that is overwritten are no evidence.
		if d.rsp>>56 == 0xff && (d.eflags&flagsClear != 0 || d.eflags&flagsSet == 0) {
			return fmt.Sprintf("EFLAGS is %08x, which cannot be", d.eflags)
		}
	}
	if tidy(o.groups["fn"]) == "exc_debug_kernel" && o.steppedByNobody(dumps) {
		return "the kernel was stopped by a debug exception, and no debug register was set"
	}
	if strings.EqualFold(o.groups["what"], "Oops - undefined instruction") {
		return o.undefinedARM64()
	}
	if len(dumps) == 0 {
		return ""
	}
	d := dumps[0]
	switch what := o.groups["what"]; {
	case what == "double fault" && d.goodStack() && !o.has(stackRE):
		return "a double fault, and the stack is good"
	case !d.symbol || len(d.code) == 0: // it was on its way through what is no code
	case what == "int3" && d.before != 0xcc:
		return "an int3 exception, and there is no int3"
	case what == "invalid opcode" && d.defined():
		return fmt.Sprintf("an invalid opcode, and % x is a valid instruction", d.instruction())
	case what == "divide error" && d.defined() && !d.divides():
		return fmt.Sprintf("a divide error, and % x does not divide", d.instruction())
	}
	return ""
}

func (o *rawReport) has(p pattern) bool {
	for _, l := range o.lines {
		if p().MatchString(l) {
			return true
		}
	}
	return false
}

// steppedByNobody says whether nothing in the report explains a debug exception:
// a debug register, or a copy of an instruction that a kprobe steps through.
func (o *rawReport) steppedByNobody(dumps []dump) bool {
	for _, d := range dumps {
		if !d.symbol {
			return false
		}
	}
	return !o.has(dr7RE)
}

// goodStack says whether the stack pointer is one of the kernel's, and the last
// page fault was not near it.
func (d dump) goodStack() bool {
	const far = 32 << 10 // as large as the largest stack
	distance := max(d.rsp, d.cr2) - min(d.rsp, d.cr2)
	return d.rsp>>56 == 0xff && d.rsp%8 == 0 && d.hasCR2 && distance > far
}

// defined says whether the instruction is one that a processor for kernels takes.
// Those with a lock, which most refuse, and vector extensions, which not all have,
// are left out.
func (d dump) defined() bool {
	i, err := x86asm.Decode(d.code, 64)
	if err != nil {
		return false
	}
	switch i.Op {
	case 0, x86asm.UD0, x86asm.UD1, x86asm.UD2, x86asm.XBEGIN, x86asm.RDRAND, x86asm.RDTSCP:
		return false
	}
	for _, p := range i.Prefix {
		switch p & 0xff {
		case x86asm.PrefixLOCK, 0xc4, 0xc5, 0x62:
			return false
		}
	}
	return true
}

func (d dump) divides() bool {
	i, err := x86asm.Decode(d.code, 64)
	return err == nil && (i.Op == x86asm.DIV || i.Op == x86asm.IDIV)
}

func (d dump) instruction() []byte {
	i, err := x86asm.Decode(d.code, 64)
	if err != nil {
		return d.code[:1]
	}
	return d.code[:i.Len]
}

// undefinedARM64 is impossible for an undefined instruction of arm64.
func (o *rawReport) undefinedARM64() string {
	for _, l := range o.lines {
		m := armCode().FindStringSubmatch(l)
		if m == nil {
			continue
		}
		word, err := strconv.ParseUint(m[1], 16, 32)
		if err != nil {
			return ""
		}
		code := []byte{byte(word), byte(word >> 8), byte(word >> 16), byte(word >> 24)}
		armDecoder.Lock()
		i, err := arm64asm.Decode(code)
		armDecoder.Unlock()
		if err == nil && basicARM64[i.Op] {
			return fmt.Sprintf("an undefined instruction, and %08x is a valid one", word)
		}
		return ""
	}
	return ""
}

// arm64asm.Decode notes for its own tests what it has decoded, for all callers in
// one place.
var armDecoder sync.Mutex

// basicARM64 are instructions that every arm64 processor has.
var basicARM64 = map[arm64asm.Op]bool{
	arm64asm.ADD: true, arm64asm.ADDS: true, arm64asm.ADRP: true, arm64asm.AND: true, arm64asm.B: true, arm64asm.BL: true,
	arm64asm.BLR: true, arm64asm.BR: true, arm64asm.CBNZ: true, arm64asm.CBZ: true, arm64asm.CMP: true, arm64asm.CSEL: true,
	arm64asm.EOR: true, arm64asm.LDP: true, arm64asm.LDR: true, arm64asm.LDRB: true, arm64asm.MOV: true, arm64asm.MOVK: true,
	arm64asm.NOP: true, arm64asm.ORR: true, arm64asm.RET: true, arm64asm.STP: true, arm64asm.STR: true, arm64asm.STRB: true,
	arm64asm.SUB: true, arm64asm.SUBS: true, arm64asm.TBNZ: true, arm64asm.TBZ: true,
}
