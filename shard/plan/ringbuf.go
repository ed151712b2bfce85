package plan

import (
	"context"
	"os"
	"regexp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

// withRingbuf are old releases with ring buffers of which this is known, so that their
// kernels need not be fetched.
var withRingbuf = []struct {
	release *regexp.Regexp
	since   string
}{
	// RHEL 8.4, and what is built from it.
	{regexp.MustCompile(`^4\.18\.0-.*\.el8(_[0-9]+)?(\.|$)`), "4.18.0-305"},
}

// lacksRingbuf says why a kernel is left out for want of BPF ring buffers; "": it has
// them. One that is older than the first release with them is opened and looked at,
// unless it would have to be fetched: a source can hold hundreds.
func (f Filter) lacksRingbuf(ctx context.Context, src kernel.Source, ref kernel.Ref) string {
	const old = "older than " + ringbufRelease
	if report.CompareVersions(ref.Release, ringbufRelease) >= 0 {
		return ""
	}
	for _, d := range withRingbuf {
		if d.release.MatchString(ref.Release) && report.CompareVersions(ref.Release, d.since) >= 0 {
			return ""
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

// hasRingbuf opens a kernel and looks. Not at its BTF: headers may name what the
// kernel does not have.
func hasRingbuf(ctx context.Context, src kernel.Source, ref kernel.Ref, cache *kernel.Cache) (bool, error) {
	im, err := src.Open(ctx, ref)
	if err != nil {
		return false, err
	}
	scratch, err := os.MkdirTemp("", "bpf-kernel-check-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(scratch)
	return preflight.HasFunction(ctx, im, cache, scratch, "bpf_ringbuf_output")
}
