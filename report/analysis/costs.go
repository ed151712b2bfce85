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

// costKey says which programs of two results are compared: a changed program has
// another tag. One of an object is its test's, whatever else is known of it.
type costKey struct{ label, kind string }

// costsOf are a kernel's programs with known instructions, of several with one name
// that which took most.
// One that did not load has cost what it took to find the mistake, which says nothing.
func costsOf(k *report.Result) map[costKey]report.BPFProgram {
	all := map[costKey]report.BPFProgram{}
	failed := map[string]bool{}
	for _, t := range k.Tests {
		if report.TestVerdict(t) == report.TestFail {
			failed[t.Name] = true
		}
	}
	for _, p := range k.Costs() {
		if p.Test != "" && failed[p.Test] {
			continue
		}
		key := costKey{p.Label(), p.Type}
		if p.Test != "" {
			key.kind = ""
		}
		if p.Insns > all[key].Insns {
			all[key] = p
		}
	}
	return all
}

// changeCosts compares what programs cost with the base, kernel by kernel. Numbers
// are the same whenever a kernel loads the same program, and differ between
// kernels. So a kernel is compared with itself or, where the base has it not, with
// the newest that the base has of its distribution, flavour and series.
func changeCosts(c *report.Change, base, now *report.Merged, maxGrowth int) {
	c.MaxInsnsGrowth = maxGrowth
	was := newCostBase(base)
	type key struct {
		costKey
		before, after, limit int
		against              string
	}
	found := map[key]*report.CostChange{}
	for i := range now.Kernels {
		k := &now.Kernels[i]
		costs := costsOf(k)
		if len(costs) == 0 {
			continue
		}
		old := was.of(k.ID)
		if old == nil {
			c.CostsUnknown++
			continue
		}
		before := costsOf(old)
		for name, p := range costs {
			b := before[name]
			if b.Insns == 0 {
				continue
			}
			c.CostsCompared++
			at := key{name, b.Insns, p.Insns, k.InsnLimit(), ""}
			if old.ID != k.ID {
				at.against = old.ID
			}
			one := report.CostChange{Name: report.OneLine(name.label, 500), Type: p.Type, Before: b.Insns, After: p.Insns, Limit: at.limit, Against: at.against}
			one.TooMuch = maxGrowth > 0 && p.Insns-b.Insns >= report.MinInsnGrowth && one.Growth() > float64(maxGrowth)
			if max(p.Insns-b.Insns, b.Insns-p.Insns) < report.MinInsnGrowth || !one.TooMuch && 100*max(p.Insns-b.Insns, b.Insns-p.Insns) < b.Insns {
				continue
			}
			if found[at] == nil {
				found[at] = &one
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
	All     int      // kernels that have it
}

// Costs are the programs of all kernels, those first that come closest to the
// verifier's limit.
func Costs(m *report.Merged) []Cost {
	all := map[costKey]*Cost{}
	for i := range m.Kernels {
		k := &m.Kernels[i]
		for name, p := range costsOf(k) {
			c := all[name]
			if c == nil {
				c = &Cost{}
				all[name] = c
			}
			c.All++
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
	if len(costs) == 0 {
		return ""
	}
	s := report.Count(len(costs), "BPF program") + ", at most " + costs[0].Words(quote)
	c := m.Change
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
