package reporttest

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

//go:embed sample.json
var sample []byte

// Sample is a small result with one of everything.
func Sample() *report.Merged {
	m := new(report.Merged)
	if err := json.Unmarshal(sample, m); err != nil {
		panic(err)
	}
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

// Fail makes the nth test of a kernel fail.
func Fail(k *report.Result, nth int, output string) {
	t := &k.Tests[nth]
	t.Verdict, t.Output = report.TestFail, output
	k.Verdict = report.Fail
	if k.Cause == nil {
		k.Cause = &report.Cause{Title: report.OneLine(t.Name+": "+strings.TrimSpace(strings.SplitN(output, "\n", 2)[0]), 300), Excerpt: output}
	}
}

// Picked is the sample of a run that booted some kernels for others.
func Picked() *report.Merged {
	m := Sample()
	by := func(by string, ids ...string) {
		for _, id := range ids {
			m.Represented = append(m.Represented, report.Represented{ID: id, By: by})
		}
	}
	by("amazonlinux2/5.10.102-99.473.amzn2.x86_64__99999999", "amazonlinux2/5.10.75-79.358.amzn2.x86_64__99999999", "amazonlinux2/5.10.93-87.444.amzn2.x86_64__99999999")
	by("amazonlinux2/5.10.59-52.142.amzn2.x86_64__99999999", "amazonlinux2/5.10.50-45.132.amzn2.x86_64__99999999")
	by("debian/6.1.0-56-cloud-amd64__1", "debian/6.1.0-48-cloud-amd64__1", "debian/6.1.0-50-cloud-amd64__1", "debian/6.1.0-52-cloud-amd64__1", "debian/6.1.0-55-cloud-amd64__1")
	by("mainline/mainline-v7.3", "mainline/mainline-v7.3-rc2", "mainline/mainline-v7.3-rc4")
	slices.SortFunc(m.Represented, func(a, b report.Represented) int { return strings.Compare(a.ID, b.ID) })
	m.Picks = &report.Picks{Base: true, HeadSHA: m.HeadSHA, Kernels: 40, Boots: 25, Kinds: 19, Failures: 9, Found: 8, Mixed: []string{"debian/6.1.0-48-cloud-amd64__1"}, MixedKinds: 1}
	return m
}
