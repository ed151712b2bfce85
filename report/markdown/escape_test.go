package markdown

import (
	"strings"
	"testing"
)

func TestLink(t *testing.T) {
	for address, want := range map[string]string{
		"https://github.com/a/b?x=1&y=2#z": "[t](https://github.com/a/b?x=1&y=2#z)",
		"http://127.0.0.1:8080/a_b-c~d":    "[t](http://127.0.0.1:8080/a_b-c~d)",
		"":                                 "t",
		"javascript:alert(1)":              "t",
		"//evil.example/x":                 "t",
		"https:///x":                       "t",
		"https://x/\x00":                   "t",
		"https://x/a b":                    "[t](https://x/a%20b)",
		"https://x/é":                      "[t](https://x/%C3%A9)",
	} {
		if got := link("t", address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
	// Nothing in an address ends it.
	for _, c := range "()<>[]\\`\"'|* \n\r\t" {
		got := link("t", "https://x/a"+string(c)+"b")
		if got != "t" && (strings.Count(got, "(") != 1 || strings.Count(got, ")") != 1 || strings.ContainsAny(got[4:len(got)-1], "<>[]\\`\"'|* \n\r\t")) {
			t.Errorf("%q: %q", c, got)
		}
	}
}

func TestWord(t *testing.T) {
	for name, plain := range map[string]bool{
		"debian": true, "amazonlinux2": true, "rhel8": true, "mainline": true,
		"deadbeef": false, "facade1234": false, "www.evil.example": false, "GH-1": false, "a_b": false, "": false, "@x": false, "5": false, "a-b": false,
	} {
		if got := word(name, code) == name; got != plain {
			t.Errorf("%q as it is: %v", name, got)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, tt := range []struct {
		in           string
		lines, width int
		want         string
	}{
		{"a\nb\n", 3, 9, "a\nb"},
		{"1\n2\n3\n4\n5\n6\n7\n8\n9", 3, 9, "1\n... 6 lines left out ...\n8\n9"},
		{"1\n2", 1, 9, "1\n... 1 line left out ..."},
		{"éééé", 3, 3, "é..."},
		{"\n\n a \n", 3, 9, " a"},
		{"", 3, 9, ""},
	} {
		if got := shorten(tt.in, tt.lines, tt.width); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}
