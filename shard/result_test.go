package shard

import (
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// A guest can name as many mounts and modules as it has records.
func TestResultKeepsToItsSize(t *testing.T) {
	var records []wire.Record
	for range 200 {
		records = append(records, wire.Record{Type: wire.TypeMount, Mount: &wire.Mount{Target: "/x"}}, wire.Record{Type: wire.TypeModule, Module: &wire.Module{Name: "x"}})
	}
	r := &run{Runner: &Runner{Config: Config{Out: t.TempDir()}}}
	k := report.Result{Console: "console.txt", Phases: map[string]int64{}}
	r.setResult(&k, &job{}, outcome{observed: vm.Observation{Records: records}})
	if len(k.Mounts) != maxMounts || len(k.Modules) != maxModules {
		t.Errorf("%d mounts and %d modules", len(k.Mounts), len(k.Modules))
	}
}
