package reporttest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
)

// Synthetic makes a merged result such as a large project would have: n kernels
// of seven distributions, on a number of shards, which fail with a number of
// signatures (at most 36, each on at least one kernel when there are enough),
// each from a version on.
// The same arguments make the same result.
func Synthetic(n, shards, signatures int) *report.Merged {
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	m := &report.Merged{
		Schema: report.MergedSchema, Tool: "v1.0.0", At: time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC), Verdict: report.Pass,
		List: "sha256:" + strings.Repeat("5", 64), Arch: "amd64", Algorithm: "rendezvous", Shards: shards,
		RunID: "7654321", Attempt: 1, HeadSHA: "0123456789abcdef0123456789abcdef01234567",
		Change: &report.Change{BaseSHA: "fedcba9876543210fedcba9876543210fedcba98"},
	}
	for i := range n {
		m.Kernels = append(m.Kernels, syntheticKernel(rnd, i, n))
	}
	// Each signature takes the newest kernels of one or two distributions that
	// have none yet.
	for s := range signatures {
		for _, d := range []int{s, s/len(syntheticDistros) + 3*s + 1}[:1+s%2] {
			distro := syntheticDistros[d%len(syntheticDistros)].name
			var of []*report.Result
			for i := range m.Kernels {
				if d, _ := report.SplitID(m.Kernels[i].ID); d == distro && m.Kernels[i].Verdict == report.Pass {
					of = append(of, &m.Kernels[i])
				}
			}
			for _, k := range of[max(0, len(of)-1-rnd.IntN(8)):] {
				syntheticFailure(rnd, k, s)
				m.Verdict = report.Fail
				if s == 4 || rnd.IntN(20) == 0 {
					m.Change.NewlyFail = append(m.Change.NewlyFail, k.ID)
				}
			}
		}
	}
	for i := range m.Kernels {
		if k := &m.Kernels[i]; k.Verdict == report.Pass && rnd.IntN(100) == 0 {
			k.Attempts = 2
		}
	}
	return m
}

var syntheticDistros = []struct {
	name, release string // formats of a base version and a build
	bases         []string
}{
	{"amazonlinux2", "%s.%d-%d.%d.amzn2.x86_64", []string{"4.14", "5.4", "5.10", "5.15"}},
	{"ubuntu", "%s.0-%[3]d-generic", []string{"4.15", "5.4", "5.15", "6.8"}},
	{"debian", "%s.0-%[3]d-cloud-amd64", []string{"5.10", "6.1", "6.12"}},
	{"fedora", "%s.%d-%d.fc3%d.x86_64", []string{"5.11", "5.14", "5.17", "6.2", "6.5"}},
	{"rhel", "%s.0-%[3]d.%[4]d.1.el8_%[2]d.x86_64", []string{"4.18", "5.14"}},
	{"mainline", "mainline-v%s.%d", []string{"5.4", "5.8", "5.10", "5.13", "5.15", "6.1", "6.6", "6.12", "7.2"}},
	{"oraclelinux", "%s.17-%[3]d.%[4]d.el8uek.x86_64", []string{"5.4", "5.15"}},
}

func syntheticKernel(rnd *rand.Rand, i, n int) report.Result {
	d := syntheticDistros[i%len(syntheticDistros)]
	nth := i / len(syntheticDistros)
	per := n/len(syntheticDistros) + 1
	base := d.bases[nth*len(d.bases)/per]
	name := fmt.Sprintf(d.release, base, nth%97, 20+nth, nth%10)
	name = strings.Split(name, "%!")[0] // formats use some of the numbers
	if d.name != "mainline" {
		name += fmt.Sprintf("__%016x%016x", rnd.Uint64(), rnd.Uint64())
	} else {
		name += fmt.Sprintf("-rc%d", 1+nth%7)
	}
	id := d.name + "/" + name
	k := report.Result{
		ID: id, Digest: "sha256:" + strings.Repeat("1", 64), Verdict: report.Pass, Accel: "kvm", Attempts: 1,
		Console: "results/" + id + ".txt", Release: name,
		Phases: map[string]int64{"vm": int64(9+rnd.IntN(5)) * int64(time.Second), "boot": int64(2 * time.Second), "fetch": int64(time.Second)},
		Facts: &report.Facts{
			BTF: base[0] != '4', Lockdown: "none", LSMs: []string{"lockdown", "capability", "yama", "apparmor"}, UnprivilegedBPF: "2", JIT: "1", JITHarden: "0",
			Config:  map[string]string{"BPF_SYSCALL": "y", "BPF_LSM": "y", "OVERLAY_FS": "m", "DEBUG_INFO_BTF": "y"},
			Targets: map[string]bool{"kprobe/do_renameat2": base != "7.2", "fentry/vfs_unlink": base[0] != '4'},
		},
	}
	for t := range 24 {
		test := report.Test{Name: fmt.Sprintf("TestProbe%02d", t), Verdict: report.TestPass, Duration: time.Duration(rnd.IntN(900)) * time.Millisecond}
		if t == 23 && base[0] == '4' {
			test.Verdict, test.Output = report.TestSkip, "no BTF"
		}
		k.Tests = append(k.Tests, test)
	}
	return k
}

