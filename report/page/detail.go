package page

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// The members of report.json that have a place in the page. Others are shown by
// their names.
var kernelMembers = []string{
	"id", "digest", "verdict", "cause", "tests", "phases_ns", "accel", "attempts", "console", "release", "kernel",
	"mounts_failed", "modules_failed", "files", "file_problems", "reproduce", "tests_only", "reused",
}

// detail is what is known of a kernel.
func (b *builder) detail(i int) detail {
	k := b.places[i].Result
	d := detail{Release: k.Release, Digest: k.Digest, Console: k.Console}
	note := func(format string, args ...any) { d.Notes = append(d.Notes, fmt.Sprintf(format, args...)) }
	if k.Reused != nil {
		note("it was not booted in this run: it %s", line(k.Reused.Words()))
	}
	if k.Cause != nil {
		d.Excerpt = cutOutput(report.Text(k.Cause.Excerpt))
	}
	bare := *k // its tests are long, and looked at one by one
	bare.Tests, bare.Cause = nil, nil
	members := membersOf(bare)
	// It is for people to paste, so a result's own word for it is not enough.
	if _, err := report.CommandWords(k.Reproduce); k.Reproduce != "" && err == nil {
		d.Reproduce = k.Reproduce
	}
	d.More = others(members, kernelMembers)

	tests := testsByNeed(k)
	if n := len(tests); n > maxKernelTests {
		tests = tests[:maxKernelTests]
		note("%d of its %d tests are left out, none that failed before one that passed", n-maxKernelTests, n)
	}
	room := maxKernelOutput
	cut := 0
	for _, t := range tests {
		td := testDetail{Name: line(t.Name), Verdict: report.TestVerdict(t), Micros: t.Duration.Microseconds(), Insns: t.Insns}
		out := cutOutput(report.Text(t.Output))
		if len(out) > room {
			cut++
			out = ""
		}
		room -= len(out)
		td.Output = out
		d.Tests = append(d.Tests, td)
	}
	if cut > 0 {
		note("the output of %d tests is left out: it is too long; %s has it", cut, report.ReportName)
	}
	b.facts(&d, k.Facts)
	for _, l := range []namedList{
		{"Modules that could not be loaded", k.Modules},
		{"Mounts that failed", k.Mounts},
		{"Files that the payload left", k.Files},
		{"Problems with its files", k.Problems},
	} {
		if len(l.Items) == 0 {
			continue
		}
		d.Lists = append(d.Lists, namedList{l.Name, firstLines(l.Items, maxEntries)})
	}
	if b.o.History != nil {
		d.History = b.o.History.of(k.ID)
	}
	return d
}

// testsByNeed are a kernel's tests, those that failed first when there are more
// than are shown.
func testsByNeed(k *report.Result) []report.Test {
	if len(k.Tests) <= maxKernelTests {
		return k.Tests
	}
	var failed, others []report.Test
	for _, t := range k.Tests {
		if report.TestVerdict(t) == report.TestFail {
			failed = append(failed, t)
		} else {
			others = append(others, t)
		}
	}
	return append(failed, others...)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (b *builder) facts(d *detail, f *report.Facts) {
	if f == nil {
		return
	}
	add := func(name, value string) {
		if value != "" {
			d.Facts = append(d.Facts, [2]string{name, line(value)})
		}
	}
	add("BTF", yesNo(f.BTF))
	add("PREEMPT_RT", yesNo(f.PreemptRT))
	add("lockdown", f.Lockdown)
	add("LSMs", strings.Join(f.LSMs[:min(len(f.LSMs), 50)], ", "))
	add("unprivileged_bpf_disabled", f.UnprivilegedBPF)
	add("bpf_jit_enable", f.JIT)
	add("bpf_jit_harden", f.JITHarden)
	for i, name := range slices.Sorted(maps.Keys(f.Config)) {
		if i < maxEntries {
			d.Config = append(d.Config, [2]string{"CONFIG_" + line(name), line(f.Config[name])})
		}
	}
	for i, name := range slices.Sorted(maps.Keys(f.Targets)) {
		if i < maxEntries {
			d.Targets = append(d.Targets, [2]string{line(name), map[bool]string{true: "present", false: "missing"}[f.Targets[name]]})
		}
	}
	if n := max(len(f.Config), len(f.Targets)); n > maxEntries {
		d.Notes = append(d.Notes, fmt.Sprintf("of its configuration and targets, only %d each are shown", maxEntries))
	}
}

// membersOf is a value as report.json has it.
func membersOf(v any) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if b, err := json.Marshal(v); err != nil || json.Unmarshal(b, &m) != nil {
		return nil
	}
	return m
}

// others are the members that are not known.
func others(m map[string]json.RawMessage, known []string) map[string]json.RawMessage {
	size := 0
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if slices.Contains(known, name) {
			delete(m, name)
			continue
		}
		if n := len(m[name]); size+n > maxMore {
			m[name] = mustJSON(fmt.Sprintf("%d bytes, left out; %s has them", n, report.ReportName))
		}
		size += len(m[name])
	}
	if len(m) == 0 {
		return nil
	}
	return m
}
