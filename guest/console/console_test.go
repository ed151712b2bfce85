package console

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the findings of the corpus anew")

// The corpus: consoles of real kernels. A file starts with lines of "#" that
// say where it comes from, "= " lines with the findings and the verdict that
// follows, and "> " lines with the first finding's excerpt; then a blank line,
// then the console as it was. TestMakeCorpus of package shard makes them but for
// check-*, which are of a kernel that build-kernels --debug made.
func readCorpus(t testing.TB) map[string]corpusFile {
	t.Helper()
	names, err := filepath.Glob("testdata/*.console")
	if err != nil || len(names) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	files := map[string]corpusFile{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, console, ok := bytes.Cut(b, []byte("\n\n"))
		if !ok {
			t.Fatalf("%s has no header", name)
		}
		f := corpusFile{console: console}
		for line := range strings.Lines(string(head) + "\n") {
			switch {
			case strings.HasPrefix(line, "#"):
				f.about += line
			case strings.HasPrefix(line, "= "), strings.HasPrefix(line, "> "):
				f.want += line
			default:
				t.Fatalf("%s: header line %q", name, line)
			}
		}
		if f.about == "" {
			t.Fatalf("%s does not say where it comes from", name)
		}
		files[name] = f
	}
	return files
}

type corpusFile struct {
	about, want string
	console     []byte
}

func describe(findings []Finding) string {
	var b strings.Builder
	verdict, excerpt := "none", ""
	for _, f := range findings {
		fmt.Fprintf(&b, "= %v: %s", f.Kind, f.Title)
		if f.Location != "" {
			fmt.Fprintf(&b, " at %s", f.Location)
		}
		b.WriteString("\n")
		if f.Impossible != "" {
			fmt.Fprintf(&b, "= impossible: %s\n", f.Impossible)
		}
		if f.Kind.Crash() && verdict != "crash" {
			verdict, excerpt = "crash", f.Excerpt
		}
	}
	fmt.Fprintf(&b, "= verdict: %s\n", verdict)
	for line := range strings.Lines(excerpt) {
		b.WriteString("> " + line)
	}
	return b.String()
}

func scan(console []byte, step int) *Scanner {
	var s Scanner
	for len(console) > 0 {
		n := min(step, len(console))
		_, _ = s.Write(console[:n])
		console = console[n:]
	}
	return &s
}

func TestCorpus(t *testing.T) {
	for name, f := range readCorpus(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			got := describe(scan(f.console, len(f.console)).Findings())
			if *update {
				if err := os.WriteFile(name, []byte(f.about+got+"\n"+string(f.console)), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(f.want, got); d != "" {
				t.Errorf("findings (-want +got):\n%s", d)
			}
			// However the bytes are split across reads.
			for _, step := range []int{1, 7, 4096} {
				if d := cmp.Diff(got, describe(scan(f.console, step).Findings())); d != "" {
					t.Errorf("in pieces of %d bytes:\n%s", step, d)
				}
			}
		})
	}
}

