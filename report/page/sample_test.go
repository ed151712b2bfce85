package page

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
	"github.com/elastic/bpf-kernel-check/report/merge"
)

// synthetic is a large result: n kernels with 30 tests each, of which some fail,
// crash or were not tested, and their consoles. The same n makes the same.
func synthetic(n int) (*report.Merged, fs.FS) {
	rnd := rand.New(rand.NewPCG(7, uint64(n)))
	m := &report.Merged{
		Schema: report.MergedSchema, Tool: "v1.0.0", At: time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC), Verdict: report.Fail,
		List: "sha256:" + strings.Repeat("5", 64), Arch: "amd64", Algorithm: "rendezvous", Shards: 16,
		RunID: "7654321", Attempt: 1, HeadSHA: "0123456789abcdef0123456789abcdef01234567",
		Change: &report.Change{BaseSHA: "fedcba9876543210fedcba9876543210fedcba98", Fixed: []string{"debian/5.10.0-46-cloud-amd64__1"}},
	}
	consoles := fstest.MapFS{}
	distros := []struct{ name, format string }{
		{"amazonlinux2", "%s.%d-27.126.amzn2.x86_64"},
		{"debian", "%s.0-%d-cloud-amd64"},
		{"fedora", "%s.%d-300.fc39.x86_64"},
		{"mainline", "mainline-v%s.%d"},
		{"rhel", "%s.0-%d.el9.x86_64"},
		{"ubuntu", "%s.0-%d-generic"},
	}
	series := []string{"4.19", "5.4", "5.10", "5.15", "6.1", "6.6", "6.12", "7.2"}
	for i := range n {
		d := distros[i%len(distros)]
		nth := i / len(distros)
		s := series[nth%len(series)]
		id := d.name + "/" + fmt.Sprintf(d.format, s, 1+nth/len(series))
		if d.name != "mainline" {
			id += fmt.Sprintf("__%08x", rnd.Uint32())
		}
		k := report.Result{
			ID: id, Digest: "sha256:" + strings.Repeat("1", 64), Verdict: report.Pass, Accel: "kvm", Attempts: 1 + rnd.IntN(60)/59,
			Console: "results/" + id + ".txt", Release: strings.SplitN(id[strings.IndexByte(id, '/')+1:], "__", 2)[0],
			Phases: map[string]int64{"fetch": int64(rnd.IntN(3000)) * 1e6, "boot": int64(1500+rnd.IntN(1500)) * 1e6, "load": int64(300+rnd.IntN(700)) * 1e6, "test": int64(2000+rnd.IntN(6000)) * 1e6},
			Facts: &report.Facts{
				BTF: s[0] != '4', Lockdown: "none", LSMs: []string{"lockdown", "capability", "yama", "apparmor"}, UnprivilegedBPF: "2", JIT: "1", JITHarden: "0",
				Config: map[string]string{}, Targets: map[string]bool{"kprobe/do_renameat2": s != "7.2", "fentry/vfs_unlink": s[0] != '4'},
			},
		}
		k.Phases["vm"] = k.Phases["boot"] + k.Phases["load"] + k.Phases["test"] + 400e6
		for o := range 35 {
			k.Facts.Config[fmt.Sprintf("BPF_OPTION_%d", o)] = "y"
		}
		for t := range 30 {
			test := report.Test{Name: fmt.Sprintf("probe/on_event_%02d", t), Verdict: "pass", Duration: time.Duration(rnd.IntN(900)) * time.Millisecond, Insns: (t + 1) * (200 + 10*len(s) + rnd.IntN(40))}
			if s[0] == '4' && t == 29 {
				test.Verdict, test.Output, test.Insns = "skip", "no BTF", 0
			}
			k.Tests = append(k.Tests, test)
		}
		k.BPF = []report.BPFProgram{
			{Name: "handle_exec", Type: "kprobe", Tag: "0123456789abcdef", Insns: 41_200 + 100*(nth%len(series)), States: 2_400, PeakStates: 310, Stack: 416, Jited: 5_120, MapMemory: 1 << 20},
			{Name: "restrict_filesystems", Type: "lsm", Tag: "fedcba9876543210", Insns: 640 + 10*(nth%len(series)), Jited: 700},
		}
		if s == "5.10" {
			k.BPF[0].Insns = 873_000
			m.Change.Costs = append(m.Change.Costs, report.CostChange{Name: "handle_exec", Type: "kprobe", Before: 41_200, After: 873_000, Limit: 1_000_000, Kernels: []string{k.ID}, TooMuch: true})
		}
		log := boot(rnd, k.Release)
		switch {
		case s == "7.2" && nth%3 == 0:
			failTest(rnd, &k, 4)
		case s == "5.4" && d.name == "ubuntu":
			failTest(rnd, &k, 11)
		case s == "6.12" && d.name == "rhel" && nth%2 == 0:
			k.Verdict, k.Tests = report.Crash, k.Tests[:7]
			k.Cause = &report.Cause{Title: "BUG: kernel NULL pointer dereference, address: 0000000000000010", Excerpt: oops(rnd)}
			log += oops(rnd)
		case i%211 == 17:
			k.Verdict, k.Tests, k.Cause = report.Timeout, k.Tests[:3], &report.Cause{Title: "the payload did not end within 5m0s"}
		case i%307 == 19:
			k.Verdict, k.Tests, k.Attempts, k.Facts = report.Infra, nil, 2, nil
			k.Cause = &report.Cause{Title: "unpack vmlinuz: unexpected EOF"}
			k.Phases = map[string]int64{"fetch": 2e9}
		case i%401 == 23:
			k = report.Result{ID: id, Verdict: report.Missing, Cause: &report.Cause{Title: "shard 3 of 16 did not report it"}}
		}
		if k.Console != "" {
			consoles[k.Console] = &fstest.MapFile{Data: []byte(log)}
		}
		if k.Verdict == report.Fail && d.name == "mainline" {
			m.Change.NewlyFail = append(m.Change.NewlyFail, k.ID)
		}
		m.Kernels = append(m.Kernels, k)
	}
	m.Change.CostsCompared, m.Change.MaxInsnsGrowth = n, 20
	slices.SortFunc(m.Kernels, func(a, b report.Result) int { return strings.Compare(a.ID, b.ID) })
	return m, consoles
}

