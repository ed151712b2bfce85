package bisect

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"testing"
)

// lab has the outcomes of a list's kernels, as a word: g, b or s (skipped) for
// each.
func lab(outcomes string, known ...Kernel) *Bisection {
	b := &Bisection{Kernels: make([]Kernel, len(outcomes)), Good: -1, Bad: -1}
	copy(b.Kernels, known)
	b.Boot = func(_ context.Context, at int) (Outcome, error) {
		return map[byte]Outcome{'g': Good, 'b': Bad, 's': Skipped}[outcomes[at]], nil
	}
	return b
}

func TestEnds(t *testing.T) {
	for _, tt := range []struct {
		outcomes  string
		good, bad int
		max       int
		end       End
		low, high int
		boots     int
	}{
		{"gggggbbbbb", -1, -1, 0, Found, 4, 5, 5},
		{"bbbgggg", -1, -1, 0, Found, 2, 3, 5}, // it was mended
		{"gb", -1, -1, 0, Found, 0, 1, 2},
		{"ggggggg", -1, -1, 0, Alike, 0, 6, 2},
		{"bbbbbbb", -1, -1, 0, Alike, 0, 6, 2},
		{"sggbbs", -1, -1, 0, Found, 2, 3, 6},
		{"gggsbb", -1, -1, 0, NotNarrowed, 2, 4, 5},
		{"gsssssb", -1, -1, 0, NotNarrowed, 0, 6, 7},
		{"ssss", -1, -1, 0, NotNarrowed, -1, -1, 3},
		{"gs", -1, -1, 0, NotNarrowed, -1, -1, 2},
		{"uggbbb", -1, -1, 0, Found, 2, 3, 5}, // what is not known is never good
		{"g", -1, -1, 0, NotNarrowed, -1, -1, 0},
		{"ggggggggbbbbbbbb", -1, -1, 4, TooMany, 7, 11, 4},
		{"gggggbbbbb", -1, -1, 1, TooMany, -1, -1, 1},
		{"bbggbbbggg", 3, 5, 0, Found, 3, 4, 3},
		{"bbggbbbggg", 9, 5, 0, Found, 6, 7, 4},
		{"bbggbbbggg", 4, 6, 0, NotAsGiven, -1, -1, 2},
		{"bbggbbbggg", 4, 7, 0, NotAsGiven, -1, -1, 2}, // the other way round
		{"bbggbbbggg", 3, 8, 0, NotAsGiven, -1, -1, 2},
		{"gsb", 1, 2, 0, NotAsGiven, -1, -1, 1},
		{"gggbbb", 1, -1, 0, Found, 2, 3, 4},
		{"bbbggg", 4, -1, 0, Found, 2, 3, 5}, // the newest passes, too: the oldest is taken
		{"gggbbb", -1, 4, 0, Found, 2, 3, 4},
		{"bbbggg", -1, 1, 0, Found, 2, 3, 5},
		{"gggbbb", 0, -1, 0, Found, 2, 3, 4},
		{"gggggg", 3, -1, 0, Alike, 0, 3, 3},
	} {
		b := lab(tt.outcomes)
		b.Good, b.Bad, b.MaxBoots = tt.good, tt.bad, tt.max
		end, err := b.Run(t.Context())
		if end != tt.end || err != nil || b.Low != tt.low || b.High != tt.high || b.Boots != tt.boots {
			t.Errorf("%s, good %d, bad %d: %d, %v, from %d to %d in %d boots: want %d, from %d to %d in %d", tt.outcomes, tt.good, tt.bad, end, err, b.Low, b.High, b.Boots, tt.end, tt.low, tt.high, tt.boots)
		}
	}
}

// What is left is between the ends that are given.
func TestLeft(t *testing.T) {
	for _, tt := range []struct {
		outcomes  string
		good, bad int
		want      [][2]int // kernels, and boots, before each boot
	}{
		{"gggggggbbb", -1, -1, [][2]int{{10, 6}, {9, 5}, {8, 4}, {4, 3}, {2, 2}}},
		{"gggggggbbb", 5, 8, [][2]int{{4, 4}, {3, 3}, {2, 2}, {1, 1}}},
		{"gggggggbbb", 5, -1, [][2]int{{5, 4}, {4, 3}, {3, 2}, {1, 1}}},
		{"bbbggggggg", 6, -1, [][2]int{{4, 4}, {3, 3}, {6, 4}, {5, 3}, {2, 2}, {1, 1}}}, // the newest passes, too
	} {
		b := lab(tt.outcomes)
		b.Good, b.Bad = tt.good, tt.bad
		var got [][2]int
		boot := b.Boot
		b.Boot = func(ctx context.Context, at int) (Outcome, error) {
			kernels, boots := b.Left()
			got = append(got, [2]int{kernels, boots})
			return boot(ctx, at)
		}
		if _, err := b.Run(t.Context()); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s, good %d, bad %d: %v, %v left, want %v", tt.outcomes, tt.good, tt.bad, err, got, tt.want)
		}
	}
}

