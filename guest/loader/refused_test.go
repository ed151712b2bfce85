package main

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

func TestRefusedByLibbpf(t *testing.T) {
	ops := &ebpf.CollectionSpec{Maps: map[string]*ebpf.MapSpec{"ops": {Type: ebpf.StructOpsMap, Value: &btf.Struct{Name: "tcp_ops___mine"}}}}
	all := []string{"bpf_cast_to_kern_ctx", "schedule", "bpf_cpumask_create", "bpf_cpumask_release", "bpf_cpumask_set_cpu", "tcp_ops"}
	for _, tt := range []struct {
		object string
		spec   *ebpf.CollectionSpec
		lacks  string
		want   string
	}{
		// Its weak symbols are in no kernel.
		{"versions", &ebpf.CollectionSpec{}, "", ""},
		{"versions", &ebpf.CollectionSpec{}, "schedule", "warning: libbpf would refuse the object: this kernel has no schedule"},
		{"targets", ops, "", ""},
		{"targets", ops, "tcp_ops", "warning: libbpf would refuse the object: this kernel has no tcp_ops"},
	} {
		got := refusedByLibbpf("../../shard/preflight/testdata/"+tt.object+".bpf.o", tt.spec, func(name string) bool {
			for _, n := range all {
				if n == name {
					return n != tt.lacks
				}
			}
			return false
		})
		if got != tt.want {
			t.Errorf("%s without %q: %q, want %q", tt.object, tt.lacks, got, tt.want)
		}
	}
}
