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

// costsOf are the programs that loaded.
func costsOf(k *report.Result) map[CostKey][]report.BPFProgram {
	all := map[CostKey][]report.BPFProgram{}
	EachCost(k, func(key CostKey, p report.BPFProgram, loaded bool) {
		if loaded {
			all[key] = append(all[key], p)
		}
	})
	return all
}

// largest is the program with the most instructions, without those that others has,
// too: a payload may load several programs of one name, of which some have changed.
func largest(all, others []report.BPFProgram) (most report.BPFProgram) {
	for _, p := range all {
		if p.Insns > most.Insns && !slices.ContainsFunc(others, func(o report.BPFProgram) bool { return o.Tag == p.Tag && o.Insns == p.Insns }) {
			most = p
		}
	}
	return most
}

// changeCosts compares what programs cost with the base, kernel by kernel. Numbers
// are the same whenever a kernel loads the same program, and differ between
// kernels. So a kernel is compared with itself or, where the base has it not, with
// the newest that the base has of its distribution, flavour and series.
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
		costs, old := costsOf(k), was.of(k.ID)
		if (len(costs) > 0) != (old != nil) {
			c.CostsUnknown++
		}
		if old == nil {
			continue
		}
		before := costsOf(old)
		for name, list := range costs {
			if len(before[name]) == 0 {
				continue
			}
			c.CostsCompared++
			b, p := largest(before[name], list).Insns, largest(list, before[name]).Insns
			by := max(p-b, b-p)
			if b == 0 || p == 0 || by < report.MinInsnGrowth || 100*by < b {
				continue // the same, or one more of the name
			}
			at := key{name, b, p, k.InsnLimit(), ""}
			if old.ID != k.ID {
				at.against = old.ID
			}
			if found[at] == nil {
				found[at] = &report.CostChange{
					Name: name.Name, Type: name.Type, Before: b, After: p, Limit: at.limit, Against: at.against,
					TooMuch: maxGrowth > 0 && 100*(p-b) > maxGrowth*b,
				}
			}
			found[at].Kernels = append(found[at].Kernels, k.ID)
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
	same map[string]*report.Result
	like map[[3]string]*report.Result // the newest of a distribution, flavour and series
}

func newCostBase(m *report.Merged) costBase {
	b := costBase{map[string]*report.Result{}, map[[3]string]*report.Result{}}
	for _, e := range newIndex(m).kernels { // ascending
		if len(costsOf(e.Result)) > 0 {
			b.same[e.ID] = e.Result
			b.like[likeness(e.ID)] = e.Result
		}
	}
	return b
}

func (b costBase) of(id string) *report.Result {
	if k := b.same[id]; k != nil {
		return k
	}
	if like := likeness(id); like[2] != noSeries {
		return b.like[like]
	}
	return nil
}

func likeness(id string) [3]string {
	distro, name := report.SplitID(id)
	v, _ := parseVersion(name)
	return [3]string{distro, v.flavour, v.series}
}

// Cost is a program and what it cost where it cost most.
type Cost struct {
	report.BPFProgram
	Limit   int      // of the verifier there
	Kernels []string // with the same numbers, ids
}

// Costs are the programs of all kernels, those first that come closest to the
// verifier's limit.
func Costs(m *report.Merged) []Cost {
	all := map[CostKey]*Cost{}
	for i := range m.Kernels {
		k := &m.Kernels[i]
		for name, programs := range costsOf(k) {
			p, c := largest(programs, nil), all[name]
			if c == nil {
				c = &Cost{}
				all[name] = c
			}
			// An older kernel's limit is lower.
			switch limit := k.InsnLimit(); cmp.Compare(share(p.Insns, limit), share(c.Insns, c.Limit)) {
			case 1:
				c.BPFProgram, c.Limit, c.Kernels = p, limit, []string{k.ID}
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
		return cmp.Or(cmp.Compare(share(b.Insns, b.Limit), share(a.Insns, a.Limit)), cmp.Compare(a.Label(), b.Label()), cmp.Compare(a.Type, b.Type))
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
	return fmt.Sprintf("%s: %s instructions on %s: %s", quote(c.Label()), report.Thousands(c.Insns), On(c.Kernels, quote), report.OfLimit(c.Insns, c.Limit))
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
		series[likeness(id)[2]] = true
	}
	names := slices.SortedFunc(maps.Keys(series), report.CompareVersions)
	return report.List(names, 4, func(s string) string { return s }) + " (" + report.Count(len(ids), "kernel") + ")"
}

// CostLine says what all programs of a result cost, in one line; "" where none is
// known. It holds a guest's words only as quote makes them.
func CostLine(m *report.Merged, quote func(string) string) string {
	costs := Costs(m)
	c := m.Change
	if len(costs) == 0 {
		if c != nil && c.MaxInsnsGrowth > 0 {
			return "no BPF program's instructions are known, so whether one grew is not known"
		}
		return ""
	}
	s := report.Count(len(costs), "BPF program") + ", at most " + costs[0].Words(quote)
	switch {
	case c == nil:
	case c.CostsCompared == 0:
		s += "; the base has no numbers to compare with"
	case len(c.Costs) == 0:
		s += "; none moved against the base"
	default:
		s += fmt.Sprintf("; %s moved against the base", report.Thousands(len(CostsByProgram(c))))
	}
	if c != nil && c.CostsCompared > 0 && c.CostsUnknown > 0 {
		s += fmt.Sprintf(", and on %s there is nothing to compare with", report.Count(c.CostsUnknown, "kernel"))
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
