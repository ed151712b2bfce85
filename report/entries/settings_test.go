package entries

import (
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func TestReadSettings(t *testing.T) {
	got, err := ReadSettings(strings.NewReader(`# what the workflow runs
kernels:
  - debian:bookworm:cloud-amd64 # 6.1
  - '@kernels.txt'
min-release: 5.10
memory: 1024
cover: true
test: >-
  ./probe.test
  -test.v
`), "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []Setting{
		{"kernels", []string{"debian:bookworm:cloud-amd64", "@kernels.txt"}, true, "x.yaml:2"},
		{"min-release", []string{"5.10"}, false, "x.yaml:5"}, // and not 5.1
		{"memory", []string{"1024"}, false, "x.yaml:6"},
		{"cover", []string{"true"}, false, "x.yaml:7"},
		{"test", []string{"./probe.test -test.v"}, false, "x.yaml:8"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, nothing := range []string{"", "# nothing\n", "---\n", "~\n"} {
		if got, err := ReadSettings(strings.NewReader(nothing), "x.yaml"); err != nil || len(got) > 0 {
			t.Errorf("%q: %v, %v", nothing, got, err)
		}
	}
}

// badSettings are files that cannot be used, and why.
var badSettings = map[string]string{
	"- a\n":                 "x.yaml:1: want a line KEY: VALUE for each setting",
	"kernels\n":             "x.yaml:1: want a line KEY: VALUE for each setting",
	"a: 1\nb: 2\na: 3\n":    `x.yaml:3: the key "a" stands twice`,
	"a: 1\n---\nb: 2\n":     "x.yaml:1: it has more than one YAML document: want one",
	"a:\n":                  "x.yaml:1: a: the value is empty: leave the key out",
	"a: ''\n":               "x.yaml:1: a: the value is empty: leave the key out",
	"a: ' '\n":              "x.yaml:1: a: the value is empty: leave the key out",
	"a: []\n":               "x.yaml:1: a: the list is empty: leave the key out",
	"a:\n  - 1\n  - b: 2\n": "x.yaml:3: a: want a value, or a list of values",
	"a:\n  b: 2\n":          "x.yaml:2: a: want a value, or a list of values",
	"a: &x [1]\nb: *x\n":    "x.yaml:2: b: aliases are not followed: write the value here; a text that begins with *, @, ! or & has to be in quotes",
	"? [a]\n: 1\n":          "x.yaml:1: a key is no text: want a line KEY: VALUE for each setting",
	"a: |\n  b\n  c\n":      "x.yaml:1: a: the value has several lines, or a control character: want one line, or a list with a line for each",
	"a: \"b\\0c\"\n":        "x.yaml:1: a: the value has several lines, or a control character: want one line, or a list with a line for each",
	"a: !!binary YQ==\n":    "x.yaml:1: a: the tag !!binary is not known: want a text; a text that begins with *, @, ! or & has to be in quotes",
	"a: !exec ls\n":         "x.yaml:1: a: the tag !exec is not known: want a text; a text that begins with *, @, ! or & has to be in quotes",
	"a: [\n":                "x.yaml:1: no YAML: did not find expected node content; a text that begins with *, @, ! or & has to be in quotes",
	"a: b: c\n":             "x.yaml:1: no YAML: mapping values are not allowed in this context; a text that begins with *, @, ! or & has to be in quotes",
	"a: *.bpf.o\n":          "x.yaml:1: no YAML: did not find expected alphabetic or numeric character; a text that begins with *, @, ! or & has to be in quotes",
	"a: @list\n":            "x.yaml:1: no YAML: found character that cannot start any token; a text that begins with *, @, ! or & has to be in quotes",
	"a: !x/*\n":             "x.yaml:1: a: the tag !x/* is not known: want a text; a text that begins with *, @, ! or & has to be in quotes",
	"a: *none\n":            "x.yaml:1: no YAML: unknown anchor 'none' referenced; a text that begins with *, @, ! or & has to be in quotes",
	"a: " + strings.Repeat("x", MaxSetting+1): "x.yaml:1: a: the value has 8193 bytes: want at most 8192",
	strings.Repeat("#", MaxSettings+1):        "x.yaml:1: it has more than 64 KiB",
	strings.Repeat("a: [", 12_000):            "x.yaml:1: no YAML: exceeded max depth of 10000; a text that begins with *, @, ! or & has to be in quotes",
}

func TestReadSettingsRefuses(t *testing.T) {
	for text, want := range badSettings {
		if got, err := ReadSettings(strings.NewReader(text), "x.yaml"); err == nil || err.Error() != want {
			t.Errorf("%.40q: %v, %v, want %s", text, got, err, want)
		}
	}
}

// Whatever a file holds, there are settings that a command line can have, or one
// line that begins with the place.
func FuzzReadSettings(f *testing.F) {
	f.Add("kernels: [debian:bookworm, ./k]\ncover: true\n")
	f.Add("a: &a [*a]\n")
	f.Add("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n")
	f.Add("<<: {a: 1}\n")
	for text := range badSettings {
		if len(text) < 100 {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ReadSettings(strings.NewReader(text), "x.yaml")
		if err != nil {
			var line int
			if _, e := fmt.Sscanf(err.Error(), "x.yaml:%d: ", &line); e != nil || line < 1 || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		for _, s := range all {
			if len(s.Values) == 0 || !s.List && len(s.Values) != 1 {
				t.Fatalf("%+v", s)
			}
			for _, v := range s.Values {
				if v == "" || strings.ContainsFunc(v, unicode.IsControl) || len(v) > MaxSetting {
					t.Fatalf("%+v", s)
				}
			}
		}
	})
}
