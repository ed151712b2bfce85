package shard

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// leanLimit bounds the time until a kernel says that it is up on the lean
// machine, which takes less than two seconds on an idle host.
const leanLimit = 20 * time.Second

// unfitPrefix begins the name of the note beside a kernel in the cache that it
// does not boot on the lean machine.
const unfitPrefix = "unfit-"

// lean says whether a kernel's first VM is the lean machine. Whoever asks for a
// network, KVM or a warm boot gets another one.
func (r *Runner) lean(j job, on qemu.Accel) bool {
	switch im := j.image; {
	case !r.Lean || on != qemu.TCG || on != r.Accel || r.Net || r.TSC == 0:
		return false
	case j.boot == im.Kernel: // without a PVH entry
		return false
	case kernel.CompareVersions(im.Release, r.Arch.Lean.Since) < 0:
		return false
	default:
		_, unfit := im.FindDerived(r.unfitName())
		return !unfit
	}
}

// unfit notes that a kernel came up on the usual machine and not on the lean
// one.
func (r *Runner) unfit(ctx context.Context, im *kernel.Image) {
	// Without the note it is tried again.
	_, _ = im.Derived(ctx, r.Cache, r.unfitName(), func(io.Writer) error { return nil })
	im.KeepNewestDerived(unfitPrefix, savedVersions)
}

// unfitName names the machine, and the QEMU that makes it.
func (r *Runner) unfitName() string {
	b, err := json.Marshal([]any{r.QEMUDigest, r.Arch.Lean, r.Memory, r.cpus, r.params})
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	sum := sha256.Sum256(b)
	return unfitPrefix + hex.EncodeToString(sum[:8])
}
