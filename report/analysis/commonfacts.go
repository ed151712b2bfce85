package analysis

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// fact is what can be known of a kernel.
type fact struct{ kind, name string }

// Trait is a fact and what it is on the kernels that have the trait.
type Trait struct {
	fact
	value string
}

// traitWords are the traits that are worth saying, in the order of how much they
// usually say. "" is any value, which %s then shows; else it shows the name.
var traitWords = []struct{ kind, value, words string }{
	{"target", "missing", "target %s missing"},
	{"BTF", "no", "no BTF"},
	{"BTF", "yes", "BTF"},
	{"module", "failed", "module %s could not be loaded"},
	{"mount", "failed", "%s could not be mounted"},
	{"PREEMPT_RT", "yes", "PREEMPT_RT"},
	{"PREEMPT_RT", "no", "no PREEMPT_RT"},
	{"lockdown", "", "lockdown is %s"},
	{"LSM", "yes", "LSM %s is active"},
	{"LSM", "no", "LSM %s is not active"},
	{"unprivileged", "", "kernel.unprivileged_bpf_disabled is %s"},
	{"jit", "", "net.core.bpf_jit_enable is %s"},
	{"harden", "", "net.core.bpf_jit_harden is %s"},
	{"config", "", "%s"},
}

// rank is a trait's place in traitWords; -1 when it is not worth saying.
func (t Trait) rank() int {
	for i, w := range traitWords {
		if w.kind == t.kind && (w.value == "" || w.value == t.value) {
			return i
		}
	}
	return -1
}

// Words says it; quote is for names.
func (t Trait) Words(quote func(string) string) string {
	shown := cmp.Or(t.name, t.value)
	if t.kind == "config" {
		shown = "CONFIG_" + t.name + "=" + t.value
	}
	return strings.Replace(traitWords[t.rank()].words, "%s", quote(shown), 1)
}

const maxCommon = 12 // traits of a group

// factsOf are the facts that are known of a kernel; nil when it told none.
func factsOf(k *report.Result) map[fact]string {
	f := k.Facts
	if f == nil {
		return nil
	}
	yes := map[bool]string{true: "yes", false: "no"}
	facts := map[fact]string{{kind: "BTF"}: yes[f.BTF], {kind: "PREEMPT_RT"}: yes[f.PreemptRT]}
	for target, has := range f.Targets {
		facts[fact{"target", target}] = map[bool]string{true: "present", false: "missing"}[has]
	}
	for _, l := range f.LSMs {
		facts[fact{"LSM", l}] = "yes"
	}
	for kind, value := range map[string]string{"lockdown": f.Lockdown, "unprivileged": f.UnprivilegedBPF, "jit": f.JIT, "harden": f.JITHarden} {
		if value != "" {
			facts[fact{kind: kind}] = value
		}
	}
	for option, value := range f.Config {
		if option != "DEBUG_INFO_BTF" && option != "PREEMPT_RT" { // they have facts of their own
			facts[fact{"config", option}] = value
		}
	}
	for kind, failed := range map[string][]string{"module": k.Modules, "mount": k.Mounts} {
		for _, s := range failed {
			name, _, _ := strings.Cut(s, ": ")
			facts[fact{kind, name}] = "failed"
		}
	}
	return facts
}

// fact is a fact of a kernel; known is false when nobody can tell.
func (ix *index) fact(i int, f fact) (value string, known bool) {
	if ix.facts[i] == nil {
		ix.facts[i] = factsOf(ix.kernels[i].Result)
	}
	if value, known = ix.facts[i][f]; known || ix.facts[i] == nil {
		return value, known
	}
	switch f.kind {
	case "module", "mount": // only failures are written down
		return "fine", true
	case "LSM":
		return "no", len(ix.kernels[i].Facts.LSMs) > 0
	}
	return "", false
}

// common is what every failing kernel is known to have and every passing one,
// as far as it is known, not to have; known is how many of the latter are known
// to lack each of them.
func (ix *index) common(states []state, g *Group) (traits []Trait, known int) {
	var failing, passed []int
	for i, s := range states {
		switch s {
		case fails:
			failing = append(failing, i)
		case passes:
			passed = append(passed, i)
		}
	}
	if len(failing) == 0 || len(passed) == 0 {
		return nil, 0
	}
	candidates := factsOf(ix.kernels[failing[0]].Result)
	for _, i := range passed { // an LSM that is missing is known by those that have it
		if f := ix.kernels[i].Facts; f != nil && candidates != nil {
			for _, l := range f.LSMs {
				candidates[fact{"LSM", l}] = ""
			}
		}
	}
	lacking := map[Trait]int{}
	for f := range candidates {
		value, ok := ix.fact(failing[0], f)
		t := Trait{f, value}
		if !ok || t.rank() < 0 || slices.ContainsFunc(failing, func(i int) bool { v, ok := ix.fact(i, f); return !ok || v != value }) {
			continue
		}
		lack := 0
		for _, i := range passed {
			v, ok := ix.fact(i, f)
			if ok && v == value {
				lack = 0
				break
			}
			if ok {
				lack++
			}
		}
		if lack > 0 {
			lacking[t] = lack
		}
	}
	named := func(t Trait) bool {
		_, target, ok := strings.Cut(t.name, "/")
		return t.kind == "target" && ok && (strings.Contains(g.Title, target) || slices.Contains(g.Tests, t.name))
	}
	traits = slices.SortedFunc(maps.Keys(lacking), func(a, b Trait) int {
		return cmp.Or(compareOK(named(a), named(b)), cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.name, b.name), cmp.Compare(a.value, b.value))
	})
	traits = traits[:min(len(traits), maxCommon)]
	known = len(passed)
	for _, t := range traits {
		known = min(known, lacking[t])
	}
	return traits, known
}
