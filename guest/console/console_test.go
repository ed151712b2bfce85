package console

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the findings of the corpus anew")

// The corpus: consoles of real kernels. A file starts with lines of "#" that
// say where it comes from, "= " lines with the findings and the verdict that
// follows, and "> " lines with the first finding's excerpt; then a blank line,
// then the console as it was. TestMakeCorpus of package shard makes them.
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
		{"payload text without newline" + at + "BUG: kernel NULL pointer dereference", Oops},
		{at + "some driver: " + at + "WARNING: CPU: 0 PID: 1", Splat},

		// Not the kernel, or no crash.
		{"BUG: a payload's own words", Unknown},
		{"Kernel panic - not syncing: said the payload", Unknown},
		{string(Quote([]byte(at + "Kernel panic - not syncing: a payload's log"))), Unknown},
		{string(Quote([]byte("log: " + at + "WARNING: of a payload " + at + "Kernel panic - not syncing"))), Unknown},
		{at + "Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible", Unknown},
		{at + "traps: x[12] general protection fault ip:40 sp:7f error:0 in x[400000+1000]", Unknown},
		{at + "BPF: _INFO: type id", Unknown},
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

func TestFateIsCertain(t *testing.T) {
	var s Scanner
	write := func(msg string) { _, _ = s.Write([]byte("[   10.000000] " + msg + "\n")) }
	write("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [x:1]")
	if s.Hopeless() {
		t.Error("hopeless after one lockup")
	}
	write("watchdog: BUG: soft lockup - CPU#0 stuck for 52s! [x:1]")
	if !s.Hopeless() || s.Panicked() {
		t.Error("not hopeless after two lockups, or taken for a panic")
	}
	write("Kernel panic - not syncing: softlockup: hung tasks")
	if !s.Panicked() || s.PanicEnded() {
		t.Error("the panic is not seen, or already over")
	}
	write("---[ end Kernel panic - not syncing: softlockup: hung tasks ]---")
	if !s.PanicEnded() {
		t.Error("the panic's end is not seen")
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

// No quoted text is ever a finding, the splitting of reads changes nothing,
// and limits hold.
func FuzzScanner(f *testing.F) {
	for _, c := range readCorpus(f) {
		f.Add(c.console[:min(len(c.console), 8<<10)], uint8(3))
	}
	f.Add([]byte("[    1.000000] BUG: x\n[    1.000000] ---[ end trace 0 ]---\n"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		whole := scan(in, max(1, len(in)))
		pieces := scan(in, int(step)+1)
		if d := cmp.Diff(whole.Findings(), pieces.Findings()); d != "" {
			t.Fatalf("splitting changes the findings:\n%s", d)
		}
		for _, x := range whole.Findings() {
			if x.Kind == Unknown || x.Title == "" || len(x.Title) > maxTitle+3 || len(x.Excerpt) > maxExcerpt || x.Offset < 0 || x.Offset > int64(len(in)) {
				t.Fatalf("finding %+v", x)
			}
		}
		var quoted []byte
		for line := range bytes.Lines(in) {
			quoted = append(quoted, Quote(line)...)
		}
		if found := scan(quoted, max(1, len(quoted))).Findings(); len(found) > 0 {
			t.Fatalf("quoted text is taken for the kernel's: %+v", found)
		}
	})
}
