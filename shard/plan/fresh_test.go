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
		Gone: []string{"d/back"},
		Represented: []report.Represented{
			{ID: "d/7", By: "d/1"}, {ID: "d/also-gone", By: "d/1"}, {ID: "d/by-infra", By: "d/4"}, {ID: "d/by-rebuilt", By: "d/6"}, {ID: "d/by-gone", By: "d/gone"},
		},
	}
	p := Plan{LeftOut: []string{"d/filtered"}}
	for _, name := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "back", "by-gone", "by-infra", "by-rebuilt"} {
		p.Entries = append(p.Entries, Entry{Ref: kernel.Ref{Distro: "d", Name: name, Digest: "x"}})
	}
	fresh, gone := p.OnlyNew(base)
	if d := cmp.Diff([]string{"d/also-gone", "d/gone"}, gone); d != "" {
		t.Error(d)
	}
	why := map[string]string{}
	for _, e := range fresh.Entries {
		why[e.ID()] = e.New
	}
	if d := cmp.Diff(map[string]string{
		"d/4": notTested, "d/5": notTested, "d/6": isRebuilt, "d/8": isNew, "d/back": notTested,
		"d/by-gone": notTested, "d/by-infra": notTested, "d/by-rebuilt": notTested,
	}, why); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"d/1", "d/2", "d/3", "d/7"}, fresh.Known); d != "" {
		t.Error(d)
	}
	if len(p.Entries) != 12 || len(p.Known) != 0 {
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
