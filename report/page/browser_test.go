package page

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// findBrowser finds a Chromium. Its absence is no reason to skip: install-deps
// --tests brings one.
func findBrowser() (string, error) {
	names := []string{"chromium", "google-chrome", "chromium-browser"}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("none of " + strings.Join(names, ", ") + " is installed: run .github/scripts/install-deps --tests, or go test -short")
}

// startBrowser starts a headless browser with a profile of its own, which ends
// with the test.
func startBrowser(t testing.TB) context.Context {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no browser is started")
	}
	path, err := findBrowser()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx,
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.WindowSize(1440, 900), chromedp.WSURLReadTimeout(time.Minute))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// tab is a page in the browser, with what it did that it should not.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

// open opens a page of its own tab. width 390 is a phone.
func open(t testing.TB, browser context.Context, path, fragment string, width int64, dark bool) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.event); err != nil {
		t.Fatal(err)
	}
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	call(b, runtime.Enable, cdp.Empty{})
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 500})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	b.run(chromedp.Navigate(fileURL(path) + fragment))
	b.wait(`document.documentElement.dataset.ready`)
	if eval[string](b, `document.documentElement.dataset.ready`) == "-1" {
		t.Errorf("%s: the script gave up: %s", path, eval[string](b, `document.querySelector("main > .notice").innerText`))
	}
	return b
}

// call runs a command of the browser's protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

func fileURL(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }

// event notes requests, messages of the console, and dialogs.
func (b *tab) event(ev any) {
	problem := ""
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !(e.Type == network.ResourceTypeDocument && strings.HasPrefix(u, "file://")) && !strings.HasPrefix(u, "data:") && !strings.HasPrefix(u, "blob:") {
			problem = "request: " + u
		}
	case *network.EventWebSocketCreated:
		problem = "websocket: " + e.URL
	case *runtime.EventConsoleAPICalled:
		problem = "console: " + string(e.Type)
	case *runtime.EventExceptionThrown:
		problem = "exception: " + fmt.Sprintf("%s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	case *log.EventEntryAdded:
		problem = "log: " + e.Entry.Text
	case *page.EventJavascriptDialogOpening:
		problem = "dialog: " + e.Message
	}
	if problem != "" {
		b.mu.Lock()
		b.problems = append(b.problems, problem)
		b.mu.Unlock()
	}
}

func (b *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// js runs a statement.
func (b *tab) js(statement string) {
	b.t.Helper()
	b.run(chromedp.Evaluate[chromedp.Void]("{" + statement + "}; undefined"))
}

// eval evaluates an expression.
func eval[T any](b *tab, js string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js))
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// wait waits until an expression is true. The page's policy forbids what
// chromedp's own polling does.
func (b *tab) wait(js string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`new Promise(done => { const look = () => { let ok = false; try { ok = !!(`+js+`); } catch {} if (ok) done(true); else setTimeout(look, 10); }; look(); })`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("wait for %s: %v", js, err)
	}
}

// click clicks the middle of an element with the mouse.
func (b *tab) click(selector string) {
	b.t.Helper()
	at := eval[[]float64](b, fmt.Sprintf(`(e => { e.scrollIntoView({block: "center", behavior: "instant"}); const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })(document.querySelector(%q))`, selector))
	b.run(chromedp.MouseClickXY(at[0], at[1]))
}

func (b *tab) press(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.run(chromedp.KeyEvent(k))
	}
}

// clean fails when anything happened that a page may not do.
func (b *tab) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.t.Error(p)
	}
}

