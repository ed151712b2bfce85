// Package bisect finds the two neighbours in a sorted list of kernels between
// which an outcome changes. It owns which kernel is tried next and when to stop;
// it boots nothing itself and prints nothing.
package bisect

import (
	"context"
	"errors"
	"math/bits"
	"slices"
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
	EndUnknown  End = iota
	Found           // Low and High are neighbours, and differ
	Alike           // both ends have one outcome: there is nothing to find
	NotAsGiven      // a kernel that was given as good or bad is not, or could not be tested
	NotNarrowed     // what is between Low and High could not be tested
	TooMany         // more boots than allowed would be needed
	NoEnds          // too few kernels could be tested
)

// Bisection is the search in one list.
type Bisection struct {
	Kernels  []Kernel // from old to new
	Good     int      // the place of one that is said to be good; -1: it is to be found
	Bad      int      // the same of a bad one
	MaxBoots int      // 0: as many as it takes

	// Boot boots the kernels at some places and returns their outcomes.
	Boot func(ctx context.Context, at ...int) ([]Outcome, error)

	// What is known so far. The outcome changes between Low and High; -1: an end is
	// not known yet.
	Low, High int
	Outcomes  []Outcome
	Boots     int
}

var errTooMany = errors.New("more boots than allowed")

// Run searches. An error is Boot's.
func (b *Bisection) Run(ctx context.Context) (End, error) {
	b.Low, b.High, b.Outcomes = -1, -1, make([]Outcome, len(b.Kernels))
	end, err := b.findEnds(ctx)
	for end == EndUnknown && err == nil {
		at, ok := b.next()
		switch {
		case !ok && b.High-b.Low == 1:
			return Found, nil
		case !ok:
			return NotNarrowed, nil
		}
		if err = b.boot(ctx, at); err == nil {
			switch b.Outcomes[at] {
			case b.Outcomes[b.Low]:
				b.Low = at
			case b.Outcomes[b.High]:
				b.High = at
			}
		}
	}
	if errors.Is(err, errTooMany) {
		return TooMany, nil
	}
	return end, err
}

// boot boots those of some kernels that have no outcome yet.
func (b *Bisection) boot(ctx context.Context, at ...int) error {
	at = slices.DeleteFunc(slices.Clone(at), func(i int) bool { return b.Outcomes[i] != Unknown })
	if len(at) == 0 {
		return nil
	}
	if b.MaxBoots > 0 && b.Boots+len(at) > b.MaxBoots {
		return errTooMany
	}
	outcomes, err := b.Boot(ctx, at...)
	if err != nil {
		return err
	}
	b.Boots += len(at)
	for n, i := range at {
		b.Outcomes[i] = outcomes[n]
	}
	return nil
}

// findEnds sets Low and High, and returns how it ended if that is not possible.
func (b *Bisection) findEnds(ctx context.Context) (End, error) {
	given := Unknown
	first, last := 0, len(b.Kernels)-1
	switch {
	case len(b.Kernels) < 2:
		return NoEnds, nil
	case b.Good >= 0 && b.Bad >= 0:
		first, last = min(b.Good, b.Bad), max(b.Good, b.Bad)
	case b.Good >= 0:
		given = Good
	case b.Bad >= 0:
		given = Bad
	}
	if given == Unknown {
		if err := b.boot(ctx, first, last); err != nil {
			return EndUnknown, err
		}
		if end := b.checkGiven(); end != EndUnknown {
			return end, nil
		}
		return b.between(ctx, first, last)
	}
	// What breaks is looked for in newer kernels first, where it was good in older
	// ones.
	own := max(b.Good, b.Bad)
	others := []int{last, first}
	if given == Bad {
		others = []int{first, last}
	}
	others = slices.DeleteFunc(others, func(i int) bool { return i == own })
	if err := b.boot(ctx, own, others[0]); err != nil {
		return EndUnknown, err
	}
	if end := b.checkGiven(); end != EndUnknown {
		return end, nil
	}
	end := EndUnknown
	for _, other := range others {
		if err := b.boot(ctx, other); err != nil {
			return EndUnknown, err
		}
		var err error
		if end, err = b.between(ctx, min(own, other), max(own, other)); err != nil || end == EndUnknown {
			return end, err
		}
	}
	return end, nil
}

