package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// Algorithm is a way to cut a list into shards.
type Algorithm string

// The algorithms.
const (
	// Single is the whole list as one shard.
	Single Algorithm = "single"
	// Rendezvous keeps kernels where they are when the list changes, so that
	// each shard's cache stays warm. No shard is fuller than 1.1 times the mean
	// and one kernel.
	Rendezvous Algorithm = "rendezvous"
	// LPT gives the longest kernel that is left to the emptiest shard: better
	// balanced, and any change of the list or of the times moves most kernels.
	LPT Algorithm = "lpt"
)

// ParseAlgorithm parses what a user may ask for.
func ParseAlgorithm(s string) (Algorithm, error) {
	switch a := Algorithm(s); a {
	case Rendezvous, LPT:
		return a, nil
	}
	return "", fmt.Errorf("algorithm %q: want %s or %s", s, Rendezvous, LPT)
}

// A kernel's cost is counted in whole milliseconds, at least one, and up to a
// day: integers, because floating point differs between architectures, and
// small enough that no sum overflows.
const maxCost = 24 * time.Hour

// item is a kernel to be assigned.
type item struct {
	id    string
	cost  int64 // ms
	class int   // rank of costs that are about equal; 0 if not known
	hash  uint64
	index int // in the caller's order
}

// assign cuts a list of kernels into n shards and returns each one's, from 1
// to n. It depends on the ids, the costs and n alone, not on the order: the
// same on every machine. Ids are unique; a cost of 0 is not known and counts as
// the median of those that are.
func assign(a Algorithm, ids []string, costs []time.Duration, n int) []int {
	items := make([]item, len(ids))
	for i, c := range fillCosts(costs) {
		sum := sha256.Sum256([]byte(ids[i]))
		it := item{id: ids[i], cost: max(1, min(c, maxCost).Milliseconds()), hash: binary.BigEndian.Uint64(sum[:]), index: i}
		if costs[i] > 0 {
			it.class = bits.Len64(uint64(it.cost))
		}
		items[i] = it
	}
	shards := make([]int, len(ids))
	if a == LPT {
		lpt(items, n, shards)
	} else {
		rendezvous(items, n, shards)
	}
	return shards
}

// rendezvous is rendezvous hashing with bounded loads: each kernel ranks the
// shards by a hash and goes to the first whose load is below a cap of up to 1.1
// times the mean. There always is one: were all at the mean, nothing would be
// left. The caps differ, from just above the mean to 1.1 times, because where
// all kernels cost the same the others would all rise by one kernel at once,
// and a fifth of the list would move.
//
// Cheap kernels choose first, those of about one cost (within a factor of two,
// so that times which vary a little change nothing) by name. A new kernel then
// displaces later ones only, which are as costly or more: one
// makes room for one, and never a long one for many short ones. Kernels of
// unknown cost come before all: were they ranked by the median, all of them
// would move when it passes from one rank to the next.
func rendezvous(items []item, n int, shards []int) {
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.class, b.class), strings.Compare(a.id, b.id))
	})
	var total int64
	for _, it := range items {
		total += it.cost
	}
	type bin struct {
		seed uint64
		cap  int64 // n times
		load int64
	}
	bins := make([]bin, n)
	for s := range bins {
		bins[s] = bin{seed: mix(uint64(s) + 1), cap: total * int64(10*n+s+1) / int64(10*n)}
	}
	for _, it := range items {
		best, weight := -1, uint64(0)
		for s, b := range bins {
			if b.load*int64(n) >= b.cap {
				continue
			}
			if w := mix(it.hash ^ b.seed); best < 0 || w > weight {
				best, weight = s, w
			}
		}
		bins[best].load += it.cost
		shards[it.index] = best + 1
	}
}

// mix spreads a number over 64 bits: the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func lpt(items []item, n int, shards []int) {
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(b.cost, a.cost), strings.Compare(a.id, b.id))
	})
	load := make([]int64, n)
	for _, it := range items {
		s := slices.Index(load, slices.Min(load))
		load[s] += it.cost
		shards[it.index] = s + 1
	}
}

// fillCosts puts the median of the known costs in place of those that are not
// known; when none is, all are DefaultCost.
func fillCosts(costs []time.Duration) []time.Duration {
	var known []time.Duration
	for _, c := range costs {
		if c > 0 {
			known = append(known, c)
		}
	}
	median := DefaultCost
	if slices.Sort(known); len(known) > 0 {
		median = known[(len(known)-1)/2]
	}
	filled := slices.Clone(costs)
	for i, c := range filled {
		if c <= 0 {
			filled[i] = median
		}
	}
	return filled
}
