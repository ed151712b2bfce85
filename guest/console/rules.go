package console

import (
	"regexp"
	"strings"
	"sync"
)

// rule recognises the line that a report begins with, without its time stamp.
//
// Named groups of the expression have a meaning: what is added to the title, fn
// is the function that the report is about and pos where in it, at the place in
// the source.
type rule struct {
	kind  Kind
	re    pattern
	title string
	set   flags
	taint uint64 // bits of the kernel's taint that such a report sets
}

type flags uint16

const (
	bare          flags = 1 << iota // the title is complete without a function
	words                           // what is text that can hold addresses and numbers
	cause                           // says why a WARN or BUG that follows at once is there
	follow                          // goes on with a report of its kind that is open
	unrecoverable                   // the machine will not come back
	lockup                          // nor will it after the second of these
	stall                           // nor after the third of these: a reader may end late
	exception                       // the processor's: belongs to the open report of an oops
	untilTrace                      // nothing comes behind the back trace
)

// Bits of the taint (Documentation/admin-guide/tainted-kernels.rst).
const (
	taintMachineCheck = 1 << 4
	taintBadPage      = 1 << 5
	taintDie          = 1 << 7
	taintWarn         = 1 << 9
	taintSoftLockup   = 1 << 14
)

const (
	symbol = `(?P<fn>[\w.$]+)`
	offset = `(?P<pos>\+0x[0-9a-f]+/0x[0-9a-f]+)?`
)