func TestMessages(t *testing.T) {
	const at = "[    1.234567] "
	tests := []struct {
		line string
		kind Kind
	}{
		{at + "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009", Panic},
		{at + "BUG: kernel NULL pointer dereference, address: 0000000000000000", Oops},
		{at + "[  T123] BUG: unable to handle page fault for address: ffffffffff", Oops},
		{at + "general protection fault, probably for non-canonical address 0xdead: 0000 [#1] PREEMPT SMP", Oops},
		{at + "Oops: Oops: 0002 [#1] SMP NOPTI", Oops},
		{at + "invalid opcode: 0000 [#1] SMP", Oops},
		{at + "kernel BUG at lib/list_debug.c:53!", Oops},
		{at + "Internal error: Oops: 0000000096000044 [#1] SMP", Oops},
		{at + "BUG: KASAN: slab-out-of-bounds in foo+0x1/0x2", Splat},
		{at + "WARNING: CPU: 0 PID: 97 at kernel/bpf/verifier.c:123 foo+0x1/0x2", Splat},
		{at + "WARNING: possible circular locking dependency detected", Splat},
		{at + "UBSAN: array-index-out-of-bounds in net/foo.c:12:3", Splat},
		{at + "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:1]", Lockup},
		{at + "watchdog: Watchdog detected hard LOCKUP on cpu 0", Lockup},
		{at + "rcu: INFO: rcu_preempt self-detected stall on CPU", Stall},
		{at + "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", Stall},
		{at + "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-... }", Stall},
		{at + "INFO: task kworker/0:1:12 blocked for more than 120 seconds.", HungTask},
		{at + "Out of memory: Killed process 91 (hostile) total-vm:1kB", OutOfMemory},
		{at + "BUG kmalloc-64 (Not tainted): Poison overwritten", Splat},
		{at + "BUG: Bad page state in process x  pfn:01000", Splat},
		{at + "BUG: spinlock bad magic on CPU#0, x/1", Splat},
		{at + "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!", Splat},
		{at + "WARNING: kernel/bpf/core.c:12 at foo+0x1/0x2, CPU#0: x/1", Splat},
		{at + "WARNING: suspicious RCU usage", Splat},
		{at + "INFO: trying to register non-static key.", Splat},
		{at + "list_del corruption. prev->next should be ffff8880, but was 0", Splat},
		{at + "CFI failure at do_one_initcall+0x1/0x2 (target: foo+0x0/0x10; expected type: 0x1)", Splat},
		{at + "mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 0: b2", Splat},
		{at + "Unable to handle kernel paging request at virtual address dead000000000108", Oops},
		{at + "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010", Oops},
		{at + "Unable to handle kernel access to user memory outside uaccess routines at virtual address 0000", Oops},
		{at + "Insufficient stack space to handle exception!", Oops},
		{at + "SError Interrupt on CPU0, code 0x00000000bf000002 -- SError", Oops},
		{at + "Bad mode in Error handler detected on CPU0, code 0xbf000002 -- SError", Oops},
		{at + "PANIC: double fault, error_code: 0x0", Oops},
		{at + "traps: PANIC: double fault, error_code: 0x0", Oops},
		{at + "double fault: 0000 [#1] PREEMPT SMP", Oops},
		{at + "stack segment: 0000 [#1] SMP", Oops},
		{at + "int3: 0000 [#1] SMP", Oops},
		{at + "BUG: stack guard page was hit at 000000006b2a2c4c (stack is 0000..0000)", Oops},
		{at + "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0", Lockup},
		{at + "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1", Lockup},
		{at + "rcu: rcu_preempt kthread starved for 5250 jiffies! g1 f0x0 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=0", Stall},
		{at + "INFO: task two", HungTask}, // and the rest of its name on the next line
		{at + "INFO: task x:12 can't die for more than 143 seconds.", HungTask},
		{at + "[ BUG: Invalid wait context ]", Splat},
		{at + "BUG: workqueue leaked atomic, lock or RCU: kworker/0:1[9]", Splat},
		{at + "fixpoint divide exception: 0009 ilc:2 [#1] SMP", Oops},                 // s390x
		{at + "BUG: Unable to handle kernel data access at 0x8000000041a25f20", Oops}, // ppc64le
		{at + "Oops - illegal instruction [#1]", Oops},                                // riscv64
		{"\x1f" + at + "BUG: kernel NULL pointer dereference", Oops},                  // behind what a payload wrote
		{"[    1.00" + at + "BUG: kernel NULL pointer dereference", Oops},
		{"[    [    1.00\r\x1b[2K[\r[" + at + "BUG: kernel NULL pointer dereference", Oops},
		{at + "INFO: task jbd2/sda1-8:123 blocked in I/O wait for more than 120 seconds.", HungTask},
		{at + "Memory cgroup out of memory: Killed process 91 (x) total-vm:1kB", OutOfMemory},
		{"payload text without newline" + at + "BUG: kernel NULL pointer dereference", Oops},
		{at + "some driver: " + at + "WARNING: CPU: 0 PID: 1", Splat},

		// Not the kernel, or no crash.
		{at + "BUG: MAX_LOCKDEP_CHAINS too low!", Unknown},
		{"BUG: a payload's own words", Unknown},
		{"Kernel panic - not syncing: said the payload", Unknown},
		{string(Quote([]byte(at + "Kernel panic - not syncing: a payload's log"))), Unknown},
		{string(Quote([]byte("log: " + at + "WARNING: of a payload " + at + "Kernel panic - not syncing"))), Unknown},
		{at + "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible", Unknown},
		{at + "traps: x[12] general protection fault ip:40 sp:7f error:0 in x[400000+1000]", Unknown},
		{at + "BPF: _INFO: type id", Unknown},
		{at + "WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible via Spectre v2 BHB attacks!", Unknown},
		{at + "x[12] general protection fault ip:40 sp:7f error:0 in x[400000+1000]", Unknown},
		{at + "workqueue: foo hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND", Unknown},
		{at + "hrtimer: interrupt took 123456 ns", Unknown},
		{at + "watchdog: Delayed init of the lockup detector", Unknown},
		{at + "x (123): drop_caches: 3", Unknown},
		{at + "debug: no BUGs: here", Unknown},
		{at + "rcu: \tRCU restricting CPUs from NR_CPUS=8192 to nr_cpu_ids=1.", Unknown},
	}
	for _, tt := range tests {
		var s Scanner
		_, _ = s.Write([]byte(tt.line + "\r\n"))
		got := Unknown
		if f := s.Findings(); len(f) > 0 {
			got = f[0].Kind
		}
		if got != tt.kind {
			t.Errorf("%q: %v, want %v", tt.line, got, tt.kind)
		}
	}
}

