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
		"net/pass":                  pass("attached to veth, in driver mode"),
		"net/egress":                pass("attached to a cgroup as CGroupInetEgress"),
		"net/filter":                pass("attached to a socket"),
		"ringbuf/emit":              pass("attached to raw_tracepoint"),
		"ringbuf/map:unused":        pass(""),
		"rejected/good":             pass("attached"),
		"rejected/endless_loop":     fail("rejected: infinite loop detected at insn 1", "infinite loop detected"),
		"rejected/long_loop":        fail("BPF program is too large. Processed 1000001 insn", "BPF program is too large"),
		"rejected/late_mistake":     fail("invalid mem access", "invalid mem access"),
		"rejected/no_such_member":   fail("CO-RE: struct task_struct has no no_such_member on this kernel\nthe verifier processed ", "invalid func unknown#195896080"),
		"rejected/no_such_struct":   fail("CO-RE: this kernel has no struct no_such_struct\n", "invalid func unknown#195896080"),
		"odd/uses_pinned":           pass("attached to kprobe do_exit"),
		"odd/unknown_section":       fail(`does not know the section "mysection"`, ""),
		"odd/optional":              {wire.TestSkip, `not loaded: its section "?fentry/no_such_function" marks it as optional`, ""},
		"odd/replacement":           {wire.TestSkip, "not loaded: it replaces a function of another program", ""},
		"odd/wrong_helper":          fail("has no helper bpf_xdp_adjust_head for program type SocketFilter", "bpf_xdp_adjust_head"),
		"odd/no_such_kprobe":        fail("this kernel has no kprobe no_such_function to attach to", ""),
		"odd/no_such_tracepoint":    fail("this kernel has no tracepoint sched/no_such_event to attach to", ""),
		"odd/ssthresh":              pass("loaded only"),
		"odd/undo_cwnd":             pass("loaded only"),
		"odd/cong_avoid":            pass("loaded only"),
		"odd/of_no_map":             fail("no struct_ops map of the object has it as a member", ""),
		"odd/last":                  pass("attached to kprobe do_exit"),
		"rejected/no_such_function": fail("no function or hook to attach to: no_such_function", ""),
	}
}

// libbpf creates all of an object's maps for each of its programs.
func libbpfOn510() map[string]want {
	wants := map[string]want{
		"odd/unknown_section":     {wire.TestFail, `does not know the section "mysection"`, ""},
		"odd/optional":            {wire.TestSkip, "marks it as optional", ""},
		"odd/replacement":         {wire.TestSkip, "not loaded: it replaces a function of another program", ""},
		"lsm/on_file_open":        {wire.TestPass, "never runs: bpf is not among the active LSMs", ""},
		"rejected/no_such_member": {wire.TestFail, "CO-RE: struct task_struct has no no_such_member on this kernel\nthe verifier processed ", "failed to resolve CO-RE relocation"},
		"rejected/no_such_struct": {wire.TestFail, "CO-RE: this kernel has no struct no_such_struct\n", "failed to resolve CO-RE relocation"},
	}
	for _, name := range strings.Fields("uses_pinned wrong_helper no_such_kprobe no_such_tracepoint ssthresh undo_cwnd cong_avoid of_no_map last map:ops") {
		wants["odd/"+name] = want{wire.TestSkip, "unsupported: section .struct_ops.link came with Linux 6.4", ""}
	}
	wants["newer/program_type"] = want{wire.TestSkip, "unsupported: program type Syscall came with Linux 5.14, this kernel is 5.10.", ""}
	for _, name := range strings.Fields("map_type helper") {
		wants["newer/"+name] = want{wire.TestSkip, "unsupported: map type BloomFilter came with Linux 5.16, this kernel is 5.10.", ""}
	}
	return wants
}