func failTest(rnd *rand.Rand, k *report.Result, nth int) {
	t := &k.Tests[nth]
	t.Verdict = "fail"
	t.Output = "rejected: R1 invalid mem access 'scalar' (permission denied)\nthe last 30 lines of the verifier's log:\n"
	for i := range 28 {
		t.Output += fmt.Sprintf("  %d: (79) r%d = *(u64 *)(r%d +%d)\n", i, rnd.IntN(10), rnd.IntN(10), rnd.IntN(99))
	}
	t.Output += "  R1 invalid mem access 'scalar'\n  processed 412 insns\n"
	k.Verdict = report.Fail
	k.Cause = &report.Cause{Title: t.Name + ": rejected: R1 invalid mem access 'scalar' (permission denied)", Excerpt: t.Output}
}

func boot(rnd *rand.Rand, release string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[    0.000000] Linux version %s\n", release)
	for i := range 240 {
		fmt.Fprintf(&b, "[%12.6f] pci 0000:00:%02x.0: reg 0x%x: [mem 0x%08x]\n", float64(i)/97, i%32, 16+4*(i%6), rnd.Uint32())
	}
	b.WriteString("    2.018 init: run /payload \x1b[32mok\x1b[0m\n")
	return b.String()
}

func oops(rnd *rand.Rand) string {
	var b strings.Builder
	for _, l := range []string{
		"BUG: kernel NULL pointer dereference, address: 0000000000000010", "#PF: supervisor read access in kernel mode", "Oops: 0000 [#1] PREEMPT SMP NOPTI",
		"CPU: 0 PID: 83 Comm: loader Not tainted", "RIP: 0010:do_renameat2+0x4c/0x510", "Call Trace:", " <TASK>", " __x64_sys_rename+0x45/0x60", " do_syscall_64+0x5b/0x80", " </TASK>",
	} {
		fmt.Fprintf(&b, "[%12.6f] %s\n", 4+rnd.Float64()/1000, l)
	}
	b.WriteString("[    5.100000] ---[ end trace 0000000000000000 ]---\n[    5.2] reboot: machine restart\n")
	return b.String()
}

