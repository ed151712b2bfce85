package main

import (
	"io"
	"os"

	"github.com/cilium/ebpf/btf"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/elastic/bpf-kernel-check/shard/index"
)

// makeSmallIndex writes an index of three small kernels, the newest without
// do_unlinkat and with another type of task_struct.state: smallindex FILE.
func makeSmallIndex(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: smallindex FILE")
	}
	kernel := func(id, release string, state btf.Type, functions ...string) *index.Facts {
		types := []btf.Type{&btf.Struct{Name: "task_struct", Size: 8, Members: []btf.Member{{Name: "state", Type: state}}}}
		symbols := ""
		for _, f := range functions {
			types = append(types, &btf.Func{Name: f, Type: &btf.FuncProto{Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}}})
			symbols += f + " T\n"
		}
		b, err := btf.NewBuilder(types, nil)
		ts.Check(err)
		raw, err := b.Marshal(nil, nil)
		ts.Check(err)
		return &index.Facts{
			Head: index.Head{ID: id, Release: release, Arch: "amd64", Digest: "sha256:" + release},
			BTF:  raw, Symbols: symbols, Config: map[string]string{"BPF": "y"}, AllModules: true,
		}
	}
	long := &btf.Int{Name: "long int", Size: 8, Encoding: btf.Signed}
	all := []*index.Facts{
		kernel("debian/6.1.0-56-cloud-amd64__6.1.190-1", "6.1.0-56-cloud-amd64", long, "do_unlinkat", "vfs_open"),
		kernel("debian/6.1.0-57-cloud-amd64__6.1.192-3", "6.1.0-57-cloud-amd64", long, "do_unlinkat", "vfs_open"),
		kernel("debian/7.2.6+deb13-cloud-amd64__7.2.6-1", "7.2.6+deb13-cloud-amd64", &btf.Int{Name: "unsigned int", Size: 4}, "vfs_open"),
	}
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(index.Write(f, func() (*index.Facts, error) {
		if len(all) == 0 {
			return nil, io.EOF
		}
		next := all[0]
		all = all[1:]
		return next, nil
	}))
	ts.Check(f.Close())
}