// What a kernel's own checks report has a title that says it again next time.
func TestTitlesOfChecks(t *testing.T) {
	const trace = "Call Trace:\n <TASK>\n dump_stack_lvl+0x45/0x60\n lockdep_rcu_suspicious+0x1/0x2\n debug_print_object+0x1/0x2\n bkc_do+0x10/0x20\n </TASK>\n"
	for lines, want := range map[string]string{
		"ODEBUG: free active (active state 0) object: ffff8880055c1e00 object type: timer_list hint: 0x0\nWARNING: CPU: 0 PID: 1 at lib/debugobjects.c:505 debug_print_object+0x13d/0x190\n": "ODEBUG: free active: timer_list in bkc_do",
		"WARNING: x/6054 still has locks held!\n":                                     "WARNING: still has locks held in bkc_do",
		"[ BUG: x/6054 still has locks held! ]\n":                                     "WARNING: still has locks held in bkc_do", // until 4.15
		"WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected\n":               "WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order in bkc_do",
		"WARNING: bad unlock balance detected!\n":                                     "WARNING: bad unlock balance detected in bkc_do",
		"INFO: possible recursive locking detected\n":                                 "WARNING: possible recursive locking detected in bkc_do",
		"BUG: workqueue leaked lock or atomic: kworker/0:1/0x00000000/353\n":          "BUG: workqueue leaked lock or atomic in bkc_do",
		"BUG: spinlock bad magic on CPU#0, x/1\n":                                     "BUG: spinlock bad magic in bkc_do",
		"BUG: KASAN: slab-out-of-bounds in check_region_inline+0x1/0x2\n":             "BUG: KASAN: slab-out-of-bounds in bkc_do",
		"BUG: KCSAN: data-race in bkc_do+0x1/0x2 / other+0x1/0x2\n":                   "BUG: KCSAN: data-race in bkc_do",
		"UBSAN: shift-out-of-bounds in lib/x.c:1:2\nshift exponent 40 is too large\n": "UBSAN: shift-out-of-bounds in bkc_do",
	} {
		var s Scanner
		for line := range strings.Lines(lines + trace) {
			_, _ = s.Write([]byte("[    1.234567] " + line))
		}
		if f := s.Findings(); len(f) != 1 || f[0].Title != want {
			t.Errorf("%q: %+v, want %q", lines, f, want)
		}
	}
}

