package reporttest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
)

// Sample is a small result with one of everything.
func Sample() *report.Merged {
	m := &report.Merged{
		Schema: report.MergedSchema, Tool: "v0.3.1", At: time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC), Verdict: report.Fail,
		List: "sha256:" + strings.Repeat("a1", 32), Arch: "amd64", Algorithm: "rendezvous", Shards: 3,
		RunID: "7654321", Attempt: 2, HeadSHA: "0123456789abcdef0123456789abcdef01234567",
		Change: &report.Change{BaseSHA: "fedcba9876543210fedcba9876543210fedcba98"},
	}
	facts := func(btf, rt bool, rename bool) *report.Facts {
		f := &report.Facts{
			BTF: btf, PreemptRT: rt, Lockdown: "none", LSMs: []string{"capability", "yama"}, UnprivilegedBPF: "2", JIT: "1", JITHarden: "0",
			Config: map[string]string{"BPF_SYSCALL": "y", "DEBUG_INFO_BTF": "n", "BPF_LSM": "n"}, Targets: map[string]bool{"kprobe/do_renameat2": rename, "fentry/vfs_unlink": btf},
		}
		if btf {
			f.Config["DEBUG_INFO_BTF"] = "y"
		}
		return f
	}
	add := func(id string, f *report.Facts) *report.Result {
		name := id[strings.IndexByte(id, '/')+1:]
		m.Kernels = append(m.Kernels, report.Result{
			ID: id, Digest: "sha256:" + strings.Repeat("0b", 32), Verdict: report.Pass, Attempts: 1, Accel: "tcg", Boot: "warm", Console: "results/" + id + ".txt",
			Reproduce: report.Command("--kernels", "gs://bucket", "--objects", "build/*.bpf.o", id),
			Release:   strings.SplitN(strings.TrimPrefix(name, "mainline-v"), "__", 2)[0], Facts: f,
			Phases: map[string]int64{"vm": 8_250_000_000, "boot": 2_100_000_000},
			Tests: []report.Test{
				{Name: "trace/on_exec", Verdict: report.TestPass, Duration: 31 * time.Millisecond, Insns: 120},
				{Name: "trace/on_rename", Verdict: report.TestPass, Duration: 12 * time.Millisecond, Insns: 98},
				{Name: "trace/on_unlink", Verdict: report.TestPass, Duration: 40 * time.Millisecond, Insns: 2048},
			},
		})
		return &m.Kernels[len(m.Kernels)-1]
	}
	for _, v := range []string{"5.10.29-27.126", "5.10.35-31.135", "5.10.47-39.130", "5.10.50-44.132", "5.10.59-52.142", "5.10.62-55.141", "5.10.102-99.473"} {
		k := add("amazonlinux2/"+v+".amzn2.x86_64__"+strings.Repeat("9", 8), facts(true, false, true))
		if slices.Contains([]string{"5.10.59-52.142", "5.10.62-55.141", "5.10.102-99.473"}, v) {
			Fail(k, 2, "rejected: R1 type=scalar expected=fp, pkt, pkt_meta (permission denied)\nthe verifier processed 211 insns\nthe last 4 of 212 lines of the verifier's log:\n"+
				fmt.Sprintf("  209: (bf) r1 = r6                  ; R1_w=scalar(id=%d)\n  210: (85) call bpf_probe_read_kernel#113\n  R1 type=scalar expected=fp, pkt, pkt_meta\n  processed 211 insns (limit 1000000) max_states_per_insn 0 total_states 12\n", len(m.Kernels)))
			m.Change.NewlyFail = append(m.Change.NewlyFail, k.ID)
		}
	}
	for _, flavour := range []string{"amd64", "cloud-amd64", "rt-amd64"} {
		for _, v := range []string{"5.10.0-46", "6.1.0-56", "6.12.117+deb13"} {
			k := add("debian/"+v+"-"+flavour+"__1", facts(true, flavour == "rt-amd64", true))
			switch {
			case flavour == "rt-amd64" && v != "5.10.0-46":
				k.Verdict, k.Tests = report.Crash, nil
				k.Cause = &report.Cause{Title: "BUG: sleeping function called from invalid context at kernel/locking/spinlock_rt.c:46", Excerpt: "[    4.458021] BUG: sleeping function called from invalid context at kernel/locking/spinlock_rt.c:46\n[    4.458100] in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 83, name: loader\n[    4.458341] Call Trace:\n[    4.458400]  <TASK>\n[    4.458410]  dump_stack_lvl+0x44/0x5c\n[    4.458458]  __might_resched.cold+0xa6/0xb2\n[    4.458531]  rt_spin_lock+0x2c/0x60\n"}
			case v == "6.12.117+deb13" && flavour == "amd64":
				k.Attempts = 2
				k.History = []report.Attempt{{Attempt: 1, Verdict: report.NoBoot, Cause: "no sign of init within 30s", Accel: "kvm", Console: "results/" + k.ID + ".attempt-1.txt"}}
			case v == "6.12.117+deb13" && flavour == "cloud-amd64":
				Fail(k, 1, "ringbuf_test.go:31: want 3 events, got 2\n")
				k.TestsOnly = true
				k.Expected = []report.Expected{{Test: k.Tests[1].Name, Reason: "the ring buffer loses an event", Link: "https://example.org/issues/7", Expires: "2027-01-31"}}
			case v == "5.10.0-46" && flavour == "cloud-amd64":
				k.StaleExpectations = []string{"known.yml:3: trace/on_exec was expected to fail, and passed: remove the entry (it needs 5.11)"}
			}
		}
	}
	for _, v := range []string{"5.4.0-150", "5.15.0-91", "6.8.0-31"} {
		k := add("ubuntu/"+v+"-generic__2", facts(v[0] == '6', false, v[0] == '6'))
		if v[0] == '5' {
			Fail(k, 1, "this kernel's BTF has no function or hook to attach to: do_renameat2\n")
			k.Tests[0].Verdict, k.Tests[0].Output = report.TestSkip, "unsupported: program type Syscall came with Linux 5.14, this kernel is "+v+"-generic\n"
		}
	}
	m.Change.NewlyFail = append(m.Change.NewlyFail, "ubuntu/5.15.0-91-generic__2")
	m.Change.Fixed = []string{"fedora/6.5.6-300.fc39.x86_64__3"}
	add("fedora/6.5.6-300.fc39.x86_64__3", facts(true, false, true))
	k := add("fedora/6.2.9-300.fc38.x86_64__4", facts(true, false, true))
	k.Verdict, k.Cause = report.Timeout, &report.Cause{Title: "the payload did not end within 5m0s", Excerpt: "    2.179 init: run /payload/loader\n"}
	k.Running = []string{"trace/on_unlink"}
	k.Repeats, k.Flaky = 3, []report.Flaky{{Name: "trace/on_unlink", Failed: 1, Runs: 3}}
	k.History = []report.Attempt{{Repeat: 1, Attempt: 1, Verdict: report.Pass, Accel: "tcg", Console: "results/" + k.ID + ".repeat-1.txt"}}
	bare := func(id string, v report.Verdict, title, excerpt string, attempts int) {
		m.Kernels = append(m.Kernels, report.Result{ID: id, Verdict: v, Attempts: attempts, Cause: &report.Cause{Title: title, Excerpt: excerpt}})
	}
	bare("mainline/mainline-v5.4.1", report.NoBoot, "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", "[    1.2] VFS: Cannot open root device\n", 2)
	bare("mainline/mainline-v5.4-rc3", report.Infra, "unpack vmlinuz: unexpected EOF", "", 2)
	add("mainline/mainline-v7.2", nil)
	bare("mainline/mainline-v7.3", report.Missing, "shard 3 of 3 did not report it", "", 0)
	slices.SortFunc(m.Kernels, func(a, b report.Result) int { return strings.Compare(a.ID, b.ID) })
	slices.Sort(m.Change.NewlyFail)
	return m
}

// Refused is the sample with a shard that is not there.
func Refused() *report.Merged {
	m := Sample()
	m.Refusals = []report.Refusal{
		{Shard: 3, Reason: "shard 3 of 3 is missing: no shard file of it was found"},
		{Kernel: "mainline/mainline-v7.3", Reason: "kernel mainline/mainline-v7.3 was planned for shard 3 and not reported"},
	}
	return m
}

// Green is a result with nothing wrong.
func Green() *report.Merged {
	m := Sample()
	m.Verdict, m.Change = report.Pass, &report.Change{BaseSHA: m.Change.BaseSHA}
	m.Kernels = slices.DeleteFunc(m.Kernels, func(k report.Result) bool { return k.Verdict != report.Pass || !k.OK() })
	return m
}
