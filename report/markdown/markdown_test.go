package markdown

import (
	"bytes"
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	ghtml "github.com/yuin/goldmark/renderer/html"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

const (
	runURL = "https://github.com/elastic/ebpf/actions/runs/7654321"
)

func sampleOptions() Options {
	return Options{
		RunURL: runURL,
		Commit: func(sha string) string { return "https://github.com/elastic/ebpf/commit/" + sha },
	}
}

func markdown(t testing.TB, m *report.Merged, o Options) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, m, o); err != nil {
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
	for name, m := range map[string]*report.Merged{"sample": reporttest.Sample(), "refused": reporttest.Refused(), "green": reporttest.Green(), "picked": reporttest.Picked()} {
		t.Run(name, func(t *testing.T) {
			md := markdown(t, m, sampleOptions())
			checkMarkdown(t, md)
			reporttest.Golden(t, "comment-"+name+".md", md)
			// The order of the kernels changes nothing.
			slices.Reverse(m.Kernels)
			if again := markdown(t, m, sampleOptions()); again != md {
				t.Error("another order gives another report")
			}
		})
	}
}

func TestMarkdownOfNothing(t *testing.T) {
	md := markdown(t, &report.Merged{}, Options{})
	if want := "### ⚠️ no kernel was tested\n\n"; md != want {
		t.Errorf("%q, want %q", md, want)
	}
}

func TestMarkdownHostile(t *testing.T) {
	for _, s := range reporttest.HostileTexts {
		m := reporttest.Hostile(s)
		for _, limit := range []int{0, 5000, 1000, 100, 1} {
			o := sampleOptions()
			o.MaxChars = limit
			md := markdown(t, m, o)
			if limit >= 100 {
				checkMarkdown(t, md)
			}
			if n := utf8.RuneCountInString(md); limit > 0 && n > limit || n > MaxComment {
				t.Fatalf("%d characters, the limit is %d", n, limit)
			}
		}
	}
}

func FuzzMarkdown(f *testing.F) {
	for _, s := range reporttest.HostileTexts {
		f.Add(s, uint16(3000))
	}
	f.Fuzz(func(t *testing.T, s string, limit uint16) {
		o := sampleOptions()
		o.MaxChars = max(100, int(limit))
		md := markdown(t, reporttest.Hostile(s), o)
		checkMarkdown(t, md)
		if n := utf8.RuneCountInString(md); n > o.MaxChars {
			t.Fatalf("%d characters, the limit is %d", n, o.MaxChars)
		}
	})
}

// A thousand kernels fit, and the report is still one that helps.
func TestMarkdownOfAThousand(t *testing.T) {
	m := reporttest.Synthetic(1000, 256, 30)
	md := markdown(t, m, sampleOptions())
	checkMarkdown(t, md)
	if n := utf8.RuneCountInString(md); n > MaxComment || n < MaxComment/2 {
		t.Errorf("%d characters", n)
	}
	groups := analysis.Groups(m)
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
	m := reporttest.Sample()
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
		if !strings.HasPrefix(md, "### ❌ 4 kernels newly fail, 1 fixed, 12 of 25 pass, 1 fails as expected, 1 not as expected, 3 not tested, 1 other kernel is not known to pass\n") {
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
	m := reporttest.Synthetic(1000, 256, 30)
	var b strings.Builder
	if err := WriteJobSummary(&b, m, sampleOptions()); err != nil {
		t.Fatal(err)
	}
	checkMarkdown(t, b.String())
	if b.Len() > MaxJobSummary || b.Len() <= MaxComment || !strings.Contains(b.String(), "kernels pass</summary>") {
		t.Errorf("%d bytes", b.Len())
	}
	// 5,000 kernels with a signature each do not fit.
	big := reporttest.Synthetic(5000, 256, 0)
	for i := range big.Kernels {
		reporttest.Fail(&big.Kernels[i], 0, "rejected: reason "+strings.Repeat("x", 1+i/26)+string(rune('a'+i%26))+"\n"+strings.Repeat("a line of a log\n", 60))
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

func BenchmarkMarkdown(b *testing.B) {
	m := reporttest.Synthetic(1000, 256, 30)
	for b.Loop() {
		_ = markdown(b, m, sampleOptions())
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
		if err := Write(&b, reporttest.Green(), Options{PageURL: address}); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); want == "" && strings.Contains(got, "report.html") || !strings.Contains(got, want) {
			t.Errorf("%q: %s", address, got)
		}
	}
}

// A module that the kernel asked for in vain is noted, with what brings it.
func TestModulesAreNoted(t *testing.T) {
	m := reporttest.Sample()
	for i := range 2 {
		m.Kernels[i].Modules = []string{"macsec: the kernel asked for rtnl-link-macsec: --module macsec"}
	}
	if got, want := markdown(t, m, sampleOptions()), "module macsec: the kernel asked for rtnl-link-macsec: --module macsec"; strings.Count(got, want) != 1 || !strings.Contains(got, "**Noted** on 2 kernels: ") {
		t.Errorf("not noted once, on 2 kernels:\n%s", got)
	}
}
