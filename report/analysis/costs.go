package analysis

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
)

// nearLimit is from how many percent of the verifier's limit on a program is warned of.
const nearLimit = 90

// CostKey says which programs of two results are compared: a changed program has
// another tag. One of an object is its test's, whatever else is known of it.
type CostKey struct{ Name, Type string }

// EachCost calls f with each of a kernel's programs whose instructions are known. One
// that did not load has cost what it took to find the mistake.
func EachCost(k *report.Result, f func(key CostKey, p report.BPFProgram, loaded bool)) {
	failed := map[string]bool{}
	for _, t := range k.Tests {
		failed[t.Name] = report.TestVerdict(t) != report.TestPass
	}
	for _, p := range k.Costs() {
		key := CostKey{report.OneLine(p.Label(), 500), p.Type}
		if p.Test != "" {
			key.Type = ""
		}
		if p.Insns > 0 {
			f(key, p, p.Test == "" || !failed[p.Test])
		}
	}
}

// costsOf are the instructions of the programs that loaded: a payload may load several
// of one name.
func costsOf(k *report.Result) map[CostKey][]int {
	all := map[CostKey][]int{}
	EachCost(k, func(key CostKey, p report.BPFProgram, loaded bool) {
		if loaded {
			all[key] = append(all[key], p.Insns)
		}
	})
	return all
}

// pairs are numbers of programs of one name that are compared. What both sides have
// has not changed. Of the others the larger is compared with the larger or, if they
// are not as many, the largest alone; alone is how many here are compared with none.
func pairs(before, after []int) (all [][2]int, alone int) {
	gone, come := without(before, after), without(after, before)
	n := len(come)
	if len(gone) != n {
		n = min(1, len(gone), n)
	}
	for i := range n {
		all = append(all, [2]int{gone[i], come[i]})
	}
	return all, len(come) - n
}

// without are the numbers that others have not, the largest first.
func without(all, others []int) (rest []int) {
	left := map[int]int{}
	for _, n := range others {
		left[n]++
	}
	for _, n := range all {
		if left[n]--; left[n] < 0 {
			rest = append(rest, n)
		}
	}
	slices.SortFunc(rest, func(a, b int) int { return cmp.Compare(b, a) })
	return rest
}

// changeCosts compares what programs cost with the base, kernel by kernel. Numbers
// are the same whenever a kernel loads the same program, and differ between
// kernels. So a kernel is compared with itself or, where the base has it not, with
// the newest that the base has of its distribution, flavour and series: if a program
// takes much more than there, nobody knows whether the kernel is why, and it counts as
// one that is not compared.
func changeCosts(c *report.Change, base, now *report.Merged, maxGrowth int) {
	c.MaxInsnsGrowth = maxGrowth
	was := newCostBase(base)
	type key struct {
		CostKey
		before, after, limit int
		against              string
	}
	found := map[key]*report.CostChange{}
	for i := range now.Kernels {
		k := &now.Kernels[i]
		costs, limit := costsOf(k), k.InsnLimit()
		if len(costs) == 0 {
			c.CostsUnknown += len(was.costs[k.ID])
			continue
		}
		id := was.like(k.ID)
		against := ""
		if id != k.ID {
			against = id
		}
		for name, list := range costs {
			both, alone := pairs(was.costs[id][name], list)
			for _, n := range both {
				before, after := n[0], n[1]
				by := max(after-before, before-after)
				if by < report.MinInsnGrowth || 100*by < before {
					continue
				}
				over := maxGrowth > 0 && 100*(after-before) > maxGrowth*before
				if over && against != "" {
					alone++
				}
				at := key{name, before, after, limit, against}
				if found[at] == nil {
					found[at] = &report.CostChange{
						Name: name.Name, Type: name.Type, Before: before, After: after, Limit: limit, Against: against,
						TooMuch: over && against == "",
					}
				}
				if on := &found[at].Kernels; !slices.Contains((*on)[max(0, len(*on)-1):], k.ID) {
					*on = append(*on, k.ID)
				}
			}
			c.CostsUnknown += alone
			c.CostsCompared += len(list) - alone
		}
	}
	for _, one := range found {
		c.Costs = append(c.Costs, *one)
	}
	slices.SortFunc(c.Costs, func(a, b report.CostChange) int {
		return cmp.Or(compareOK(a.TooMuch, b.TooMuch), cmp.Compare(b.After-b.Before, a.After-a.Before), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type), slices.Compare(a.Kernels, b.Kernels))
	})
	const most = 10_000
	c.Costs = c.Costs[:min(len(c.Costs), most)]
}

// costBase finds the base's kernel to compare with.
type costBase struct {
	costs  map[string]map[CostKey][]int // by kernel, of those that have any
	newest map[[3]string]string         // kernel of a distribution, flavour and series
}

func newCostBase(m *report.Merged) costBase {
	b := costBase{map[string]map[CostKey][]int{}, map[[3]string]string{}}
	for i := range m.Kernels {
		id := m.Kernels[i].ID
		costs := costsOf(&m.Kernels[i])
		if len(costs) == 0 {
			continue
		}
		b.costs[id] = costs
		like, v := likeness(id)
		if _, old := likeness(b.newest[like]); b.newest[like] == "" || v.compareTo(old) >= 0 {
			b.newest[like] = id
		}
	}
	return b
}

// like is the kernel to compare one with: "" for none.
func (b costBase) like(id string) string {
	if like, v := likeness(id); b.costs[id] == nil && v.series != noSeries {
		return b.newest[like]
	}
	return id
}

