package report

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// AllowEntry is an entry of a list of splats that are allowed.
type AllowEntry struct {
	Pattern string `json:"pattern"`           // regular expression on a splat's title or excerpt
	Kernels string `json:"kernels,omitempty"` // glob of ids; empty: all
	Reason  string `json:"reason"`
	Link    string `json:"link,omitempty"`
}

// Is says whether two entries allow the same.
func (e AllowEntry) Is(o AllowEntry) bool { return e.Pattern == o.Pattern && e.Kernels == o.Kernels }

// Splat is what a kernel said about itself and an entry allows.
type Splat struct {
	Title    string     `json:"title"`
	Location string     `json:"location,omitempty"` // file:line, else function+offset/size
	Allowed  AllowEntry `json:"allowed_by"`
}

func checkAllow(entries []AllowEntry) error {
	for _, e := range entries {
		if err := e.check(); err != nil {
			return err
		}
	}
	return nil
}

// check says why an entry is none. Without a reason nothing is allowed.
func (e AllowEntry) check() error {
	if strings.TrimSpace(e.Reason) == "" || e.Pattern == "" {
		return fmt.Errorf("a splat is allowed without a reason or a pattern: %s", OneLine(e.Pattern, 100))
	}
	return nil
}

// allows says which splat of a result is allowed by an entry that the run did
// not have.
func (p *Plan) allows(k *Result) error {
	for _, s := range k.Splats {
		if !slices.Contains(p.Allow, s.Allowed) {
			return fmt.Errorf("kernel %s: a splat is allowed by an entry that its plan does not have: %s", k.ID, OneLine(s.Title, 100))
		}
	}
	return nil
}

// UnusedAllowed are the entries that no kernel's splat was allowed by. What a
// kernel without a result would have said is not known: with one of these
// there are none.
func UnusedAllowed(entries []AllowEntry, kernels []Result) []AllowEntry {
	if slices.ContainsFunc(kernels, func(k Result) bool { return k.Verdict != Pass && !k.Verdict.Tested() }) {
		return nil
	}
	var unused []AllowEntry
	for _, e := range entries {
		used := slices.ContainsFunc(kernels, func(k Result) bool {
			return slices.ContainsFunc(k.Splats, func(s Splat) bool { return s.Allowed.Is(e) })
		})
		if !used {
			unused = append(unused, e)
		}
	}
	return unused
}

// AllowDigest tells lists of allowed splats apart.
func (p Plan) AllowDigest() string {
	if len(p.Allow) == 0 {
		return "none"
	}
	var parts []string
	for _, e := range p.Allow {
		parts = append(parts, e.Pattern+"\x00"+e.Kernels)
	}
	slices.Sort(parts)
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00\x00")))
	return fmt.Sprintf("%d of digest %x", len(p.Allow), sum[:6])
}

// Words is the entry in one line.
func (e AllowEntry) Words() string {
	s := OneLine(e.Pattern, 200)
	if e.Kernels != "" {
		s += " on " + OneLine(e.Kernels, 100)
	}
	return s
}
