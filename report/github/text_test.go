package github

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/elastic/bpf-kernel-check/report"
)

func TestMarker(t *testing.T) {
	m := marker{kindComment, `a --> b <!-- "c" | ✓ `, 1, 2, headSHA}
	m.Name = strings.TrimSpace(m.Name)
	line := m.String()
	if strings.Count(line, "-->") != 1 || strings.Count(line, "<") != 1 || strings.Contains(line, "\n") {
		t.Errorf("the marker is %s", line)
	}
	for _, text := range []string{line, line + "\nbody", line + "\r\nbody --> more", line + "\n" + mark(9, 9)} {
		if got, ok := parseMarker(text); !ok || got != m {
			t.Errorf("%q is read as %v, %v", text, got, ok)
		}
	}
	good := mark(400, 1)
	for name, text := range map[string]string{
		"empty":               "",
		"something before":    " " + good,
		"another comment":     "<!-- sticky -->" + good,
		"no end":              strings.TrimSuffix(good, " -->\n"),
		"end on a later line": strings.Replace(good, " -->", "\n -->", 1),
		"text behind":         strings.Replace(good, "\n", "x\n", 1),
		"no JSON":             "<!-- bpf-kernel-check run=400 -->",
		"run 0":               strings.Replace(good, "400", "0", 1),
		"huge run":            strings.Replace(good, "400", strings.Repeat("9", 30), 1),
		"attempt 0":           strings.Replace(good, `"attempt":1`, `"attempt":0`, 1),
		"no commit":           strings.Replace(good, headSHA, "main", 1),
		"no name":             strings.Replace(good, DefaultName+`"`, `"`, 1),
		"another kind":        strings.Replace(good, `"comment"`, `"else"`, 1),
		"very long":           strings.Replace(good, "400", strings.Repeat(" ", 3000)+"400", 1),
	} {
		if m, ok := parseMarker(text); ok {
			t.Errorf("%s: %q is read as %v", name, text, m)
		}
	}
}

// The longest marker leaves the room that is promised.
func TestMaxBody(t *testing.T) {
	m := marker{kindComment, strings.Repeat("<", 100), 1<<63 - 1, 1<<31 - 1, strings.Repeat("a", 64)}
	if _, ok := parseMarker(m.String()); !ok || report.UTF16Len(m.String()) > maxComment-MaxBody-100 {
		t.Errorf("a marker of %d characters", report.UTF16Len(m.String()))
	}
}

func TestNewer(t *testing.T) {
	order := []marker{{Run: 1, Attempt: 1}, {Run: 1, Attempt: 2}, {Run: 2, Attempt: 1}, {Run: 10, Attempt: 1}}
	for i, a := range order {
		for j, b := range order {
			if a.newer(b) != (i > j) {
				t.Errorf("%v newer than %v: %v", a, b, a.newer(b))
			}
		}
	}
}

func FuzzMarker(f *testing.F) {
	f.Add(mark(400, 1)+"body", "x", int64(1), 1)
	f.Add("<!-- bpf-kernel-check {} -->", "a --> b", int64(1<<40), 3)
	f.Add("<!-- bpf-kernel-check {", "\u2028", int64(-1), 0)
	f.Fuzz(func(t *testing.T, text, name string, run int64, attempt int) {
		if m, ok := parseMarker(text); ok {
			again, ok := parseMarker(m.String())
			if !ok || again != m {
				t.Errorf("%q became %v, then %v", text, m, again)
			}
		}
		if CheckName(name) != nil || run < 1 || attempt < 1 {
			return
		}
		m := marker{kindIssue, name, run, attempt, headSHA}
		if got, ok := parseMarker(m.String() + "\n" + text); !ok || got != m {
			t.Errorf("%v became %v, %v", m, got, ok)
		}
		if line := m.String(); strings.ContainsAny(line, "\r\n") || strings.Index(line, "-->") != len(line)-3 {
			t.Errorf("the marker ends early: %q", line)
		}
	})
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", DefaultName, "bpf / arm64 (nightly)", "prüfung"} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", " a", "a ", "a\nb", "a\x00", "\xff", strings.Repeat("a", 101)} {
		if CheckName(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// The job summary is lost when it is one byte too long, with what other
// programs wrote to it in this step.
func TestSummaryLimit(t *testing.T) {
	const text = "0123456789"
	for have, fits := range map[int]bool{0: true, 1000: true, maxSummary - len(text) - 1: true, maxSummary - len(text): false, maxSummary + 5: false} {
		path := filepath.Join(t.TempDir(), "summary")
		if err := os.WriteFile(path, bytes.Repeat([]byte("x"), have), 0o644); err != nil {
			t.Fatal(err)
		}
		err := writeSummary(path, text)
		info, serr := os.Stat(path)
		if serr != nil {
			t.Fatal(serr)
		}
		if got := int(info.Size()); (err == nil) != fits || fits && got != have+len(text)+1 || !fits && got != have {
			t.Errorf("%d bytes there: %d now, %v", have, got, err)
		}
	}
	// A summary that is too long by itself leaves no file.
	path := filepath.Join(t.TempDir(), "summary")
	if err := writeSummary(path, strings.Repeat("x", maxSummary)); err == nil {
		t.Error("a summary that is too long was written")
	}
}

// parseOutputs reads a file of outputs as the runner does.
func parseOutputs(t *testing.T, text string) map[string]string {
	t.Helper()
	got := map[string]string{}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		if lines[i] == "" {
			continue
		}
		name, word, ok := strings.Cut(lines[i], "<<")
		if !ok {
			t.Fatalf("line %q", lines[i])
		}
		var value []string
		for i++; i < len(lines) && lines[i] != word; i++ {
			value = append(value, lines[i])
		}
		if i == len(lines) {
			t.Fatalf("output %s does not end", name)
		}
		got[name] = strings.Join(value, "\n")
	}
	return got
}

func TestOutputs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "output")
	in := map[string]string{
		"verdict": "fail",
		"empty":   "",
		"hostile": "x\n_GitHubActionsFileCommandDelimeter_\nverdict=pass\nverdict<<EOF\npass\nEOF",
	}
	for name, value := range in {
		if err := WriteOutputs(path, []Output{{name, value}}); err != nil {
			t.Fatal(err)
		}
	}
	text := readFile(t, path)
	want(t, "outputs", parseOutputs(t, text), in)
	words := map[string]bool{}
	for line := range strings.Lines(text) {
		if _, word, ok := strings.Cut(line, "<<"); ok && word != "EOF\n" {
			words[word] = true
		}
	}
	if len(words) != len(in) {
		t.Errorf("words %v: want another one each time", words)
	}
}