// Texts of a guest that would like to be more than text.
var evil = []string{
	`<script>window.pwned=1</script>`, `</script><script>window.pwned=1</script>`, `"><img src=x onerror="window.pwned=1">`,
	`' onmouseover='window.pwned=1`, `<!--<script>`, `]]>`, `{{.}}`, `javascript:window.pwned=1`, `\u003cscript\u003ewindow.pwned=1</script>`,
	"\u202eevil\u202c", `<svg onload=window.pwned=1>`, `</pre></template></textarea></style><script>window.pwned=1</script>`, "`${window.pwned=1}`",
}

// hostile is a result in which everything that a guest can choose is evil.
func hostile() (*report.Merged, fs.FS) {
	m, _ := synthetic(24)
	consoles := fstest.MapFS{}
	all := strings.Join(evil, "\n")
	for i := range m.Kernels {
		k := &m.Kernels[i]
		e := evil[i%len(evil)]
		k.Release = report.OneLine(e, 100)
		k.Mounts, k.Modules, k.Problems = []string{e}, []string{e}, []string{e}
		if k.Facts != nil {
			k.Facts.Lockdown, k.Facts.LSMs, k.Facts.Config, k.Facts.Targets = e, []string{e}, map[string]string{e: e}, map[string]bool{e: true}
		}
		for j := range k.Tests {
			k.Tests[j].Name = evil[j%len(evil)] + fmt.Sprint(j)
			k.Tests[j].Output = all
		}
		if i%2 == 0 {
			k.Verdict = report.Crash
			k.Cause = &report.Cause{Title: e + " BUG: x", Excerpt: all}
			k.Tests = append(k.Tests, report.Test{Name: e, Verdict: "fail", Output: all})
		}
		k.Programs = nil
		for j, e := range evil {
			k.Programs = append(k.Programs, report.Program{Name: e + fmt.Sprint(j), Verdict: k.Verdict, Cause: k.Cause, Left: evil})
		}
		k.Console = "results/" + k.ID + ".txt"
		consoles[k.Console] = &fstest.MapFile{Data: []byte("\x1b[31;1m" + all + "\x1b]0;title\x07\x1b[38;2;1;2;3mrgb\n" + e + " BUG: x\n" + all)}
	}
	for i, e := range evil { // ids that pass for ids anyhow
		m.Represented = append(m.Represented, report.Represented{ID: "debian/6.1" + e, By: m.Kernels[i%24].ID})
	}
	m.Picks = &report.Picks{Mixed: evil}
	m.Refusals = []report.Refusal{{Reason: evil[1]}}
	m.Tool, m.RunID, m.HeadSHA = evil[0], evil[1], evil[2]
	return m, consoles
}

// single is a run of one kernel, which passed.
func single() *report.Merged {
	m, _ := synthetic(1)
	m.Verdict, m.Shards, m.Change = report.Pass, 1, nil
	return m
}

// allMissing is a run of which nothing came back.
func allMissing() *report.Merged {
	m, _ := synthetic(40)
	m.Verdict, m.Change = report.Missing, nil
	for i := range m.Kernels {
		m.Kernels[i] = report.Result{ID: m.Kernels[i].ID, Verdict: report.Missing, Cause: &report.Cause{Title: "shard 3 of 16 did not report it"}}
	}
	m.Refusals = []report.Refusal{{Reason: "no result of shards 1 to 16 of 16"}}
	return m
}

