package report

import (
	"fmt"
	"slices"
)

// Boundary says on which versions of one distribution's kernels a failure is.
// Names of kernels are their releases, without further identifiers.
type Boundary struct {
	Distro  string
	Flavour string // of the kernels it is about, such as "cloud-amd64"; "": of all
	Failing int
	Passing int

	// The two kernels between which it begins or ends, of different versions:
	// all that are known to pass are on one side, all that fail on the other.
	// Empty: there is no such place.
	LastPass, FirstFail string // it fails from here on
	LastFail, FirstPass string // it fails up to here

	// What the failing programs depend on and these two do not have alike.
	Differences []Difference
}

// Reasons says in words what differs between the two kernels of a boundary;
// quote is for names and C.
func (b Boundary) Reasons(quote func(string) string) []string {
	before, after := b.LastPass, b.FirstFail
	if b.LastFail != "" {
		before, after = b.LastFail, b.FirstPass
	}
	var reasons []string
	for _, d := range b.Differences {
		reasons = append(reasons, d.Text(before, after, quote))
	}
	return reasons
}

// Text says it in words; quote is for names.
func (b Boundary) Text(quote func(string) string) string {
	switch {
	case b.FirstFail != "":
		return fmt.Sprintf("passes up to %s, fails from %s", quote(b.LastPass), quote(b.FirstFail))
	case b.LastFail != "":
		return fmt.Sprintf("fails up to %s, passes from %s", quote(b.LastFail), quote(b.FirstPass))
	case b.Passing == 0 && b.Failing == 1:
		return "fails on the one kernel it was tested on"
	case b.Passing == 0:
		return fmt.Sprintf("fails on all %d", b.Failing)
	default:
		return fmt.Sprintf("fails on %d of %d", b.Failing, b.Failing+b.Passing)
	}
}

// boundaries finds the boundary of each distribution that has the failure. When
// a distribution has none, one for each flavour is tried: a failure of realtime
// kernels alone has its own.
func (ix *index) boundaries(states []state, tests []string) []Boundary {
	var all []Boundary
	for from := 0; from < len(ix.kernels); {
		to := from
		for to < len(ix.kernels) && ix.kernels[to].distro == ix.kernels[from].distro {
			to++
		}
		var of []int
		for i := from; i < to; i++ {
			if states[i] != unclear {
				of = append(of, i)
			}
		}
		all = append(all, ix.distroBoundaries(of, states, tests)...)
		from = to
	}
	return all
}

func (ix *index) distroBoundaries(of []int, states []state, tests []string) []Boundary {
	b := ix.boundary(of, states, tests)
	if b.Failing == 0 {
		return nil
	}
	if b.Passing == 0 || b.FirstFail != "" || b.LastFail != "" {
		return []Boundary{b}
	}
	byFlavour := map[string][]int{}
	var flavours []string
	for _, i := range of {
		f := ix.kernels[i].version.flavour
		if byFlavour[f] == nil {
			flavours = append(flavours, f)
		}
		byFlavour[f] = append(byFlavour[f], i)
	}
	const most = 8
	if len(flavours) < 2 || len(flavours) > most {
		return []Boundary{b}
	}
	slices.Sort(flavours)
	var split []Boundary
	for _, f := range flavours {
		fb := ix.boundary(byFlavour[f], states, tests)
		if fb.Failing == 0 {
			continue
		}
		if f == "" || fb.Passing > 0 && fb.FirstFail == "" && fb.LastFail == "" {
			return []Boundary{b} // no better than all in one
		}
		fb.Flavour = f
		split = append(split, fb)
	}
	return split
}

// boundary looks at kernels of ascending versions.
func (ix *index) boundary(of []int, states []state, tests []string) Boundary {
	if len(of) == 0 {
		return Boundary{}
	}
	b := Boundary{Distro: ix.kernels[of[0]].distro}
	turn, turns := 0, 0 // where the state changes
	for n, i := range of {
		if states[i] == fails {
			b.Failing++
		} else {
			b.Passing++
		}
		if n > 0 && states[i] != states[of[n-1]] {
			turn, turns = n, turns+1
		}
	}
	if turns != 1 {
		return b
	}
	before, after := ix.kernels[of[turn-1]], ix.kernels[of[turn]]
	// Two builds of one version, or names without one, are no boundary.
	if !before.ok || !after.ok || before.version.compareTo(after.version) == 0 {
		return b
	}
	if states[of[turn]] == fails {
		b.LastPass, b.FirstFail = before.version.release, after.version.release
		b.Differences = differences(before.Facts, after.Facts, after.Facts, tests)
	} else {
		b.LastFail, b.FirstPass = before.version.release, after.version.release
		b.Differences = differences(before.Facts, after.Facts, before.Facts, tests)
	}
	return b
}
