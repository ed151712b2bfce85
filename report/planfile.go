package report

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// PlanSchema is the version of plan.json's format.
const PlanSchema = 1

// PlanFile is the pinned list of kernels and who boots what; plan.json is this.
type PlanFile struct {
	Schema    int          `json:"schema"`
	Tool      string       `json:"tool" limit:"word"`      // version of the program that planned
	List      string       `json:"list_digest"`            // ListDigest of Kernels
	Algorithm string       `json:"algorithm" limit:"word"` // how the list was cut
	Arch      string       `json:"arch,omitempty" limit:"word"`
	Shards    []PlanShard  `json:"shards" limit:"4096"`    // 1 to n in order
	Kernels   []PlanKernel `json:"kernels" limit:"100000"` // the list, in byte order of the ids

	Gone []string `json:"gone,omitempty" limit:"100000"` // ids that are not in the list: their servers have lost them

	LeftOut []string `json:"left_out,omitempty" limit:"100000"` // other ids that the sources hold: they are not wanted
	Known   []string `json:"known,omitempty" limit:"100000"`    // ids that are wanted and not new: an earlier run has their results

	Represented []Represented `json:"represented,omitempty" limit:"100000"` // by kernels of the list, in byte order of the ids
	Payload     string        `json:"payload,omitempty" limit:"word"`       // digest of the payload that they were picked for; "": none was
}

// PlanShard is what one shard is to boot.
type PlanShard struct {
	Shard   int      `json:"shard"`                  // from 1
	Kernels []string `json:"kernels" limit:"100000"` // ids; may be empty
}

// PlanKernel is one kernel of the list and what its source needs to find it.
type PlanKernel struct {
	ID      string `json:"id"`
	Digest  string `json:"digest" limit:"word"`            // of its bytes
	Source  string `json:"source,omitempty"`               // as the user wrote it
	Release string `json:"release,omitempty" limit:"word"` // uname -r
	Arch    string `json:"arch,omitempty" limit:"word"`
	Size    int64  `json:"size,omitempty"`    // bytes to fetch
	Locator string `json:"locator,omitempty"` // the source's own
}

// ListDigest is the digest of a list of kernels, in byte order of the ids: over
// "<id> <digest>\n" of each.
func ListDigest(kernels []PlanKernel) string {
	h := sha256.New()
	for _, k := range kernels {
		_, _ = io.WriteString(h, k.ID+" "+k.Digest+"\n") // a hash takes everything
	}
	return digest(h)
}

// WritePlanFile writes a plan as JSON.
func WritePlanFile(w io.Writer, p *PlanFile) error {
	c := *p
	c.Schema = PlanSchema
	if err := errors.Join(checkLimits(&c), c.check()); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return writeDocument(w, "plan", c)
}

// ReadPlanFile reads a plan from a hostile place. What it returns is whole: its
// digest is right and its shards are a partition of its list.
func ReadPlanFile(r io.Reader) (*PlanFile, error) {
	p := new(PlanFile)
	if err := readDocument(r, "plan", PlanSchema, p); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *PlanFile) check() error {
	switch {
	case len(p.Kernels) == 0:
		return errors.New("it holds no kernel")
	case len(p.Shards) == 0 || len(p.Shards) > maxShards:
		return fmt.Errorf("it has %d shards: want 1 to %d", len(p.Shards), maxShards)
	}
	if err := errors.Join(checkIDs(p.Gone), checkIDs(p.LeftOut), checkIDs(p.Known)); err != nil {
		return err
	}
	left := make(map[string]bool, len(p.Kernels))
	for i, k := range p.Kernels {
		if err := CheckID(k.ID); err != nil {
			return err
		}
		if i > 0 && strings.Compare(p.Kernels[i-1].ID, k.ID) >= 0 {
			return fmt.Errorf("kernel %s is not in its place, or stands twice", k.ID)
		}
		left[k.ID] = true
	}
	if d := ListDigest(p.Kernels); d != p.List {
		return fmt.Errorf("its list's digest is %s and it says %.80q", d, p.List)
	}
	for i, s := range p.Shards {
		if s.Shard != i+1 {
			return fmt.Errorf("shard %d stands where %d belongs", s.Shard, i+1)
		}
		for _, id := range s.Kernels {
			if !left[id] {
				return fmt.Errorf("shard %d has kernel %.250q, which is not in the list or in another shard too", s.Shard, id)
			}
			delete(left, id)
		}
	}
	for _, k := range p.Kernels {
		if left[k.ID] {
			return fmt.Errorf("kernel %s is in no shard", k.ID)
		}
	}
	return checkRepresented(p.Represented, func(id string) bool { _, ok := p.Kernel(id); return ok })
}

// Kernel finds a kernel of the list.
func (p *PlanFile) Kernel(id string) (PlanKernel, bool) {
	i, ok := slices.BinarySearchFunc(p.Kernels, id, func(k PlanKernel, id string) int { return strings.Compare(k.ID, id) })
	if !ok {
		return PlanKernel{}, false
	}
	return p.Kernels[i], true
}
