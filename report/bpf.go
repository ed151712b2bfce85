package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxBPF is how many BPF programs a result has.
const MaxBPF = 10_000

// bpfKey says which programs of a kernel are the same.
type bpfKey struct{ program, test, name, kind, tag string }

// JoinBPF makes one list of the BPF programs of several VMs of a kernel, each once,
// in the order in which they came: with the largest numbers, since one VM may know
// what another does not, and what a program needs is the most that it ever took.
func JoinBPF(lists ...[]BPFProgram) (all []BPFProgram) {
	at := map[bpfKey]int{}
	for _, l := range lists {
		for _, p := range l {
			key := bpfKey{p.Program, p.Test, p.Name, p.Type, p.Tag}
			i, ok := at[key]
			switch {
			case ok:
				q := &all[i]
				q.Insns, q.States, q.PeakStates = max(p.Insns, q.Insns), max(p.States, q.States), max(p.PeakStates, q.PeakStates)
				q.Stack, q.Jited, q.MapMemory = max(p.Stack, q.Stack), max(p.Jited, q.Jited), max(p.MapMemory, q.MapMemory)
			case len(all) < MaxBPF:
				at[key] = len(all)
				all = append(all, p)
			}
		}
	}
	return all
}

// Costs are the kernel's BPF programs, and those of which no more is known than the
// instructions that a test has: results of older versions have no others.
func (k *Result) Costs() []BPFProgram {
	all := k.BPF[:len(k.BPF):len(k.BPF)]
	told := map[string]bool{}
	for _, p := range all {
		told[p.Test] = told[p.Test] || p.Insns > 0
	}
	for _, t := range k.Tests {
		if t.Insns > 0 && !told[t.Name] {
			all = append(all, BPFProgram{Name: t.Name, Test: t.Name, Insns: t.Insns})
		}
	}
	return all
}

// Label names a program: its test where it has one, else its function, behind the
// payload's program that had it.
func (p BPFProgram) Label() string {
	s := cmp.Or(p.Test, p.Name, "(no name)")
	if p.Test == "" && p.Program != "" {
		return p.Program + "/" + s
	}
	return s
}

// InsnLimit is how many instructions a kernel's verifier processes of a program
// before it gives up: a million from Linux 5.2 on, of a loader with CAP_BPF.
// Those of the functions that the program calls count. RHEL 8 has it in its 4.18, and
// whoever else has it shows it by a program that took more than older ones allow.
func (k *Result) InsnLimit() int {
	const now, before52 = 1_000_000, 131_072
	if k.Release == "" || CompareVersions(k.Release, "5.2") >= 0 || strings.Contains(k.Release, ".el8") ||
		slices.ContainsFunc(k.BPF, func(p BPFProgram) bool { return p.Insns > before52 }) {
		return now
	}
	return before52
}

// MinInsnGrowth is how many instructions a program must have more, or less, than
// before to be named: 10 that become 20 are no matter.
const MinInsnGrowth = 1000

// CostChange is a BPF program that the verifier processed more, or fewer,
// instructions of than in the base, on kernels with the same two numbers.
type CostChange struct {
	Name    string   `json:"name"` // as BPFProgram.Label
	Type    string   `json:"type,omitempty" limit:"word"`
	Before  int      `json:"before" limit:"1099511627776"` // instructions, in the base
	After   int      `json:"after" limit:"1099511627776"`
	Limit   int      `json:"limit" limit:"1099511627776"` // of the kernels' verifier
	Kernels []string `json:"kernels" limit:"100000"`      // ids, in byte order
	Against string   `json:"against,omitempty"`           // id of the base's kernel that they were compared with, which is another one
	TooMuch bool     `json:"too_much,omitempty"`          // it grew by more than --max-insns-growth
}

// GrowthWords says it: "+20 %", or of what became many times as much "× 21".
func (c CostChange) GrowthWords() string {
	if times := c.After / max(1, c.Before); times >= 10 {
		return "× " + Thousands(times)
	}
	return fmt.Sprintf("%+d %%", 100*(c.After-c.Before)/max(1, c.Before))
}

// OfLimit says how close a number of instructions is to the verifier's limit.
func OfLimit(n, limit int) string {
	of := Thousands(limit)
	if limit == 1_000_000 {
		of = "a million"
	}
	if 100*n < limit {
		return "under 1 % of the limit of " + of
	}
	return fmt.Sprintf("%d %% of the limit of %s", 100*n/max(1, limit), of)
}

// TooCostly are the programs that grew by more than the run allows.
func (c *Change) TooCostly() (all []CostChange) {
	if c == nil {
		return nil
	}
	for _, cost := range c.Costs {
		if cost.TooMuch {
			all = append(all, cost)
		}
	}
	return all
}

// ParseGrowth reads a percentage, such as "20%", of 1 to 100,000.
func ParseGrowth(s string) (percent int, err error) {
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(s, "%")))
	if err != nil || n < 1 || n > 100_000 {
		return 0, fmt.Errorf("%.50q: want a whole number of percent, such as 20%%", s)
	}
	return n, nil
}
