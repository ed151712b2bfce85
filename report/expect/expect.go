// Package expect reads files of expected failures and says in a kernel's result
// which of its failures were expected, and which expectations are stale. What
// that means for the verdict is report's to say.
package expect

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/entries"
)

// Entry is one entry of a file of expected failures: on these kernels,
// these tests fail, or the kernel as a whole comes to this verdict, and the
// reason is known.
type Entry struct {
	Kernels []string       // globs of ids, as MatchKernel reads them
	Tests   []string       // globs of tests' names, * matches / too; none: it is about Verdict
	Verdict report.Verdict // crash, timeout or no-boot, of the kernel as a whole
	Reason  string         // one line
	Link    string         // "": none
	Expires string         // last day that it is good for, as 2006-01-02; "": it does not expire

	Where string `json:"-"` // file:line, for people
}

// List are the entries of all files.
type List struct {
	Entries []Entry
	// Lenient has what is stale, an entry that expired or whose failure did
	// not come, be said only: else it fails the kernel's run.
	Lenient bool
}

// Digest names what is expected: shards with different expectations make no
// one result. It is "" without entries.
func (x *List) Digest() string {
	if x == nil || len(x.Entries) == 0 {
		return ""
	}
	h := sha256.New()
	// These types have no value that cannot be encoded, and a hash takes
	// everything.
	for _, e := range x.Entries {
		_ = json.NewEncoder(h).Encode([]any{e.Kernels, e.Tests, e.Verdict.String(), e.Reason, e.Link, e.Expires})
	}
	_ = json.NewEncoder(h).Encode(x.Lenient)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Unused are the entries that no kernel of a list is matched by, in words.
func (x *List) Unused(ids []string) []string {
	if x == nil {
		return nil
	}
	var unused []string
	for _, e := range x.Entries {
		if !slices.ContainsFunc(ids, e.ofKernel) {
			unused = append(unused, fmt.Sprintf("%s: kernels %s matches none of the kernels to test", e.Where, strings.Join(e.Kernels, ", ")))
		}
	}
	return unused
}

// UnusedTests are the globs of tests that no test has which a kernel of theirs ran,
// in words. Where no such kernel was tested, they may well have one.
func (x *List) UnusedTests(kernels []report.Result) []string {
	if x == nil {
		return nil
	}
	var unused []string
	for _, e := range x.Entries {
		for _, glob := range e.Tests {
			tested, used := false, false
			for i := range kernels {
				k := &kernels[i]
				if len(k.Tests) == 0 || !e.ofKernel(k.ID) {
					continue
				}
				tested = true
				used = used || slices.ContainsFunc(k.Tests, func(t report.Test) bool { return report.MatchAcross(glob, t.Name) })
			}
			if tested && !used {
				unused = append(unused, fmt.Sprintf("%s: no test that ran has the name %s", e.Where, report.OneLine(glob, 200)))
			}
		}
	}
	return unused
}

func (e Entry) ofKernel(id string) bool { return report.MatchKernel(e.Kernels, id) }

// ofTest: subtests' names hold slashes, and a star means them too.
func (e Entry) ofTest(name string) bool {
	return slices.ContainsFunc(e.Tests, func(g string) bool { return report.MatchAcross(g, name) })
}

// passedAlone returns the first passed test that a glob means, "" when it means
// none, or one that failed.
func passedAlone(k *report.Result, glob string) string {
	passed := ""
	for _, t := range k.Tests {
		if !report.MatchAcross(glob, t.Name) {
			continue
		}
		switch report.TestVerdict(t) {
		case report.TestFail:
			return ""
		case report.TestPass:
			passed = cmp.Or(passed, t.Name)
		}
	}
	return passed
}

// expired says whether the entry is past its day, in UTC.
func (e Entry) expired(now time.Time) bool {
	return e.Expires != "" && now.UTC().Format(time.DateOnly) > e.Expires
}

// Apply says in a result which of its failures were expected, and which
// expectations are stale. The verdict stays what it is.
func (x *List) Apply(k *report.Result, now time.Time) {
	if x == nil {
		return
	}
	for _, e := range x.Entries {
		if !e.ofKernel(k.ID) {
			continue
		}
		late := e.expired(now)
		note := report.Expected{Reason: e.Reason, Link: e.Link, Expires: e.Expires}
		stale := func(format string, args ...any) {
			s := report.OneLine(fmt.Sprintf("%s: %s (%s)", e.Where, fmt.Sprintf(format, args...), e.Reason), entries.MaxText)
			if x.Lenient {
				k.Problems = append(k.Problems, s)
			} else {
				k.StaleExpectations = append(k.StaleExpectations, s)
			}
		}
		if e.Verdict != report.Unknown {
			note.Verdict = e.Verdict
			switch {
			case late:
				stale("the verdict %s was expected until %s: renew the entry or remove it", e.Verdict, e.Expires)
			case k.Verdict != e.Verdict && k.Verdict != report.Infra && k.Verdict != report.Missing:
				stale("the verdict %s was expected, and it is %s: remove the entry", e.Verdict, k.Verdict)
			}
			if k.Verdict == e.Verdict && (!late || x.Lenient) {
				k.Expected = append(k.Expected, note)
			}
			continue
		}
		var passed []string
		failed := 0
		for _, t := range k.Tests {
			if !e.ofTest(t.Name) {
				continue
			}
			switch report.TestVerdict(t) {
			case report.TestPass:
				passed = append(passed, t.Name)
			case report.TestFail:
				failed++
				if note.Test = t.Name; !late || x.Lenient {
					k.Expected = append(k.Expected, note)
				}
			}
		}
		switch {
		case late && failed+len(passed) > 0:
			stale("%s was expected to fail until %s: renew the entry or remove it", strings.Join(e.Tests, ", "), e.Expires)
		case failed == 0 && len(passed) > 0:
			stale("%s was expected to fail, and passed: remove the entry", passed[0])
		case !late:
			// An entry of several holds for each of them.
			for _, glob := range e.Tests {
				if name := passedAlone(k, glob); name != "" {
					stale("%s was expected to fail, and passed: remove it from the entry", name)
				}
			}
		}
	}
	k.Expected = k.Expected[:min(len(k.Expected), maxNotes)]
	k.StaleExpectations = k.StaleExpectations[:min(len(k.StaleExpectations), maxNotes)]
}
