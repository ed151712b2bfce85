package analysis

import (
	"maps"
	"slices"
	"strings"
)

// Trait is something that kernels can have. Text holds one %s for Name, or
// Name is empty.
type Trait struct{ Text, Name string }

// Words says it; quote is for names.
func (t Trait) Words(quote func(string) string) string {
	if t.Name == "" {
		return t.Text
	}
	return strings.Replace(t.Text, "%s", quote(t.Name), 1)
}

// Traits, in the order of how much they usually say.
const (
	traitTarget = "target %s missing"
	traitNoBTF  = "no BTF"
	traitBTF    = "BTF"
	traitModule = "module %s could not be loaded"
	traitMount  = "%s could not be mounted"
	traitRT     = "PREEMPT_RT"
	traitNoRT   = "no PREEMPT_RT"
	traitLock   = "lockdown is %s"
	traitLSM    = "LSM %s is active"
	traitNoLSM  = "LSM %s is not active"
	traitUnpriv = "kernel.unprivileged_bpf_disabled is %s"
	traitJIT    = "net.core.bpf_jit_enable is %s"
	traitHarden = "net.core.bpf_jit_harden is %s"
	traitConfig = "%s"
)

var traitOrder = []string{traitTarget, traitNoBTF, traitBTF, traitModule, traitMount, traitRT, traitNoRT, traitLock, traitLSM, traitNoLSM, traitUnpriv, traitJIT, traitHarden, traitConfig}

const maxCommon = 12 // traits of a group

// kernelTraits are what is known of a kernel: true what it has, false what it
// is known not to have. What stands for neither is not known.
func (ix *index) kernelTraits(i int) map[Trait]bool {
	if ix.traits == nil {
		ix.traits = make([]map[Trait]bool, len(ix.kernels))
	}
	if ix.traits[i] != nil {
		return ix.traits[i]
	}
	t := map[Trait]bool{}
	ix.traits[i] = t
	k := ix.kernels[i].Result
	f := k.Facts
	if f == nil {
		return t
	}
	either := func(has bool, yes, no Trait) { t[yes], t[no] = has, !has }
	either(f.BTF, Trait{Text: traitBTF}, Trait{Text: traitNoBTF})
	either(f.PreemptRT, Trait{Text: traitRT}, Trait{Text: traitNoRT})
	for target, has := range f.Targets {
		t[Trait{traitTarget, target}] = !has
	}
	for _, l := range f.LSMs {
		t[Trait{traitLSM, l}] = true
	}
	for text, value := range map[string]string{traitLock: f.Lockdown, traitUnpriv: f.UnprivilegedBPF, traitJIT: f.JIT, traitHarden: f.JITHarden} {
		if value != "" {
			t[Trait{text, value}] = true
		}
	}
	for option, value := range f.Config {
		t[Trait{traitConfig, "CONFIG_" + option + "=" + value}] = true
	}
	for _, m := range k.Modules {
		name, _, _ := strings.Cut(m, ": ")
		t[Trait{traitModule, name}] = true
	}
	for _, m := range k.Mounts {
		name, _, _ := strings.Cut(m, ": ")
		t[Trait{traitMount, name}] = true
	}
	return t
}

// has says whether a kernel has a trait; known is false when nobody can tell.
func (ix *index) has(i int, t Trait) (has, known bool) {
	if has, known = ix.kernelTraits(i)[t]; known {
		return has, true
	}
	f := ix.kernels[i].Facts
	if f == nil {
		return false, false
	}
	switch t.Text {
	case traitModule, traitMount: // only failures are written down
		return false, true
	case traitLSM:
		return false, len(f.LSMs) > 0
	case traitNoLSM:
		return !slices.Contains(f.LSMs, t.Name), len(f.LSMs) > 0
	case traitLock:
		return false, f.Lockdown != ""
	case traitUnpriv:
		return false, f.UnprivilegedBPF != ""
	case traitJIT:
		return false, f.JIT != ""
	case traitHarden:
		return false, f.JITHarden != ""
	case traitConfig:
		option, _, _ := strings.Cut(strings.TrimPrefix(t.Name, "CONFIG_"), "=")
		_, known = f.Config[option]
		return false, known
	}
	return false, false
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
	candidates := map[Trait]bool{}
	for t, has := range ix.kernelTraits(failing[0]) {
		if has {
			candidates[t] = true
		}
	}
	// An LSM that is missing is known by those that have it.
	for _, i := range passed {
		if f := ix.kernels[i].Facts; f != nil {
			for _, l := range f.LSMs {
				candidates[Trait{traitNoLSM, l}] = true
			}
		}
	}
	lack := map[Trait]int{}
	for t := range candidates {
		for _, i := range passed {
			has, known := ix.has(i, t)
			if has {
				lack[t] = 0
				break
			}
			if known {
				lack[t]++
			}
		}
		if lack[t] == 0 {
			delete(candidates, t)
		}
	}
	for _, i := range failing {
		for t := range candidates {
			if has, known := ix.has(i, t); !has || !known {
				delete(candidates, t)
			}
		}
	}
	// The same said twice.
	if candidates[Trait{Text: traitNoBTF}] {
		delete(candidates, Trait{traitConfig, "CONFIG_DEBUG_INFO_BTF=n"})
	}
	if candidates[Trait{Text: traitRT}] {
		delete(candidates, Trait{traitConfig, "CONFIG_PREEMPT_RT=y"})
	}
	traits = slices.Collect(maps.Keys(candidates))
	named := func(t Trait) bool {
		_, target, ok := strings.Cut(t.Name, "/")
		return t.Text == traitTarget && ok && (strings.Contains(g.Title, target) || slices.Contains(g.Tests, t.Name))
	}
	slices.SortFunc(traits, func(a, b Trait) int {
		if c := compareOK(named(a), named(b)); c != 0 {
			return c
		}
		if c := slices.Index(traitOrder, a.Text) - slices.Index(traitOrder, b.Text); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	traits = traits[:min(len(traits), maxCommon)]
	known = len(passed)
	for _, t := range traits {
		known = min(known, lack[t])
	}
	return traits, known
}
