package github

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/elastic/bpf-kernel-check/report"
)

// runnerTakes says whether GitHub's runner takes a line for a command, by the
// rules of ActionCommand.cs, whatever the command's name is. It compares as
// people of a culture do, so characters that are nothing to them count for
// nothing.
func runnerTakes(line string) bool {
	line = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !unicode.IsSpace(r) || unicode.In(r, unicode.Cf, unicode.M, unicode.Other_Default_Ignorable_Code_Point) {
			return -1
		}
		return r
	}, line)
	trimmed := strings.TrimSpace(line)
	return strings.Contains(line, "##[") || strings.Contains(line, "##vso[") || strings.HasPrefix(trimmed, "::")
}

// runnerLines are the lines that the runner reads, and those that others would.
func runnerLines(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("\n\r\v\f\x85\u2028\u2029", r) })
}

func writeLog(t *testing.T, pieces ...string) string {
	t.Helper()
	var b bytes.Buffer
	l := NewLog(&b)
	for _, p := range pieces {
		if n, err := l.Write([]byte(p)); err != nil || n != len(p) {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestLog(t *testing.T) {
	const bracketed, colons = "## [set-output name=k]x\n", "\\::set-output name=k::x\n"
	for _, tt := range []struct {
		in   []string
		want string
	}{
		{[]string{"plain text\n", "  with é and 漢\n"}, "plain text\n  with é and 漢\n"},
		{[]string{"a::b #[ # # [ ::\n"}, "a::b #[ # # [ ::\n"},
		{[]string{"##[set-output name=k]x\n"}, bracketed},
		{[]string{"#\u200b#[set-output name=k]x\n"}, bracketed},
		{[]string{"##\u200b[set-output name=k]x\n"}, bracketed},
		{[]string{"#\x1b[0m#[set-output name=k]x\n"}, bracketed},
		{[]string{"#\x1b]0;title\x07#[set-output name=k]x\n"}, bracketed},
		{[]string{"#\x00#\x7f[set-output name=k]x\n"}, bracketed},
		{[]string{"#\u202e#\u2066[set-output name=k]x\n"}, bracketed},
		{[]string{"#\u009b0m#[set-output name=k]x\n"}, bracketed},
		{[]string{"#\ufe0f#\u034f[set-output name=k]x\n"}, bracketed},
		{[]string{"#\u3164#\U000e0100[set-output name=k]x\n"}, bracketed},
		{[]string{"#", "#[set-output name=k]x\n"}, bracketed},
		{[]string{"##", "[set-output name=k]x"}, bracketed},
		{[]string{"#\xe2", "\x80\x8b#[set-output name=k]x"}, bracketed},
		{[]string{"#\u0301#[set-output name=k]x\n"}, "#\u0301" + bracketed[1:]},
		{[]string{"###[a]##[b]##vso[c]##teamcity[d]\n"}, "### [a]## [b]##vso [c]##teamcity [d]\n"},
		{[]string{"::set-output name=k::x\n"}, colons},
		{[]string{" \t::set-output name=k::x\n"}, " \t" + colons},
		{[]string{"\u200b::set-output name=k::x\n"}, colons},
		{[]string{"\ufeff:\u200b:set-output name=k::x\n"}, colons},
		{[]string{":", ":set-output name=k::x\n"}, colons},
		{[]string{"x\r::set-output name=k::x\r\n"}, "x\n" + colons},
		{[]string{"x\r", "::set-output name=k::x\n"}, "x\n" + colons},
		{[]string{"\x1b[2K\x1b[1G::set-output name=k::x\n"}, colons},
		{[]string{"\v\f\u0085\u00a0\u2028\u3000::set-output name=k::x\n"}, "      " + colons},
		{[]string{"::stop-commands::x\n::x::\n"}, "\\::stop-commands::x\n\\::x::\n"},
		{[]string{"\x1b[2J\x1b[31mred\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n"}, "redlink\n"},
		{[]string{"\xff\xfe\n"}, "?\n"},
		{[]string{""}, ""},
		{[]string{"\n", "\n"}, "\n\n"},
	} {
		if got := writeLog(t, tt.in...); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

// A line that never ends is broken, and what was broken is read as a line.
func TestLogLongLine(t *testing.T) {
	half := strings.Repeat("x", maxLogLine/2)
	if got, want := writeLog(t, half, half, "::error::x"), half+half+"\n\\::error::x\n"; got != want {
		t.Errorf("%d bytes, want %d: ...%q", len(got), len(want), got[len(got)-20:])
	}
}

// What is written raw stands on a line of its own.
func TestLogRaw(t *testing.T) {
	var b bytes.Buffer
	l := NewLog(&b)
	for _, err := range []error{
		func() error { _, err := l.Write([]byte("half")); return err }(),
		l.Error("title", "##[x]\u202e\n::y::"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := "half\n::error title=title::## [x]%0A::y::\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestLogColors(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[31m[FAIL]\x1b[0m x\x1b[2J\n": "\x1b[31m[FAIL]\x1b[0m x\n",
		"\x1b[1A\x1b[32m\x1b[J\r[PASS]\n":  "\x1b[32m\n[PASS]\n",
	} {
		if got := logText(in, true); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzLog writes anything in pieces of two sizes. No line that comes out is a
// command or holds what cannot be seen, the pieces change nothing, and what is
// fit already stays as it is.
func FuzzLog(f *testing.F) {
	for _, s := range []string{
		"plain\ntext\n", "#\u200b#[set-output name=cache-save-key]x\n", "##\x1b[31m[group]y", " \u2028::error::z", "\u00a0:\ufeff:add-mask::a\r::b::",
		"::stop-commands::x\n##[x]", "#\u0301\ufe0f#\u034f[x]", "##vso[task.complete]", "a\xe2\x80\x8b\xff##\u202e[", "###[[##", "\x1b]8;;#\x1b\\#[",
		":\u0300:x", "\u0300::x", "#\x1b[#[x]", "\x9b1m::", "::::", ": :", "#\x1b#\x1b[[x]",
	} {
		f.Add(s, 1, 3)
		f.Add(s, 2, 5)
	}
	f.Fuzz(func(t *testing.T, s string, one, two int) {
		if one < 1 || two < 1 || len(s) > maxLogLine/2 {
			return
		}
		var outs []string
		for _, size := range []int{one, two, len(s)} {
			var pieces []string
			for b := range slices.Chunk([]byte(s), max(size, 1)) {
				pieces = append(pieces, string(b))
			}
			outs = append(outs, writeLog(t, pieces...))
		}
		out := outs[0]
		if outs[1] != out || outs[2] != out {
			t.Errorf("%q in other pieces: %q", s, outs)
		}
		if !utf8.ValidString(out) {
			t.Errorf("%q: %q is not UTF-8", s, out)
		}
		for _, line := range runnerLines(out) {
			if runnerTakes(line) {
				t.Errorf("%q: the line %q is a command", s, line)
			}
			for _, r := range line {
				if r != '\t' && !unicode.IsPrint(r) {
					t.Errorf("%q: the line %q holds %U", s, line, r)
				}
			}
		}
		if again := writeLog(t, out); again != out {
			t.Errorf("%q: %q becomes %q", s, out, again)
		}
		if report.Text(s) == s && !slices.ContainsFunc(runnerLines(s), runnerTakes) && !strings.Contains(s, "##") && out != strings.TrimSuffix(s, "\n")+"\n" && s != "" {
			t.Errorf("%q, which is fit, becomes %q", s, out)
		}
	})
}
