package analysis

import (
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

// failed is a kernel with one failed test.
func failedTest(test, output string) report.Result {
	k := report.Result{ID: "x/5.10.1", Tests: []report.Test{{Name: test}}}
	reporttest.Fail(&k, 0, output)
	return k
}

func crashed(title, excerpt string) report.Result {
	return report.Result{ID: "x/5.10.1", Verdict: report.Crash, Cause: &report.Cause{Title: title, Excerpt: excerpt}}
}

func stopped(v report.Verdict, title, excerpt string) report.Result {
	return report.Result{ID: "x/5.10.1", Verdict: v, Cause: &report.Cause{Title: title, Excerpt: excerpt}}
}

// What two kernels say of one bug is one group, and of two bugs two.
func TestSignatures(t *testing.T) {
	const trace = "[    4.1] Call Trace:\n[    4.2]  <TASK>\n[    4.3]  dump_stack_lvl+0x44/0x5c\n[    4.4]  panic+0x118/0x2f4\n[    4.5]  %s+0x16/0x20\n[    4.6]  vfs_write+0xc4/0x3f0\n"
	at := func(fn string) string { return strings.ReplaceAll(trace, "%s", fn) }
	rip := func(fn string) string {
		return "[    4.1] Oops: 0000 [#1] PREEMPT SMP\n[    4.2] RIP: 0010:" + fn + "+0x1f/0x50\n[    4.3] RSP: 0018:ffffc900001e7d50\n"
	}
	const load = "    probe_test.go:42: load program: permission denied: "
	event := func(line, pid, field string) string {
		return "PROCESS_EXEC, line " + line + ", is not as expected:\n    field        want   got\n    pids.tgid    " + pid + "    " + pid + "\n  ! " + field + "     true   false\n  the line: {\"event_type\":\"PROCESS_EXEC\"}\nfork_exec printed: {\"pid\":" + pid + "}"
	}
	tests := []struct {
		name string
		a, b report.Result
		same bool
	}{
		{"registers", failedTest("T", load+"R1 invalid mem access 'scalar' (12 line(s) omitted)"), failedTest("T", load+"R8 invalid mem access 'scalar' (7 line(s) omitted)"), true},
		{"other verifier message", failedTest("T", load+"R1 invalid mem access 'scalar'"), failedTest("T", load+"R1 invalid mem access 'inv'"), false},
		{"source lines", failedTest("T", "    a_test.go:42: wrong answer"), failedTest("T", "    a_test.go:57: wrong answer"), true},
		{"other assertion", failedTest("T", "    a_test.go:42: want an answer"), failedTest("T", "    a_test.go:42: want a question"), false},
		{"other test, other kernels", failedTest("A", "    a_test.go:42: wrong"), failedTest("B", "    a_test.go:42: wrong"), false},
		{"stack offsets", failedTest("T", "rejected: invalid read from stack off -40+0 size 8 (permission denied)"), failedTest("T", "rejected: invalid read from stack off -512+0 size 4 (permission denied)"), true},
		{"other errno", failedTest("T", "    a_test.go:9: libbpf: prog 'x': failed to load: -22"), failedTest("T", "    a_test.go:9: libbpf: prog 'x': failed to load: -13"), false},
		{"same errno", failedTest("T", "    a_test.go:9: libbpf: prog 'x': failed to load: -22"), failedTest("T", "    a_test.go:19: libbpf: prog 'x': failed to load: -22"), true},
		{"names with numbers", failedTest("T", "    a_test.go:9: no such function do_renameat2"), failedTest("T", "    a_test.go:9: no such function do_renameat3"), false},
		{"times", failedTest("T", "    a_test.go:9: no event within 1.503s, at 2026-11-22T20:00:01Z"), failedTest("T", "    a_test.go:9: no event within 2m4.1s, at 2026-11-22T20:07:55Z"), true},
		{"temporary names", failedTest("T", "open /tmp/TestX1834512345/001/f: permission denied"), failedTest("T", "open /tmp/TestX982312345/002/f: permission denied"), true},
		{"mktemp", failedTest("T", "open /tmp/tmp.Xa8dK2lqZZ: permission denied"), failedTest("T", "open /tmp/tmp.bbQd02lqZZ: permission denied"), true},
		{"other file", failedTest("T", "open /tmp/a: permission denied"), failedTest("T", "open /tmp/b: permission denied"), false},
		{"logs before the failure", failedTest("T", "    a_test.go:4: kernel 5.10.3\n    a_test.go:9: cannot attach to vfs_unlink"), failedTest("T", "    a_test.go:4: kernel 6.1.7-rc2\n    a_test.go:9: cannot attach to vfs_unlink"), true},
		{"logs alone are the same", failedTest("T", "    a_test.go:4: starting\n    a_test.go:9: cannot attach to vfs_unlink"), failedTest("T", "    a_test.go:4: starting\n    a_test.go:9: cannot attach to vfs_rename"), false},
		{"testify", failedTest("T", "    \tError Trace:\ta_test.go:7\n    \tError:      \tNot equal: 4, 5\n    \tTest:       \tT"), failedTest("T", "    \tError Trace:\ta_test.go:8\n    \tError:      \tNot equal: 3, 9\n    \tTest:       \tT"), true},
		{"testify, other", failedTest("T", "    \tError Trace:\ta_test.go:7\n    \tError:      \tNot equal\n"), failedTest("T", "    \tError Trace:\ta_test.go:7\n    \tError:      \tShould be true\n"), false},
		{"go panics", failedTest("T", "panic: runtime error: index out of range [4] with length 2\n\ngoroutine 21 [running]:"), failedTest("T", "panic: runtime error: index out of range [9] with length 7\n\ngoroutine 7 [running]:"), true},
		{"other go panic", failedTest("T", "panic: assignment to entry in nil map"), failedTest("T", "panic: close of closed channel"), false},
		{"event fields", failedTest("T", event("12", "650", "is_memfd")), failedTest("T", event("133", "88", "is_memfd")), true},
		{"other event field", failedTest("T", event("12", "650", "is_memfd")), failedTest("T", event("12", "650", "is_setuid")), false},
		{"late by other times", failedTest("T", "PROCESS_EXIT came late: line 12 is behind line 9, 3 ms later, the end of the same process\n  the line: {}"), failedTest("T", "PROCESS_EXIT came late: line 20 is behind line 18, the end of the same process\n  the line: {}"), true},
		{"a tracer that dies, two tests", failedTest("A", "PROCESS_EXEC was not seen\nEventsTrace ended: signal: segmentation fault"), failedTest("B", "FILE_CREATE was not seen\nEventsTrace ended: signal: segmentation fault"), true},
		{"a tracer that dies otherwise", failedTest("A", "PROCESS_EXEC was not seen\nEventsTrace ended: signal: segmentation fault"), failedTest("A", "PROCESS_EXEC was not seen\nEventsTrace ended: exit status 1"), false},
		{"a tracer that does not start", failedTest("Start", "EventsTrace ended before it was ready: exit status 1\nit printed 3 lines on stdout"), failedTest("Start", "EventsTrace ended before it was ready: exit status 1\nit printed 0 lines on stdout"), true},
		{"a tracer that does not start for another reason", failedTest("Start", "EventsTrace ended before it was ready: exit status 1\nlibbpf: prog 'a': BPF program load failed: Invalid argument"), failedTest("Start", "EventsTrace ended before it was ready: exit status 1\nlibbpf: failed to find valid kernel BTF"), false},
		{"unsupported", failedTest("o/p", "unsupported: map type BloomFilter came with Linux 5.16, this kernel is 5.10.226-1-amd64"), failedTest("o/q", "unsupported: map type BloomFilter came with Linux 5.16, this kernel is 5.4.0-150-generic"), true},
		{"other unsupported", failedTest("o/p", "unsupported: map type BloomFilter came with Linux 5.16, this kernel is 5.10.226"), failedTest("o/p", "unsupported: map type RingBuf came with Linux 5.8, this kernel is 5.4.0"), false},
		{"missing target, two programs", failedTest("o/p", "this kernel's BTF has no function or hook to attach to: do_unlinkat"), failedTest("o/q", "this kernel's BTF has no function or hook to attach to: do_unlinkat"), true},
		{"other missing target", failedTest("o/p", "this kernel's BTF has no function or hook to attach to: do_unlinkat"), failedTest("o/p", "this kernel's BTF has no function or hook to attach to: do_renameat2"), false},
		{"CO-RE", failedTest("o/p", "CO-RE: struct task_struct has no state on this kernel\nthe verifier processed 12 insns"), failedTest("o/p", "CO-RE: struct task_struct has no state on this kernel\nthe verifier processed 19 insns"), true},
		{"other member", failedTest("o/p", "CO-RE: struct task_struct has no state on this kernel"), failedTest("o/p", "CO-RE: struct task_struct has no __state on this kernel"), false},
		{"exit statuses", failedTest("prog", "exit status 3\nprobe: not attached"), failedTest("prog", "exit status 3\nprobe: not attached"), true},
		{"other exit status", failedTest("prog", "exit status 3\nprobe: not attached"), failedTest("prog", "exit status 4\nprobe: not attached"), false},
		{"same exit status, other words", failedTest("prog", "exit status 1\nprobe a: not attached"), failedTest("prog", "exit status 1\nprobe b: not attached"), false},
		{"releases", failedTest("prog", "exit status 1\nprobe: not attached on 6.12.117+deb13-cloud-amd64"), failedTest("prog", "exit status 1\nprobe: not attached on 6.1.0-56-amd64"), true},
		{"releases of others", failedTest("prog", "exit status 1\nno BTF of 5.10.102-99.473.amzn2.x86_64."), failedTest("prog", "exit status 1\nno BTF of 5.14.0-503.el9.x86_64."), true},
		{"colours", failedTest("T", "\x1b[31ma_test.go:9: bad thing\x1b[0m"), failedTest("T", "a_test.go:9: bad thing"), true},

		{"oops addresses", crashed("BUG: kernel NULL pointer dereference, address: 0000000000000008", rip("foo")), crashed("BUG: kernel NULL pointer dereference, address: 0000000000000110", rip("foo")), true},
		{"oops in other functions", crashed("BUG: kernel NULL pointer dereference, address: 0000000000000008", rip("foo")), crashed("BUG: kernel NULL pointer dereference, address: 0000000000000008", rip("bar")), false},
		{"a compiler's clones", crashed("BUG: kernel NULL pointer dereference, address: 0000000000000008", rip("foo.isra.0")), crashed("BUG: kernel NULL pointer dereference, address: 0000000000000008", rip("foo.constprop.3")), true},
		{"warnings", crashed("WARNING: CPU: 0 PID: 97 at kernel/bpf/verifier.c:123 foo+0x1/0x2", rip("foo")), crashed("WARNING: CPU: 3 PID: 412 at kernel/bpf/verifier.c:144 foo+0x11/0x2c", rip("foo")), true},
		{"other warning", crashed("WARNING: CPU: 0 PID: 97 at kernel/bpf/verifier.c:123 foo+0x1/0x2", ""), crashed("WARNING: CPU: 0 PID: 97 at kernel/bpf/core.c:123 bar+0x1/0x2", ""), false},
		{"lockups", crashed("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:1]", rip("spin")), crashed("watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [x:81]", rip("spin")), true},
		{"panics by trace", crashed("Kernel panic - not syncing: Fatal exception", at("foo")), crashed("Kernel panic - not syncing: Fatal exception", at("bar")), false},
		{"a panic at other times", crashed("Kernel panic - not syncing: Fatal exception", at("foo")), crashed("Kernel panic - not syncing: Fatal exception", strings.ReplaceAll(at("foo"), "4.", "17.")), true},
		{"init's end", crashed("Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009", ""), crashed("Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b", ""), false},
		{"hung tasks", crashed("INFO: task kworker/0:1:12 blocked for more than 120 seconds.", ""), crashed("INFO: task kworker/1:3:55 blocked for more than 241 seconds.", ""), true},

		{"timeouts", stopped(report.Timeout, "the payload did not end within 5m0s", "a"), stopped(report.Timeout, "the payload did not end within 5m0s", "b"), true},
		{"timeouts in other tests", report.Result{Verdict: report.Timeout, Cause: &report.Cause{Title: "x"}, Tests: []report.Test{bad("A", "did not end")}}, report.Result{Verdict: report.Timeout, Cause: &report.Cause{Title: "x"}, Tests: []report.Test{bad("B", "did not end")}}, false},
		{"verdicts", stopped(report.Timeout, "x", ""), stopped(report.Infra, "x", ""), false},
		{"programs that say why", stopped(report.Fail, "the payload: exit status 1", "cannot load a.o\n    2.941 init: the payload ended"), stopped(report.Fail, "the payload: exit status 1", "cannot load b.o\n    3.000 init: the payload ended"), false},
		{"no-boot", stopped(report.NoBoot, "no sign of init within 1m30s", ""), stopped(report.NoBoot, "no sign of init within 4m30s", ""), true},
		{"infra", stopped(report.Infra, "unpack: unexpected EOF", ""), stopped(report.Infra, "unpack: no space left on device", ""), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := tt.a, tt.b
			a.ID, b.ID = "x/5.10.1", "x/5.10.2"
			groups := Groups(&report.Merged{Kernels: []report.Result{a, b}})
			want := 2
			if tt.same {
				want = 1
			}
			if len(groups) != want {
				t.Errorf("%d groups, want %d:", len(groups), want)
				for _, g := range groups {
					t.Errorf("  %q %q on %q", g.Title, g.Tests, g.Kernels)
				}
			}
		})
	}
}

