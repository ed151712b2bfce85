package console

import (
	"strings"
	"testing"
)

// regs is a report's part about the processor, crafted after those of 6.12.
func regs(rip, code, rsp, eflags, cr2 string) string {
	return "RIP: 0010:" + rip + "\nCode: " + code + "\nRSP: 0018:" + rsp + " EFLAGS: " + eflags + `
RAX: 0000000000000000 RBX: 0000000000000001 RCX: 0000000000000002
CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033
CR2: ` + cr2 + " CR3: 0000000004a22000 CR4: 0000000000750ef0\n"
}

// What a processor can do, whatever state a kernel is in, is the kernel's; the
// rest may be the emulator's. The reports are crafted after those of kernels, of
// which testdata has real ones: emulator-*.console, and crashes that are real.
func TestImpossible(t *testing.T) {
	const (
		fn    = "foo+0xc3/0x2f0"
		mov   = "48 0f c9 65 48 0f c7 0e 75 a8 <41> 8b 44 24 28 0f 0d 0c 03 48 89 3c 24"
		stack = "ffffc900006a3be0"
		user  = "00007f8bf7c79000"
		ok    = "00010246"

		opcode = "Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI\n"
		double = "traps: PANIC: double fault, error_code: 0x0\nOops: double fault: 0000 [#1] PREEMPT SMP NOPTI\n"
		null   = "BUG: kernel NULL pointer dereference, address: 0000000000000010\n#PF: supervisor read access in kernel mode\nOops: 0000 [#1] SMP\n"
		debug  = "------------[ cut here ]------------\nWARNING: CPU: 0 PID: 157 at arch/x86/kernel/traps.c:1120 exc_debug_kernel+0xca/0x160\n"
	)
	arm := func(code string) string {
		return "Internal error: Oops - Undefined instruction: 0000000002000000 [#1] SMP\npstate: 60400005 (nZCv daif +PAN)\npc : foo+0x14/0x40\nCode: aa0003e8 d503201f " + code + "\n"
	}
	for _, tt := range []struct {
		name, report string
		want         string // "": nothing is impossible
	}{
		{"half a pointer in EFLAGS", null + regs(fn, mov, stack, "04db92c2", user), "EFLAGS is 04db92c2"},
		{"reserved bits in EFLAGS", null + regs(fn, mov, stack, "0001824e", user), "EFLAGS"},
		{"the bit that is always set is not", null + regs(fn, mov, stack, "00010244", user), "EFLAGS"},
		{"five levels of page tables", null + regs(fn, mov, "ffa0000000013be0", "042e8ae2", user), "EFLAGS"},
		{"all bits that there are", null + regs(fn, mov, stack, "003f7fd7", user), ""},
		{"saved registers that are no kernel's", null + regs(fn, mov, "0000000041414141", "41414141", user), ""},
		{"registers of user space", null + regs(fn, mov, stack, ok, user) + "RIP: 0033:0x40a88e\nRSP: 002b:000033847f38f330 EFLAGS: 04008202 ORIG_RAX: 000000000000003b\n", ""},
		{"registers of a thread that has no user space", null + regs(fn, mov, stack, ok, user) + "RIP: 0000:0x0\nRSP: 0000:0000000000000000 EFLAGS: 00000000 ORIG_RAX: 0000000000000000\n", ""},

		{"a debug exception", debug + regs("exc_debug_kernel+0xca/0x160", "1b <0f> 0b 48", "fffffe0000010f28", "00010002", user) + "Call Trace:\n <#DB>\n" + regs(fn, mov, stack, "00000346", user), "debug exception"},
		{"its form since 6.19", "WARNING: arch/x86/kernel/traps.c:1192 at exc_debug_kernel+0xca/0x160, CPU#0: x/1\n" + regs("exc_debug_kernel+0xca/0x160", "1b <0f> 0b 48", stack, "00010002", user), "debug exception"},
		{"a debug exception by a register", debug + regs("exc_debug_kernel+0xca/0x160", "1b <0f> 0b 48", stack, "00010002", user) + "DR0: ffffffff81234567 DR1: 0000000000000000 DR2: 0000000000000000\nDR3: 0000000000000000 DR6: 00000000ffff4ff0 DR7: 0000000000000401\n", ""},
		{"a debug exception in the copy of a probed instruction", debug + regs("exc_debug_kernel+0xca/0x160", "1b <0f> 0b 48", stack, "00010002", user) + "Call Trace:\n <#DB>\n" + regs("0xffffffffc0301005", mov, stack, "00000346", user), ""},
		{"another warning of the same file", "WARNING: CPU: 0 PID: 157 at arch/x86/kernel/traps.c:900 exc_general_protection+0xca/0x160\n" + regs(fn, mov, stack, ok, user), ""},

		{"a double fault", double + regs(fn, mov, stack, ok, user), "double fault"},
		{"a double fault for want of stack", double + regs(fn, mov, "ffffc900006a0008", ok, "ffffc900006a0000"), ""},
		{"a stack that has run over", "BUG: TASK stack guard page was hit at 000000006b2a2c4c (stack is 0000..0000)\n" + double + regs(fn, mov, "ffffc9000069fff8", ok, "ffffc9000069fff8"), ""},
		{"a double fault on a stack that is none", double + regs(fn, mov, "0000000000000010", ok, user), ""},
		{"a double fault on a stack that is crooked", double + regs(fn, mov, "ffffc900006a3be3", ok, user), ""},
		{"a double fault of which nothing is known", double, ""},

		{"an invalid opcode that is none", opcode + regs(fn, mov, stack, ok, user), "41 8b 44 24 28"},
		{"cmpxchg16b, which the processor lacks or has", opcode + regs(fn, "48 8d 8a <65> 48 0f c7 0e 75 a8 41 8b", stack, ok, user), "65 48 0f c7 0e"},
		{"ud2", opcode + regs(fn, "90 <0f> 0b 48 89", stack, ok, user), ""},
		{"ud1, as UBSAN has it", opcode + regs(fn, "90 <67> 0f b9 40 02 90 90", stack, ok, user), ""},
		{"udb, as FineIBT has it", opcode + regs(fn, "90 <d6> 90 90 90", stack, ok, user), ""},
		{"a lock that the instruction refuses", opcode + regs(fn, "90 <f0> 48 89 c8 90 90", stack, ok, user), ""},
		{"a vector extension", opcode + regs(fn, "90 <c5> fd 6f 07 90 90 90 90", stack, ok, user), ""},
		{"a jump to what is no code", opcode + regs("0xffffffffc0301005", mov, stack, ok, user), ""},
		{"an instruction that is cut", opcode + regs(fn, "90 <41> 8b", stack, ok, user), ""},
		{"a BUG", "kernel BUG at lib/list_debug.c:53!\n" + opcode + regs(fn, "90 <0f> 0b 48 89", stack, ok, user), ""},
		{"a breakpoint that is none", "Oops: int3: 0000 [#1] SMP\n" + regs(fn, "90 90 <41> 8b 44 24 28", stack, ok, user), "int3"},
		{"a breakpoint that nobody knows", "Oops: int3: 0000 [#1] SMP\n" + regs(fn, "90 cc <41> 8b 44 24 28", stack, ok, user), ""},
		{"a division that is none", "Oops: divide error: 0000 [#1] SMP\n" + regs(fn, mov, stack, ok, user), "does not divide"},
		{"a division", "Oops: divide error: 0000 [#1] SMP\n" + regs(fn, "31 d2 <48> f7 f1 c3 90", stack, ok, user), ""},

		{"a null pointer", null + regs(fn, "90 <48> 8b 47 10 c3", stack, "00010246", "0000000000000010"), ""},
		{"a page fault at what is no address", "BUG: unable to handle page fault for address: fffffbffffffffff\nOops: 0000 [#1] SMP\n" + regs(fn, "90 <48> 8b 47 10 c3", stack, ok, "fffffbffffffffff"), ""},
		{"a general protection fault", "Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP\n" + regs(fn, "90 <48> 8b 47 10 c3", stack, ok, user), ""},
		{"a warning", "WARNING: CPU: 0 PID: 1 at kernel/x.c:1 foo+0x1/0x2\n" + regs("foo+0x1/0x2", "90 <0f> 0b 48 89", stack, ok, user), ""},
		{"a panic", "Kernel panic - not syncing: sysrq triggered crash\n" + regs(fn, "90 <0f> 0b 48 89", stack, ok, user), ""},

		{"arm64, an undefined instruction that is none", arm("(8b010000)"), "8b010000"},
		{"arm64, an undefined instruction", arm("(00000000)"), ""},
		{"arm64, a BUG", arm("(d4210000)"), ""},
		{"arm64, a register that the processor lacks", arm("(d538d0e0)"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := scan(stamp(tt.report), 4096).Findings()
			if len(f) == 0 {
				t.Fatal("nothing is found")
			}
			if got := f[0].Impossible; (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%s: impossible is %q, want %q", f[0].Title, got, tt.want)
			}
		})
	}
}

// Real crashes are possible: of the corpus only the emulator's are not.
func TestCorpusIsPossible(t *testing.T) {
	for name, f := range readCorpus(t) {
		first := ""
		for _, found := range scan(f.console, len(f.console)).Findings() {
			if found.Kind.Crash() {
				first = found.Impossible
				break
			}
		}
		if want := strings.Contains(name, "/emulator-"); (first != "") != want {
			t.Errorf("%s: impossible is %q", name, first)
		}
	}
}
