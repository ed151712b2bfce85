// Package bisect finds the two neighbours in a sorted list of kernels between
// which an outcome changes. It owns which kernel is tried next and when to stop;
// it boots nothing itself and prints nothing.
package bisect

import (
	"cmp"
	"context"
	"errors"
	"math/bits"
)

// Kernel is what is known of a kernel before it boots. Only whether two are the
// same counts, and "" is not known.
type Kernel struct {
	Word string // what preflight says becomes of the payload's programs
	Kind string // as of package preflight
}

// Outcome is what came of a kernel.
type Outcome uint8

// The outcomes.
const (
	Unknown Outcome = iota // not tried
	Good                   // it passed
	Bad                    // it was tested and did not pass
	Skipped                // it could not be tested
)

// End says how a bisection ended.
type End uint8

// The ends.
const (
	Unfinished  End = iota // for an error
	Found                  // Low and High are neighbours, and differ
	Alike                  // Low and High have one outcome: there is nothing to find
	NotAsGiven             // a kernel that was given as good or bad is not, or could not be tested
	NotNarrowed            // what is between Low and High, or all but one, could not be tested
	TooMany                // more boots than allowed would be needed
)

// Bisection is the search in one list.
type Bisection struct {
	Kernels  []Kernel // from old to new
	Good     int      // the place of one that is said to be good; -1: it is to be found
	Bad      int      // the same of a bad one
	MaxBoots int      // 0: as many as it takes

	// Boot boots the kernel at a place.
	Boot func(ctx context.Context, at int) (Outcome, error)

	// What is known so far. The outcome changes between Low and High; -1: they are
	// not known yet.
	Low, High int
	Outcomes  []Outcome
	Boots     int

	ends [2]int // the places that are tried for Low and High
}

var errTooMany = errors.New("more boots than allowed")

// Run searches. An error is Boot's.
func (b *Bisection) Run(ctx context.Context) (End, error) {
	b.Low, b.High, b.Outcomes = -1, -1, make([]Outcome, len(b.Kernels))
	end, err := b.findEnds(ctx)
	for end == Unfinished && err == nil {
		at := b.next()
		switch {
		case at >= 0:
			var o Outcome
			switch o, err = b.boot(ctx, at); o {
			case b.Outcomes[b.Low]:
				b.Low = at
			case b.Outcomes[b.High]:
				b.High = at
			}
		case b.High-b.Low == 1:
			end = Found
		default:
			end = NotNarrowed
		}
	}
	if errors.Is(err, errTooMany) {
		return TooMany, nil
	}
	return end, err
}

// boot returns the outcome of a kernel, which is booted once.
func (b *Bisection) boot(ctx context.Context, at int) (Outcome, error) {
	switch {
	case b.Outcomes[at] != Unknown:
		return b.Outcomes[at], nil
	case b.MaxBoots > 0 && b.Boots == b.MaxBoots:
		return Unknown, errTooMany
	}
	o, err := b.Boot(ctx, at)
	if err != nil {
		return Unknown, err
	}
	b.Boots++
	b.Outcomes[at] = cmp.Or(o, Skipped)
	return b.Outcomes[at], nil
}

// findEnds sets Low and High, or says why there are none.
func (b *Bisection) findEnds(ctx context.Context) (End, error) {
	last := len(b.Kernels) - 1
	ends := [][2]int{{0, last}}
	switch {
	case b.Good >= 0 && b.Bad >= 0:
		ends = [][2]int{{min(b.Good, b.Bad), max(b.Good, b.Bad)}}
	case b.Good >= 0: // broken later, or else mended before
		ends = [][2]int{{b.Good, last}, {0, b.Good}}
	case b.Bad >= 0:
		ends = [][2]int{{0, b.Bad}, {b.Bad, last}}
	}
	b.ends = ends[0]
	asGiven := true // both are booted even if one is not: each may be what the other is said to be
	for _, given := range []struct {
		at int
		is Outcome
	}{{b.Good, Good}, {b.Bad, Bad}} {
		if given.at < 0 {
			continue
		}
		o, err := b.boot(ctx, given.at)
		if asGiven = asGiven && o == given.is; err != nil || o == Skipped {
			return NotAsGiven, err
		}
	}
	if !asGiven {
		return NotAsGiven, nil
	}
	end := NotNarrowed
	for _, e := range ends {
		b.ends = e
		low, err := b.tested(ctx, e[0], e[1])
		if err != nil {
			return Unfinished, err
		}
		high, err := b.tested(ctx, e[1], low)
		if err != nil {
			return Unfinished, err
		}
		if low == high {
			continue
		}
		b.Low, b.High = low, high
		if b.Outcomes[low] != b.Outcomes[high] {
			return Unfinished, nil
		}
		end = Alike
	}
	return end, nil
}

// tested returns the first place from one to another whose kernel can be tested.
// The last is taken for one.
func (b *Bisection) tested(ctx context.Context, from, to int) (int, error) {
	for ; from != to; from += cmp.Compare(to, from) {
		if o, err := b.boot(ctx, from); err != nil || o != Skipped {
			return from, err
		}
	}
	return to, nil
}

// next chooses what to boot between Low and High: beside a change of preflight's
// word, or else of the kind, or else in the middle. Of several places it is the one
// next to the middle, so that a wrong guess still halves the list. -1: none is left.
func (b *Bisection) next() int {
	for _, places := range [][]int{
		b.besideChanges(func(k Kernel) string { return k.Word }),
		b.besideChanges(func(k Kernel) string { return k.Kind }),
		span(b.Low, b.High),
	} {
		best := -1
		for _, i := range places {
			if b.Outcomes[i] == Unknown && (best < 0 || b.fromMiddle(i) < b.fromMiddle(best)) {
				best = i
			}
		}
		if best >= 0 {
			return best
		}
	}
	return -1
}

// besideChanges are the places from one where something is known to the next, if
// that is not the same; none if it is the same at both ends.
func (b *Bisection) besideChanges(of func(Kernel) string) (places []int) {
	var known []int
	for _, i := range span(b.Low, b.High) {
		if of(b.Kernels[i]) != "" {
			known = append(known, i)
		}
	}
	if len(known) == 0 || of(b.Kernels[known[0]]) == of(b.Kernels[known[len(known)-1]]) {
		return nil
	}
	for n, i := range known[1:] {
		if before := known[n]; of(b.Kernels[before]) != of(b.Kernels[i]) {
			places = append(places, span(before, i)...)
		}
	}
	return places
}

// span are the places from one to another, both included.
func span(from, to int) (places []int) {
	for i := from; i <= to; i++ {
		places = append(places, i)
	}
	return places
}

func (b *Bisection) fromMiddle(i int) int { return max(2*i-b.Low-b.High, b.Low+b.High-2*i) }

// Left is how many kernels there are to choose from, and about how many of them
// will boot.
func (b *Bisection) Left() (kernels, boots int) {
	low, high, tested := b.Low, b.High, 2 // of the ends
	if low < 0 || b.Outcomes[low] == b.Outcomes[high] {
		low, high, tested = b.ends[0], b.ends[1], 0
	}
	for _, i := range span(low, high) {
		switch b.Outcomes[i] {
		case Unknown:
			kernels++
		case Good, Bad:
			tested = min(2, tested+1)
		}
	}
	return kernels, max(1, 2-tested+bits.Len(uint(max(0, kernels-2+tested))))
}
