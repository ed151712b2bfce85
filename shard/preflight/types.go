package preflight

import (
	"context"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/btfhub"
)

// TakeTypes gives a kernel without types those that files have for it, if any.
func (k *Kernel) TakeTypes(ctx context.Context, im *kernel.Image, files *btfhub.Files) error {
	if !k.noTypes {
		return nil
	}
	b, err := files.Find(ctx, im)
	if err != nil || b == nil {
		return err
	}
	k.noTypes, k.foreign = false, true
	return k.setBTF(b)
}
