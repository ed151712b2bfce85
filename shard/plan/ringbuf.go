package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// withRingbuf are the old kernels that have ring buffers as is known of their
// distributions, so that none of them has to be fetched to be asked.
var withRingbuf = []struct {
	release *regexp.Regexp
	since   string
}{
	// RHEL 8.4, and what is built from it.
	{regexp.MustCompile(`^4\.18\.0-.*\.el8(_[0-9]+)?(\.|$)`), "4.18.0-305"},
}

// lacksRingbuf says why a kernel has no ring buffers for BPF, or is not known to
// have any; "": it has. A kernel that is older than the first with them is asked,
// if it does not have to be fetched for that: a source can hold hundreds.
func (f Filter) lacksRingbuf(ctx context.Context, src kernel.Source, ref kernel.Ref) string {
	const old = "older than " + ringbufRelease
	if report.CompareVersions(ref.Release, ringbufRelease) >= 0 {
		return ""
	}
	for _, d := range withRingbuf {
		if d.release.MatchString(ref.Release) {
			if report.CompareVersions(ref.Release, d.since) >= 0 {
				return ""
			}
			return old + ", and its distribution has BPF ring buffers only since " + d.since
		}
	}
	if f.Cache == nil || ref.Size > 0 {
		return old + ", and not known to have BPF ring buffers"
	}
	has, err := hasRingbuf(ctx, src, ref, f.Cache)
	switch {
	case err != nil:
		return old + ", and whether it has BPF ring buffers cannot be told: " + report.ErrorLine(err, 200)
	case !has:
		return old + ", and has no BPF ring buffers"
	}
	return ""
}

// hasRingbuf opens a kernel and looks, and keeps in the cache what it has found.
func hasRingbuf(ctx context.Context, src kernel.Source, ref kernel.Ref, cache *kernel.Cache) (bool, error) {
	im, err := src.Open(ctx, ref)
	if err != nil {
		return false, err
	}
	answer, err := im.Derived(ctx, cache, "ringbuf-1", func(w io.Writer) error {
		dir, err := os.MkdirTemp("", "bpf-kernel-check-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		vmlinux := filepath.Join(dir, "vmlinux")
		if err := im.Vmlinux(ctx, vmlinux); errors.Is(err, image.ErrNoVmlinux) {
			vmlinux = im.Kernel
		} else if err != nil {
			return err
		}
		symbols, err := image.Symbols(vmlinux)
		if err != nil {
			return err
		}
		// Its headers, and so its BTF, may name what it does not have.
		_, err = fmt.Fprint(w, slices.ContainsFunc(symbols, func(s image.Symbol) bool { return s.Name == "bpf_ringbuf_output" }))
		return err
	})
	if err != nil {
		return false, err
	}
	b, err := os.ReadFile(answer)
	return string(b) == "true", err
}