// Other architectures print registers and traces in ways of their own.
func TestTracesOfArchitectures(t *testing.T) {
	for lines, want := range map[string]string{
		// riscv64, s390x and ppc64le
		"Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008\nOops [#1]\nepc : bkc_null+0x12/0x20\n ra : do_one_initcall+0x1/0x2\nepc : ffffffff80c01234 ra : ffffffff80002000 sp : ff2000000000bd20\n gp : ffffffff81a0 tp : ff60000001\nstatus: 0000000200000120 badaddr: 0000000000000008 cause: 000000000000000d\n[<ffffffff80c01234>] bkc_null+0x12/0x20\n": "bkc_null+0x12/0x20",
		"Unable to handle kernel pointer dereference in virtual kernel address space\nOops: 0004 ilc:2 [#1] SMP\nKrnl PSW : 0704c00180000000 000003ff80002048 (bkc_null+0x48/0x60 [bkc])\n           R:0 T:1 IO:1 EX:1 Key:0 M:1\nKrnl GPRS: 0000000000000000 0000000000000001\nCall Trace:\n [<000003ff80002048>] bkc_null+0x48/0x60\n":                                                          "bkc_null+0x48/0x60",
		"BUG: Unable to handle kernel data access at 0x8000000041a25f20\nOops: Kernel access of bad area, sig: 11 [#1]\nNIP:  c0000000008a1b44 LR: c0000000008a1b30 CTR: c00000000001\nNIP [c0000000008a1b44] bkc_null+0x44/0x80\nLR [c0000000008a1b30] bkc_null+0x30/0x80\nCall Trace:\n[c000000004a3b8c0] [c0000000008a1b44] bkc_null+0x44/0x80 (unreliable)\n":                                 "bkc_null+0x44/0x80",
		"BUG: sleeping function called from invalid context at lib/x.c:1\nCall Trace:\n[c000000004a3b8c0] [c0000000008a1b44] dump_stack+0x1/0x2 (unreliable)\n[c000000004a3b8c0] [c0000000008a1b44] bkc_null+0x44/0x80\n":                                                                                                                                                                         "lib/x.c:1",
	} {
		var s Scanner
		for line := range strings.Lines(lines) {
			_, _ = s.Write([]byte("[    1.234567] " + line))
		}
		if f := s.Findings(); len(f) != 1 || !strings.HasSuffix(f[0].Title, " in bkc_null") || f[0].Location != want || strings.Contains(f[0].Excerpt, "ra : ffff") {
			t.Errorf("%q: %+v", lines, f)
		}
	}
}

func TestFateIsCertain(t *testing.T) {
	var s Scanner
	write := func(msg string) { _, _ = s.Write([]byte("[   10.000000] " + msg + "\n")) }
	write("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:1]")
	if s.Unrecoverable() {
		t.Error("unrecoverable after one lockup")
	}
	write("watchdog: BUG: soft lockup - CPU#0 stuck for 52s! [x:1]")
	if !s.Unrecoverable() || s.Panicked() {
		t.Error("not unrecoverable after two lockups, or taken for a panic")
	}
	write("Kernel panic - not syncing: softlockup: hung tasks")
	if !s.Panicked() {
		t.Error("the panic is not seen")
	}
}

func TestLimits(t *testing.T) {
	var s Scanner
	line := "[    1.000000] WARNING: " + strings.Repeat("\x1b[31mé\x00", 5000) + "\n"
	for range 200 {
		_, _ = s.Write([]byte(line))
	}
	f := s.Findings()
	if len(f) > maxFindings {
		t.Errorf("%d findings", len(f))
	}
	for _, x := range f {
		if len(x.Title) > maxTitle+3 || len(x.Excerpt) > maxExcerpt || strings.ContainsAny(x.Title+x.Excerpt, "\x1b\x00") {
			t.Fatalf("title of %d bytes, excerpt of %d, %q", len(x.Title), len(x.Excerpt), x.Title)
		}
	}
}

func TestQuoteIsIdempotentAndKeepsTheText(t *testing.T) {
	for _, in := range []string{"", "plain\n", "[    1.234567] x", "a [1.234567] b [ 22.000001] c\n", "[x] [1.2] [1.2345678]"} {
		once := Quote([]byte(in))
		if got := bytes.ReplaceAll(once, []byte{quote}, nil); string(got) != in {
			t.Errorf("%q became %q", in, got)
		}
		if twice := Quote(once); !bytes.Equal(once, twice) {
			t.Errorf("%q quoted twice: %q, %q", in, once, twice)
		}
	}
}