// long is a result of names and lines that go on without a blank.
func long() (*report.Merged, fs.FS) {
	m, _ := synthetic(12)
	consoles := fstest.MapFS{}
	for i := range m.Kernels {
		k := &m.Kernels[i]
		k.ID = strings.Repeat("distribution", 6) + "/" + strings.Repeat("6.1.0-", 30) + fmt.Sprint(i) + "__" + strings.Repeat("f", 40)
		k.Release = strings.Repeat("6.1.0-", 30)
		k.Verdict, k.Cause = report.Fail, &report.Cause{Title: strings.Repeat("cause", 50), Excerpt: strings.Repeat("x", 4000)}
		for j := range k.Tests {
			k.Tests[j].Name = strings.Repeat("object/program_", 16) + fmt.Sprint(j)
			k.Tests[j].Verdict, k.Tests[j].Output = "fail", strings.Repeat("y", 4000)
		}
		k.Console = fmt.Sprintf("results/%d.txt", i)
		consoles[k.Console] = &fstest.MapFile{Data: []byte("a\x00b\n" + strings.Repeat("z", 1<<20) + "\n\u202eback\u202c\x1b[31mred\n" + strings.Repeat("\x1b[1m", 5000) + "end\n")}
	}
	return m, consoles
}

// realRun is a run of three shards on four Debian kernels under QEMU, merged:
// the loader's test objects, those that are to be rejected among them.
func realRun(t testing.TB) (*report.Merged, fs.FS) {
	t.Helper()
	c, err := merge.Collect(filepath.Join("testdata", "run"))
	if err != nil {
		t.Fatal(err)
	}
	m, from := merge.Merge(c, merge.Options{Tool: "v1.0.0", At: time.Date(2026, 11, 24, 0, 15, 0, 0, time.UTC)})
	dir := t.TempDir()
	out, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	merge.CopyEvidence(out, m, from)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if len(m.Kernels) != 4 || len(m.Refusals) > 0 {
		t.Fatalf("%d kernels, %v", len(m.Kernels), m.Refusals)
	}
	return m, os.DirFS(dir)
}

