package report

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Represented is a kernel that was not booted, since another is of its kind.
type Represented struct {
	ID   string `json:"id"`
	By   string `json:"by"`                          // id of the kernel that was booted
	Kind string `json:"kind,omitempty" limit:"word"` // of both, as in Facts, when they were picked
}

// checkRepresented says why kernels cannot be represented by those of a list:
// they stand in byte order of the ids, none twice, none in the list, and each by
// a kernel of the list.
func checkRepresented(represented []Represented, listed func(id string) bool) error {
	for i, r := range represented {
		if err := errors.Join(CheckID(r.ID), CheckID(r.By)); err != nil {
			return err
		}
		switch {
		case i > 0 && strings.Compare(represented[i-1].ID, r.ID) >= 0:
			return fmt.Errorf("represented kernel %s is not in its place, or stands twice", r.ID)
		case listed(r.ID):
			return fmt.Errorf("kernel %s is in the list, and represented", r.ID)
		case !listed(r.By):
			return fmt.Errorf("kernel %s is represented by %s, which is not in the list", r.ID, r.By)
		}
	}
	return nil
}

// PickedFor says whether kernels were picked for the BPF programs that ran, as far as
// results tell: jobs may each build their own. Otherwise none is represented.
func PickedFor(represented []Represented, kernels []Result) bool {
	ran := map[string]string{}
	for i := range kernels {
		if f := kernels[i].Facts; f != nil {
			ran[kernels[i].ID] = f.Kind
		}
	}
	return !slices.ContainsFunc(represented, func(r Represented) bool {
		return r.Kind != "" && ran[r.By] != "" && ran[r.By] != r.Kind
	})
}

// OtherPrograms is what to tell where kernels were picked for others than ran.
const OtherPrograms = "no kernel is represented: they were picked for other BPF programs than those that ran"

// Picks says how picking one kernel of each kind would have done in a full run, in
// which all were booted.
type Picks struct {
	Base     bool   `json:"base,omitempty"`                  // the full run is the base; else it is this one
	HeadSHA  string `json:"head_sha,omitempty" limit:"word"` // of the full run
	Kernels  int    `json:"kernels"`                         // that were tested
	Boots    int    `json:"boots"`                           // that picks would have made
	Kinds    int    `json:"kinds"`
	Failures int    `json:"failures"` // kernels that failed
	Found    int    `json:"found"`    // of these, those that picks boot, or that a kernel which fails too represents

	// Mixed are the kernels that had another result than the one that represents
	// them, in byte order of the ids. Later picks boot them.
	Mixed      []string `json:"mixed,omitempty" limit:"100000"`
	MixedKinds int      `json:"mixed_kinds"`
}
