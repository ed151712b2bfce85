package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseTest(t *testing.T) {
	for text, want := range map[string]testSpec{
		// As before there were settings.
		"./a.test -test.v":        {words: []string{"./a.test", "-test.v"}},
		"./a -- name=b -x":        {words: []string{"./a", "--", "name=b", "-x"}},
		"env=x":                   {words: []string{"env=x"}},
		"./name=x -- -y":          {words: []string{"./name=x", "--", "-y"}},
		`sh -c 'x=1 -- y; exit'`:  {words: []string{"sh", "-c", "x=1 -- y; exit"}},
		"-- ./a name=b":           {words: []string{"./a", "name=b"}},
		"name=b -- ./a -- -x y=z": {set: true, name: "b", words: []string{"./a", "--", "-x", "y=z"}},
		"name=foo dir=/x/../y env=A=b 'env=C=d e' env=F timeout=90s test-timeout=5s -- './a b' -v": {
			set: true, name: "foo", dir: "/y", env: []string{"A=b", "C=d e", "F"}, timeout: 90 * time.Second, testTimeout: 5 * time.Second, words: []string{"./a b", "-v"},
		},
	} {
		got, err := parseTest(text)
		want.text = text
		if d := cmp.Diff(want, got, cmp.AllowUnexported(testSpec{}), cmpopts.EquateEmpty()); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, d)
		}
		// What is published of it is the same, but for the variables' values.
		again, err := parseTest(got.shown())
		for i, kv := range want.env {
			want.env[i], _, _ = strings.Cut(kv, "=")
		}
		want.text = got.shown()
		if d := cmp.Diff(want, again, cmp.AllowUnexported(testSpec{}), cmpopts.EquateEmpty()); d != "" || err != nil {
			t.Errorf("%s, shown as %s: %v\n%s", text, got.shown(), err, d)
		}
	}
	for text, want := range map[string]string{
		"":                                  "want a program and its arguments",
		"'./a":                              "want a program and its arguments",
		"name=a ./b":                        "name is a setting, and no -- follows: want settings -- PROGRAM ARGS...",
		"name=a --":                         "no program follows --",
		"--":                                "no program follows --",
		"nam=a -- ./b":                      `"nam" is no setting: want one of name, dir, env, timeout, test-timeout, framework, junit before --, did you mean "name"?`,
		"name=a b -- ./b":                   `"b" is no setting`,
		"name=../a -- ./b":                  `name="../a": want letters`,
		"name= -- ./b":                      `name="": want letters`,
		"dir=x -- ./b":                      `dir="x": want an absolute path`,
		"timeout=5 -- ./b":                  `timeout="5": want a time of at least 1s and at most 24h, with its unit, such as 90s`,
		"timeout=0s -- ./b":                 `timeout="0s": want`,
		"timeout=5s test-timeout=6s -- ./b": "test-timeout=6s is longer than timeout=5s",
	} {
		if _, err := parseTest(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestCheckNames(t *testing.T) {
	for names, want := range map[string]string{
		"a b":           "",
		"a ab a-b/c":    "",
		"x/a x/b":       "",
		"net net/ipv4":  `the name "net/ipv4" begins with another program's, "net", as its tests do: give one of them another`,
		"a/b/c x a":     `the name "a/b/c" begins with another program's, "a"`,
		"a/b/c/d a/b x": `begins with another program's, "a/b"`,
	} {
		if err := checkNames(strings.Fields(names)); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", names, err, want)
		}
	}
}

func FuzzParseTest(f *testing.F) {
	for _, seed := range []string{"./a -x", "name=a dir=/b env=C=d timeout=5s -- ./e 'f g'", "-- -- --", "a=b -- 'c", "name=a -- \x00\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseTest(text)
		if err != nil {
			return
		}
		if len(s.words) == 0 {
			t.Fatalf("%q names no program", text)
		}
		again, err := parseTest(s.shown())
		if err != nil && !strings.Contains(s.shown(), "xxxxx") || err == nil && (again.name != s.name || again.dir != s.dir || again.timeout != s.timeout || len(again.words) != len(s.words)) {
			t.Fatalf("%q is shown as %q, which is %+v, %v", text, s.shown(), again, err)
		}
	})
}