func likeness(id string) ([3]string, version) {
	distro, name := report.SplitID(id)
	v, _ := parseVersion(name)
	return [3]string{distro, v.flavour, v.series}, v
}

// Cost is a program and what it cost where it cost most.
type Cost struct {
	CostKey
	Insns   int
	Limit   int      // of the verifier there
	Kernels []string // with the same numbers, ids
}

// Costs are the programs of all kernels, those first that come closest to the
// verifier's limit.
func Costs(m *report.Merged) []Cost {
	all := map[CostKey]*Cost{}
	for i := range m.Kernels {
		k := &m.Kernels[i]
		limit := k.InsnLimit()
		for name, list := range costsOf(k) {
			n, c := slices.Max(list), all[name]
			if c == nil {
				c = &Cost{CostKey: name}
				all[name] = c
			}
			// An older kernel's limit is lower.
			switch cmp.Compare(share(n, limit), share(c.Insns, c.Limit)) {
			case 1:
				c.Insns, c.Limit, c.Kernels = n, limit, []string{k.ID}
			case 0:
				c.Kernels = append(c.Kernels, k.ID)
			}
		}
	}
	list := []Cost{}
	for _, c := range all {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b Cost) int {
		return cmp.Or(cmp.Compare(share(b.Insns, b.Limit), share(a.Insns, a.Limit)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type))
	})
	return list
}

func share(insns, limit int) float64 { return float64(insns) / float64(max(1, limit)) }

// NearLimit are those of costs that the verifier nearly gave up on.
func NearLimit(costs []Cost) []Cost {
	n := slices.IndexFunc(costs, func(c Cost) bool { return 100*c.Insns < nearLimit*c.Limit })
	if n < 0 {
		return costs
	}
	return costs[:n]
}

// Words says what a program cost, of a program's name and kernels that quote makes.
func (c Cost) Words(quote func(string) string) string {
	return fmt.Sprintf("%s: %s instructions on %s: %s", quote(c.Name), report.Thousands(c.Insns), On(c.Kernels, quote), report.OfLimit(c.Insns, c.Limit))
}

// ChangeWords says what a program costs more, or less, than in the base.
func ChangeWords(c report.CostChange, quote func(string) string) string {
	s := fmt.Sprintf("%s: %s → %s instructions on %s: %s", quote(c.Name), report.Thousands(c.Before), report.Thousands(c.After), On(c.Kernels, quote), report.OfLimit(c.After, c.Limit))
	if c.Against != "" {
		s += ", compared with " + quote(c.Against)
	}
	return s
}

// On names kernels: the one, or the series and how many they are.
func On(ids []string, quote func(string) string) string {
	if len(ids) == 1 {
		return quote(ids[0])
	}
	series := map[string]bool{}
	for _, id := range ids {
		like, _ := likeness(id)
		series[like[2]] = true
	}
	names := slices.SortedFunc(maps.Keys(series), report.CompareVersions)
	return report.List(names, 4, func(s string) string { return s }) + " (" + report.Count(len(ids), "kernel") + ")"
}

// CostLine says what all programs of a result cost, in one line; "" where none is
// known. It holds a guest's words only as quote makes them.
func CostLine(c *report.Change, costs []Cost, quote func(string) string) string {
	if len(costs) == 0 {
		if c != nil && c.MaxInsnsGrowth > 0 {
			return "no BPF program's instructions are known, so whether one grew is not known"
		}
		return ""
	}
	s := report.Count(len(costs), "BPF program") + ", at most " + costs[0].Words(quote)
	moved := CostsByProgram(c)
	switch {
	case c == nil:
		return s
	case len(moved) > 0:
		s += fmt.Sprintf("; %s moved against the base", report.Thousands(len(moved)))
	case c.CostsCompared == 0:
		return s + "; the base has no numbers to compare with"
	default:
		s += "; none moved against the base"
	}
	if c.CostsUnknown > 0 {
		s += fmt.Sprintf(", and %s on single kernels could not be compared", report.Count(c.CostsUnknown, "number"))
	}
	return s
}

// ProgramChange is what one program costs more, or less, than in the base.
type ProgramChange struct {
	report.CostChange     // where it grew most
	Others            int // kernels with other numbers
}

// Elsewhere says on how many further kernels the program moved; "" for none.
func (c ProgramChange) Elsewhere() string {
	if c.Others == 0 {
		return ""
	}
	return ", and with other numbers on " + report.Count(c.Others, "more kernel")
}

// CostsByProgram has each program that moved once, in the order of the changes.
func CostsByProgram(c *report.Change) (all []ProgramChange) {
	if c == nil {
		return nil
	}
	at := map[[2]string]int{}
	for _, one := range c.Costs {
		key := [2]string{one.Name, one.Type}
		i, ok := at[key]
		if !ok {
			at[key] = len(all)
			all = append(all, ProgramChange{CostChange: one})
			continue
		}
		all[i].Others += len(one.Kernels)
	}
	return all
}

// TooCostly are the programs that grew by more than allowed, each where it grew most.
func TooCostly(m *report.Merged) []ProgramChange {
	return CostsByProgram(&report.Change{Costs: m.Change.TooCostly()})
}

// TooCostlyWords says how many there are: "2 BPF programs grow by more than 20 %".
func TooCostlyWords(m *report.Merged) string {
	n := len(TooCostly(m))
	return fmt.Sprintf("%s %s by more than %d %%", report.Count(n, "BPF program"), report.Plural(n, "grows", "grow"), m.Change.MaxInsnsGrowth)
}
