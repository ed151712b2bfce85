package plan

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// DefaultMinRelease is what a kernel must have to be tested unless a release is
// asked for: BPF ring buffers, which stand for all that modern probes need.
const DefaultMinRelease = "ringbuf"

// ringbufRelease is the first release of Linux with BPF ring buffers. Distributions
// have added them to older ones.
const ringbufRelease = "5.8"

// Filter says which of the listed kernels are wanted, and of those which can be
// tested.
type Filter struct {
	Globs      []string // of [report.MatchKernel]; none: all
	Arch       string   // as in GOARCH; "" for all
	MinRelease string   // such as "5.8", or DefaultMinRelease; "" for all

	Cache *kernel.Cache // keeps what old kernels say that are asked; nil: none is
	Probe Probe
}

// Probe says whether servers are asked for kernels that they list and have lost.
type Probe int

const (
	// ProbeAlone asks them; a kernel that this machine's cache holds is there.
	ProbeAlone Probe = iota
	// ProbeForOthers asks them, and caches do not count: jobs that boot have others.
	ProbeForOthers
	// ProbeNever is for jobs that make the same list, each by itself: two of them
	// could get different answers.
	ProbeNever
)

// Reason says why a kernel is left out.
type Reason string

// The reasons, as they stand on the screen.
const (
	SkipArch Reason = "SKIP-ARCH"
	SkipOld  Reason = "SKIP-OLD"
	SkipGone Reason = "GONE"
)

// Skipped is a kernel that is wanted and cannot be tested.
type Skipped struct {
	ID     string `json:"id"`
	Reason Reason `json:"skipped"`
	Why    string `json:"why"` // "for arm64", "older than 5.8"
}

var minReleaseRE = regexp.MustCompile(`^[0-9]{1,4}\.[0-9]{1,4}$`)

// CheckMinRelease returns a *kernel.UsageError for what is no release.
func CheckMinRelease(s string) error {
	if s != "" && s != DefaultMinRelease && !minReleaseRE.MatchString(s) {
		return &kernel.UsageError{Msg: fmt.Sprintf("--min-release %q: want a release such as %s, %s for kernels with BPF ring buffers, or nothing for all", s, ringbufRelease, DefaultMinRelease)}
	}
	return nil
}

// unfit says of each kernel of a source why it is left out, with an empty reason
// for those that are not. What the listing does not tell is no reason.
func (f Filter) unfit(ctx context.Context, src kernel.Source, refs []kernel.Ref) []Skipped {
	unfit := make([]Skipped, len(refs))
	var asked errgroup.Group // a second each, the first time
	asked.SetLimit(runtime.NumCPU())
	for i, ref := range refs {
		switch {
		case f.Arch != "" && ref.Arch != "" && ref.Arch != f.Arch:
			unfit[i] = Skipped{ref.ID(), SkipArch, "for " + ref.Arch}
		case f.MinRelease == "" || ref.Release == "":
		case f.MinRelease == DefaultMinRelease:
			asked.Go(func() error {
				if why := f.lacksRingbuf(ctx, src, ref); why != "" {
					unfit[i] = Skipped{ref.ID(), SkipOld, why}
				}
				return nil
			})
		case report.CompareVersions(ref.Release, f.MinRelease) < 0:
			unfit[i] = Skipped{ref.ID(), SkipOld, "older than " + f.MinRelease}
		}
	}
	_ = asked.Wait()
	return unfit
}

// Unfit says why a kernel would be left out, and "" if it would not.
func (f Filter) Unfit(ctx context.Context, e Entry) string {
	return f.unfit(ctx, e.Source, []kernel.Ref{e.Ref})[0].Why
}

// CountSkipped returns how many kernels were skipped for a reason.
func (p Plan) CountSkipped(r Reason) int {
	n := 0
	for _, s := range p.Skipped {
		if s.Reason == r {
			n++
		}
	}
	return n
}

// OtherArch says whether every kernel was skipped for its architecture.
func (p Plan) OtherArch() bool {
	return len(p.Entries) == 0 && len(p.Skipped) > 0 && p.CountSkipped(SkipArch) == len(p.Skipped)
}

// Arches returns the architectures of the kernels, of the skipped ones too, as far
// as the listing tells.
func (p Plan) Arches() []string {
	names := map[string]bool{}
	for _, e := range p.Entries {
		names[e.Arch] = true
	}
	for _, s := range p.Skipped {
		if s.Reason == SkipArch {
			names[strings.TrimPrefix(s.Why, "for ")] = true
		}
	}
	delete(names, "")
	return slices.Sorted(maps.Keys(names))
}

// Gone returns the ids of the kernels that their servers have lost.
func (p Plan) Gone() (ids []string) {
	for _, s := range p.Skipped {
		if s.Reason == SkipGone {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func (p Plan) allSkipped() error {
	msg := fmt.Sprintf("no kernels to test: %d are too old (see --min-release) and %d are for another architecture", p.CountSkipped(SkipOld), p.CountSkipped(SkipArch))
	return &kernel.UsageError{Msg: msg + ", " + p.Skipped[0].ID + " among them"}
}
