package report

import "time"

// MergedSchema is the version of report.json's format.
const MergedSchema = 1

// Merged is the result of all shards as one; report.json is this. Every kernel
// of the list stands in it exactly once, in byte order of the ids.
type Merged struct {
	Schema    int       `json:"schema"`
	Tool      string    `json:"tool"`        // version of the program that merged
	At        time.Time `json:"at"`          // when it was merged, UTC
	Verdict   Verdict   `json:"verdict"`     // pass, fail, or missing: not everything was tested
	List      string    `json:"list_digest"` // empty when the shards disagree
	Arch      string    `json:"arch"`        // of the guests
	Algorithm string    `json:"algorithm"`   // how the list was cut
	Shards    int       `json:"shards"`      // how many there were to be
	RunID     string    `json:"run_id,omitempty"`
	Attempt   int       `json:"attempt"` // the highest seen
	HeadSHA   string    `json:"head_sha,omitempty"`
	Kernels   []Kernel  `json:"kernels"`
	Refusals  []Refusal `json:"refusals,omitempty"` // why the result cannot be green, though all kernels may have passed
	Change    *Change   `json:"change,omitempty"`   // against a base; nil without one

	Unused []AllowEntry `json:"unused_allow_splats,omitempty"` // entries that allowed nothing on any kernel
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
	NewlyFail []string `json:"newly_fail,omitempty"` // passed in the base
	Fixed     []string `json:"fixed,omitempty"`      // failed in the base
	New       []string `json:"new,omitempty"`        // not in the base
	Gone      []string `json:"gone,omitempty"`       // only in the base
}