// cloudKernels are Debian's cloud kernels under a tracer. It loads up to 6.12; from 6.16
// on a field that it reads is gone, from 7.0 on a function too. Some packages are
// gone, one kernel's only test was skipped, one passed after the emulator had
// failed, one fails as expected.
func cloudKernels() (*report.Merged, fs.FS) {
	rnd, consoles := rand.New(rand.NewPCG(7, 88)), fstest.MapFS{}
	m := &report.Merged{
		Schema: report.MergedSchema, Tool: "v1.0.0", At: time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC), Verdict: report.Fail,
		List: "sha256:" + strings.Repeat("5", 64), Arch: "amd64", Algorithm: "rendezvous", Shards: 1, Attempt: 1,
	}
	tests := strings.Fields("Start FeaturesCorrect ForkExit ForkExec Setsid Setuid Setgid Ptrace Shmget Memfd FileCreate FileDelete FileRename FileModify TtyWrite Tcpv4Connect Tcpv4Accept Tcpv4Close Tcpv6Connect Tcpv6Accept Tcpv6Close UdpSend Dns Stream")
	said := map[string]string{
		"6.1": "libbpf: prog 'kprobe__vfs_open': relo #7: substituting insn #54 w/ invalid insn\n  libbpf: prog 'kprobe__vfs_open': BPF program load failed: Invalid argument\n  invalid func unknown#195896080\n  failed to resolve CO-RE relocation <byte_off> [28] struct kernfs_node.parent (0:2 @ offset 8)\n  libbpf: prog 'kprobe__vfs_open': failed to load: -22\n  libbpf: failed to load object 'EventProbe_bpf'",
		"7":   "libbpf: prog 'fentry__do_unlinkat': failed to find kernel BTF type ID of 'do_unlinkat': -3\n  libbpf: prog 'fentry__do_unlinkat': failed to prepare load attributes: -3\n  libbpf: prog 'fentry__do_unlinkat': failed to load: -3\n  libbpf: failed to load object 'EventProbe_bpf'",
	}
	for _, v := range []struct {
		format string
		n      int
		fails  string
	}{
		{"5.10.0-%d-cloud-amd64", 10, ""},
		{"6.1.0-%d-cloud-amd64", 16, ""},
		{"6.12.%d+deb13-cloud-amd64", 16, ""},
		{"6.16.%d+deb14-cloud-amd64", 6, "6.1"},
		{"6.17.%d+deb14-cloud-amd64", 7, "6.1"},
		{"6.18.%d+deb14-cloud-amd64", 8, "6.1"},
		{"6.19.%d+deb14-cloud-amd64", 8, "6.1"},
		{"7.0.%d+deb14-cloud-amd64", 6, "7"},
		{"7.1.%d+deb14-cloud-amd64", 5, "7"},
		{"7.2.%d+deb14-cloud-amd64", 4, "7"},
		{"7.3.%d-cloud-amd64", 2, "7"},
	} {
		for i := range v.n {
			release := fmt.Sprintf(v.format, 3+i)
			k := report.Result{
				ID: "debian/" + release + "__" + strings.TrimSuffix(release, "-cloud-amd64") + "-1", Digest: "sha256:" + strings.Repeat("1", 64),
				Verdict: report.Pass, Accel: "tcg", Boot: "cold", Attempts: 1, Release: release,
				Phases: map[string]int64{"vm": int64(8300+90*i) * 1e6, "boot": 2600e6, "load": int64(1900+20*i) * 1e6, "test": 3100e6},
				Facts: &report.Facts{
					BTF: true, Lockdown: "none", LSMs: []string{"lockdown", "capability", "yama", "apparmor"}, UnprivilegedBPF: "2", JIT: "1", JITHarden: "0",
					Config: map[string]string{"BPF_SYSCALL": "y", "DEBUG_INFO_BTF": "y"}, Targets: map[string]bool{"fentry/do_unlinkat": v.fails != "7", "fentry/vfs_rename": true},
				},
			}
			k.Console = "results/" + k.ID + ".txt"
			consoles[k.Console] = &fstest.MapFile{Data: []byte(boot(rnd, release))}
			k.Reproduce = report.Command("--events-trace", "EventsTrace", k.ID)
			for j, t := range tests {
				test := report.Test{Name: t, Verdict: "pass", Duration: time.Duration(3+j) * time.Millisecond}
				switch {
				case v.fails == "":
				case t == "Stream":
					test.Verdict, test.Output = "fail", "EventsTrace ended before the tests did: exit status 1\nwhen it ended, Start ran\nits stderr says:\n  "+said[v.fails]+"\nit printed no event"
				default:
					continue // it ended before
				}
				k.Tests = append(k.Tests, test)
			}
			if v.fails != "" {
				k.Verdict = report.Fail
				k.Cause = &report.Cause{Title: "Stream: EventsTrace ended before the tests did: exit status 1", Excerpt: k.Tests[len(k.Tests)-1].Output}
			}
			m.Kernels = append(m.Kernels, k)
		}
	}
	for _, i := range []int{4, 12, 73} {
		k := &m.Kernels[i]
		name, _, _ := strings.Cut(strings.TrimPrefix(k.ID, "debian/"), "__")
		k.Verdict, k.Attempts, k.Tests, k.Facts, k.Accel, k.Boot, k.Console, k.Release, k.Reproduce = report.Infra, 2, nil, nil, "", "", "", "", ""
		k.Phases = map[string]int64{"fetch": 1e9}
		k.Cause = &report.Cause{Title: fmt.Sprintf("fetch https://snapshot.debian.org/archive/debian/pool/main/l/linux-signed-amd64/linux-image-%[1]s_%[1]s_amd64.deb: 404 Not Found: Debian has removed this package from its archive; list its kernels again", name)}
	}
	skips := &m.Kernels[2]
	skips.Verdict, skips.Tests = report.Fail, []report.Test{{Name: "TestRingBuffer", Verdict: "skip", Output: "ring_test.go:12: needs Linux 5.13 for bpf_timer, this kernel is 5.10.0\n"}}
	skips.Cause = &report.Cause{Title: "no test ran: TestRingBuffer was skipped: needs Linux 5.13 for bpf_timer, this kernel is 5.10.0", Excerpt: "TestRingBuffer was skipped: ring_test.go:12: needs Linux 5.13 for bpf_timer, this kernel is 5.10.0"}
	again := &m.Kernels[30]
	again.Attempts = 2
	again.History = []report.Attempt{{Attempt: 1, Verdict: report.Infra, Accel: "tcg", Cause: report.EmulatorFailed + ": EFLAGS is 04db92c2, which cannot be (PANIC: double fault in kmem_cache_alloc_noprof)", Console: "results/" + again.ID + ".attempt-1.txt"}}
	expected := &m.Kernels[20]
	t := &expected.Tests[7]
	t.Verdict, t.Output = "fail", "PROCESS_PTRACE was not seen within 3s: no event has pids.tgid 412\n"
	expected.Verdict, expected.TestsOnly, expected.Cause = report.Fail, true, &report.Cause{Title: "Ptrace: PROCESS_PTRACE was not seen within 3s: no event has pids.tgid 412", Excerpt: t.Output}
	expected.Expected = []report.Expected{{Test: "Ptrace", Reason: "it compares the real parent", Link: "https://example.com/issues/7", Expires: "2027-01-31"}}
	slices.SortFunc(m.Kernels, func(a, b report.Result) int { return strings.Compare(a.ID, b.ID) })
	return m, consoles
}

