package shard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// want is what a program's test must say.
type want struct {
	verdict string
	output  string // part of it
	log     string // part of the verifier's log on disk; "": there is none
}

// What is the same on every kernel with BTF.
func wantAlways() map[string]want {
	pass := func(output string) want { return want{wire.TestPass, output, ""} }
	fail := func(output, log string) want { return want{wire.TestFail, output, log} }
	return map[string]want{
		"trace/on_kprobe":           pass("attached to kprobe do_exit"),
		"trace/on_kretprobe":        pass("attached to kretprobe do_exit"),
		"trace/on_tracepoint":       pass("attached to tracepoint sched/sched_process_exec"),
		"trace/on_raw_tracepoint":   pass("attached to raw_tracepoint sched_process_fork"),
		"trace/on_tp_btf":           pass("attached to tp_btf sched_process_exit"),
		"trace/on_fentry":           pass("attached to fentry security_file_open"),
		"trace/on_fexit":            pass("attached to fexit security_file_open"),
		"lsm/on_file_open":          pass("attached to lsm file_open"),
		"net/pass":                  pass("attached to lo, in generic mode"),
		"net/egress":                pass("attached to the root cgroup"),
		"net/filter":                pass("loaded only"),
		"ringbuf/emit":              pass("attached to raw_tracepoint"),
		"ringbuf/map:unused":        pass(""),
		"rejected/good":             pass("attached"),
		"rejected/endless_loop":     fail("rejected: infinite loop detected at insn 1", "infinite loop detected"),
		"rejected/long_loop":        fail("BPF program is too large. Processed 1000001 insn", "BPF program is too large"),
		"rejected/late_mistake":     fail("invalid mem access", "invalid mem access"),
		"rejected/no_such_member":   fail("CO-RE: struct task_struct has no no_such_member on this kernel\nthe verifier processed ", "invalid func unknown#195896080"),
		"rejected/no_such_struct":   fail("CO-RE: this kernel has no struct no_such_struct\n", "invalid func unknown#195896080"),
		"odd/uses_pinned":           pass("attached to kprobe do_exit"),
		"odd/unknown_section":       fail(`its section "mysection" says no program type that is known here`, ""),
		"odd/optional":              {wire.TestSkip, `not loaded: its section "?fentry/no_such_function" marks it as optional`, ""},
		"odd/replacement":           {wire.TestSkip, "not loaded: it replaces a function of another program", ""},
		"odd/wrong_helper":          fail("has no helper bpf_xdp_adjust_head for program type SocketFilter", "bpf_xdp_adjust_head"),
		"odd/no_such_kprobe":        fail("this kernel has no kprobe no_such_function to attach to", ""),
		"odd/no_such_tracepoint":    fail("this kernel has no tracepoint sched/no_such_event to attach to", ""),
		"odd/ssthresh":              pass("loaded only"),
		"odd/undo_cwnd":             pass("loaded only"),
		"odd/cong_avoid":            pass("loaded only"),
		"odd/of_no_map":             {wire.TestSkip, "not loaded: no struct_ops map of the object has it as a member", ""},
		"odd/last":                  pass("attached to kprobe do_exit"),
		"rejected/no_such_function": fail("no function or hook to attach to: no_such_function", ""),
	}
}

