package report

import (
	"strings"
	"testing"
)

func TestMatchKernel(t *testing.T) {
	const id = "debian/6.1.0-56-cloud-amd64__6.1.192-2"
	for globs, want := range map[string]bool{
		"*": true, "**": true, "6.1.*": true, "*cloud*": true, "debian/*": true, "debian/6.1*": true, "**/6.1*": true,
		id: true, "6.1.0-5[0-6]-*": true, "6.1.0-??-cloud*": true, "deb**192-2": true, "*/*": true, "debian/**": true,
		"debian": false, "6.12*": false, "fedora/*": false, "cloud": false, "*/x": false, "[": false, "debian*cloud*": false,

		"!fedora/*": true, "!debian/*": false, "!6.1*": false, "debian/* !*cloud*": false,
		"debian/* !*rt*": true, "fedora/* !*rt*": false, "!*rt* fedora/*": false, "!**cloud**": false,
		"": true, "nothing 6.1*": true,
	} {
		if got := MatchKernel(strings.Fields(globs), id); got != want {
			t.Errorf("%q: %v", globs, got)
		}
	}
	if MatchKernel([]string{""}, id) {
		t.Error("an empty glob matches")
	}
	for _, g := range []string{"*", "6.[1-9]*", "!*cloud*", "**"} {
		if err := CheckKernelGlob(g); err != nil {
			t.Error(err)
		}
	}
	for _, g := range []string{"!", "", "![", "!![", "[", "a[", `x\`} {
		if err := CheckKernelGlob(g); err == nil {
			t.Errorf("glob %q is taken", g)
		}
	}
}