// list is a list of n kernels with one change.
func list(n, change int) string {
	s := []byte{}
	for i := range n {
		s = append(s, "gb"[min(1, max(0, i-change+1))])
	}
	return string(s)
}

// Whatever is known before, and wherever the change is, it is found; without
// anything known in log2(n) boots and the ends.
func TestEveryChange(t *testing.T) {
	const n = 84
	words := map[string]func(i, change int) Kernel{
		"nothing":           func(int, int) Kernel { return Kernel{} },
		"the word is right": func(i, change int) Kernel { return Kernel{Word: list(n, change)[i : i+1]} },
		"the word is wrong": func(i, change int) Kernel { return Kernel{Word: list(n, (change*7)%n)[i : i+1]} },
		"the word says there and back": func(i, change int) Kernel {
			return Kernel{Word: string("xy"[min(1, i%9)])}
		},
		"a kind of each": func(i, _ int) Kernel { return Kernel{Kind: string(rune(1000 + i))} },
		"ten kinds, one of which changes": func(i, change int) Kernel {
			k := string(rune('a' + i/9))
			if i >= change {
				k += "'"
			}
			return Kernel{Kind: k}
		},
		"few are known": func(i, change int) Kernel {
			if i%5 != 0 {
				return Kernel{}
			}
			return Kernel{Word: list(n, change)[i : i+1]}
		},
	}
	most := map[string]int{
		"nothing": 2 + bits.Len(n-2), "the word is right": 4, "the word is wrong": 2 + 2 + bits.Len(n-2),
		"the word says there and back": 10, "a kind of each": 2 + bits.Len(n-2), "ten kinds, one of which changes": 9, "few are known": 9,
	}
	for name, known := range words {
		for change := 1; change < n; change++ {
			var kernels []Kernel
			for i := range n {
				kernels = append(kernels, known(i, change))
			}
			b := lab(list(n, change), kernels...)
			end, err := b.Run(t.Context())
			if end != Found || err != nil || b.Low != change-1 || b.High != change || b.Boots > most[name] {
				t.Errorf("%s: %d, %v, from %d to %d in %d boots: want %d and at most %d", name, end, err, b.Low, b.High, b.Boots, change, most[name])
			}
		}
	}
}

// A kernel that cannot be tested never becomes an end, whatever is around it.
func FuzzOutcomes(f *testing.F) {
	f.Add([]byte("gggsbb"), uint8(3))
	f.Add([]byte("sgsbsgs"), uint8(0))
	f.Add([]byte("bgbgsbg"), uint8(255))
	f.Fuzz(func(t *testing.T, outcomes []byte, known uint8) {
		if len(outcomes) > 300 {
			return
		}
		var kernels []Kernel
		for i := range outcomes {
			outcomes[i] = "gbs"[outcomes[i]%3]
			kernels = append(kernels, Kernel{Word: []string{"", "x", "y"}[(i*int(known))%3], Kind: string(outcomes[i : i+1])})
		}
		b := lab(string(outcomes), kernels...)
		tried := map[int]bool{}
		boot := b.Boot
		b.Boot = func(ctx context.Context, at int) (Outcome, error) {
			if tried[at] {
				t.Fatalf("%d is booted twice", at)
			}
			tried[at] = true
			if kernels, boots := b.Left(); kernels < 1 || boots < 1 {
				t.Fatalf("%d boots, and %d of %d are left", b.Boots, boots, kernels)
			}
			return boot(ctx, at)
		}
		end, err := b.Run(t.Context())
		if err != nil || len(tried) != b.Boots {
			t.Fatalf("%v, %d boots of %d kernels", err, b.Boots, len(tried))
		}
		if end != Found && (end != NotNarrowed || b.Low < 0) {
			return
		}
		between := outcomes[b.Low+1 : b.High]
		if outcomes[b.Low] == outcomes[b.High] || outcomes[b.Low] == 's' || outcomes[b.High] == 's' ||
			(end == Found) != (len(between) == 0) || slices.ContainsFunc(between, func(o byte) bool { return o != 's' }) {
			t.Fatalf("%q: %d from %d to %d", outcomes, end, b.Low, b.High)
		}
	})
}

func TestBootError(t *testing.T) {
	b := lab("gggbbb")
	want := errors.New("interrupted")
	boot := b.Boot
	b.Boot = func(ctx context.Context, at int) (Outcome, error) {
		if b.Boots >= 2 {
			return Unknown, want
		}
		return boot(ctx, at)
	}
	if _, err := b.Run(t.Context()); !errors.Is(err, want) || b.Low != 0 || b.High != 5 {
		t.Errorf("%v, from %d to %d", err, b.Low, b.High)
	}
}
