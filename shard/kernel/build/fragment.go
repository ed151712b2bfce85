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

// debugFragments are configurations with which a kernel finds its own errors.
// Package console knows what they report.
var debugFragments = []fragment{
	{name: "kasan", options: options("y", "KASAN KASAN_GENERIC KASAN_INLINE")},
	{name: "lockdep", options: options("y", "PROVE_LOCKING DEBUG_ATOMIC_SLEEP")}, // with PROVE_RCU
	{name: "rcu", options: options("y", "PROVE_LOCKING RCU_EXPERT PROVE_RCU_LIST DEBUG_OBJECTS DEBUG_OBJECTS_RCU_HEAD")},
	{name: "objects", options: options("y", "DEBUG_OBJECTS DEBUG_OBJECTS_FREE DEBUG_OBJECTS_TIMERS DEBUG_OBJECTS_WORK DEBUG_LIST")},
	{name: "ubsan", options: options("y", "UBSAN UBSAN_BOUNDS UBSAN_SHIFT")},
}

// DebugNames are what Configurations takes for debug.
func DebugNames() (names []string) {
	for _, f := range debugFragments {
		names = append(names, f.name)
	}
	return names
}

// Configurations returns r with each of configs merged into it, or r alone if
// there are none. A config is a file, or several with commas between them; later
// ones count. The fragments of debug, by name, are merged into all. An error is a
// *UsageError.
func Configurations(r Recipe, configs, debug []string) ([]Recipe, error) {
	var checks []fragment
	for _, name := range debug {
		i := slices.Index(DebugNames(), name)
		if i < 0 {
			return nil, usagef("there is no %q: want %s", name, strings.Join(DebugNames(), ", "))
		}
		checks = append(checks, debugFragments[i])
	}
	for _, config := range configs {
		if slices.Contains(strings.Split(config, ","), "") {
			return nil, usagef("configuration %q: want FILE or FILE,FILE, without an empty name", config)
		}
	}
	if len(configs) == 0 {
		configs = []string{""}
	}
	var out []Recipe
	for _, config := range configs {
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
		}
		merged := r
		merged.Options = slices.Clone(r.Options)
		for i := range merged.Options {
			// What depends on an option that the user turns off goes with it.
			merged.Options[i].Helper = merged.Options[i].Helper || slices.ContainsFunc(fragments, fragment.turnsOff)
		}
		for _, f := range append(fragments, checks...) {
			merged = merged.with(f)
		}
		if slices.ContainsFunc(out, func(o Recipe) bool { return o.Name == merged.Name }) {
			return nil, usagef("two configurations make kernels that are called %q: rename one of the files", merged.Name)
		}
		out = append(out, merged)
	}
	return out, nil
}

func (f fragment) turnsOff() bool {
	return slices.ContainsFunc(f.options, func(o Option) bool { return o.Value == "n" })
}

// with returns the recipe with a fragment merged into it.
func (r Recipe) with(f fragment) Recipe {
	r.Name += "-" + kernel.SafeName(f.name)
	if f.whole {
		r.Base, r.Options = "", nil
	}
	r.Options = slices.DeleteFunc(slices.Clone(r.Options), func(o Option) bool {
		return slices.ContainsFunc(f.options, func(of Option) bool { return of.Name == o.Name })
	})
	r.Options = append(r.Options, f.options...)
	return r
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