// writePage writes a page of pages to a file.
func writePage(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".html")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := pages(t)[name](f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

const rows = `document.querySelectorAll("#list li").length`

func TestBrowserRealRun(t *testing.T) {
	b := open(t, startBrowser(t), writePage(t, "real"), "", 1440, false)
	if got := eval[string](b, `document.querySelector("h1").innerText`); got != "✗ 4 of 4 kernels fail, 0 pass" {
		t.Errorf("headline %q", got)
	}
	if n := eval[int](b, rows); n != 4 {
		t.Errorf("%d kernels", n)
	}
	// A filter by text finds failed tests: this one fails on one kernel alone.
	b.run(chromedp.SendKeys("#f-text", "newer/map_type"))
	b.wait(rows + ` === 1`)
	if got := eval[string](b, `document.querySelector("#list li").innerText`); !strings.Contains(got, "5.10.0-46-cloud-amd64") {
		t.Errorf("the kernel that fails it: %q", got)
	}
	if got := eval[string](b, `document.getElementById("shown").innerText`); got != "1 of 4 kernels" {
		t.Errorf("status %q", got)
	}
	b.click("#f-reset")
	b.wait(rows + ` === 4`)

	// The failure, the verifier's log, the console.
	b.js(`[...document.querySelectorAll("#list a")].find(a => a.innerText.includes("7.2.13")).click()`)
	b.wait(`document.querySelector("#kernel[open] table.one pre")`)
	body := eval[string](b, `document.getElementById("k-body").innerText`)
	for _, want := range []string{"7.2.13+deb14-cloud-amd64__7.2.13-1", "the last 20 of 306155 lines of the verifier's log", "BPF program is too large. Processed 1000001 insn", "1,000,001", "TCG"} {
		if !strings.Contains(body, want) {
			t.Errorf("the kernel's details lack %q", want)
		}
	}
	if strings.Contains(body, "Refined TSC clocksource") {
		t.Error("the console is there before it is asked for")
	}
	b.click("#k-console")
	b.wait(`document.querySelector("#k-body pre.console")`)
	if got := eval[string](b, `document.querySelector("#k-body pre.console").textContent`); !strings.Contains(got, "Refined TSC clocksource") || !strings.Contains(got, "PASS trace/on_fentry") {
		t.Errorf("console: %.200q", got)
	}
	// Programs over kernels.
	b.click("#k-close")
	b.wait(`!document.getElementById("kernel").open`)
	b.js(`document.getElementById("costs").scrollIntoView()`)
	b.wait(`document.querySelectorAll("#c-list tr").length > 10`)
	if got := eval[string](b, `[...document.querySelectorAll("#c-list tr")].find(r => r.innerText.includes("rejected/late_mistake")).querySelector("svg").getAttribute("aria-label")`); got != "4 kernels, 100,003 to 100,003 instructions; did not load on 4" {
		t.Errorf("plot: %q", got)
	}
	b.clean()
}

func TestBrowserSynthetic(t *testing.T) {
	browser := startBrowser(t)
	path := writePage(t, "synthetic")
	b := open(t, browser, path, "", 1440, false)
	t.Logf("opened in %s ms", eval[string](b, `document.documentElement.dataset.ready`))
	total := eval[int](b, `[...document.querySelectorAll("#f-verdicts .num")].reduce((s, e) => s + +e.textContent, 0)`)
	if total != 1000 {
		t.Errorf("%d kernels by verdict", total)
	}
	if n := eval[int](b, rows); n != 100 {
		t.Errorf("%d rows at first", n)
	}
	b.click("#more")
	if n := eval[int](b, rows); n != 200 {
		t.Errorf("%d rows after more", n)
	}
	// By verdict, distribution, and a cell of the grid.
	b.click(`#f-verdicts input[value=crash]`)
	b.wait(`[...document.querySelectorAll("#list .kverdict")].every(e => e.textContent === "crash") && ` + rows + ` > 0`)
	crashes := eval[int](b, rows)
	if want := eval[int](b, `+document.querySelector("#f-verdicts input[value=crash]").parentElement.querySelector(".num").textContent`); crashes != want {
		t.Errorf("%d crashes, want %d", crashes, want)
	}
	b.click("#f-reset")
	b.run(chromedp.SetValue("#f-distro", "1"))
	b.js(`document.getElementById("f-distro").dispatchEvent(new Event("change", {bubbles: true}))`)
	b.wait(`[...document.querySelectorAll("#list .kdistro")].every(e => e.textContent === "debian/")`)
	b.click(`table.grid button[aria-label^="rhel 6.12"] .num`)
	b.wait(`[...document.querySelectorAll("#list .kname")].every(e => e.textContent.startsWith("rhel/6.12"))`)

	// A crash: its console has the crash marked, and colours.
	b.click("#list a")
	b.wait(`document.querySelector("#kernel[open] #k-console")`)
	b.click("#k-console")
	b.wait(`document.querySelector("mark")`)
	mark := eval[string](b, `document.querySelector("mark").textContent`)
	if !strings.Contains(mark, "BUG: kernel NULL pointer dereference") || !strings.Contains(mark, "---[ end trace") || strings.Contains(mark, "reboot") || strings.Contains(mark, "pci 0000") {
		t.Errorf("marked: %q", mark)
	}
	if got := eval[string](b, `document.querySelector("pre.console .a-fg-green").textContent`); got != "ok" {
		t.Errorf("green: %q", got)
	}
	if strings.Contains(eval[string](b, `document.querySelector("pre.console").textContent`), "\x1b") {
		t.Error("the console shows escape sequences")
	}
	if got := eval[string](b, `document.querySelector(".past").innerText`); strings.Count(got, "\n") < 20 {
		t.Errorf("history of the kernel: %q", got)
	}
	b.clean()

	// A link to a kernel opens it.
	id := eval[string](b, `decodeURIComponent(location.hash).slice(3)`)
	c := open(t, browser, path, "#k="+url.QueryEscape(id), 390, true)
	c.wait(`document.querySelector("#kernel[open] #k-console")`)
	if got := eval[string](c, `document.getElementById("k-title").textContent`); got != id {
		t.Errorf("it opens %q, want %q", got, id)
	}
	c.clean()
}

// A program that grew comes first, with the base and the limit in its plot.
func TestBrowserCosts(t *testing.T) {
	b := open(t, startBrowser(t), writePage(t, "small"), "", 1440, false)
	b.js(`document.getElementById("costs").scrollIntoView()`)
	b.wait(`document.querySelectorAll("#c-list tr").length > 10`)
	first := eval[string](b, `document.querySelector("#c-list tr").innerText`)
	label := eval[string](b, `document.querySelector("#c-list svg").getAttribute("aria-label")`)
	for text, want := range map[string][]string{
		first: {"handle_exec", "kprobe", "41,200 → 873,000", "× 21", "too much", "87 %"},
		label: {"119 kernels", "41,200 to 873,000 instructions", "moved on 18 against the base, most from 41,200 to 873,000"},
	} {
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%q lacks %q", text, w)
			}
		}
	}
	if n := eval[int](b, `document.querySelectorAll("#c-list tr:first-child svg .was, #c-list tr:first-child svg .limit").length`); n != 2 {
		t.Errorf("%d lines for base and limit", n)
	}
	shot(b, "costs", false)
	b.js(`document.getElementById("c-text").value = "lsm"; document.getElementById("c-text").dispatchEvent(new Event("input"))`)
	b.wait(`document.querySelectorAll("#c-list tr").length === 1`)
	b.js(`location.hash = "k=" + document.querySelector("#list a").getAttribute("href").slice(3)`)
	b.wait(`document.querySelector("#kernel[open] #k-body")`)
	b.wait(`document.getElementById("k-body").innerText.includes("restrict_filesystems")`)
	shot(b, "costs-kernel", false)
	b.clean()
}