// A failure's entry says what a reader needs first.
func TestTitles(t *testing.T) {
	for _, tt := range []struct {
		k    report.Result
		want string
	}{
		{failedTest("T", "    a_test.go:4: fine\n    a_test.go:9: cannot attach: \x1b[31mno such file\x1b[0m\n"), "a_test.go:9: cannot attach: no such file"},
		{failedTest("T", "test_x:PASS:open 0 nsec\nlibbpf: prog 'x': BPF program load failed: Invalid argument\n-- BEGIN PROG LOAD LOG --\n0: R1=ctx() R10=fp0\nR2 !read_ok\nprocessed 1 insns\ntest_x:FAIL:load unexpected error: -22 (errno 22)"), "R2 !read_ok"},
		{failedTest("T", ""), "failed without a word"},
		{failedTest("T", "it went\nwell"), "it went"},
		{failedTest("T", "exit status 2\nsome words\nfatal: could not open x\n    2.9 init: y\n    2.941 init: the payload ended"), "exit status 2: fatal: could not open x"},
		{crashed("BUG: kernel NULL pointer dereference, address: 0", "[    1.000001] RIP: 0010:foo.cold+0x1/0x2\n"), "BUG: kernel NULL pointer dereference, address: 0 in foo"},
		{crashed("Kernel panic - not syncing: x", "[    1.000001] RIP: 0033:0x4866b2\n[    1.000002] Call Trace:\n[    1.000003]  panic+0x1/0x2\n[    1.000003]  ? guess+0x1/0x2\n[    1.000004]  culprit+0x1/0x2\n"), "Kernel panic - not syncing: x in culprit"},
		{report.Result{ID: "x/1", Verdict: report.Infra}, "no reason is known"},
		{report.Result{ID: "x/1"}, "no reason is known"},
	} {
		groups := Groups(&report.Merged{Kernels: []report.Result{tt.k}})
		if len(groups) != 1 || groups[0].Title != tt.want {
			t.Errorf("%+v: %+v, want %q", tt.k, groups, tt.want)
		}
	}
}