// syntheticFailure makes a kernel fail with a signature; numbers differ from
// kernel to kernel as they do in real life.
func syntheticFailure(rnd *rand.Rand, k *report.Result, s int) {
	word := []string{"unlink", "rename", "exec", "fork", "connect", "accept", "ptrace", "mmap", "setuid"}[s%9]
	switch s % 4 {
	case 0:
		out := fmt.Sprintf("    probe_test.go:%d: load program: permission denied: R%d invalid mem access 'scalar' in %s (%d line(s) omitted)\n", 40+s, rnd.IntN(10), word, rnd.IntN(90))
		for i := range 30 {
			out += fmt.Sprintf("        %d: (79) r%d = *(u64 *)(r%d +%d)\n", i, rnd.IntN(10), rnd.IntN(10), rnd.IntN(99))
		}
		Fail(k, s%23, out)
	case 1:
		fn := "do_" + word
		k.Verdict = report.Crash
		k.Cause = &report.Cause{Title: fmt.Sprintf("BUG: kernel NULL pointer dereference, address: %016x", rnd.Uint64()), Excerpt: oops(rnd, fn)}
		k.Tests = k.Tests[:s%10]
	case 2:
		Fail(k, s%23, fmt.Sprintf("    probe_test.go:77: event %s: want pid %d, got %d\n", word, rnd.IntN(999), rnd.IntN(999)))
	default:
		k.Verdict = report.Crash
		k.Cause = &report.Cause{Title: fmt.Sprintf("WARNING: CPU: %d PID: %d at kernel/bpf/%s.c:%d bpf_%s+0x%x/0x%x", rnd.IntN(8), rnd.IntN(999), word, rnd.IntN(999), word, rnd.IntN(99), rnd.IntN(999))}
		k.Cause.Excerpt = oops(rnd, "bpf_"+word)
	}
}

// Fail makes the nth test of a kernel fail.
func Fail(k *report.Result, nth int, output string) {
	t := &k.Tests[nth]
	t.Verdict, t.Output = report.TestFail, output
	k.Verdict = report.Fail
	if k.Cause == nil {
		k.Cause = &report.Cause{Title: report.OneLine(t.Name+": "+strings.TrimSpace(strings.SplitN(output, "\n", 2)[0]), 300), Excerpt: output}
	}
}

func oops(rnd *rand.Rand, fn string) string {
	var b strings.Builder
	at := 10 * rnd.Float64()
	line := func(format string, args ...any) {
		at += rnd.Float64() / 1000
		fmt.Fprintf(&b, "[%12.6f] %s\n", at, fmt.Sprintf(format, args...))
	}
	line("#PF: supervisor read access in kernel mode")
	line("Oops: 0000 [#1] PREEMPT SMP NOPTI")
	line("CPU: %d PID: %d Comm: EventsTrace Not tainted", rnd.IntN(8), rnd.IntN(999))
	line("RIP: 0010:%s+0x%x/0x%x", fn, rnd.IntN(200), 200+rnd.IntN(200))
	for _, r := range []string{"RAX", "RBX", "RCX", "RDX"} {
		line("%s: %016x", r, rnd.Uint64())
	}
	line("Call Trace:")
	for range 20 {
		line(" vfs_%s+0x%x/0x%x", fn, rnd.IntN(200), rnd.IntN(400))
	}
	line("---[ end trace %016x ]---", rnd.Uint64())
	return b.String()
}