// Everything can be done without a mouse.
func TestBrowserKeyboard(t *testing.T) {
	b := open(t, startBrowser(t), writePage(t, "small"), "", 1440, false)
	focus := func() string {
		return eval[string](b, `(e => e.id || e.getAttribute("aria-label") || e.className || e.tagName)(document.activeElement)`)
	}
	b.press(kb.Tab)
	if got := focus(); got != "skip" {
		t.Errorf("the first stop is %q", got)
	}
	b.press(kb.Enter, kb.Tab)
	// To the grid: the failures are before it, one stop each.
	for i := 0; !strings.HasPrefix(focus(), "amazonlinux2 4.19"); i++ {
		if i > 30 {
			t.Fatalf("the grid is not reached: %q", focus())
		}
		b.press(kb.Tab)
	}
	b.press(kb.ArrowDown, kb.ArrowRight)
	if got := focus(); !strings.HasPrefix(got, "debian 5.4: 3 kernels, 3 pass") {
		t.Errorf("one down and one right is %q", got)
	}
	if !eval[bool](b, `getComputedStyle(document.activeElement).outlineStyle === "solid"`) {
		t.Error("the focus cannot be seen")
	}
	b.press(kb.Enter)
	b.wait(rows + ` === 3 && document.activeElement.className === "row"`)
	b.press(kb.ArrowDown)
	id := eval[string](b, `document.activeElement.getAttribute("href")`)
	b.press(kb.Enter)
	b.wait(`document.querySelector("#kernel[open] #k-console")`)
	first := eval[string](b, `document.getElementById("k-title").textContent`)
	b.press("j")
	b.wait(`document.getElementById("k-title").textContent !== ` + fmt.Sprintf("%q", first))
	b.press("k")
	b.wait(`document.getElementById("k-title").textContent === ` + fmt.Sprintf("%q", first) + ` && document.getElementById("k-console")`)
	// The dialog keeps the focus.
	for i := 0; focus() != "k-console"; i++ {
		if i > 40 {
			t.Fatalf("the console's button is not reached: %q", focus())
		}
		b.press(kb.Tab)
		if !eval[bool](b, `document.activeElement === document.body || document.getElementById("kernel").contains(document.activeElement)`) {
			t.Fatalf("the focus has left the dialog: %q", focus())
		}
	}
	b.press(kb.Enter)
	b.wait(`document.activeElement.className === "console"`)
	b.press(kb.Escape)
	b.wait(`!document.getElementById("kernel").open`)
	if got := eval[string](b, `document.activeElement.getAttribute("href") || ""`); got != id {
		t.Errorf("after closing the focus is at %q, want %q", got, id)
	}
	b.press("/")
	if got := focus(); got != "f-text" {
		t.Errorf("/ leads to %q", got)
	}
	b.clean()
}