func FuzzReason(f *testing.F) {
	f.Add("    a_test.go:9: x\n", "BUG: y", "RIP: 0010:f+0x1/0x2")
	f.Add("EventsTrace ended before it was ready: exit status 1", "", "Call Trace:\n a+0x1/0x1")
	f.Add("PROCESS_EXEC, line 1, is not as expected:\n  ! a b\n", "\x1b[", "\xff")
	f.Fuzz(func(t *testing.T, output, title, excerpt string) {
		m := &report.Merged{Kernels: []report.Result{failedTest("T", output), crashed(title, excerpt), stopped(report.Fail, "the payload: "+title, excerpt)}}
		for i := range m.Kernels {
			m.Kernels[i].ID = "x/" + strings.Repeat("1", i+1)
		}
		seen := map[string]bool{}
		for _, g := range Groups(m) {
			if g.Title == "" || len(g.Title) > 1000 || strings.ContainsAny(g.Title, "\n\x1b\x00") {
				t.Fatalf("title %q", g.Title)
			}
			for _, k := range g.Kernels {
				seen[k] = true
			}
		}
		if len(seen) != 3 {
			t.Fatalf("only %v stand in a group", seen)
		}
	})
}

// The cause of a kernel on which a tracer ended is how, and what of its stderr
// tells why; not the first of the tests that could not be judged.
func TestTracerEnded(t *testing.T) {
	stream := func(output string) []report.Test {
		return []report.Test{{Name: "Start", Verdict: report.TestPass}, {Name: "Stream", Verdict: report.TestFail, Output: output}}
	}
	for _, tt := range []struct{ output, want string }{
		{
			"EventsTrace ended before the tests did: exit status 1\nwhen it ended, no test had run yet\nits stderr says:\n  libbpf: failed to find valid kernel BTF\n  Failed to poll event context\nit printed no event",
			"Stream: EventsTrace ended: exit status 1: libbpf: failed to find valid kernel BTF",
		},
		{
			"EventsTrace ended before the tests did: signal: segmentation fault\nwhen it ended, Setuid ran\nits stderr says:\n  Unexpected variable length field: 12\nits last event, line 9 of 9: {}",
			"Stream: EventsTrace ended: signal: segmentation fault: Unexpected variable length field: 12",
		},
		{
			"EventsTrace ended before the tests did: exit status 1\nits stderr says:\n  libbpf: prog 'fentry__do_unlinkat': failed to find kernel BTF type ID of 'do_unlinkat': -3\nEventsTrace's stderr, each line once (shown once):\nlibbpf: prog 'x': relo #102: substituting insn #54 w/ invalid insn",
			"Stream: EventsTrace ended: exit status 1: libbpf: prog 'fentry__do_unlinkat': failed to find kernel BTF type ID of 'do_unlinkat': -3",
		},
		{
			"EventsTrace ended before the tests did: exit status 1\nits stderr says:\n  libbpf: prog 'a': failed to load: -3\nEventsTrace's stderr, each line once (shown once):\nlibbpf: prog 'x': relo #1: substituting insn #54 w/ invalid insn",
			"Stream: EventsTrace ended: exit status 1: libbpf: prog 'a': failed to load: -3",
		},
		{
			"EventsTrace ended before the tests did: exit status 1\nits stderr says:\n  libbpf: prog 'a': BPF program load failed: Invalid argument\n  invalid func unknown#195896080\n  failed to resolve CO-RE relocation <byte_off> [28] struct kernfs_node.parent (0:2 @ offset 8)",
			"Stream: EventsTrace ended: exit status 1: failed to resolve CO-RE relocation <byte_off> [28] struct kernfs_node.parent (0:2 @ offset 8)",
		},
		{
			"EventsTrace ended before the tests did: exit status 1\nlibbpf: prog 'x': relo #102: substituting insn #54 w/ invalid insn\nlibbpf: prog 'a': failed to load: -3",
			"Stream: EventsTrace ended: exit status 1: libbpf: prog 'a': failed to load: -3",
		},
		{
			"EventsTrace ended before the tests did: killed by the kernel: out of memory\nwhen it ended, Setuid ran\nits stderr is empty\nit printed no event",
			"Stream: EventsTrace ended: killed by the kernel: out of memory",
		},
		{
			"1 line(s) of its output are no JSON object\n  line 66: invalid character ',' looking for beginning of object key string: \"{\"\nits stderr says:\n  Unexpected variable length field: 0",
			"Stream: 1 line(s) of its output are no JSON object",
		},
		{
			"EventsTrace runs, but stopped printing: no event about the marker came within 15s\nits stderr is empty",
			"Stream: EventsTrace runs, but stopped printing: no event about the marker came within 15s",
		},
	} {
		if title, excerpt := FailedTests(stream(tt.output)); title != tt.want || excerpt != tt.output {
			t.Errorf("title %q\n want %q", title, tt.want)
		}
	}
}