// The set of objects gives the right verdict for each program, on an old
// kernel and on a new one.
func TestObjects(t *testing.T) {
	tests := []struct {
		name, source, glob  string
		loader, unsupported string
		more                map[string]want
	}{
		{"5.10 libbpf", "debian:bullseye:cloud-amd64", "debian/5.10.*", wire.LoaderLibbpf, wire.TestSkip, libbpfOn510()},
		{"7.x libbpf", "debian:sid:cloud-amd64", "debian/7.*", wire.LoaderLibbpf, wire.TestFail, map[string]want{
			"odd/map:ops":             {wire.TestPass, "registered, and taken back", ""},
			"newer/map_type":          {wire.TestPass, "attached to kprobe do_exit", ""},
			"newer/helper":            {wire.TestPass, "attached to kprobe do_exit", ""},
			"newer/program_type":      {wire.TestPass, "loaded only: needs a caller", ""},
			"rejected/no_such_member": {wire.TestFail, "CO-RE: struct task_struct has no no_such_member on this kernel\nthe verifier processed ", "failed to resolve CO-RE relocation"},
			"rejected/no_such_struct": {wire.TestFail, "CO-RE: this kernel has no struct no_such_struct\n", "failed to resolve CO-RE relocation"},
		}},
		{"5.10", "debian:bullseye:cloud-amd64", "debian/5.10.*", wire.LoaderGo, wire.TestSkip, map[string]want{
			"odd/map:ops":        {wire.TestSkip, "came with Linux 6.4", ""},
			"newer/map_type":     {wire.TestSkip, "unsupported: map type BloomFilter came with Linux 5.16, this kernel is 5.10.", ""},
			"newer/helper":       {wire.TestSkip, "unsupported: helper bpf_strncmp for program type Kprobe came with Linux 5.17, this kernel is 5.10.", "invalid func unknown#182"},
			"newer/program_type": {wire.TestSkip, "unsupported: program type Syscall came with Linux 5.14, this kernel is 5.10.", ""},
			"lsm/on_file_open":   {wire.TestPass, "never runs: bpf is not among the active LSMs", ""},
		}},
		{"7.x", "debian:sid:cloud-amd64", "debian/7.*", wire.LoaderGo, wire.TestFail, map[string]want{
			"odd/map:ops":        {wire.TestPass, "registered, and taken back", ""},
			"newer/map_type":     {wire.TestPass, "attached to kprobe do_exit", ""},
			"newer/helper":       {wire.TestPass, "attached to kprobe do_exit", ""},
			"newer/program_type": {wire.TestPass, "loaded only: needs a caller", ""},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			wants := wantAlways()
			if tt.loader == wire.LoaderLibbpf {
				delete(wants, "ringbuf/map:unused") // each program has it
			}
			for k, v := range tt.more {
				wants[k] = v
			}
			paths := objectPaths(t)
			p, err := guest.ObjectsPayload(t.Context(), "amd64", readObjects(t, paths), wire.Objects{
				Loader: tt.loader, Load: wire.LoadEach, Attach: true, Unsupported: tt.unsupported,
			}, 20*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			r := l.runner(t, p)
			entry := newestOf(t, tt.source, tt.glob)
			k, _ := l.run(t, r, entry)
			if tt.loader == wire.LoaderGo {
				agrees(t, l, paths, entry, k)
			}
			if k.Verdict != report.Fail {
				t.Errorf("verdict %v, want fail", k.Verdict)
			}
			for _, p := range k.Problems {
				// Of 5.10, whose list of active LSMs lacks bpf.
				if !strings.HasPrefix(p, "programs of type LSM never run here") && !strings.Contains(p, "only loaded, not attached, ") {
					t.Errorf("problem with files: %q", p)
				}
			}
			t.Logf("%s: payload %v", tt.name, k.Phases)
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

// What only libbpf loads is told with the reason of the other loader; and both
// load objects as a whole as their application sets them.
func TestLoaders(t *testing.T) {
	objects := func(patterns ...string) []string {
		paths, err := guest.FindObjects(patterns)
		if err != nil {
			t.Fatal(err)
		}
		return paths
	}
	not := func(because string) want {
		return want{wire.TestFail, "loads with libbpf 1.8, not with ebpf-go v0.22.0, because " + because, ""}
	}
	pass := func(output string) want { return want{wire.TestPass, output, ""} }
	set := func(names ...string) (v wire.Variant) {
		for _, s := range names {
			name, value, _ := strings.Cut(s, "=")
			v = append(v, wire.Variable{Name: name, Value: value})
		}
		return v
	}
	for name, tt := range map[string]struct {
		objects  []string
		load     string
		settings wire.ObjectSettings
		wants    map[string]want
	}{
		"only libbpf": {objects("../guest/loader/testdata/libbpf/*.bpf.o"), wire.LoadEach, wire.ObjectSettings{}, map[string]want{
			"arena/use_arena":    not("rejected: arena's user address must be set"),
			"flavour/flavour":    not(`program flavour: fixing up kfuncs: kfunc "bpf_task_from_pid": function param mismatch`),
			"fsession/session":   not(`ebpf-go v0.22.0 does not know the section "fsession/security_file_open"`),
			"kconfig/kconfig":    not("open the object: "),
			"kptr/kptr":          not("create the maps: map lists: load BTF"),
			"ops/plain_avoid":    not("open the object: "),
			"ops/plain_ssthresh": not("open the object: "),
			"ops/plain_undo":     not("open the object: "),
			"ops/map:plain":      not("open the object: "),
			"ring/ring":          not("create the maps: map events: map create: invalid argument (ring map size"),
			"sections/sections":  not("open the object: "),
			"symbol/symbol":      not("open the object: "),
			"unnamed/unnamed":    not("rejected: [2] FUNC helper type_id=6 Invalid arg#2"),
			"usdt/on_usdt":       not("open the object: "),
			"version/version":    not("program version: resolve .kconfig"),
		}},
		"whole": {
			objects("../guest/loader/testdata/trace.bpf.o", "../guest/loader/testdata/net.bpf.o", "../guest/loader/libbpf/testdata/settings.bpf.o"), wire.LoadWhole,
			wire.ObjectSettings{
				Maps: []wire.MapSetting{{Name: "settings/outer", Inner: "inner_map"}, {Name: "inner_map", Pinned: true}},
				Variants: []wire.Variant{
					set("config.mode=MODE_GOOD", "config.on=true", `config.inner[1].name="a"`, "config.inner[1].numbers[2]=-3"), set("config.on=true"),
				},
				Programs: []string{"!on_kretprobe"},
				Targets:  []wire.TargetOfProg{{Program: "settings/no_target", Section: "fentry/do_exit"}},
			},
			map[string]want{
				"trace/on_kprobe":         pass("attached to kprobe do_exit"),
				"trace/on_tracepoint":     pass("attached to tracepoint sched/sched_process_exec"),
				"trace/on_raw_tracepoint": pass("attached to raw_tracepoint sched_process_fork"),
				"trace/on_tp_btf":         pass("attached to tp_btf sched_process_exit"),
				"trace/on_fentry":         pass("attached to fentry security_file_open"),
				"trace/on_fexit":          pass("attached to fexit security_file_open"),
				"trace":                   pass("loaded 6 together"),
				"net/pass":                pass("attached to veth"),
				"net/egress":              pass("attached to a cgroup"),
				"net/filter":              pass("attached to a socket"),
				"net":                     pass("loaded 3 together"),

				`settings/variables [config.mode=MODE_GOOD config.on=true config.inner[1].name="a" config.inner[1].numbers[2]=-3]`: pass("map empty has 0 entries in the object: created with 1"),
				`settings/maps [config.mode=MODE_GOOD config.on=true config.inner[1].name="a" config.inner[1].numbers[2]=-3]`:      pass("attached to raw_tp sched_process_exit"),
				`settings/no_target [config.mode=MODE_GOOD config.on=true config.inner[1].name="a" config.inner[1].numbers[2]=-3]`: pass("attached to fentry do_exit"),
				`settings [config.mode=MODE_GOOD config.on=true config.inner[1].name="a" config.inner[1].numbers[2]=-3]`:           pass("loaded 3 together"),

				"settings/variables [config.on=true]": {wire.TestFail, "invalid mem access", "invalid mem access"},
				"settings/maps [config.on=true]":      {wire.TestSkip, "not tried: settings did not load, because of variables", ""},
				"settings/no_target [config.on=true]": {wire.TestSkip, "not tried: settings did not load, because of variables", ""},
				"settings [config.on=true]":           {wire.TestFail, "the object did not load: variables: ", ""},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := theLab(t)
			p, err := guest.ObjectsPayload(t.Context(), "amd64", readObjects(t, tt.objects), wire.Objects{
				Loader: wire.LoaderBoth, Load: tt.load, Attach: true, Unsupported: wire.TestFail, Settings: tt.settings,
			}, 20*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			k, _ := l.run(t, l.runner(t, p), newestOf(t, "debian:sid:cloud-amd64", "debian/7.*"))
			if k.Verdict != report.Fail {
				t.Errorf("verdict %v, want fail", k.Verdict)
			}
			for _, test := range k.Tests {
				w, ok := tt.wants[test.Name]
				delete(tt.wants, test.Name)
				t.Logf("%s %s: %v, %d insns, %s", test.Verdict, test.Name, test.Duration, test.Insns, test.Output)
				if !ok || test.Verdict != w.verdict || !strings.Contains(test.Output, w.output) || test.Loader != "libbpf 1.8, ebpf-go v0.22.0" {
					t.Errorf("%s: %s by %s, %q; want %s, %q", test.Name, test.Verdict, test.Loader, test.Output, w.verdict, w.output)
				}
			}
			for name := range tt.wants {
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
