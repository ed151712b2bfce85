package page

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

// pages are the pages of the tests, by name.
func pages(t testing.TB) map[string]func(io.Writer) error {
	m, c := synthetic(1000)
	s, sc := synthetic(120)
	h, hc := hostile()
	r, rc := realRun(t)
	ck, cc := cloudKernels()
	pk, pc := picked()
	commit := func(sha string) string { return "https://example.com/commit/" + sha }
	return map[string]func(io.Writer) error{
		"real":      func(w io.Writer) error { return Write(w, r, Options{Consoles: rc}) },
		"synthetic": func(w io.Writer) error { return Write(w, m, Options{Consoles: c, History: past(m, 29)}) },
		"small": func(w io.Writer) error {
			return Write(w, s, Options{Consoles: sc, History: past(s, 12), RunURL: "https://example.com/run/1", Commit: commit})
		},
		"none": func(w io.Writer) error {
			return Write(w, &report.Merged{Schema: report.MergedSchema, At: m.At, Verdict: report.Missing, Arch: "amd64", Shards: 1, Refusals: []report.Refusal{{Reason: "no shard file was found"}}}, Options{})
		},
		"cloud":   func(w io.Writer) error { return Write(w, ck, Options{Consoles: cc}) },
		"picked":  func(w io.Writer) error { return Write(w, pk, Options{Consoles: pc}) },
		"single":  func(w io.Writer) error { return Write(w, single(), Options{}) },
		"missing": func(w io.Writer) error { return Write(w, allMissing(), Options{}) },
		"long": func(w io.Writer) error {
			l, lc := long()
			return Write(w, l, Options{Consoles: lc})
		},
		"programs":      func(w io.Writer) error { return Write(w, reporttest.Programs(88, 40), Options{}) },
		"programs-few":  func(w io.Writer) error { return Write(w, reporttest.Programs(5, 20), Options{}) },
		"programs-huge": func(w io.Writer) error { return Write(w, reporttest.Programs(700, 100), Options{}) },
		"hostile":       func(w io.Writer) error { return Write(w, h, Options{Consoles: hc, RunURL: "javascript:alert(1)"}) },
	}
}

var (
	element = regexp.MustCompile(`<script type="text/plain" id="(\w+)">([A-Za-z0-9+/=]*)</script>`)
	own     = regexp.MustCompile(`(?s)<(script|style)>.*?</(script|style)>`)
	digest  = regexp.MustCompile(`&#39;sha256-(?:[^ ;&]|&#43;)*=&#39;`)
)

// unpacked is a page's data by id.
func unpacked(t *testing.T, html string) map[string]json.RawMessage {
	t.Helper()
	data := map[string]json.RawMessage{}
	for _, m := range element.FindAllStringSubmatch(html, -1) {
		z, err := base64.StdEncoding.DecodeString(m[2])
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(flate.NewReader(bytes.NewReader(z)))
		if err != nil {
			t.Fatal(err)
		}
		data[m[1]] = b
	}
	return data
}

func write(t *testing.T, m *report.Merged, o Options) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, m, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The page of the recorded run, as it is without its script, and its data.
func TestPageOfTheRecordedRun(t *testing.T) {
	m, consoles := realRun(t)
	o := Options{Consoles: consoles, RunURL: "https://example.com/runs/4711"}
	html := write(t, m, o)
	if write(t, m, o) != html {
		t.Error("the same result makes another page")
	}
	data := unpacked(t, html)
	var index bytes.Buffer
	if err := json.Indent(&index, data["index"], "", " "); err != nil {
		t.Fatal(err)
	}
	reporttest.Golden(t, "real.index.json", index.String())
	html = own.ReplaceAllString(html, "<$1>...</$1>")
	html = digest.ReplaceAllString(html, "(digest)")
	reporttest.Golden(t, "real.html", element.ReplaceAllString(html, `<script type="text/plain" id="$1">...</script>`))
}

// The policy is that of the script and the style in the page.
func TestPolicy(t *testing.T) {
	m, consoles := hostile()
	html := write(t, m, Options{Consoles: consoles, RunURL: `javascript:alert(1)`, Commit: func(string) string { return "https://user:pw@example.com/" }})
	bodies := own.FindAllStringSubmatch(html, -1)
	if len(bodies) != 2 {
		t.Fatalf("%d scripts and styles of its own", len(bodies))
	}
	for _, b := range bodies {
		text := strings.TrimSuffix(strings.TrimPrefix(b[0], "<"+b[1]+">"), "</"+b[1]+">")
		if !strings.Contains(policy(), source(text)) {
			t.Errorf("the policy lacks the digest of the %s", b[1])
		}
	}
	for _, no := range []string{"unsafe", "http:", "https:", "*"} {
		if strings.Contains(policy(), no) {
			t.Errorf("the policy has %s: %s", no, policy())
		}
	}
	rest := element.ReplaceAllString(own.ReplaceAllString(html, ""), "")
	for _, no := range []string{"<script", "<img", "<svg onload", `href="javascript`, "user:pw", "\u202e", " onmouseover='window", ` style="`} {
		if strings.Contains(rest, no) {
			t.Errorf("the page has %s", no)
		}
	}
	for _, no := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "fetch(", "XMLHttpRequest", "WebSocket", "import("} {
		if strings.Contains(js, no) {
			t.Errorf("the script has %s", no)
		}
	}
}