// reports are whole reports as kernels print them, and what is said of each.
var reports = []struct {
	name, title, location, report string
}{
	{"arm64, a null pointer", "Unable to handle kernel NULL pointer dereference in foo", "foo+0x14/0x40", `
Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010
Mem abort info:
  ESR = 0x0000000096000004
  EC = 0x25: DABT (current EL), IL = 32 bits
Internal error: Oops: 0000000096000004 [#1] SMP
Modules linked in: mod(OE)
CPU: 0 PID: 91 Comm: x Tainted: G           OE      6.1.0 #1
pstate: 60400005 (nZCv daif +PAN -UAO -TCO -DIT -SSBS BTYPE=--)
pc : foo+0x14/0x40 [mod]
lr : bar+0x20/0x80 [mod]
sp : ffff80000a3b3c20
x29: ffff80000a3b3c20 x28: ffff0000c5d0ba00 x27: 0000000000000000
Call trace:
 foo+0x14/0x40 [mod]
 bar+0x20/0x80 [mod]
 do_one_initcall+0x4c/0x250
Code: d503201f d503201f f9400000 (b9401000)
---[ end trace 0000000000000000 ]---`},
	{"arm64, a BUG", "kernel BUG in foo", "mm/slub.c:380", `
------------[ cut here ]------------
kernel BUG at mm/slub.c:380!
Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP
pc : foo+0x14/0x40
Call trace:
 foo+0x14/0x40
---[ end trace 0000000000000000 ]---`},
	{"a helper's fault is its caller's", "BUG: unable to handle page fault in copy_it", "copy_it+0x1f/0x50", `
BUG: unable to handle page fault for address: ffffffffff5fc0a8
#PF: supervisor read access in kernel mode
Oops: 0000 [#1] PREEMPT SMP
RIP: 0010:memcpy_orig+0x1e/0x140
Call Trace:
 <TASK>
 ? __die+0x20/0x70
 copy_it+0x1f/0x50
 caller+0x1/0x2
---[ end trace 0000000000000000 ]---`},
	{"a null pointer that was called", "BUG: kernel NULL pointer dereference in tcp_ack", "tcp_ack.constprop.0+0x5/0x10", `
BUG: kernel NULL pointer dereference, address: 0000000000000000
#PF: supervisor instruction fetch in kernel mode
Oops: 0010 [#1] SMP
RIP: 0010:0x0
Code: Unable to access opcode bytes at 0xffffffffffffffd6.
Call Trace:
 tcp_ack.constprop.0+0x5/0x10
---[ end trace 0000000000000000 ]---`},
	{"KASAN", "BUG: KASAN: slab-out-of-bounds in foo", "foo+0x1f/0x50", `
==================================================================
BUG: KASAN: slab-out-of-bounds in foo+0x1f/0x50 [mod]
Read of size 4 at addr ffff888007d1c0a0 by task x/91
CPU: 0 PID: 91 Comm: x Not tainted 6.1.0 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0x4a/0x5c
 print_report+0x17b/0x46e
 kasan_report+0xbb/0x1c0
 foo+0x1f/0x50 [mod]
 </TASK>
Allocated by task 91:
 kasan_save_stack+0x20/0x40
==================================================================`},
	{"lockdep", "WARNING: possible circular locking dependency detected in take_both", "take_both+0x40/0x60", `
======================================================
WARNING: possible circular locking dependency detected
6.1.0 #1 Not tainted
------------------------------------------------------
x/91 is trying to acquire lock:
ffffffff82d0b0a0 (&a){+.+.}-{3:3}, at: take_both+0x40/0x60
stack backtrace:
Call Trace:
 dump_stack_lvl+0x4a/0x5c
 check_noncircular+0x134/0x150
 __lock_acquire+0x13b3/0x2500
 lock_acquire+0xd1/0x2d0
 __mutex_lock+0x93/0xcf0
 take_both+0x40/0x60`},
	{"a program of BPF", "BUG: soft lockup in bpf_prog_spin", "bpf_prog_6deef7357e7b4530_spin+0x1f/0x30", `
watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [x:91]
CPU: 1 PID: 91 Comm: x Not tainted 6.1.0 #1
RIP: 0010:bpf_prog_6deef7357e7b4530_spin+0x1f/0x30
Call Trace:
 bpf_test_run+0x100/0x200`},
	{"an RCU stall", "RCU stall in foo", "foo+0x1f/0x30", `
rcu: INFO: rcu_preempt self-detected stall on CPU
rcu: 	0-....: (5249 ticks this GP) idle=63f4/1/0x4000000000000000 softirq=11/11 fqs=2624
CPU: 0 PID: 91 Comm: x Not tainted 6.1.0 #1
RIP: 0010:foo+0x1f/0x30
RSP: 0018:ffffc900005fbd80 EFLAGS: 00000246
Call Trace:
 bar+0x1/0x2`},
	{"5.10's form of a warning", "WARNING in foo", "net/core/dev.c:12", `
------------[ cut here ]------------
WARNING: CPU: 0 PID: 91 at net/core/dev.c:12 foo.cold+0x1f/0x30
RIP: 0010:foo.cold+0x1f/0x30
---[ end trace 6d4b5c1f0e7a2b3c ]---`},
	{"a warning of a BPF program's own words", "WARNING: something is odd about ADDR", "", `
WARNING: something is odd about ffff888007d1c0a0`},
	{"6.9 and later, a divide error", "divide error in foo", "foo+0x1/0x2", `
Oops: divide error: 0000 [#1] PREEMPT SMP NOPTI
RIP: 0010:foo+0x1/0x2
---[ end trace 0000000000000000 ]---`},
}

