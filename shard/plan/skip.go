package plan

import (
	"fmt"
	"regexp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// DefaultMinRelease is the oldest kernel that is tested unless another is asked
// for: the first with all that modern probes need.
const DefaultMinRelease = "5.8"

// Filter says which of the listed kernels are wanted, and of those which can be
// tested.
type Filter struct {
	Globs      []string // of [report.MatchKernel]; none: all
	Arch       string   // as in GOARCH; "" for all
	MinRelease string   // such as "5.8"; "" for all

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
	if s != "" && !minReleaseRE.MatchString(s) {
		return &kernel.UsageError{Msg: fmt.Sprintf("--min-release %q: want a release such as %s, or nothing for all", s, DefaultMinRelease)}
	}
	return nil
}

// skip says whether a kernel is left out. What the listing does not tell is no
// reason.
func (f Filter) skip(ref kernel.Ref) (Skipped, bool) {
	switch {
	case f.Arch != "" && ref.Arch != "" && ref.Arch != f.Arch:
		return Skipped{ref.ID(), SkipArch, "for " + ref.Arch}, true
	case f.MinRelease != "" && ref.Release != "" && report.CompareVersions(ref.Release, f.MinRelease) < 0:
		return Skipped{ref.ID(), SkipOld, "older than " + f.MinRelease}, true
	}
	return Skipped{}, false
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
