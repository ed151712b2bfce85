package build

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// fragment is a piece of a configuration, or a whole one.
type fragment struct {
	name    string
	options []Option
	whole   bool // nothing else is in the configuration
}

// debugFragments are configurations with which a kernel finds its own errors, a
// name and options each. Package console knows what they report.
var debugFragments = []string{
	"kasan KASAN KASAN_GENERIC KASAN_INLINE STACKTRACE",
	"lockdep PROVE_LOCKING DEBUG_ATOMIC_SLEEP", // with PROVE_RCU
	"rcu PROVE_LOCKING RCU_EXPERT PROVE_RCU_LIST DEBUG_OBJECTS DEBUG_OBJECTS_RCU_HEAD",
	"objects DEBUG_OBJECTS DEBUG_OBJECTS_FREE DEBUG_OBJECTS_TIMERS DEBUG_OBJECTS_WORK DEBUG_LIST",
	"ubsan UBSAN UBSAN_BOUNDS UBSAN_SHIFT",
}

// DebugNames are what Configurations takes for debug.
func DebugNames() []string {
	var names []string
	for _, f := range debugFragments {
		names = append(names, strings.Fields(f)[0])
	}
	return names
}

// Configurations makes a recipe of each of configs, which are files that are
// merged, with commas between them; a later line counts. Each gets debug's
// fragments, by name, behind its own. Without configs there is one recipe. An
// error is a *UsageError.
func Configurations(r Recipe, configs, debug []string) ([]Recipe, error) {
	var own []fragment
	for _, name := range debug {
		i := slices.Index(DebugNames(), name)
		if i < 0 {
			return nil, usagef("there is no %q: want %s", name, strings.Join(DebugNames(), ", "))
		}
		f := fragment{name: name}
		for _, o := range strings.Fields(debugFragments[i])[1:] {
			f.options = append(f.options, Option{Name: o, Value: "y"})
		}
		own = append(own, f)
	}
	if len(configs) == 0 {
		configs = []string{""}
	}
	var out []Recipe
	for _, config := range configs {
		merged := r
		var fragments []fragment
		for _, file := range strings.FieldsFunc(config, func(c rune) bool { return c == ',' }) {
			f, err := readFragment(file)
			if err != nil {
				return nil, err
			}
			if f.whole && len(fragments) > 0 {
				return nil, usagef("%s is a whole configuration: name it before the fragments that change it", file)
			}
			fragments = append(fragments, f)
			if f.turnsOff() {
				// What depends on what the user turns off goes with it.
				merged.Options = slices.Clone(r.Options)
				for i := range merged.Options {
					merged.Options[i].Helper = true
				}
			}
		}
		for _, f := range append(fragments, own...) {
			merged = merged.with(f)
		}
		if slices.ContainsFunc(out, func(o Recipe) bool { return o.Name == merged.Name }) {
			return nil, usagef("two configurations make kernels that are called %q: give one another file name", merged.Name)
		}
		out = append(out, merged)
	}
	return out, nil
}

// with returns the recipe with a fragment merged into it.
func (r Recipe) with(f fragment) Recipe {
	r.Name += "-" + kernel.SafeName(f.name)
	if f.whole {
		r.Base, r.Options = "", nil
	}
	over := map[string]bool{}
	for _, o := range f.options {
		over[o.Name] = true
	}
	r.Options = slices.DeleteFunc(slices.Clone(r.Options), func(o Option) bool { return over[o.Name] })
	r.Options = append(r.Options, f.options...)
	return r
}

// turnsOff says whether the fragment has an option that is off.
func (f fragment) turnsOff() bool {
	return slices.ContainsFunc(f.options, func(o Option) bool { return o.Value == "n" })
}

var (
	fragmentLine = regexp.MustCompile(`^(?:CONFIG_([A-Za-z0-9_]+)=(y|m|n|-?[0-9]+|0[xX][0-9a-fA-F]+|".*")|# CONFIG_([A-Za-z0-9_]+) is not set)$`)
	// kconfig writes it into what is complete.
	wholeLine = []byte("Automatically generated file; DO NOT EDIT.")
)

func readFragment(file string) (fragment, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return fragment{}, usagef("configuration: %v", err)
	}
	f, err := parseFragment(text)
	if err != nil {
		return fragment{}, usagef("configuration %s: %v", file, err)
	}
	base := filepath.Base(file)
	f.name = cmp.Or(strings.TrimSuffix(base, filepath.Ext(base)), strings.TrimPrefix(base, "."))
	return f, nil
}

// parseFragment reads a file. What it has as a module is built in, since an image
// comes without modules; a whole configuration, which has thousands, loses them.
func parseFragment(text []byte) (fragment, error) {
	f := fragment{whole: bytes.Contains(text[:min(len(text), 1<<10)], wholeLine)}
	modules := "y"
	if f.whole {
		modules = "n"
	}
	at := map[string]int{}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		m := fragmentLine.FindSubmatch(line)
		if m == nil {
			if len(line) == 0 || line[0] == '#' {
				continue
			}
			return fragment{}, fmt.Errorf("line %d is %.100q: want CONFIG_NAME=VALUE or # CONFIG_NAME is not set", number, line)
		}
		o := Option{Name: string(m[1]) + string(m[3]), Value: cmp.Or(string(m[2]), "n"), Helper: f.whole}
		if o.Value == "m" {
			o.Value = modules
		}
		if i, ok := at[o.Name]; ok {
			f.options[i] = o
			continue
		}
		at[o.Name] = len(f.options)
		f.options = append(f.options, o)
	}
	if len(f.options) == 0 {
		return fragment{}, fmt.Errorf("it sets no option: want CONFIG_NAME=VALUE or # CONFIG_NAME is not set")
	}
	return f, nil
}