// checkGiven compares the kernels that were given with what came of them.
func (b *Bisection) checkGiven() End {
	if b.Good >= 0 && b.Outcomes[b.Good] != Good || b.Bad >= 0 && b.Outcomes[b.Bad] != Bad {
		return NotAsGiven
	}
	return EndUnknown
}

// between takes two kernels for the ends, or of those that could not be tested
// the next ones.
func (b *Bisection) between(ctx context.Context, low, high int) (End, error) {
	for low < high && b.Outcomes[low] == Skipped {
		if low++; low == high {
			return NoEnds, nil
		}
		if err := b.boot(ctx, low); err != nil {
			return EndUnknown, err
		}
	}
	for low < high && b.Outcomes[high] == Skipped {
		if high--; low == high {
			return NoEnds, nil
		}
		if err := b.boot(ctx, high); err != nil {
			return EndUnknown, err
		}
	}
	b.Low, b.High = low, high
	if b.Outcomes[low] == b.Outcomes[high] {
		return Alike, nil
	}
	return EndUnknown, nil
}

// next chooses what to boot between Low and High: beside a change of preflight's
// word, or else of the kind, or else in the middle. Of several places it is the one
// next to the middle, so that a wrong guess still halves the list.
func (b *Bisection) next() (int, bool) {
	for _, of := range []func(Kernel) string{func(k Kernel) string { return k.Word }, func(k Kernel) string { return k.Kind }} {
		if at, ok := b.besideChange(of); ok {
			return at, true
		}
	}
	return b.nearest(b.Low+1, b.High-1)
}

// besideChange returns an untried kernel next to a change of what is known, if the
// ends are not alike in that.
func (b *Bisection) besideChange(of func(Kernel) string) (best int, ok bool) {
	first, last := "", ""
	before := -1
	best = -1
	for i := b.Low; i <= b.High; i++ {
		w := of(b.Kernels[i])
		if w == "" {
			continue
		}
		if before >= 0 && w != last {
			if at, ok := b.nearest(before, i); ok && (best < 0 || b.fromMiddle(at) < b.fromMiddle(best)) {
				best = at
			}
		}
		if before < 0 {
			first = w
		}
		before, last = i, w
	}
	return best, best >= 0 && first != last
}

// nearest returns the untried kernel from first to last that is nearest to the
// middle between Low and High.
func (b *Bisection) nearest(first, last int) (best int, ok bool) {
	best = -1
	for i := max(first, b.Low+1); i <= min(last, b.High-1); i++ {
		if b.Outcomes[i] == Unknown && (best < 0 || b.fromMiddle(i) < b.fromMiddle(best)) {
			best = i
		}
	}
	return best, best >= 0
}

func (b *Bisection) fromMiddle(i int) int { return max(2*i-b.Low-b.High, b.Low+b.High-2*i) }

// Left is how many kernels there are to choose from.
func (b *Bisection) Left() (n int) {
	if b.Low < 0 {
		return len(b.Kernels)
	}
	for i := b.Low + 1; i < b.High; i++ {
		if b.Outcomes[i] == Unknown {
			n++
		}
	}
	return n
}

// About estimates how many boots there are in the end.
func (b *Bisection) About() int {
	left, wordChanges := b.Left(), false
	if b.Low < 0 {
		left = max(0, left-2)
		if n := len(b.Kernels); n > 0 {
			wordChanges = b.Kernels[0].Word != b.Kernels[n-1].Word
		}
	} else {
		_, wordChanges = b.besideChange(func(k Kernel) string { return k.Word })
	}
	boots := b.Boots
	if b.Low < 0 {
		boots = max(2, boots)
	}
	if wordChanges {
		return boots + min(2, left)
	}
	return boots + bits.Len(uint(left))
}