// picked is a run of picks of the same kernels: the newest and the oldest of each
// series. It begins to fail within one, 6.12. The picks are judged by a full run.
func picked() (*report.Merged, fs.FS) {
	full, consoles := cloudKernels()
	var fails report.Result
	for _, k := range full.Kernels {
		if strings.HasPrefix(k.ID, "debian/6.16.") {
			fails = k
		}
	}
	for i := range full.Kernels {
		k := &full.Kernels[i]
		if strings.HasPrefix(k.ID, "debian/6.12.1") && k.Verdict == report.Pass {
			k.Verdict, k.Tests, k.Cause = fails.Verdict, fails.Tests, fails.Cause
		}
		k.Reproduce = report.Command("--kernels", "debian:sid:cloud-amd64", "--events-trace", "EventsTrace", k.ID)
		if k.Facts != nil {
			k.Facts.Kind = "k"
		}
	}
	var all []analysis.Candidate
	for _, k := range full.Kernels {
		all = append(all, analysis.Candidate{ID: k.ID, Arch: "amd64", Kind: "k"})
	}
	one := *full
	one.Represented = analysis.Represent(all)
	one.Kernels = slices.DeleteFunc(slices.Clone(full.Kernels), func(k report.Result) bool {
		return slices.ContainsFunc(one.Represented, func(r report.Represented) bool { return r.ID == k.ID })
	})
	one.Picks = analysis.ScorePicks(full)
	one.Picks.Base = true
	return &one, consoles
}

// past is a history of runs before m, of which one test is flaky.
func past(m *report.Merged, runs int) *History {
	h := &History{}
	for r := range runs {
		old := Slim(m)
		old.At = m.At.Add(-time.Duration(runs-r) * 24 * time.Hour)
		old.RunID, old.HeadSHA = fmt.Sprint(1000+r), strings.Repeat(fmt.Sprintf("%02x", r), 20)
		for i := range old.Kernels {
			k := &old.Kernels[i]
			k.Tests = slices.Clone(k.Tests)
			if i == 3 && k.Verdict == report.Pass && r%3 == 1 {
				k.Verdict, k.Tests[5].Verdict = report.Fail, "fail"
				k.Cause = &report.Cause{Title: "x"}
			}
			if k.Verdict == report.Fail && r < runs/2 && i%2 == 0 {
				k.Verdict, k.Cause = report.Pass, nil
				for j := range k.Tests {
					k.Tests[j].Verdict = "pass"
				}
			}
			ph := map[string]int64{}
			for n, ns := range k.Phases {
				ph[n] = ns * int64(90+(r*7+i)%20) / 100
			}
			k.Phases = ph
		}
		h.add(old)
	}
	return h
}
