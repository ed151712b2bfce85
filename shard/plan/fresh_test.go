package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

func TestOnlyNew(t *testing.T) {
	base := &report.Merged{
		Kernels: []report.Result{
			{ID: "d/1", Verdict: report.Pass, Digest: "x"},
			{ID: "d/2", Verdict: report.Crash, Digest: "x"},
			{ID: "d/3", Verdict: report.NoBoot, Digest: "x"},
			{ID: "d/4", Verdict: report.Infra, Digest: "x"},
			{ID: "d/5", Verdict: report.Missing},
			{ID: "d/6", Verdict: report.Pass, Digest: "y"},
			{ID: "d/filtered", Verdict: report.Pass, Digest: "x"},
			{ID: "d/gone", Verdict: report.Pass, Digest: "x"},
		},
		Gone:        []string{"d/back"},
		Represented: []report.Represented{{ID: "d/7", By: "d/1"}, {ID: "d/also-gone", By: "d/1"}},
	}
	p := Plan{LeftOut: []string{"d/filtered"}}
	for _, name := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "back"} {
		p.Entries = append(p.Entries, Entry{Ref: kernel.Ref{Distro: "d", Name: name, Digest: "x"}})
	}
	fresh, why, gone := p.OnlyNew(base)
	if d := cmp.Diff([]string{"d/also-gone", "d/gone"}, gone); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"d/4": WhyNotTested, "d/5": WhyNotTested, "d/6": WhyRebuilt, "d/8": WhyNew, "d/back": WhyNotTested}, why); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"d/4", "d/5", "d/6", "d/8", "d/back"}, fresh.IDs()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"d/1", "d/2", "d/3", "d/7", "d/filtered"}, fresh.LeftOut); d != "" {
		t.Error(d)
	}
	if len(p.Entries) != 9 || len(p.LeftOut) != 1 {
		t.Error("the list itself has changed")
	}
}

// What a listing tells beside changes neither a plan's digest nor its shards.
func TestDigestOfRefs(t *testing.T) {
	p := Plan{Entries: []Entry{{Ref: kernel.Ref{Distro: "d", Name: "1", Digest: "x"}}, {Ref: kernel.Ref{Distro: "d", Name: "2", Digest: "x"}}}}
	digest, first := p.Digest(), p.Partition(Rendezvous, 2)[0].IDs()
	for i := range p.Entries {
		e := &p.Entries[i].Ref
		e.Flavour, e.Package, e.Date, e.Modules, e.Size = "rt", "linux 6.1-1", "2026-11-12", true, 5
	}
	if p.Digest() != digest || !cmp.Equal(p.Partition(Rendezvous, 2)[0].IDs(), first) {
		t.Error("they did")
	}
}