// A result that prints without end makes a page of limited size, which says
// what it lacks.
func TestSizeIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 30 MiB, which takes the race detector minutes")
	}
	m, _ := synthetic(100)
	consoles := fstest.MapFS{}
	noise := func(seed uint64, n int) string {
		var b strings.Builder
		x := seed*2654435761 + 1
		for b.Len() < n {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			fmt.Fprintf(&b, "%x %x\n", x, x>>3)
		}
		return b.String()
	}
	long := noise(1, 300<<10)
	for i := range m.Kernels {
		k := &m.Kernels[i]
		k.Verdict, k.Console = report.Crash, "results/"+k.ID+".txt"
		k.Cause = &report.Cause{Title: "BUG: " + strings.Repeat("x", 4000), Excerpt: long[:200<<10]}
		consoles[k.Console] = &fstest.MapFile{Data: []byte(long[i:])}
		for j := range k.Tests {
			k.Tests[j].Output = noise(uint64(i*100+j), 20<<10)
		}
	}
	html := write(t, m, Options{Consoles: consoles})
	if n := len(html); n > 30<<20 {
		t.Errorf("the page has %d MiB", n>>20)
	}
	for _, want := range []string{"kernels are not in this page, which has room for 12 MiB of them; report.json has them", "kernels are not in this page, which has room for 8 MiB of them; they stand in results/"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say: %s", want)
		}
	}
	// Every kernel is in the list all the same.
	var ix index
	if err := json.Unmarshal(unpacked(t, html)["index"], &ix); err != nil {
		t.Fatal(err)
	}
	if len(ix.Kernels) != 100 || ix.Kernels[99].Chunk >= 0 && ix.Kernels[0].Chunk >= 0 {
		t.Errorf("%d kernels", len(ix.Kernels))
	}
}

// Members of a kernel's record for which the script has no place are in the page
// all the same, as far as there is room.
func TestMembers(t *testing.T) {
	k := report.Result{
		ID: "a/b", Verdict: report.Fail, Attempts: 1, Machine: "pc", Reproduce: "rm -rf /", Flaky: []report.Flaky{{Name: "t", Failed: 2, Runs: 5}},
		Mounts: []string{strings.Repeat("x", maxMember)}, Tests: []report.Test{{Name: "t", Verdict: "odd"}},
	}
	d := newBuilder(&report.Merged{Kernels: []report.Result{k}}, Options{}).detail(0)
	if string(d["machine"]) != `"pc"` || string(d["flaky"]) != `[{"name":"t","failed":2,"runs":5}]` || !strings.Contains(string(d["notes"]), "its member mounts_failed is left out") {
		t.Errorf("%s", d)
	}
	if d["mounts_failed"] != nil || d["reproduce"] != nil || d["id"] != nil || !strings.Contains(string(d["tests"]), `"verdict":"fail"`) {
		t.Errorf("%s", d)
	}
}

