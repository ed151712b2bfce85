package build

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

var sampleTree = fstest.MapFS{
	"arch/x86/Kconfig": {Data: []byte("config ARCHED\n\tdepends on HERE\n")},
	"arch/arm/Kconfig": {Data: []byte("config ARCHED\n\tdepends on ELSEWHERE\n")},
	"lib/Kconfig.debug": {Data: []byte(`# SPDX
menuconfig INNER
	bool "Inner" if EXPERT || TOOL
	depends on HAVE_THING && \
		!CLASH
	# a comment

	depends on $(cc-option,-finner)
	help
	  config FAKE
	  depends on NOTHING

config FREE
	bool
config TWICE
	depends on ARM
config TWICE
	depends on SPARC
`)},
	"lib/Makefile": {Data: []byte("config FAKE\n")},
}

func TestExplain(t *testing.T) {
	options := []Option{{Name: "INNER", Value: "y"}, {Name: "FREE", Value: "n"}, {Name: "TWICE", Value: "y"}, {Name: "ARCHED", Value: "y"}, {Name: "FAKE", Value: "y"}}
	defs, err := definitions(sampleTree, arches[0], options)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range options {
		got = append(got, explain(o, image.Config{"FREE": "m"}, defs[o.Name]))
	}
	want := []string{
		"CONFIG_INNER is n, not y (lib/Kconfig.debug:2: depends on HAVE_THING && !CLASH, depends on $(cc-option,-finner))",
		"CONFIG_FREE is m, not n (lib/Kconfig.debug:13)",
		"CONFIG_TWICE is n, not y (lib/Kconfig.debug:15: depends on ARM; lib/Kconfig.debug:17: depends on SPARC)",
		"CONFIG_ARCHED is n, not y (arch/x86/Kconfig:1: depends on HERE)",
		"CONFIG_FAKE is n, not y: this tree has no such option",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func FuzzDefinitions(f *testing.F) {
	for _, file := range sampleTree {
		f.Add(string(file.Data))
	}
	f.Add("config A\nhelp\n\\\n\tdepends\nconfig\nmenuconfig A \\")
	f.Fuzz(func(t *testing.T, text string) {
		for option, defs := range definitionsIn("Kconfig", text, map[string]bool{"A": true, "INNER": true}) {
			if why := explain(Option{Name: option, Value: "y"}, nil, defs); strings.ContainsAny(why, "\n\r") {
				t.Fatalf("more than one line: %q", why)
			}
		}
	})
}
