package preflight

import (
	"context"

	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// ReadFacts reads what is known of a kernel, for an index; of its modules, too,
// which takes 2 to 10 s the first time.
func ReadFacts(ctx context.Context, im *kernel.Image, c *kernel.Cache, scratch string) (*index.Facts, error) {
	k, err := Load(ctx, im, c, scratch, "")
	if err != nil {
		return nil, err
	}
	f := &index.Facts{Head: index.Head{ID: im.ID(), Digest: im.Digest, Release: im.Release, Arch: im.Arch}, Symbols: string(k.symbols), Config: k.config}
	path, ok := im.FindDerived(indexName)
	if ok {
		f.BTF, _, err = readIndex(path)
	}
	if err != nil {
		return nil, err
	}
	m, err := k.readModules()
	f.Modules, f.AllModules, f.NoModules = string(m.Lines), m.All, err != nil
	return f, nil
}

// NewKernel makes a kernel of what an index has of it.
func NewKernel(f *index.Facts) (*Kernel, error) {
	k := &Kernel{ID: f.ID, Release: f.Release, Arch: f.Arch, symbols: symbols(f.Symbols), config: image.Config(f.Config)}
	if !f.NoModules {
		m := moduleIndex{Lines: symbols(f.Modules), All: f.AllModules}
		k.readModules = func() (moduleIndex, error) { return m, nil }
	}
	return k, k.setBTF(f.BTF)
}