// parseCommand reads a line as the runner does.
func parseCommand(line string) (name string, props map[string]string, message string, ok bool) {
	rest, ok := strings.CutPrefix(line, "::")
	if !ok {
		return "", nil, "", false
	}
	info, message, ok := strings.Cut(rest, "::")
	if !ok {
		return "", nil, "", false
	}
	name, list, _ := strings.Cut(info, " ")
	props = map[string]string{}
	for p := range strings.SplitSeq(list, ",") {
		if k, v, ok := strings.Cut(p, "="); ok {
			props[k] = strings.NewReplacer("%0D", "\r", "%0A", "\n", "%3A", ":", "%2C", ",", "%25", "%").Replace(v)
		}
	}
	return name, props, strings.NewReplacer("%0D", "\r", "%0A", "\n", "%25", "%").Replace(message), true
}

func FuzzCommand(f *testing.F) {
	f.Add("title", "message")
	f.Add("a,b:c::d%", "x\n::error::y\r\n%0A")
	f.Add("::stop-commands::x", "##[add-mask]y")
	f.Fuzz(func(t *testing.T, title, message string) {
		var b bytes.Buffer
		if err := NewLog(&b).Warn(title, message); err != nil {
			t.Fatal(err)
		}
		line, ok := strings.CutSuffix(b.String(), "\n")
		if !ok || report.Text(line) != line || !utf8.ValidString(line) {
			t.Fatalf("%q is not one line of text", b.String())
		}
		name, props, text, ok := parseCommand(line)
		if !ok || name != "warning" || len(props) != 1 || props["title"] != noBracketed(clip(title, 250)) {
			t.Errorf("%q is the command %s %q", line, name, props)
		}
		if want := cutBytes(report.Text(message), maxMessage); text != noBracketed(want) || strings.Contains(line, "##[") {
			t.Errorf("%q says %q, want %q", line, text, want)
		}
	})
}

// Without a place for the summary the log has it, as text.
func TestSummaryInTheLog(t *testing.T) {
	cfg := pullJob(t)
	cfg.Env.Summary = ""
	c := green()
	c.Summary = "::set-env name=x::y"
	want(t, "outcome", Publish(t.Context(), cfg, c), Outcome{})
	want(t, "log", logged(cfg), `\`+c.Summary+"\n")
}

func TestLocalFilesThatCannotBeWritten(t *testing.T) {
	cfg := pullJob(t)
	cfg.Env.Summary, cfg.Env.Output = t.TempDir(), t.TempDir()
	out := Publish(t.Context(), cfg, red())
	if len(out.Warnings) != 2 || !strings.HasPrefix(out.Warnings[0], "outputs not written: open ") || !strings.HasPrefix(out.Warnings[1], "job summary not written: ") {
		t.Errorf("outcome: %+v", out)
	}
	if !strings.Contains(logged(cfg), "3 kernels fail") {
		t.Error("the log does not have the result")
	}
}