// What a guest says stays text, wherever it says it.
func TestBrowserHostile(t *testing.T) {
	b := open(t, startBrowser(t), writePage(t, "hostile"), "", 1440, false)
	if n := eval[int](b, rows); n != 24+len(evil) {
		t.Fatalf("%d kernels", n)
	}
	b.js(`document.querySelectorAll("main details").forEach(d => { d.open = true; })`)
	b.js(`document.getElementById("tests").scrollIntoView()`)
	b.wait(`document.querySelectorAll("#t-list tr").length > 10`)
	for i := range 24 {
		b.js(fmt.Sprintf(`document.querySelectorAll("#list a")[%d].click()`, i))
		b.wait(`document.querySelector("#kernel[open] #k-console")`)
		b.js(`document.querySelectorAll("#k-body details").forEach(d => { d.open = true; }); document.getElementById("k-console").click()`)
		b.wait(`document.querySelector("pre.console")`)
		if eval[bool](b, `"pwned" in window`) {
			t.Fatal("a guest's script has run")
		}
		// Elements are this package's own.
		if got := eval[string](b, `[...document.querySelectorAll("img, iframe, object, embed, link[rel=stylesheet], form[action], base, template, textarea, [onerror], [onload], [onmouseover], a[href^='javascript:' i]")].map(e => e.outerHTML).join("\n")`); got != "" {
			t.Fatalf("elements of a guest: %s", got)
		}
		b.click("#k-close")
		b.wait(`!document.getElementById("kernel").open`)
	}
	if got := eval[int](b, `[...document.scripts].filter(s => s.type !== "text/plain").length`); got != 1 {
		t.Errorf("%d scripts", got)
	}
	text := eval[string](b, `document.querySelector("pre").textContent`)
	if !strings.Contains(text, `</script><script>window.pwned=1</script>`) || strings.Contains(text, "\u202e") {
		t.Errorf("the excerpt reads %q", text)
	}
	// The policy holds even against markup that gets in.
	b.clean()
	b.js(`{ const s = document.createElement("script"); s.textContent = "window.pwned = 1"; document.body.append(s); const i = new Image(); i.src = "https://example.com/x.png"; }`)
	if eval[bool](b, `"pwned" in window`) {
		t.Error("the policy lets other scripts run")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	said := strings.Join(b.problems, "\n")
	if !strings.Contains(said, "Content Security Policy") || strings.Contains(said, "request: https://example.com") && !strings.Contains(said, "violates") {
		t.Errorf("the policy is silent: %s", said)
	}
}

// scrolls names the elements within the page that have a scrollbar.
const scrolls = `[...document.querySelectorAll("body *")].filter(e => (s => ["auto", "scroll"].includes(s.overflowX) && e.scrollWidth > e.clientWidth ||
	["auto", "scroll"].includes(s.overflowY) && e.scrollHeight > e.clientHeight)(getComputedStyle(e))).map(e => e.tagName + "." + e.className + " " +
	e.scrollWidth + "x" + e.scrollHeight + " in " + e.clientWidth + "x" + e.clientHeight).join(", ")`

// A desktop's screen shows all of the page without another scrollbar than the
// page's own, and the grid tells failures apart.
func TestBrowserScrollbars(t *testing.T) {
	browser := startBrowser(t)
	for _, name := range []string{"cloud", "small", "real"} {
		b := open(t, browser, writePage(t, name), "", 1440, false)
		b.js(`document.querySelectorAll("main details").forEach(d => { d.open = true; })`)
		b.js(`document.getElementById("tests").scrollIntoView()`)
		b.wait(`document.querySelectorAll("#t-list tr").length > 1`)
		if got := eval[string](b, scrolls); got != "" {
			t.Errorf("%s: these scroll: %s", name, got)
		}
		shot(b, name+"-1440-open", true)
		if name == "cloud" {
			if got, want := eval[string](b, `[...document.querySelectorAll("table.grid .cell .marks")].map(e => [...e.children].map(m => m.textContent).join("+")).join(" ")`), "3+4 4 1 1 1 1 2+4 2 2 2"; got != want {
				t.Errorf("failures in the grid: %s, want %s", got, want)
			}
			if got := eval[string](b, `[...document.querySelectorAll("#list .kcause")].find(e => e.textContent.startsWith("1")).textContent`); !strings.Contains(got, "failed to resolve CO-RE relocation <byte_off> [28] struct kernfs_node.parent") {
				t.Errorf("a row's cause: %q", got)
			}
			if got := eval[string](b, `[...document.querySelectorAll("#list .kcause")].filter(e => e.scrollHeight > e.clientHeight + 1).map(e => e.textContent).join("\n")`); got != "" {
				t.Errorf("these causes are cut: %s", got)
			}
		}
		b.clean()
		if err := chromedp.Cancel(b.ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// The page fits a phone, light and dark, with nothing hidden beside it. With
// SHOTS=DIR in the environment, its pictures are left there.
func TestBrowserSizes(t *testing.T) {
	browser := startBrowser(t)
	paths := map[string]string{"real": writePage(t, "real"), "small": writePage(t, "small"), "hostile": writePage(t, "hostile")}
	for _, width := range []int64{390, 1440} {
		for _, dark := range []bool{false, true} {
			for name, path := range paths {
				b := open(t, browser, path, "", width, dark)
				b.js(`document.getElementById("tests").scrollIntoView()`)
				b.wait(`document.querySelectorAll("#t-list tr").length > 1`)
				if over := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
					t.Errorf("%s at %d: %d pixels too wide", name, width, over)
				}
				bg := eval[string](b, `getComputedStyle(document.body).backgroundColor`)
				if (bg == "rgb(255, 255, 255)") == dark {
					t.Errorf("%s, dark %v: background %s", name, dark, bg)
				}
				shot(b, fmt.Sprintf("%s-%d-%v", name, width, dark), true)
				b.js(`document.querySelector("#list a").click()`)
				b.wait(`document.querySelector("#kernel[open] #k-console")`)
				shot(b, fmt.Sprintf("%s-%d-%v-kernel", name, width, dark), false)
				b.js(`document.getElementById("k-console").click()`)
				b.wait(`document.querySelector("pre.console")`)
				if over := eval[int](b, `(e => e.scrollWidth - e.clientWidth)(document.getElementById("k-body"))`); over > 0 {
					t.Errorf("%s at %d: a kernel is %d pixels too wide", name, width, over)
				}
				shot(b, fmt.Sprintf("%s-%d-%v-console", name, width, dark), false)
				b.clean()
				if err := chromedp.Cancel(b.ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// The grid of programs fits, and leads to kernels, whose details have the programs.
func TestBrowserPrograms(t *testing.T) {
	browser := startBrowser(t)
	for _, tt := range []struct {
		name, corner  string
		rows, columns int
	}{
		{"programs", "Kernel, programs in probe/", 88, 40}, {"programs-few", "Program in probe/", 20, 5}, {"programs-huge", "Kernel, programs in probe/", 600, 100},
	} {
		path := writePage(t, tt.name)
		for _, width := range []int64{390, 1440} {
			b := open(t, browser, path, "", width, width == 390)
			if got := eval[string](b, `(t => [t.rows[0].cells[0].innerText, t.tBodies[0].rows.length, t.rows[1].querySelectorAll("td").length].join())(document.querySelector("table.programs"))`); got != fmt.Sprintf("%s,%d,%d", tt.corner, tt.rows, tt.columns) {
				t.Errorf("%s: the grid of programs is %s", tt.name, got)
			}
			if over := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
				t.Errorf("%s at %d: %d pixels too wide", tt.name, width, over)
			}
			// A cell has a word beside its sign, for those who do not see it.
			if got := eval[string](b, `[...new Set([...document.querySelectorAll("table.programs td")].map(e => e.textContent + " " + e.getAttribute("aria-label")))].sort().join()`); got != "! crash,– missing,≈ expected,⊘ no-boot,✓ pass,✗ fail" {
				t.Errorf("%s: cells %s", tt.name, got)
			}
			if tt.name != "programs-huge" {
				b.js(`document.getElementById("programs").scrollIntoView()`)
				shot(b, fmt.Sprintf("%s-%d", tt.name, width), true)
				shot(b, fmt.Sprintf("%s-%d-grid", tt.name, width), false)
			}
			b.js(`[...document.querySelectorAll("table.programs a")].find(a => a.innerText.includes("6.12")).click()`)
			b.wait(`document.querySelector("#kernel[open] table.one")`)
			if got := eval[string](b, `document.querySelector("#k-body table.one").innerText`); !strings.Contains(got, "probe/pkg01") || !strings.Contains(got, "left behind: pin /sys/fs/bpf/probe") || strings.Index(got, "probe/pkg01") > strings.Index(got, "probe/pkg00") {
				t.Errorf("%s: the kernel's programs: %.300q", tt.name, got)
			}
			shot(b, fmt.Sprintf("%s-%d-kernel", tt.name, width), false)
			b.clean()
			if err := chromedp.Cancel(b.ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Kernels that were not booted are hollow in the grid, and say who stands for them.
func TestBrowserPicked(t *testing.T) {
	browser, path := startBrowser(t), writePage(t, "picked")
	for _, width := range []int64{390, 1440} {
		b := open(t, browser, path, "", width, width == 390)
		for js, want := range map[string]string{
			`document.querySelector("main section").innerText`:                                                                  "14 booted, standing for 88 kernels",
			`document.getElementById("h-picks").parentNode.innerText`:                                                           "Last full run: 3 of 11 kinds were mixed; picks would have found 54 of 55 failures in 13 of 85 boots.",
			`document.getElementById("legend").innerText`:                                                                       "74 represented, not booted",
			`[...document.querySelectorAll(".tiles i.s-represented")].map(e => e.innerText).join()`:                             strings.Repeat("□,", 73) + "□",
			`document.getElementById("shown").innerText`:                                                                        "88 kernels, 74 of them represented, not booted",
			`[...document.querySelectorAll(".row")].filter(e => e.innerText.includes("represented"))[0].innerText`:              "represented by debian/5.10.0-12-cloud-amd64",
			`[...document.querySelectorAll(".row")].map(e => e.innerText).find(s => /represented by .*\(fail\)/.test(s)) || ""`: "(fail)",
			`document.querySelector("#failures").textContent`:                                                                   "bpf-kernel-check bisect --kernels debian:sid:cloud-amd64 --good debian/",
		} {
			if got := eval[string](b, js); !strings.Contains(got, want) {
				t.Errorf("%s is %q, want %q", js, got, want)
			}
		}
		b.js(`const d = document.querySelector("#failures details"); d.open = true; d.scrollIntoView()`)
		shot(b, fmt.Sprintf("picked-%d-failure", width), false)
		if over := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
			t.Errorf("at %d: %d pixels too wide", width, over)
		}
		shot(b, fmt.Sprintf("picked-%d", width), true)
		b.click(".tiles i.s-represented")
		b.wait(`document.querySelector("#kernel[open] #k-body a")`)
		shot(b, fmt.Sprintf("picked-%d-represented", width), false)
		b.click("#k-body a")
		b.wait(`document.querySelector("#k-body details summary").innerText.startsWith("Stands for ")`)
		shot(b, fmt.Sprintf("picked-%d-stands", width), false)
		b.clean()
	}
}

// Pages of nothing, of one kernel, of none that came back, and of names and lines
// without end are as good to look at as others.
func TestBrowserEdges(t *testing.T) {
	browser := startBrowser(t)
	for _, tt := range []struct {
		name    string
		kernels int
		says    string
	}{
		{"none", 0, "no shard file was found"}, {"single", 1, "pass"}, {"missing", 40, "did not report it"}, {"long", 12, "distributiondistribution"},
	} {
		path := writePage(t, tt.name)
		for _, width := range []int64{390, 1440} {
			b := open(t, browser, path, "", width, width == 390)
			if n := eval[int](b, `document.getElementById("list").children.length`); n != tt.kernels {
				t.Errorf("%s: %d kernels in the list, want %d", tt.name, n, tt.kernels)
			}
			if text := eval[string](b, `document.body.innerText`); !strings.Contains(text, tt.says) {
				t.Errorf("%s at %d: no %q in %q", tt.name, width, tt.says, text)
			}
			if over := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
				t.Errorf("%s at %d: %d pixels too wide", tt.name, width, over)
			}
			shot(b, fmt.Sprintf("%s-%d", tt.name, width), true)
			if tt.name == "long" {
				b.js(`document.querySelector("#list a").click()`)
				b.wait(`document.querySelector("#kernel[open] #k-console")`)
				b.js(`document.getElementById("k-console").click()`)
				b.wait(`document.querySelector("pre.console")`)
				if over := eval[int](b, `(e => e.scrollWidth - e.clientWidth)(document.getElementById("k-body"))`); over > 0 {
					t.Errorf("%s at %d: a kernel is %d pixels too wide", tt.name, width, over)
				}
				if text := eval[string](b, `document.querySelector("pre.console").textContent`); strings.ContainsAny(text, "\x00\x1b\u202e") || !strings.Contains(text, "end") {
					t.Errorf("%s: the console's %d bytes have what nobody can read, or no end", tt.name, len(text))
				}
				shot(b, fmt.Sprintf("%s-%d-console", tt.name, width), false)
			}
			b.clean()
			if err := chromedp.Cancel(b.ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func shot(b *tab, name string, full bool) {
	dir := os.Getenv("SHOTS")
	if dir == "" {
		return
	}
	take := chromedp.CaptureScreenshot()
	if full {
		take = chromedp.FullScreenshot(100)
	}
	png, err := chromedp.Run(b.ctx, take)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// BenchmarkOpen opens the page of 1,000 kernels with 30 tests each; what it
// reports is when the list was there, as the page measures it.
func BenchmarkOpen(b *testing.B) {
	browser := startBrowser(b)
	path := writePage(b, "synthetic")
	sum := 0
	for b.Loop() {
		t := open(b, browser, path, "", 1440, false)
		sum += eval[int](t, `+document.documentElement.dataset.ready`)
		if err := chromedp.Cancel(t.ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(sum)/float64(b.N), "ms/open")
}
