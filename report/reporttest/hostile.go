package reporttest

import (
	"fmt"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
)

// HostileTexts are what guests and archives may say to harm a report.
var HostileTexts = []string{
	"@elastic/everyone see #1, GH-2, elastic/ebpf#3 and 0123456789abcdef0123456789abcdef01234567",
	"![x](https://evil.example/x.png) [y](https://evil.example) <https://evil.example> https://evil.example www.evil.example",
	"<img src=x onerror=alert(1)><script>x</script></details></details><!-- bpf-kernel-check -->",
	"```\n@team out\n```\n````\n</details>\n`````",
	"`a` ``b`` ```c``` `", "`", "``", " ` ", "a|b|c", "\\", "\\`", "a\\|b",
	"~~~\n~~~", "| a | b |\n|---|---|", "# x\n## y", "> x\n> [!NOTE]", "- [ ] x", "$x$ $`y`$", ":tada:",
	"\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07link\x1b]8;;\x07 \x07\x08\x00", "\u202eevil\u202c \u2066x\u2069 \u200b\u200d\ufeff\u00ad",
	"a\r\nb\rc\u2028d\u2029e\u0085f\vg\fh", "\xff\xfe\xed\xa0\x80", strings.Repeat("`", 3000), strings.Repeat("x", 9000), strings.Repeat("a\n", 5000),
	"&lt;img&gt; &#64;team &commat;x", "<a href=x>", "<details>", "</summary>", "</code></pre>", "_x_ *y* **z**", "<!-", "<!--<!--", "<!<!----", "%s %d %!s(MISSING)",
}

// Hostile is a result that says s wherever a guest can say something.
func Hostile(s string) *report.Merged {
	g := "GUEST" + s
	m := &report.Merged{
		Verdict: report.Fail, Tool: g, Arch: g, RunID: g, HeadSHA: g, Attempt: 1, Shards: 1,
		Refusals: []report.Refusal{{Reason: g, Kernel: g, Shard: 1}}, Change: &report.Change{BaseSHA: g, NewlyFail: []string{g}, Fixed: []string{g}, New: []string{g}, Gone: []string{g}, Rebuilt: []string{g}, FirstTested: []string{g, s}},
	}
	facts := &report.Facts{Lockdown: g, LSMs: []string{g}, UnprivilegedBPF: g, JIT: g, JITHarden: g, Config: map[string]string{g: g, "X": g}, Targets: map[string]bool{g: false, "kprobe/" + g: false}}
	facts.Deps = []report.Dep{{Kind: g, Name: g, Status: g, Signature: "int f(struct " + g + ")", Note: g, Programs: []string{g}, Breaks: []string{g}}, {Kind: "field", Name: g, Status: "absent", Note: g, Programs: []string{g}, Breaks: []string{g}}}
	good := []report.Dep{{Kind: g, Name: g, Status: "present", Signature: "int f(" + g + ", int)", Note: g, Programs: []string{g}}, {Kind: "field", Name: g, Status: "present", Signature: g, Programs: []string{g}}}
	i := 0
	for _, distro := range []string{"debian", g, "x"} {
		for _, v := range []report.Verdict{report.Pass, report.Fail, report.Crash, report.Timeout, report.NoBoot, report.Infra, report.Missing, report.Unknown, report.Pass} {
			i++
			k := report.Result{
				ID: fmt.Sprintf("%s/%d.1-%s__%d%s", distro, i%7, g, i, g), Verdict: v, Digest: g, Console: g + ".txt", Release: g, Accel: g, Attempts: 2,
				Cause: &report.Cause{Title: g, Excerpt: g + "\n" + s}, Modules: []string{g + ": " + g}, Mounts: []string{g}, Facts: facts,
				Reproduce: report.CommandPrefix + g,
			}
			if v == report.Pass {
				k.Cause, k.Facts = nil, &report.Facts{LSMs: []string{"y"}, Config: map[string]string{"X": "n"}, Targets: map[string]bool{g: true, "kprobe/" + g: true}, Lockdown: "z", Deps: good}
				k.Modules, k.Mounts = nil, nil
				k.Tests = []report.Test{{Name: g, Verdict: report.TestPass}, {Name: g + "2", Verdict: report.TestSkip, Output: g}}
			}
			if v == report.Fail {
				k.Cause.Title = g + " failed"
				k.Tests = []report.Test{{Name: g, Verdict: report.TestFail, Output: g}, {Name: g + "/sub", Verdict: "GUEST", Output: s}, {Name: g + "3", Verdict: report.TestFail, Output: g + "\nEventsTrace ended: " + s}, {Name: g + "4", Verdict: report.TestSkip}}
			}
			k.BPF = []report.BPFProgram{{Name: g, Type: g, Tag: g, Insns: 960_000 + i, Jited: i, MapMemory: 1 << 40}, {Name: s, Type: g, Program: g, Test: g, Insns: 7}}
			other := report.Program{Name: s, Verdict: v, Cause: k.Cause, Left: []string{g}}
			k.Programs = []report.Program{{Name: g, Verdict: v, Cause: k.Cause, Tests: i, Duration: time.Second, Left: []string{g, s}}, other}
			m.Kernels = append(m.Kernels, k)
		}
	}
	m.Represented = []report.Represented{{ID: "debian/1.0" + g, By: m.Kernels[0].ID}, {ID: g, By: m.Kernels[1].ID}, {ID: s, By: g}}
	m.Picks = &report.Picks{HeadSHA: g, Kernels: -1, Boots: 1 << 40, Kinds: 1, Failures: 1, Mixed: []string{g, s}}
	m.Change.NewlyFail = append(m.Change.NewlyFail, m.Kernels[1].ID)
	m.Change.Costs = []report.CostChange{{Name: g, Type: g, Before: 1, After: 960_000, Limit: 1_000_000, Kernels: []string{m.Kernels[1].ID, g}, Against: g, TooMuch: true}, {Name: s, Type: g, Before: 9000, After: 2, Kernels: []string{g}}}
	m.NotCompared = g
	m.Earlier = &report.Earlier{Kernels: []report.Result{{ID: g, Verdict: report.Unknown}}}
	m.Change.CostsCompared, m.Change.CostsUnknown, m.Change.MaxInsnsGrowth = 2, 1, 20
	return m
}
