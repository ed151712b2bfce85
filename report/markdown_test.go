package report

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	ghtml "github.com/yuin/goldmark/renderer/html"
)

const (
	runURL  = "https://github.com/elastic/ebpf/actions/runs/7654321"
	command = "bpf-kernel-check run --kernels gs://bucket --objects 'build/*.bpf.o'"
)

func sampleOptions() MarkdownOptions {
	return MarkdownOptions{
		RunURL:  runURL,
		Commit:  func(sha string) string { return "https://github.com/elastic/ebpf/commit/" + sha },
		Log:     func(k Kernel) string { return runURL + "/" + k.Console },
		Command: command,
	}
}

func markdown(t testing.TB, m *Merged, o MarkdownOptions) string {
	t.Helper()
	var b strings.Builder
	if err := WriteMarkdown(&b, m, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// toHTML renders as GitHub does, HTML included.
func toHTML(t testing.TB, md string) string {
	t.Helper()
	var b bytes.Buffer
	g := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(ghtml.WithUnsafe()))
	if err := g.Convert([]byte(md), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var (
	tag      = regexp.MustCompile(`<(/?)([a-zA-Z0-9]+|!)([^>]*)>`)
	codePart = regexp.MustCompile(`(?s)<code[^>]*>.*?</code>`)
	// What GitHub makes a link or a notification of, outside of code.
	active  = regexp.MustCompile(`@\w|#\d|(?i)\bGH-\d|\b[0-9a-f]{7,40}\b|https?://|www\.|:[a-z_+-]+:|!\[`)
	allowed = map[string]bool{
		"h3": true, "h4": true, "p": true, "br": true, "strong": true, "ul": true, "li": true, "code": true, "pre": true, "sub": true,
		"details": true, "summary": true, "table": true, "thead": true, "tbody": true, "tr": true, "th": true, "td": true, "blockquote": true, "a": true,
	}
)

// checkMarkdown holds a report against what must be true of it whatever guests
// said: nothing of theirs does anything.
func checkMarkdown(t testing.TB, md string) {
	t.Helper()
	if !utf8.ValidString(md) {
		t.Fatal("not UTF-8")
	}
	for _, r := range md {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) && r != 0xfe0f {
			t.Fatalf("%U in it", r)
		}
	}
	if strings.Contains(md, "<!--") {
		t.Fatal("a comment starts in it")
	}
	h := toHTML(t, md)
	var open []string
	for _, m := range tag.FindAllStringSubmatch(h, -1) {
		name := m[2]
		if !allowed[name] {
			t.Fatalf("tag %s", m[0])
		}
		switch {
		case name == "a" && m[1] == "" && !regexp.MustCompile(`^ href="https://github\.com/elastic/ebpf/[^"]*"$`).MatchString(m[3]):
			t.Fatalf("a link of somebody else's: %s", m[0])
		case name == "br":
		case m[1] == "":
			open = append(open, name)
		case len(open) == 0 || open[len(open)-1] != name:
			t.Fatalf("%s closes %q", m[0], open)
		default:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Fatalf("never closed: %q", open)
	}
	outside := html.UnescapeString(tag.ReplaceAllString(codePart.ReplaceAllString(h, " "), " "))
	if hit := active.FindString(outside); hit != "" {
		t.Fatalf("%q stands outside of code:\n%s", hit, outside)
	}
	if strings.Contains(outside, "GUEST") {
		t.Fatalf("a guest's text stands outside of code:\n%s", outside)
	}
}

func TestMarkdownGolden(t *testing.T) {
	for name, m := range map[string]*Merged{"sample": sampleMerged(), "refused": refused(), "green": green()} {
		t.Run(name, func(t *testing.T) {
			md := markdown(t, m, sampleOptions())
			checkMarkdown(t, md)
			golden(t, "comment-"+name+".md", md)
			// The order of the kernels changes nothing.
			slices.Reverse(m.Kernels)
			if again := markdown(t, m, sampleOptions()); again != md {
				t.Error("another order gives another report")
			}
		})
	}
}

func TestMarkdownOfNothing(t *testing.T) {
	md := markdown(t, &Merged{}, MarkdownOptions{})
	if want := "### ⚠️ no kernel was tested\n\n"; md != want {
		t.Errorf("%q, want %q", md, want)
	}
}

// Only what is green in every respect looks green.
func TestGreen(t *testing.T) {
	for name, spoil := range map[string]func(*Merged){
		"nothing":         func(*Merged) {},
		"a refusal":       func(m *Merged) { m.Refusals = []Refusal{{Reason: "x"}} },
		"the verdict":     func(m *Merged) { m.Verdict = Missing },
		"no verdict":      func(m *Merged) { m.Verdict = Unknown },
		"a failed kernel": func(m *Merged) { m.Kernels[0].Verdict = Fail },
		"no kernels":      func(m *Merged) { m.Kernels = nil },
		"unknown":         func(m *Merged) { m.Kernels[0].Verdict = Unknown },
		"missing":         func(m *Merged) { m.Kernels[0].Verdict = Missing },
	} {
		m := green()
		spoil(m)
		want := name == "nothing"
		md := markdown(t, m, MarkdownOptions{})
		if got := strings.HasPrefix(md, "### ✅ all "); got != want {
			t.Errorf("%s: %.60q", name, md)
		}
		if got := len(Annotations(m)) == 0; got != want {
			t.Errorf("%s: annotations %q", name, Annotations(m))
		}
		if got := regexp.MustCompile(`^all \d+ kernels pass$`).MatchString(StatusDescription(m)); got != want {
			t.Errorf("%s: status %q", name, StatusDescription(m))
		}
		if got := junitGreen(t, m); got != want {
			t.Errorf("%s: JUnit is green: %v", name, got)
		}
	}
}

var hostileTexts = []string{
	"@elastic/everyone see #1, GH-2, elastic/ebpf#3 and 0123456789abcdef0123456789abcdef01234567",
	"![x](https://evil.example/x.png) [y](https://evil.example) <https://evil.example> https://evil.example www.evil.example",
	"<img src=x onerror=alert(1)><script>x</script></details></details><!-- bpf-kernel-check -->",
	"```\n@team out\n```\n````\n</details>\n`````",
	"`a` ``b`` ```c``` `", "`", "``", " ` ", "a|b|c", "\\", "\\`", "a\\|b",
	"~~~\n~~~", "| a | b |\n|---|---|", "# x\n## y", "> x\n> [!NOTE]", "- [ ] x", "$x$ $`y`$", ":tada:",
	"\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07link\x1b]8;;\x07 \x07\x08\x00", "\u202eevil\u202c \u2066x\u2069 \u200b\u200d\ufeff\u00ad",
	"a\r\nb\rc\u2028d\u2029e\u0085f\vg\fh", "\xff\xfe\xed\xa0\x80", strings.Repeat("`", 3000), strings.Repeat("x", 9000), strings.Repeat("a\n", 5000),
	"&lt;img&gt; &#64;team &commat;x", "<a href=x>", "<details>", "</summary>", "</code></pre>", "_x_ *y* **z**", "<!-", "<!--<!--", "<!<!----", "%s %d %!s(MISSING)",
}

// hostile is a result that says s wherever a guest can say something.
func hostile(s string) *Merged {
	g := "GUEST" + s
	m := &Merged{Verdict: Fail, Tool: g, Arch: g, RunID: g, HeadSHA: g, Attempt: 1, Shards: 1,
		Refusals: []Refusal{{Reason: g, Kernel: g, Shard: 1}}, Change: &Change{BaseSHA: g, NewlyFail: []string{g}, Fixed: []string{g}, New: []string{g}, Gone: []string{g}}}
	facts := &Facts{Lockdown: g, LSMs: []string{g}, UnprivilegedBPF: g, JIT: g, JITHarden: g, Config: map[string]string{g: g, "X": g}, Targets: map[string]bool{g: false, "kprobe/" + g: false}}
	facts.Deps = []Dep{{Kind: g, Name: g, Status: g, Signature: "int f(struct " + g + ")", Note: g, Programs: []string{g}, Breaks: []string{g}}, {Kind: "field", Name: g, Status: "absent", Note: g, Programs: []string{g}, Breaks: []string{g}}}
	good := []Dep{{Kind: g, Name: g, Status: "present", Signature: "int f(" + g + ", int)", Note: g, Programs: []string{g}}, {Kind: "field", Name: g, Status: "present", Signature: g, Programs: []string{g}}}
	i := 0
	for _, distro := range []string{"debian", g, "x"} {
		for _, v := range []Verdict{Pass, Fail, Crash, Timeout, NoBoot, Infra, Missing, Unknown, Pass} {
			i++
			k := Kernel{
				ID: fmt.Sprintf("%s/%d.1-%s__%d%s", distro, i%7, g, i, g), Verdict: v, Digest: g, Console: g + ".txt", Release: g, Accel: g, Attempts: 2,
				Cause: &Cause{Title: g, Excerpt: g + "\n" + s}, Modules: []string{g + ": " + g}, Mounts: []string{g}, Facts: facts,
				Reproduce: CommandPrefix + g,
			}
			if v == Pass {
				k.Cause, k.Facts = nil, &Facts{LSMs: []string{"y"}, Config: map[string]string{"X": "n"}, Targets: map[string]bool{g: true, "kprobe/" + g: true}, Lockdown: "z", Deps: good}
				k.Modules, k.Mounts = nil, nil
				k.Tests = []Test{{Name: g, Verdict: testPass}, {Name: g + "2", Verdict: testSkip, Output: g}}
			}
			if v == Fail {
				k.Cause.Title = g + " failed"
				k.Tests = []Test{{Name: g, Verdict: testFail, Output: g}, {Name: g + "/sub", Verdict: "GUEST", Output: s}, {Name: g + "3", Verdict: testFail, Output: g + "\nEventsTrace ended: " + s}, {Name: g + "4", Verdict: testSkip}}
			}
			m.Kernels = append(m.Kernels, k)
		}
	}
	m.Change.NewlyFail = append(m.Change.NewlyFail, m.Kernels[1].ID)
	return m
}

func TestMarkdownHostile(t *testing.T) {
	for _, s := range hostileTexts {
		m := hostile(s)
		for _, limit := range []int{0, 5000, 1000, 100, 1} {
			o := sampleOptions()
			o.MaxChars, o.Log = limit, nil
			md := markdown(t, m, o)
			if limit >= 100 {
				checkMarkdown(t, md)
			}
			if n := utf8.RuneCountInString(md); limit > 0 && n > limit || n > MaxComment {
				t.Fatalf("%d characters, the limit is %d", n, limit)
			}
		}
		// What others build from a guest's text is an address or nothing.
		o := sampleOptions()
		o.Log = func(k Kernel) string { return runURL + "/" + k.Console }
		checkMarkdown(t, markdown(t, m, o))
		o.Log = func(k Kernel) string { return k.Console }
		checkMarkdown(t, markdown(t, m, o))
	}
}

func FuzzMarkdown(f *testing.F) {
	for _, s := range hostileTexts {
		f.Add(s, uint16(3000))
	}
	f.Fuzz(func(t *testing.T, s string, limit uint16) {
		o := sampleOptions()
		o.MaxChars = max(100, int(limit))
		md := markdown(t, hostile(s), o)
		checkMarkdown(t, md)
		if n := utf8.RuneCountInString(md); n > o.MaxChars {
			t.Fatalf("%d characters, the limit is %d", n, o.MaxChars)
		}
	})
}

// A thousand kernels fit, and the report is still one that helps.
func TestMarkdownOfAThousand(t *testing.T) {
	m := synthetic(1000, 256, 30)
	md := markdown(t, m, sampleOptions())
	checkMarkdown(t, md)
	if n := utf8.RuneCountInString(md); n > MaxComment || n < MaxComment/2 {
		t.Errorf("%d characters", n)
	}
	groups := Groups(m)
	if len(groups) != 30 {
		t.Errorf("%d groups, want 30", len(groups))
	}
	for _, g := range groups {
		if !strings.Contains(md, code(g.Title, 300)) {
			t.Errorf("%q is not in it", g.Title)
		}
		for _, b := range g.Boundaries {
			quote := func(s string) string { return code(s, 120) }
			if b.FirstFail != "" && !strings.Contains(md, b.Text(quote)) {
				t.Errorf("the boundary %+v is not in it", b)
			}
		}
	}
	if got := strings.Count(md, "To reproduce:"); got != 30 {
		t.Errorf("%d commands to reproduce", got)
	}
}

// Less room means less detail, in the order that was promised.
func TestDegradation(t *testing.T) {
	m := sampleMerged()
	for i := range m.Kernels {
		if c := m.Kernels[i].Cause; c != nil && c.Excerpt != "" {
			c.Excerpt += strings.Repeat("a line of a long console\n", 100)
		}
	}
	all := markdown(t, m, sampleOptions())
	lines, full := strings.Count(all, "a line of"), strings.Count(all, "<details><summary>excerpt")
	var lostPasses, shrunk, lostGroups int // the limits at which it first happened
	for limit := utf8.RuneCountInString(all); limit > 300; limit -= 100 {
		o := sampleOptions()
		o.MaxChars = limit
		md := markdown(t, m, o)
		checkMarkdown(t, md)
		if n := utf8.RuneCountInString(md); n > limit {
			t.Fatalf("%d characters, the limit is %d", n, limit)
		}
		if !strings.HasPrefix(md, "### ❌ 4 kernels newly fail, 1 fixed, 12 of 25 pass, 1 fails as expected, 1 not as expected, 3 not tested\n") {
			t.Fatalf("at %d the verdict is gone:\n%s", limit, md)
		}
		if lostPasses == 0 && !strings.Contains(md, "12 kernels pass</summary>") {
			lostPasses = limit
		}
		if shrunk == 0 && strings.Count(md, "a line of") < lines {
			shrunk = limit
		}
		if lostGroups == 0 && strings.Count(md, "<details><summary>excerpt") < full {
			lostGroups = limit
		}
	}
	if !(lostPasses > shrunk && shrunk > lostGroups && lostGroups > 0) {
		t.Errorf("the passes went at %d, excerpts shrank at %d, groups were lost at %d", lostPasses, shrunk, lostGroups)
	}
	// Groups that are counted link to the run.
	o := sampleOptions()
	o.MaxChars = 2000
	if md := markdown(t, m, o); !strings.Contains(md, "more failures on") || !strings.Contains(md, "]("+runURL+")") {
		t.Errorf("no link to the rest:\n%s", md)
	}
}

func TestJobSummary(t *testing.T) {
	m := synthetic(1000, 256, 30)
	var b strings.Builder
	if err := WriteJobSummary(&b, m, sampleOptions()); err != nil {
		t.Fatal(err)
	}
	checkMarkdown(t, b.String())
	if b.Len() > MaxJobSummary || b.Len() <= MaxComment || !strings.Contains(b.String(), "kernels pass</summary>") {
		t.Errorf("%d bytes", b.Len())
	}
	// 5,000 kernels with a signature each do not fit.
	big := synthetic(5000, 256, 0)
	for i := range big.Kernels {
		fail(&big.Kernels[i], 0, "rejected: reason "+strings.Repeat("x", 1+i/26)+string(rune('a'+i%26))+"\n"+strings.Repeat("a line of a log\n", 60))
	}
	b.Reset()
	if err := WriteJobSummary(&b, big, sampleOptions()); err != nil {
		t.Fatal(err)
	}
	checkMarkdown(t, b.String())
	if b.Len() > MaxJobSummary {
		t.Errorf("%d bytes", b.Len())
	}
}

func TestStatusDescription(t *testing.T) {
	for want, m := range map[string]*Merged{
		"4 kernels newly fail, 1 fixed, 12 of 25 pass, 1 fails as expected, 1 not as expected, 3 not tested":                           sampleMerged(),
		"4 kernels newly fail, 1 fixed, 12 of 25 pass, 1 fails as expected, 1 not as expected, 3 not tested, the result is incomplete": refused(),
		"all 12 kernels pass":                   green(),
		"no kernel was tested":                  {},
		"the one kernel passes":                 {Verdict: Pass, Kernels: []Kernel{{ID: "a/1", Verdict: Pass}}},
		"1 of 2 kernels fails, 1 passes":        {Verdict: Fail, Kernels: []Kernel{{ID: "a/1", Verdict: Pass}, {ID: "a/2", Verdict: Fail}}},
		"1 of 2 kernels passes, 1 not tested":   {Verdict: Missing, Kernels: []Kernel{{ID: "a/1", Verdict: Pass}, {ID: "a/2", Verdict: Missing}}},
		"no kernel newly fails, 0 of 1 pass":    {Verdict: Fail, Change: &Change{}, Kernels: []Kernel{{ID: "a/2", Verdict: Crash}}},
		"1 kernel fixed, the one kernel passes": {Verdict: Pass, Change: &Change{Fixed: []string{"a/1"}}, Kernels: []Kernel{{ID: "a/1", Verdict: Pass}}},
	} {
		if got := StatusDescription(m); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestAnnotations(t *testing.T) {
	a := Annotations(refused())
	if len(a) != 9 || a[0].Title != "the result is incomplete" || !strings.Contains(a[0].Message, "shard 3 of 3 is missing") {
		t.Errorf("%d: %+v", len(a), a)
	}
	if want := (Annotation{"1. 3 kernels fail trace/on_unlink", "rejected: R1 type=scalar expected=fp, pkt, pkt_meta (permission denied)\namazonlinux2: passes up to 5.10.50-44.132.amzn2.x86_64, fails from 5.10.59-52.142.amzn2.x86_64"}); a[1] != want {
		t.Errorf("%+v, want %+v", a[1], want)
	}
	// Of a kernel that was not tested it is not known where a failure begins.
	if i := slices.IndexFunc(a, func(a Annotation) bool { return strings.HasSuffix(a.Title, "could not be tested") }); i < 0 || strings.Contains(a[i].Message, "fails") {
		t.Errorf("not tested: %d: %+v", i, a)
	}
	a = Annotations(synthetic(1000, 256, 30))
	if len(a) != MaxAnnotations || a[9].Title != "21 more kinds of failures" {
		t.Errorf("%d: %+v", len(a), a)
	}
	for _, s := range hostileTexts {
		for _, a := range Annotations(hostile(s)) {
			if len(a.Title) > 200 || len(a.Message) > 2000 || strings.ContainsAny(a.Title, "\n\r\x1b") || strings.ContainsAny(a.Message, "\r\x1b\x00") {
				t.Errorf("%q", a)
			}
		}
	}
}

func TestMarkdownWriteError(t *testing.T) {
	full := errors.New("disk full")
	for name, write := range map[string]func(*Merged) error{
		"comment": func(m *Merged) error { return WriteMarkdown(failingWriter{full}, m, MarkdownOptions{}) },
		"summary": func(m *Merged) error { return WriteJobSummary(failingWriter{full}, m, MarkdownOptions{}) },
		"junit":   func(m *Merged) error { return WriteJUnit(failingWriter{full}, m) },
	} {
		if err := write(sampleMerged()); !errors.Is(err, full) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// TestMarkdownPage writes the comments as HTML pages to the directory that
// REPORT_PAGES names, to be looked at.
func TestMarkdownPage(t *testing.T) {
	dir := os.Getenv("REPORT_PAGES")
	if dir == "" {
		t.Skip("REPORT_PAGES names no directory")
	}
	for name, m := range map[string]*Merged{"sample": sampleMerged(), "refused": refused(), "green": green(), "thousand": synthetic(1000, 256, 30)} {
		page := "<!doctype html><meta charset=utf-8><style>body{font:14px/1.5 sans-serif;max-width:860px;margin:2em auto}table{border-collapse:collapse}td,th{border:1px solid #d0d7de;padding:6px 13px}code{background:#eff1f3;padding:.2em .4em;border-radius:6px;font:85% monospace}pre{background:#f6f8fa;padding:16px;overflow:auto}pre code{background:none;padding:0}blockquote{border-left:4px solid #9a6700;padding-left:1em;margin-left:0}</style>" + toHTML(t, markdown(t, m, sampleOptions()))
		if err := os.WriteFile(dir+"/"+name+".html", []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkMarkdown(b *testing.B) {
	m := synthetic(1000, 256, 30)
	for b.Loop() {
		_ = markdown(b, m, sampleOptions())
	}
}

func BenchmarkGroups(b *testing.B) {
	m := synthetic(1000, 256, 30)
	for b.Loop() {
		Groups(m)
	}
}

// The page is linked where its address is one that a link may have.
func TestMarkdownPageLink(t *testing.T) {
	for address, want := range map[string]string{
		"https://example.org/report.html": "[all kernels, tests and consoles: report.html](https://example.org/report.html) · ",
		"javascript:alert(1)":             "",
		"":                                "",
	} {
		var b strings.Builder
		if err := WriteMarkdown(&b, green(), MarkdownOptions{PageURL: address}); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); want == "" && strings.Contains(got, "report.html") || !strings.Contains(got, want) {
			t.Errorf("%q: %s", address, got)
		}
	}
}
