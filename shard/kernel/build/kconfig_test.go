package build

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

var sampleTree = fstest.MapFS{
	"Kconfig": {Data: []byte(`# SPDX
mainmenu "Linux/$(ARCH)"
source "scripts/Kconfig.include"
source "arch/$(SRCARCH)/Kconfig"
source "nowhere/Kconfig"
source "$(OUTSIDE)/Kconfig"
source "../../etc/Kconfig"
source "lib/Kconfig"
`)},
	"scripts/Kconfig.include": {Data: []byte("comma := ,\n")},
	"arch/x86/Kconfig": {Data: []byte(`config X86_64
	def_bool "$(ARCH)" = "x86_64"
	select HAVE_THING

config HAVE_THING
	bool

config HAVE_OTHER
	bool
`)},
	"lib/Kconfig": {Data: []byte(`
menuconfig MENU
	bool "A menu" # with a comment

if MENU
menu "Deep"
	depends on OUTER
	visible if SEEN

config INNER
	bool "Inner" if EXPERT || TOOL
	depends on HAVE_THING && \
		!CLASH
	depends on $(cc-option,-finner)
	help
	  config FAKE
	    depends on nothing

	  depends on NOTHING
	default y

endmenu
endif # MENU

choice
	prompt "One of" if MENU
	default FIRST
config FIRST
	bool "First"
config SECOND
	bool "Second"
endchoice

config FREE
	tristate "Free \"quoted\" if NOT"
	---help---
	  text

config HIDDEN
	bool
	default y if SOMETHING

config SELECTED
	bool "Selected"

config SELECTOR
	bool "Selector"
	select SELECTED if FREE
	select SELECTED if HIDDEN
	select HAVE_OTHER

config TWICE
	bool "Twice"
	depends on ARM && MIPS && SPARC

config TWICE
	bool "Twice"
	depends on SPARC
`)},
}

func TestExplain(t *testing.T) {
	k, err := readKconfig(sampleTree, arches[0])
	if err != nil {
		t.Fatal(err)
	}
	if k.defs["FAKE"] != nil || len(k.stack) != 0 {
		t.Error("the text of a help was read, or an end was missed")
	}
	all := config{"MENU": "y", "OUTER": "y", "SEEN": "y", "EXPERT": "y", "HAVE_THING": "y", "FIRST": "y"}
	for _, tc := range []struct {
		option Option
		set    config // on top of all
		want   string
	}{
		{Option{Name: "INNER", Value: "y"}, config{"MENU": "n"},
			"CONFIG_INNER is n, not y: it depends on MENU && OUTER && SEEN && HAVE_THING && !CLASH && $(cc-option,-finner) && (EXPERT || TOOL), and MENU is n (lib/Kconfig:10)"},
		{Option{Name: "INNER", Value: "y"}, config{"CLASH": "y", "OUTER": "n"}, ", and OUTER is n, CLASH is y (lib/Kconfig:10)"},
		{Option{Name: "INNER", Value: "y"}, config{"SEEN": "n"}, ", and SEEN is n (lib"},
		{Option{Name: "INNER", Value: "y"}, config{"EXPERT": "n"}, ", and EXPERT is n and TOOL is n (lib"},
		{Option{Name: "INNER", Value: "y"}, nil, "CONFIG_INNER is n, not y: it depends on $(cc-option,-finner), which the toolchain decides (lib"},
		{Option{Name: "SECOND", Value: "y"}, nil, "its choice has FIRST (lib/Kconfig:30)"},
		{Option{Name: "SECOND", Value: "y"}, config{"MENU": "n"}, "it depends on MENU, and MENU is n"},
		{Option{Name: "FREE", Value: "y"}, config{"FREE": "m"}, "CONFIG_FREE is m, not y: its dependencies are met, and it is not set all the same"},
		{Option{Name: "HIDDEN", Value: "y"}, nil, "only its default sets it (lib"},
		{Option{Name: "HAVE_OTHER", Value: "y"}, nil, "only other options set it, and none of them does: SELECTOR (arch/x86/Kconfig:8)"},
		{Option{Name: "NOSUCH", Value: "y"}, nil, "CONFIG_NOSUCH is n, not y: this tree has no such option"},
		{Option{Name: "TWICE", Value: "y"}, nil, "it depends on SPARC, and SPARC is n ("},
		{Option{Name: "SELECTED", Value: "n"}, config{"SELECTED": "y", "SELECTOR": "y", "FREE": "y"}, "CONFIG_SELECTED is y, not n: it is selected by SELECTOR"},
		{Option{Name: "SELECTED", Value: "n"}, config{"SELECTED": "y", "SELECTOR": "y"}, "CONFIG_SELECTED is y, not n (lib"},
	} {
		c := make(config)
		for _, m := range []config{all, tc.set} {
			for name, value := range m {
				c[name] = value
			}
		}
		if got := k.explain(tc.option, c); !strings.Contains(got, tc.want) {
			t.Errorf("%v with %v:\n got %s\nwant %s", tc.option, tc.set, got, tc.want)
		}
	}
}

// Files that include each other for ever are an error.
func TestKconfigLoops(t *testing.T) {
	loop := fstest.MapFS{"Kconfig": {Data: []byte("source \"Kconfig\"\n")}}
	if _, err := readKconfig(loop, arches[0]); err == nil {
		t.Error("a file that includes itself was read to its end")
	}
	deep := fstest.MapFS{"Kconfig": {Data: []byte("source \"0\"\n")}}
	for i := range 2 * maxDepth {
		deep[strconv.Itoa(i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "source \"%d\"\n", i+1)}
	}
	if _, err := readKconfig(deep, arches[0]); err == nil {
		t.Error("128 levels were read")
	}
	wide := fstest.MapFS{"Kconfig": {Data: []byte(strings.Repeat("source \"a\"\n", 200))}, "a": {Data: []byte(strings.Repeat("source \"b\"\n", 200))}, "b": {}}
	if _, err := readKconfig(wide, arches[0]); err == nil {
		t.Error("40,000 files were read")
	}
}

func FuzzKconfig(f *testing.F) {
	for name := range sampleTree {
		f.Add(string(sampleTree[name].Data), "INNER", "MENU")
	}
	f.Add("endmenu\nendif\nchoice\nendchoice\nif\nhelp\n\\\nconfig\nselect\nconfig A\n bool \"x\\", "A", "A")
	f.Fuzz(func(t *testing.T, text, name, set string) {
		k, err := readKconfig(fstest.MapFS{"Kconfig": {Data: []byte(text)}, "lib/Kconfig": sampleTree["lib/Kconfig"]}, arches[0])
		if err != nil {
			return
		}
		if len(k.stack) != 0 {
			t.Fatalf("%d menus are open at the end", len(k.stack))
		}
		for _, value := range []string{"y", "n"} {
			for _, n := range []string{name, "INNER", "SECOND"} {
				if why := k.explain(Option{Name: n, Value: value}, config{set: "y"}); strings.Contains(why, "\n") && !strings.Contains(n, "\n") {
					t.Fatalf("more than one line: %q", why)
				}
			}
		}
	})
}