func stamp(text string) []byte {
	var b bytes.Buffer
	for line := range strings.Lines(strings.TrimPrefix(text, "\n")) {
		fmt.Fprintf(&b, "[    5.%06d] %s\r\n", b.Len(), strings.TrimSuffix(line, "\n"))
	}
	return b.Bytes()
}

func TestReports(t *testing.T) {
	for _, tt := range reports {
		t.Run(tt.name, func(t *testing.T) {
			got := scan(stamp(tt.report), 100).Findings()
			if len(got) != 1 || got[0].Title != tt.title || got[0].Location != tt.location {
				t.Fatalf("%+v, want one: %s at %s", got, tt.title, tt.location)
			}
			for _, noise := range []string{"EFLAGS", "Code:", "x29:", "pstate", "Modules linked", "Hardware name", "<TASK>"} {
				if strings.Contains(got[0].Excerpt, noise) {
					t.Errorf("%s is left in:\n%s", noise, got[0].Excerpt)
				}
			}
			// Equal crashes have equal titles whatever the addresses and pids.
			other := regexp.MustCompile(`ffff[0-9a-f]{12}`).ReplaceAllString(tt.report, "ffffdeadbeef1234")
			other = strings.NewReplacer("PID: 91", "PID: 12345", ":91]", ":12345]", "x/91", "yy/123", "0x1f/", "0x2c/").Replace(other)
			if again := scan(stamp(other), 100).Findings(); len(again) != 1 || again[0].Title != tt.title {
				t.Errorf("%+v, want the same title: %s", again, tt.title)
			}
		})
	}
}

// A payload's line without end hides nothing of what the kernel prints behind
// it, wherever in it the kernel goes on.
func TestLinesWithoutEnd(t *testing.T) {
	const message = "[    1.234567][  T123] Kernel panic - not syncing: a panic\r\n"
	for _, n := range []int{maxLine/2 - 1, maxLine - maxStamp - 1, maxLine - maxStamp, maxLine - 1, maxLine, maxLine + 1, 2*maxLine + 17, 1 << 20} {
		for back := range len(message) {
			in := append(bytes.Repeat([]byte("x"), n-back), message...)
			for _, step := range []int{len(in), 4096, 7} {
				f := scan(in, step).Findings()
				if len(f) != 1 || f[0].Title != "Kernel panic - not syncing: a panic" || f[0].Offset > int64(n-back) {
					t.Fatalf("after %d bytes, in pieces of %d: %+v", n-back, step, f)
				}
			}
			if n > 2*maxLine+17 {
				break
			}
		}
	}
}

// What says why a WARN is there belongs to the next one, and not to all.
func TestCauseIsOfOneWarning(t *testing.T) {
	f := scan(stamp(`
refcount_t: underflow; use-after-free.
WARNING: CPU: 0 PID: 91 at lib/refcount.c:28 refcount_warn_saturate+0x1/0x2
WARNING: CPU: 0 PID: 91 at a.c:1 foo+0x1/0x2
`), 100).Findings()
	if len(f) != 2 || f[1].Title != "WARNING in foo" {
		t.Errorf("%+v", f)
	}
}