// The rules come from libbpf/ci's splat list, syzkaller's reports and the
// kernel's own sources (arch/*/kernel/traps.c, arch/*/mm/fault.c, kernel/panic.c,
// kernel/watchdog.c, kernel/rcu/tree_stall.h, kernel/hung_task.c, mm/oom_kill.c,
// mm/slub.c, mm/kasan, mm/kfence, lib/ubsan.c, lib/refcount.c, lib/list_debug.c,
// kernel/locking/lockdep.c). First match counts.
var rules = []rule{
	{kind: Panic, re: re(`^Kernel panic - not syncing(?P<what>: .*)?`), title: "Kernel panic - not syncing", set: bare | words | unrecoverable},

	// One that lasts is reported again and again; one that ends was a busy host.
	{kind: Lockup, re: re(`BUG: soft lockup - CPU#\d+ stuck`), title: "BUG: soft lockup", set: lockup, taint: taintSoftLockup},
	{kind: Lockup, re: re(`[Hh]ard LOCKUP`), title: "hard LOCKUP", set: unrecoverable},

	{kind: Splat, re: re(`^BUG: (?P<what>K(?:A|C|M)SAN: [\w-]+)(?: in ` + symbol + offset + `)?`), title: "BUG: ", taint: taintBadPage},
	{kind: Splat, re: re(`^BUG: (?P<what>KFENCE: [\w -]+?)(?: in ` + symbol + offset + `|:|$)`), title: "BUG: ", taint: taintBadPage},
	{kind: Splat, re: re(`^BUG: sleeping function called from invalid context(?: at (?P<at>\S+))?`), title: "BUG: sleeping function called from invalid context", set: untilTrace, taint: taintWarn},
	{kind: Splat, re: re(`^BUG: scheduling while atomic`), title: "BUG: scheduling while atomic", set: untilTrace, taint: taintWarn},
	{kind: Splat, re: re(`^BUG: workqueue lockup`), title: "BUG: workqueue lockup", set: bare},
	{kind: Splat, re: re(`^BUG: (?P<what>workqueue leaked [\w ,]*\w)`), title: "BUG: "},
	{kind: Splat, re: re(`^BUG: (?P<what>(?:spin|rw)lock[\w -]*?) on CPU#`), title: "BUG: ", set: untilTrace},
	{kind: Splat, re: re(`^BUG: (?P<what>Bad page \w+|Bad rss-counter state)`), title: "BUG: ", taint: taintBadPage},
	{kind: Splat, re: re(`^BUG: using (?P<what>\w+\(\) in preemptible)`), title: "BUG: using ", set: untilTrace},
	{kind: Splat, re: re(`^BUG (?P<what>[\w.:-]+)(?: \((?:Not t|T)ainted[^)]*\))?: (?P<more>[\w /-]+)`), title: "BUG ", set: untilTrace, taint: taintBadPage},

	{kind: Oops, re: re(`^BUG: (?:unable to handle )?kernel NULL pointer dereference`), title: "BUG: kernel NULL pointer dereference", set: exception | unrecoverable, taint: taintDie},
	{kind: Oops, re: re(`^BUG: unable to handle (?:page fault|kernel paging request)|^BUG: Unable to handle kernel (?:data|instruction)`), title: "BUG: unable to handle page fault", set: exception | unrecoverable, taint: taintDie},
	{kind: Oops, re: re(`^BUG: (?:[\w#-]+ )?stack guard page was hit|^(?:Insufficient stack space to handle exception|[Kk]ernel stack overflow)`), title: "BUG: stack guard page was hit", set: exception | unrecoverable, taint: taintDie},
	{kind: Oops, re: re(`^kernel BUG at (?P<at>[^\s!]+)`), title: "kernel BUG", set: exception | unrecoverable, taint: taintDie},
	// "Oops: 0002 [#1]", "Oops: general protection fault, probably for ...: 0000 [#1]", and without the word in older kernels.
	{kind: Oops, re: re(`^(?:Oops: |traps: |PANIC: )*(?P<what>general protection fault|divide error|invalid opcode|int3|bounds|(?:stack|coprocessor) segment\w*|segment not present|invalid TSS|double fault|alignment check|(?:control|overflow|debug|SIMD|FPU|coprocessor)\b[\w -]*).*\[#\d+\]`), set: exception | unrecoverable, taint: taintDie},
	{kind: Oops, re: re(`^(?P<what>[a-z][\w -]*): [0-9a-f]{4} ilc:\d.*\[#\d+\]`), set: exception | unrecoverable, taint: taintDie}, // s390
	{kind: Oops, re: re(`^(?:traps: )?PANIC: (?P<what>double fault|early exception)`), title: "PANIC: ", set: exception | unrecoverable, taint: taintDie},
	{kind: Oops, re: re(`^Oops(?: - (?P<what>[\w -]+))?(?:[: ]|$)`), title: "Oops", set: exception | unrecoverable, taint: taintDie},
	{kind: Oops, re: re(`^Unable to handle kernel (?P<what>[\w -]+?)(?: at virtual address| at address|:|$)`), title: "Unable to handle kernel ", set: exception | unrecoverable, taint: taintDie},
	{kind: Oops, re: re(`^Internal error: (?P<what>[\w -]*\w)`), title: "Internal error: ", set: exception | unrecoverable, taint: taintDie},
	{kind: Oops, re: re(`^(?P<what>Bad mode in [\w -]+ handler|SError Interrupt|Unexpected kernel BRK exception|Unhandled (?:64|32)-bit el1\w* \w+ exception|undefined instruction: pc)`), set: exception | unrecoverable, taint: taintDie},

	// These say what is wrong, and the WARN or BUG behind them where that was seen.
	{kind: Splat, re: re(`^(?P<what>refcount_t: [\w -]+(?:; [\w-]+)*)`), set: cause},
	{kind: Splat, re: re(`^(?P<what>list_(?:add|del)\w* corruption)`), set: cause},
	{kind: Splat, re: re(`^(?P<what>ODEBUG: [\w -]+?) \(active state .*object type: (?P<more>\w+)`), set: cause},
	{kind: Splat, re: re(`^(?P<what>CFI failure) at ` + symbol), taint: taintWarn},

	{kind: Splat, re: re(`^WARNING: CPU: \d+ PID: \d+ at (?:(?P<at>\S+:\d+) )?` + symbol + `\+0x`), title: "WARNING", taint: taintWarn},
	{kind: Splat, re: re(`^WARNING: (?:(?P<at>\S+:\d+) at )?` + symbol + `\+0x[0-9a-f]+/`), title: "WARNING", taint: taintWarn},
	{kind: Splat, re: re(`^WARNING: (?:CPU: \d+ PID: \d+ at )?(?P<at>\S+:\d+)`), title: "WARNING", taint: taintWarn},
	{kind: Splat, re: re(`^(?:\[ )?(?:WARNING|INFO|BUG): (?:\S+/\d+ )?(?P<what>possible (?:circular|recursive|irq lock inversion|nested)[\w -]*\w|inconsistent lock state|[A-Z]+-safe -> [A-Z]+-unsafe lock order|Nested lock was not taken|` +
		`suspicious RCU usage|bad (?:un|contention )lock[\w ]*\w|held lock freed|(?:still has locks|lock) held[\w -]*|trying to register non-static key)`), title: "WARNING: "},
	{kind: Splat, re: re(`^\[ (?P<what>BUG: [^\]]*\S) *\]`), set: words},
	{kind: Splat, re: re(`^WARNING[: ] *(?P<what>.*)`), title: "WARNING: ", set: words | bare, taint: taintWarn},
	{kind: Splat, re: re(`^UBSAN: (?P<what>[\w -]+?) in (?P<at>\S+)`), title: "UBSAN: ", set: untilTrace},
	{kind: Splat, re: re(`^(?:mce: )?\[Hardware Error\]: CPU \d+: Machine Check`), title: "machine check", set: bare, taint: taintMachineCheck},

	{kind: Stall, re: re(`^(?:rcu: )?INFO: [_a-z]+ (?:self-)?detected (?:expedited )?stall`), title: "RCU stall", set: follow | stall},
	{kind: Stall, re: re(`^rcu: (?:RCU grace-period kthread stack dump)`), title: "RCU stall", set: follow | unrecoverable},
	{kind: Stall, re: re(`^rcu: .*kthread (?:timer wakeup didn't happen|starved) for`), title: "RCU stall", set: follow},
	{kind: HungTask, re: re(`^INFO: task .* is blocked on`), title: "task hung", set: follow | untilTrace},
	{kind: HungTask, re: re(`^INFO: task .* blocked (?:for more than|in I/O wait)`), title: "task hung", set: untilTrace},
	// Of a task whose name has a line end, the rest is on the next line.
	{kind: HungTask, re: re(`^INFO: task `), title: "task hung", set: untilTrace},
	{kind: OutOfMemory, re: re(`^(?:Out of memory|Memory cgroup out of memory)[\w ()-]*: Kill(?:ed)? process \d+ \((?P<what>.*?)\)`), title: "Out of memory: killed ", set: bare},
	{kind: OutOfMemory, re: re(`^Out of memory and no killable processes`), title: "Out of memory: nothing to kill", set: bare},

	{kind: Splat, re: re(`^BUG[: ] *(?P<what>.*)`), title: "BUG: ", set: words, taint: taintWarn},
}

