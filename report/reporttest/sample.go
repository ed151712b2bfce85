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