func TestCrashLines(t *testing.T) {
	sysrq, err := os.ReadFile(filepath.Join("..", "..", "guest", "console", "testdata", "panic-sysrq-6.1.console"))
	if err != nil {
		t.Fatal(err)
	}
	_, real, _ := strings.Cut(strings.ReplaceAll(string(sysrq), "\r\n", "\n"), "\n\n") // behind its header
	crash := func(title string) *report.Result {
		return &report.Result{Verdict: report.Crash, Cause: &report.Cause{Title: title}}
	}
	marked := func(text string, k *report.Result) string {
		from, to, ok := crashLines(text, k)
		if !ok {
			return ""
		}
		return strings.Join(strings.Split(text, "\n")[from:to+1], "\n")
	}
	for _, tt := range []struct {
		name, text  string
		k           *report.Result
		first, last string
	}{
		{"a real panic", real, crash("Kernel panic - not syncing: sysrq triggered crash"), "Kernel panic - not syncing: sysrq triggered crash", "Kernel Offset: disabled"},
		{"by its looks", "a\n[ 1.0] Oops: 0000 [#1]\n[ 1.1] RIP\n[ 1.2] ---[ end trace 0 ]---\nb", crash("something else"), "Oops: 0000", "end trace"},
		{"the title is the host's", "bpf-kernel-check: a/b: crash: BUG: bad thing\n\n[ 1.0] BUG: bad thing\nx", crash("BUG: bad thing"), "[ 1.0] BUG: bad thing", "x"},
		{"a payload that says so", "BUG: not a kernel's\n", &report.Result{Verdict: report.Fail}, "", ""},
		{"nothing", "all is well\n", crash("no such line"), "", ""},
	} {
		got := marked(tt.text, tt.k)
		lines := strings.Split(got, "\n")
		if tt.first == "" {
			if got != "" {
				t.Errorf("%s: %q", tt.name, got)
			}
			continue
		}
		if !strings.Contains(lines[0], tt.first) || !strings.Contains(lines[len(lines)-1], tt.last) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

// BenchmarkWrite writes the page of 1,000 kernels with 30 tests each.
func BenchmarkWrite(b *testing.B) {
	m, c := synthetic(1000)
	h := past(m, 29)
	n := 0
	for b.Loop() {
		var out bytes.Buffer
		if err := Write(&out, m, Options{Consoles: c, History: h}); err != nil {
			b.Fatal(err)
		}
		n = out.Len()
	}
	b.ReportMetric(float64(n)/1e6, "MB/page")
}

// FuzzPage holds the page together whatever a guest prints.
func FuzzPage(f *testing.F) {
	for _, e := range evil {
		f.Add(e, "\x1b[31m"+e)
	}
	f.Fuzz(func(t *testing.T, text, log string) {
		k := report.Result{
			ID: "debian/6.1", Verdict: report.Crash, Attempts: 1, Cause: &report.Cause{Title: text, Excerpt: text}, Console: "results/debian/6.1.txt", Release: text,
			Tests: []report.Test{{Name: text, Verdict: text, Output: log}}, Mounts: []string{text}, Facts: &report.Facts{Lockdown: text, Config: map[string]string{text: log}},
		}
		m := &report.Merged{Schema: 1, At: time.Unix(0, 0), Verdict: report.Fail, Arch: text, Kernels: []report.Result{k}, Refusals: []report.Refusal{{Reason: text}}}
		var b strings.Builder
		if err := Write(&b, m, Options{Consoles: fstest.MapFS{k.Console: {Data: []byte(log)}}, RunURL: text}); err != nil {
			t.Fatal(err)
		}
		html := b.String()
		if n := strings.Count(html, "<script"); n != 1+len(element.FindAllString(html, -1)) {
			t.Errorf("%d scripts", n)
		}
	})
}

// What an expectation says of a kernel is seen: a failure that was expected is
// no failure, and a pass that was not expected is no pass.
func TestStanding(t *testing.T) {
	expected := []report.Expected{{Test: "t", Reason: "known"}}
	for _, tt := range []struct {
		k    report.Result
		want string
	}{
		{report.Result{Verdict: report.Pass}, "pass"},
		{report.Result{Verdict: report.Pass, StaleExpectations: []string{"t passed"}}, "stale"},
		{report.Result{Verdict: report.Fail, TestsOnly: true, Tests: []report.Test{{Name: "t", Verdict: "fail"}}, Expected: expected}, "expected"},
		{report.Result{Verdict: report.Fail, TestsOnly: true, Tests: []report.Test{{Name: "t", Verdict: "fail"}, {Name: "u", Verdict: "fail"}}, Expected: expected}, "fail"},
		{report.Result{Verdict: report.Infra, Expected: expected}, "infra"},
		{report.Result{}, "unknown"},
	} {
		if got := standing(&tt.k); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.k, got, tt.want)
		}
		if slim := Slim(&report.Merged{Kernels: []report.Result{tt.k}}).Kernels[0]; standing(&slim) != tt.want {
			t.Errorf("%+v, slim: %s, want %s", tt.k, standing(&slim), tt.want)
		}
	}
}

// The grid of programs has a limit, and what is over it is said.
func TestProgramsAreBounded(t *testing.T) {
	html := write(t, reporttest.Programs(700, 100), Options{})
	if n := len(html); n > 10<<20 || !strings.Contains(html, "the grid of programs has 600 of 700 kernels, those that did not pass first") {
		t.Errorf("the page has %d bytes, or does not say what it lacks", n)
	}
	if n := strings.Count(html, `aria-label="crash">!</td>`); n != 1 {
		t.Errorf("%d crashes in the grid", n)
	}
	if html := write(t, reporttest.Green(), Options{}); strings.Contains(html, "h-programs") {
		t.Error("a result without programs has a grid of them")
	}
}

// Kernels that have each other programs make no grid without end.
func TestStrangeProgramsAreBounded(t *testing.T) {
	m := reporttest.Programs(400, 10)
	for i := range m.Kernels {
		for p := range m.Kernels[i].Programs {
			m.Kernels[i].Programs[p].Name = fmt.Sprint("x", i, "-", p)
		}
	}
	html := write(t, m, Options{})
	if want := "the grid of programs has 1000 of 4000 programs"; !strings.Contains(html, want) {
		t.Errorf("the page does not say that %s", want)
	}
	if n := strings.Count(html, "<td"); n > 70_000 || len(html) > 10<<20 {
		t.Errorf("%d cells, %d bytes", n, len(html))
	}
}