// pattern is a regular expression that is compiled when it is used for the first
// time: init has this package for Quote, and under emulation compiling all of
// them takes a tenth of a second.
type pattern func() *regexp.Regexp

func re(s string) pattern {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(s) })
}

// harmless are lines that look like the beginning of a report: advice about
// the configuration, what an unwinder says of a stack it cannot follow, and that
// lockdep has no more room and ends.
var harmless = re(`^BUG: MAX_[A-Z_]+ too low!|^WARNING: (?:Unprivileged eBPF is enabled|The mand mount option|See https?://|stack recursion on stack type|can't access registers at|kernel stack (?:frame pointer|regs) at|Spectre v2 mitigation leaves CPU vulnerable|fbcon: )`)

// match returns the rule for a message, and what its groups hold.
func match(m string) (*rule, map[string]string) {
	// Back traces and registers are indented, and most of what is printed.
	if m == "" || m[0] == ' ' || harmless().MatchString(m) {
		return nil, nil
	}
	for i := range rules {
		r := &rules[i]
		found := r.re().FindStringSubmatch(m)
		if found == nil {
			continue
		}
		groups := map[string]string{}
		for j, name := range r.re().SubexpNames() {
			if name != "" && found[j] != "" {
				groups[name] = found[j]
			}
		}
		return r, groups
	}
	return nil, nil
}

// What differs by chance in words that are part of a title.
var (
	offsetRE  = re(`\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?`)
	addressRE = re(`\b(?:0x)?[0-9a-fA-F]*[0-9][0-9a-fA-F]*\b`)
)

// plain takes addresses and numbers out of words.
func plain(s string) string {
	s = offsetRE().ReplaceAllString(s, "")
	return addressRE().ReplaceAllStringFunc(s, func(n string) string {
		if len(strings.TrimPrefix(n, "0x")) >= 9 {
			return "ADDR"
		}
		return n
	})
}
