package page

import (
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// console is what the page shows of one.
type console struct {
	Path  string `json:"path"`
	Text  string `json:"text"`            // escape sequences included
	Crash []int  `json:"crash,omitempty"` // first and last line of what is marked, from 0
}

// readConsole reads a console's beginning and end. What it printed is as it
// came but for bytes that are no text.
func readConsole(fsys fs.FS, k *report.Result) (console, error) {
	f, err := fsys.Open(k.Console)
	if err != nil {
		return console{}, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return console{}, fmt.Errorf("%s is no file", k.Console)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxReadConsole))
	if err != nil {
		return console{}, err
	}
	s := strings.ToValidUTF8(string(b), "?")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	c := console{Path: k.Console, Text: report.CutMiddle(s, maxConsole)}
	if from, to, ok := crashLines(c.Text, k); ok {
		c.Crash = []int{from, to}
	}
	return c, nil
}

var (
	crashBegin = regexp.MustCompile(`Kernel panic - not syncing|BUG: |Oops: |Oops\[#|general protection fault|Unable to handle kernel|Internal error: |WARNING: (CPU|.* at )|rcu: INFO: .* (stall|detected)|INFO: (task|rcu)|watchdog: |KASAN: |UBSAN: |possible (recursive|circular) locking`)
	crashEnd   = regexp.MustCompile(`---\[ end (trace|Kernel panic)`)
	stamp      = regexp.MustCompile(`^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?`)
)

const (
	maxCrashLines = 200
	ansiText      = "\x1b\\[[0-?]*[ -/]*[@-~]"
)

var ansi = regexp.MustCompile(ansiText)

// crashLines finds the crash that a kernel's verdict is about: from the line
// with its title, or what looks like a crash, to the kernel's word that it
// ends. Kernels that passed or failed by their tests have none: a payload can
// print what it likes.
func crashLines(text string, k *report.Result) (from, to int, ok bool) {
	switch k.Verdict {
	case report.Crash, report.NoBoot, report.Timeout:
	default:
		return 0, 0, false
	}
	title := ""
	if k.Cause != nil {
		title = strings.TrimSpace(k.Cause.Title)
	}
	lines := strings.Split(text, "\n")
	from = -1
	for i, l := range lines {
		if strings.HasPrefix(l, "bpf-kernel-check: ") {
			continue // the host's own lines before the kernel's; they name the verdict
		}
		l = stamp.ReplaceAllString(ansi.ReplaceAllString(l, ""), "")
		if len(title) >= 8 && strings.Contains(l, title[:min(len(title), 120)]) {
			from = i
			break
		}
		if from < 0 && crashBegin.MatchString(l) {
			from = i
		}
	}
	if from < 0 {
		return 0, 0, false
	}
	last := min(len(lines)-1, from+maxCrashLines)
	for to = from; to < last; to++ {
		if crashEnd.MatchString(lines[to]) {
			return from, to, true
		}
	}
	for to > from && strings.TrimSpace(lines[to]) == "" {
		to--
	}
	return from, to, true
}
