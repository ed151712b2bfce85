package report

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// MergedSchema is the version of report.json's format.
const MergedSchema = 1

// Merged is the result of all shards as one; report.json is this. Every kernel
// of the list stands in it exactly once, in byte order of the ids.
type Merged struct {
	Schema    int       `json:"schema"`
	Tool      string    `json:"tool" limit:"word"`        // version of the program that merged
	At        time.Time `json:"at"`                       // when it was merged, UTC
	Verdict   Verdict   `json:"verdict"`                  // pass, fail, or missing: not everything was tested
	List      string    `json:"list_digest" limit:"word"` // empty when the shards disagree
	Arch      string    `json:"arch" limit:"word"`        // of the guests
	Algorithm string    `json:"algorithm" limit:"word"`   // how the list was cut
	Shards    int       `json:"shards"`                   // how many there were to be
	RunID     string    `json:"run_id,omitempty" limit:"word"`
	Attempt   int       `json:"attempt"` // the highest seen
	HeadSHA   string    `json:"head_sha,omitempty" limit:"word"`
	Kernels   []Result  `json:"kernels" limit:"100000"`
	Refusals  []Refusal `json:"refusals,omitempty"` // why the result cannot be green, though all kernels may have passed
	Change    *Change   `json:"change,omitempty"`   // against a base; nil without one

	Gone []string `json:"gone,omitempty" limit:"100000"` // ids that were not tested: a mirror lists them and has lost them

	// Represented were not booted, each since a kernel of its kind was.
	Represented []Represented `json:"represented,omitempty" limit:"100000"`
	Picks       *Picks        `json:"picks,omitempty"` // nil where neither this run nor the base was a full one whose kinds are known

	// Earlier is what the base knew of kernels that are not new, where only new ones
	// were booted. The verdict is not about them. nil: nothing.
	Earlier *Earlier `json:"earlier,omitempty"`

	Unused []AllowEntry `json:"unused_allow_splats,omitempty" limit:"1000"` // entries that allowed nothing on any kernel

	Coverage *Coverage `json:"coverage,omitempty"` // Go coverage of all kernels; nil if none was asked for

	NotCompared string `json:"not_compared,omitempty"` // why there is no change, though a base or a limit on growth was given; one line

	Advisory bool `json:"advisory,omitempty"` // the exit code and GitHub's checks are green whatever the verdict
}

// Refusal is one reason why merge cannot be green.
type Refusal struct {
	Shard  int    `json:"shard,omitempty"`  // from 1; 0: not of one shard
	Kernel string `json:"kernel,omitempty"` // id; empty: not of one kernel
	Reason string `json:"reason"`           // one line for a person, complete in itself
}

// Change says what is other than in the base, an earlier Merged of the same
// project. Ids in byte order.
type Change struct {
	BaseSHA   string   `json:"base_sha,omitempty"`
	NewlyFail []string `json:"newly_fail,omitempty" limit:"100000"` // passed in the base
	Fixed     []string `json:"fixed,omitempty" limit:"100000"`      // failed in the base
	New       []string `json:"new,omitempty" limit:"100000"`        // not in the base
	Rebuilt   []string `json:"rebuilt,omitempty" limit:"100000"`    // in the base with other bytes
	Gone      []string `json:"gone,omitempty" limit:"100000"`       // only in the base, and no source has them

	FirstTested  []string `json:"first_tested,omitempty" limit:"100000"`  // in the base and earlier, and never tested there
	TestedBefore []string `json:"tested_before,omitempty" limit:"100000"` // not tested in this run, and in an earlier one

	Costs          []CostChange `json:"costs,omitempty"`            // BPF programs whose instructions moved: first those that grew by too much, then by how much
	CostsCompared  int          `json:"costs_compared,omitempty"`   // programs, on all kernels, that have numbers here and in the base
	CostsUnknown   int          `json:"costs_unknown,omitempty"`    // the same, that have numbers on one side and nothing on the other to compare with
	MaxInsnsGrowth int          `json:"max_insns_growth,omitempty"` // percent, by which no program may grow; 0: any
}

// VMTime is how long all VMs of the run took together.
func (m *Merged) VMTime() time.Duration {
	var total time.Duration
	for i := range m.Kernels {
		if k := &m.Kernels[i]; k.Reused == nil {
			total += k.VMTime()
		}
	}
	return total
}

// ReportName is the name of the merged result's file.
const ReportName = "report.json"

// WriteReport writes the merged result as JSON, as report.schema.json says.
func WriteReport(w io.Writer, m *Merged) error {
	return writeDocument(w, "merged result", m)
}

// ReadReport reads what WriteReport wrote, from a hostile place, to compare
// with.
func ReadReport(r io.Reader) (*Merged, error) {
	m := new(Merged)
	if err := readDocument(r, "merged result", MergedSchema, m); err != nil {
		return nil, err
	}
	return m, nil
}

// Check says why a result is none that merging makes.
func (m *Merged) Check() error { return errors.Join(checkLimits(m), m.check()) }

func (m *Merged) check() error {
	if m.Verdict != Pass && m.Verdict != Fail && m.Verdict != Missing {
		return errors.New("its verdict is none of pass, fail and missing")
	}
	if err := errors.Join(checkAllow(m.Unused), checkIDs(m.Gone)); err != nil {
		return err
	}
	if m.Earlier != nil {
		return errors.Join(checkKernels(m.Kernels, m.Represented), checkKernels(m.Earlier.Kernels, m.Earlier.Represented))
	}
	return checkKernels(m.Kernels, m.Represented)
}

func checkKernels(kernels []Result, represented []Represented) error {
	for i := range kernels {
		k := &kernels[i]
		if err := k.check(); err != nil {
			return err
		}
		if i > 0 && strings.Compare(kernels[i-1].ID, k.ID) >= 0 {
			return fmt.Errorf("kernel %s is not in its place, or stands twice", k.ID)
		}
	}
	return checkRepresented(represented, func(id string) bool {
		_, ok := slices.BinarySearchFunc(kernels, id, func(k Result, id string) int { return strings.Compare(k.ID, id) })
		return ok
	})
}

// FindReport reads the merged result in a directory or zip file that merge has
// left; it is nil where there is none.
func FindReport(name string) (*Merged, error) {
	var fsys fs.FS
	if strings.HasSuffix(name, ".zip") {
		zr, err := zip.OpenReader(name)
		if err != nil {
			return nil, err
		}
		defer zr.Close()
		fsys = zr
	} else {
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		fsys = root.FS()
	}
	f, err := fsys.Open(ReportName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadReport(f)
}