// What is in between, and what comes later, are no part of a report.
func TestReportsEnd(t *testing.T) {
	var s Scanner
	_, _ = s.Write([]byte("[    1.000000] WARNING: CPU: 0 PID: 1 at a.c:1 foo+0x1/0x2\n" +
		"a payload's line\n[    1.000100] RIP: 0010:foo+0x1/0x2\n[\x1f    1.000200] a payload's too\n" +
		"[    9.000000] much later\n"))
	f := s.Findings()
	if len(f) != 1 || strings.Contains(f[0].Excerpt, "payload") || strings.Contains(f[0].Excerpt, "later") || !strings.Contains(f[0].Excerpt, "RIP") {
		t.Errorf("%+v", f)
	}
	// Findings are not the end.
	_, _ = s.Write([]byte("[    9.100000] BUG: scheduling while ato"))
	if f := s.Findings(); len(f) != 2 {
		t.Errorf("in the middle of a line: %+v", f)
	}
	_, _ = s.Write([]byte("mic: x/1\n[    9.100100] Call Trace:\n[    9.100200]  bar+0x1/0x2\n"))
	if f := s.Findings(); len(f) != 2 || f[1].Title != "BUG: scheduling while atomic in bar" {
		t.Errorf("when it went on: %+v", f)
	}
}

// A kernel that complains without end is not taken for one that has said all:
// what is too much stands as one finding that nothing can allow, and how it
// ended is kept.
func TestTooManyReports(t *testing.T) {
	var s Scanner
	write := func(i int) {
		fmt.Fprintf(&s, "[    1.000000] WARNING: CPU: 0 PID: 1 at a.c:1 foo%d+0x1/0x2\n[    1.000001] ---[ end trace 0 ]---\n", i)
	}
	for range 3 {
		write(1)
	}
	if f := s.Findings(); len(f) != 1 || f[0].Overflow {
		t.Fatalf("the same three times: %+v", f)
	}
	for i := range 2 * maxFindings {
		write(i)
	}
	if f := s.Findings(); len(f) != maxFindings || !f[maxFindings-1].Overflow {
		t.Errorf("%d findings, the last %+v", len(f), f[len(f)-1])
	}
	fmt.Fprintf(&s, "[    2.000000] Kernel panic - not syncing: x\n")
	if f := s.Findings(); len(f) != maxFindings || f[maxFindings-1].Kind != Panic {
		t.Errorf("the panic is lost: %+v", f[len(f)-1])
	}
}

// The invariants:
//   - however the bytes are split across reads, the findings are the same;
//   - limits hold, a title is one printable line of valid UTF-8, offsets grow;
//   - quoted text is never a finding, and to put a payload's lines in front of
//     every line takes no crash away;
//   - a crash that is appended is found, unless there were too many before.
func FuzzScanner(f *testing.F) {
	for _, c := range readCorpus(f) {
		f.Add(c.console[:min(len(c.console), 8<<10)], uint8(3))
	}
	for _, r := range reports {
		f.Add(stamp(r.report), uint8(9))
	}
	f.Add([]byte("[    1.000000] BUG: x\n[    1.000000] ---[ end trace 0 ]---\n"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		whole := scan(in, max(1, len(in)))
		pieces := scan(in, int(step)+1)
		if d := cmp.Diff(whole.Findings(), pieces.Findings()); d != "" {
			t.Fatalf("splitting changes the findings:\n%s", d)
		}
		if whole.Unrecoverable() != pieces.Unrecoverable() || whole.Panicked() != pieces.Panicked() {
			t.Fatal("splitting changes the guest's fate")
		}
		if d := cmp.Diff(whole.Findings(), whole.Findings()); d != "" {
			t.Fatalf("asking changes the findings:\n%s", d)
		}
		last := int64(0)
		for _, x := range whole.Findings() {
			if x.Kind == Unknown || len(x.Title) > maxTitle || len(x.Location) > maxTitle || len(x.Excerpt) > maxExcerpt || x.Offset < last || x.Offset > int64(len(in)) {
				t.Fatalf("finding %+v", x)
			}
			if x.Title == "" || strings.ContainsAny(x.Title+x.Location, "\n\r\x00\x1b") || !utf8.ValidString(x.Title+x.Location+x.Excerpt) {
				t.Fatalf("title %q, location %q", x.Title, x.Location)
			}
			last = x.Offset
		}
		var quoted, between []byte
		for line := range bytes.Lines(in) {
			quoted = append(quoted, Quote(line)...)
			between = append(append(between, "a payload's line\n"...), line...)
		}
		if found := scan(quoted, max(1, len(quoted))).Findings(); len(found) > 0 {
			t.Fatalf("quoted text is taken for the kernel's: %+v", found)
		}
		if d := cmp.Diff(describe(whole.Findings()), describe(scan(between, max(1, len(between))).Findings())); d != "" {
			t.Fatalf("a payload's lines change the findings:\n%s", d)
		}
		n := len(whole.Findings())
		_, _ = whole.Write([]byte("\n[99999.000000] WARNING: CPU: 0 PID: 1 at fuzz/appended.c:1 appended+0x1/0x2\n"))
		after := whole.Findings()
		if end := after[len(after)-1]; n < maxFindings && !strings.Contains(end.Title+end.Location, "appended") {
			t.Fatalf("an appended crash is not found: %+v", after)
		}
	})
}

