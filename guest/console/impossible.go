package console

import (
	"fmt"
	"slices"
	"strconv"
)

// An emulator has faults of its own, which look like its guest's. What a report
// shows that no processor does is a mark of them. It takes more than a strange
// crash: a kernel whose memory was overwritten makes any of them.

// dump is what a report shows of the processor when it was in the kernel.
type dump struct {
	symbol      bool   // the instruction is in a function that the kernel knows
	before      string // the byte before the instruction, in hex; "" where that is not shown
	rsp, eflags uint64
	cr2         uint64
	hasCR2      bool
}

var (
	ripRE   = re(`^RIP: (?:0010|e030):`)
	codeRE  = re(`^Code: (?:[0-9a-f]{2} )*([0-9a-f]{2}) <`)
	rspRE   = re(`^RSP: (?:0018|0000):([0-9a-f]{16}) EFLAGS: ([0-9a-f]{8,16})`)
	cr2RE   = re(`^CR2: ([0-9a-f]{16}) `)
	dr7RE   = re(`^DR3: .*DR7: `) // is there only when a debug register is set
	stackRE = re(`stack guard page|stack overflow|Insufficient stack`)
	anyRIP  = re(`^RIP: `)
)

// dumps are those of the kernel itself, of user space none, in order.
func (o *rawReport) dumps() []dump {
	var all []dump
	var d *dump // nil: of user space, or none
	for _, l := range o.lines {
		if ripRE().MatchString(l) {
			all = append(all, dump{symbol: kernelPC().MatchString(l)})
			d = &all[len(all)-1]
		} else if anyRIP().MatchString(l) {
			d = nil
		}
		if d == nil {
			continue
		}
		if m := codeRE().FindStringSubmatch(l); m != nil {
			d.before = m[1]
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
	if len(dumps) == 0 {
		return ""
	}
	d := dumps[0]
	switch what := o.groups["what"]; {
	case what == "double fault" && d.goodStack() && !o.has(stackRE):
		return "a double fault, and the stack is good"
	case what == "int3" && d.symbol && d.before != "" && d.before != "cc":
		return "an int3 exception, and there is no int3"
	}
	return ""
}

func (o *rawReport) has(p pattern) bool {
	return slices.ContainsFunc(o.lines, p().MatchString)
}

// steppedByNobody says whether nothing in the report explains a debug exception:
// a debug register, or a copy of an instruction that a kprobe steps through.
func (o *rawReport) steppedByNobody(dumps []dump) bool {
	copied := slices.ContainsFunc(dumps, func(d dump) bool { return !d.symbol })
	return !copied && !o.has(dr7RE)
}

// goodStack says whether the stack pointer is one of the kernel's, and the last
// page fault was not near it.
func (d dump) goodStack() bool {
	const far = 32 << 10 // as large as the largest stack
	distance := max(d.rsp, d.cr2) - min(d.rsp, d.cr2)
	return d.rsp>>56 == 0xff && d.rsp%8 == 0 && d.hasCR2 && distance > far
}
