package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// call runs a command of this program.
func call(t *testing.T, input string, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(args, stdio{strings.NewReader(input), &o, &e})
	return o.String(), e.String(), code
}

func TestApplets(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("b 2\na 10\nb 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		args  []string
		input string
		out   string
		code  int
	}{
		{[]string{"grep", "a"}, "cat\ndog\nrat", "cat\nrat\n", 0},
		{[]string{"grep", "-v", "a"}, "cat\ndog\n", "dog\n", 0},
		{[]string{"grep", "-inc", "A"}, "cat\ndog\nrat\n", "2\n", 0},
		{[]string{"grep", "-n", "o"}, "cat\ndog\n", "2:dog\n", 0},
		{[]string{"grep", "-F", "a.c"}, "abc\na.c\n", "a.c\n", 0},
		{[]string{"grep", "-o", "[0-9]+"}, "a1b22\n", "1\n22\n", 0},
		{[]string{"grep", "-q", "x"}, "y\n", "", 1},
		{[]string{"grep", "-rl", "10", dir}, "", file + "\n", 0},
		{[]string{"grep", "[", file}, "", "", 1},
		{[]string{"grep"}, "", "", 2},
		{[]string{"head", "-n", "1", file}, "", "b 2\n", 0},
		{[]string{"head", "-0"}, "x\n", "", 0},
		{[]string{"head", "-x"}, "x\n", "", 2},
		{[]string{"tail", "-2"}, "1\n2\n3", "2\n3\n", 0},
		{[]string{"wc", file}, "", "3 6 13 " + file + "\n", 0},
		{[]string{"wc", "-l"}, "1\n2\n", "2\n", 0},
		{[]string{"sort", file}, "", "a 10\nb 2\nb 2\n", 0},
		{[]string{"sort", "-u"}, "b\na\nb\n", "a\nb\n", 0},
		{[]string{"sort", "-nr"}, "9\n10\n1\n", "10\n9\n1\n", 0},
		{[]string{"cat", file}, "", "b 2\na 10\nb 2\n", 0},
		{[]string{"cat", dir + "/none"}, "", "", 1},
		{[]string{"sleep", "0"}, "", "", 0},
		{[]string{"sleep", "x"}, "", "", 2},
		{[]string{"kill", "-NONE", "1"}, "", "", 1},
		{[]string{"bpf"}, "", "", 2},
		{[]string{"bpf", "prog", "dump"}, "", "", 2},
		{[]string{"nothing"}, "", "", 127},
	} {
		out, errs, code := call(t, x.input, x.args...)
		if out != x.out || code != x.code {
			t.Errorf("%q: %q, status %d, want %q and %d; it said %q", x.args, out, code, x.out, x.code, errs)
		}
		if code != 0 && code != 1 && errs == "" {
			t.Errorf("%q fails without a word", x.args)
		}
	}
}

// Every command says what it is, and names its own usage.
func TestHelpNamesAll(t *testing.T) {
	out, _, code := call(t, "", "help")
	for name, a := range applets() {
		if a.what == "" || !strings.Contains(out, "  "+name+" ") {
			t.Errorf("%s is not explained", name)
		}
	}
	if code != 0 || !strings.Contains(out, "run-payload") {
		t.Errorf("%q", out)
	}
}

func TestScripts(t *testing.T) {
	for _, x := range []struct {
		script, out string
		code        int
	}{
		{"echo a; echo b", "a\nb\n", 0},
		{"for i in 1 2; do echo $i; done | while read x; do echo \"<$x>\"; done", "<1>\n<2>\n", 0},
		{"false", "", 1},
		{"exit 7; echo no", "", 7},
		{"f() { echo $1; return 3; }; f x", "x\n", 3},
		{"echo first\nif [ 1 -eq 1 ]; then echo yes; fi\n", "first\nyes\n", 0},
		{"no-such-command; echo $?", "127\n", 0},
		{"echo before\n)", "before\n", 2},
		{"x=$(echo in); echo \"$x\" >" + "$TMPDIR/f; echo <$TMPDIR/f ok", "ok\n", 0},
		{"", "", 0},
	} {
		t.Setenv("TMPDIR", t.TempDir())
		for _, args := range [][]string{{"sh"}, {"sh", "-c", x.script}} {
			out, errs, code := call(t, x.script, args...)
			if out != x.out || code != x.code {
				t.Errorf("%q by %q: %q, status %d, want %q and %d; it said %q", x.script, args, out, code, x.out, x.code, errs)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte("echo $1 $#\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, _, code := call(t, "", "sh", file, "a", "b"); out != "a 2\n" || code != 0 {
		t.Errorf("%q, %d", out, code)
	}
}

func TestComplete(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"EventsTrace", "one", "only", ".hidden"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "sub", "inner"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		line, want string
		choices    []string
	}{
		{"Ev", "EventsTrace ", []string{"EventsTrace"}},
		{"true; Ev", "true; EventsTrace ", []string{"EventsTrace"}},
		{"cat on", "cat on", []string{"one", "only"}},
		{"cat onl", "cat only ", []string{"only"}},
		{"cat su", "cat sub/", []string{"sub/"}},
		{"cat sub/", "cat sub/inner/", []string{"sub/inner/"}},
		{"cat " + dir + "/E", "cat " + dir + "/EventsTrace ", []string{dir + "/EventsTrace"}},
		{"cat x", "cat x", nil},
		{"x", "x", nil},
		{"cat .h", "cat .hidden ", []string{".hidden"}},
		{"ls >on", "ls >on", []string{"one", "only"}},
		{"", "", nil},
	} {
		got, pos, choices := complete(x.line, len(x.line), dir, dir)
		if got != x.want || pos != len(x.want) || x.choices != nil && !slices.Equal(choices, x.choices) {
			t.Errorf("%q: %q, %d, %q", x.line, got, pos, choices)
		}
	}
	// Within a line, what follows stays.
	if got, pos, _ := complete("cat onl -x", 7, dir, dir); got != "cat only  -x" || pos != 9 {
		t.Errorf("%q, %d", got, pos)
	}
}

func FuzzComplete(f *testing.F) {
	f.Add("cat a", 3)
	f.Add("ä; b/", 2)
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "äb"), nil, 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line string, pos int) {
		if pos < 0 || pos > len(line) {
			return
		}
		got, at, _ := complete(line, pos, dir, dir)
		if at < 0 || at > len(got) || !strings.HasSuffix(got, line[pos:]) {
			t.Fatalf("%q at %d: %q at %d", line, pos, got, at)
		}
	})
}