// The set of objects gives the right verdict for each program, on an old
// kernel and on a new one.
func TestObjects(t *testing.T) {
	tests := []struct {
		name, source, glob string
		unsupported        string
		more               map[string]want
	}{
		{"5.10", "debian:bullseye:cloud-amd64", "debian/5.10.*", wire.TestSkip, map[string]want{
			"odd/map:ops":        {wire.TestSkip, "came with Linux 6.4", ""},
			"newer/map_type":     {wire.TestSkip, "unsupported: map type BloomFilter came with Linux 5.16, this kernel is 5.10.", ""},
			"newer/helper":       {wire.TestSkip, "unsupported: helper bpf_strncmp for program type Kprobe came with Linux 5.17, this kernel is 5.10.", "invalid func unknown#182"},
			"newer/program_type": {wire.TestSkip, "unsupported: program type Syscall came with Linux 5.14, this kernel is 5.10.", ""},
			"lsm/on_file_open":   {wire.TestPass, "never runs: bpf is not among the active LSMs", ""},
		}},
		{"7.x", "debian:sid:cloud-amd64", "debian/7.*", wire.TestFail, map[string]want{
			"odd/map:ops":        {wire.TestPass, "", ""},
			"newer/map_type":     {wire.TestPass, "attached to kprobe do_exit", ""},
			"newer/helper":       {wire.TestPass, "attached to kprobe do_exit", ""},
			"newer/program_type": {wire.TestPass, "loaded only", ""},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			wants := wantAlways()
			for k, v := range tt.more {
				wants[k] = v
			}
			paths := objectPaths(t)
			p, err := guest.ObjectsPayload(t.Context(), "amd64", paths, wire.Objects{Load: wire.LoadEach, Attach: true, Unsupported: tt.unsupported}, 20*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			r := l.runner(t, p)
			entry := newestOf(t, tt.source, tt.glob)
			k, _ := l.run(t, r, entry)
			agrees(t, l, paths, entry, k)
			if k.Verdict != report.Fail {
				t.Errorf("verdict %v, want fail", k.Verdict)
			}
			for _, p := range k.Problems {
				// Of 5.10, whose list of active LSMs lacks bpf.
				if !strings.HasPrefix(p, "programs of type LSM never run here") {
					t.Errorf("problem with files: %q", p)
				}
			}
			for _, test := range k.Tests {
				if ofPreflight(test.Name) {
					continue
				}
				w, ok := wants[test.Name]
				delete(wants, test.Name)
				t.Logf("%s %s: %v, %d insns", test.Verdict, test.Name, test.Duration, test.Insns)
				if !ok {
					t.Errorf("%s: not expected", test.Name)
					continue
				}
				if test.Verdict != w.verdict || !strings.Contains(test.Output, w.output) {
					t.Errorf("%s: %s, %q; want %s, %q", test.Name, test.Verdict, test.Output, w.verdict, w.output)
				}
				if test.Name == "rejected/late_mistake" && test.Insns < 60_000 {
					t.Errorf("%s: only %d insns", test.Name, test.Insns)
				}
				loaded := test.Verdict == wire.TestPass && !strings.Contains(test.Name, "map:")
				if (loaded || w.log != "") && (test.Insns == 0 || test.Duration == 0) {
					t.Errorf("%s: %d insns, load time %v", test.Name, test.Insns, test.Duration)
				}
				path := filepath.Join(r.Out, strings.TrimSuffix(k.Console, ".txt"), wire.FileRoot, test.Name+".log")
				b, err := os.ReadFile(path)
				switch {
				case test.Insns > 60_000 && len(b) < 4<<20:
					t.Errorf("%s: only %d bytes of log for %d insns", test.Name, len(b), test.Insns)
				case w.log == "" && err == nil:
					t.Errorf("%s: there is a log", test.Name)
				case w.log != "" && !strings.Contains(string(b), w.log):
					t.Errorf("%s: the log lacks %q: %v, %.1000s", test.Name, w.log, err, b)
				}
			}
			for name := range wants {
				t.Errorf("%s: not reported", name)
			}
		})
	}
}

// newestOf is a source's newest kernel that matches.
func newestOf(t *testing.T, spec, glob string) plan.Entry {
	t.Helper()
	dir, err := kernel.DefaultCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := kernel.NewCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.Parse(spec, cache)
	if err != nil {
		t.Fatal(err)
	}
	list, err := plan.New(t.Context(), []kernel.Source{src}, []string{glob})
	if err != nil {
		t.Fatal(err)
	}
	return list.Newest()
}