// A guest is ended for what it cannot come back from, and for nothing else.
func TestUnrecoverable(t *testing.T) {
	const (
		stall = "rcu: INFO: rcu_preempt self-detected stall on CPU"
		soft  = "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:1]"
	)
	tests := []struct {
		name                     string
		lines                    []string
		unrecoverable, panicking bool
		halted                   bool
	}{
		{name: "a warning", lines: []string{"WARNING: CPU: 0 PID: 1 at a.c:1 foo+0x1/0x2"}},
		{name: "a hung task", lines: []string{"INFO: task x:1 blocked for more than 120 seconds."}},
		{name: "the OOM killer", lines: []string{"Out of memory: Killed process 91 (x) total-vm:1kB"}},
		{name: "one lockup and two stalls", lines: []string{stall, soft, stall}},
		{name: "three stalls", lines: []string{stall, stall, stall}, unrecoverable: true},
		{name: "RCU itself is stuck", lines: []string{stall, "rcu: RCU grace-period kthread stack dump:"}, unrecoverable: true},
		{name: "a hard lockup", lines: []string{"watchdog: Watchdog detected hard LOCKUP on cpu 0"}, unrecoverable: true},
		{name: "an oops", lines: []string{"BUG: kernel NULL pointer dereference, address: 0000000000000000"}, unrecoverable: true, panicking: true},
		{name: "a restart", lines: []string{"reboot: Restarting system"}},
		{name: "a halt", lines: []string{"reboot: System halted"}, halted: true},
		{name: "a halt for want of a switch", lines: []string{"reboot: Power off not available: System halted instead"}, halted: true},
		{name: "the end of power where there is none to switch", lines: []string{"reboot: Power down"}, halted: true},
		{name: "a panic", lines: []string{"Kernel panic - not syncing: x"}, unrecoverable: true, panicking: true},
	}
	for _, tt := range tests {
		var s Scanner
		for i, l := range tt.lines {
			fmt.Fprintf(&s, "[%5d.000000] %s\n", 10*i, l)
		}
		if s.Unrecoverable() != tt.unrecoverable || s.Panicking() != tt.panicking || s.Halted() != tt.halted {
			t.Errorf("%s: unrecoverable %v, panicking %v, halted %v", tt.name, s.Unrecoverable(), s.Panicking(), s.Halted())
		}
	}
}

// Which bits of the taint a report explains: a driver's own words none.
func TestTaint(t *testing.T) {
	for text, want := range map[string]uint64{
		"WARNING: CPU: 0 PID: 1 at a.c:1 foo+0x1/0x2": taintWarn,
		"WARNING: the cable is loose":                 0,
		"BUG: the driver's own":                       0,
		"------------[ cut here ]------------\n[    1.000000] WARNING: of a form that is not known":          taintWarn,
		"BUG: KASAN: use-after-free in foo+0x1/0x2":                                                          taintBadPage,
		"UBSAN: shift-out-of-bounds in a.c:1:2":                                                              0,
		"INFO: task x:1 blocked for more than 120 seconds.":                                                  0,
		"watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:1]":                                            taintSoftLockup,
		"refcount_t: underflow; use-after-free.":                                                             0,
		"refcount_t: underflow; use-after-free.\n[    1.000000] WARNING: CPU: 0 PID: 1 at a.c:1 foo+0x1/0x2": taintWarn,
	} {
		f := scan([]byte("[    1.000000] "+text+"\n"), 1000).Findings()
		if len(f) != 1 || f[0].Taint != want {
			t.Errorf("%q: %+v, want %#x", text, f, want)
		}
	}
}
