package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Expectation is one entry of a file of expected failures: on these kernels,
// these tests fail, or the kernel as a whole comes to this verdict, and the
// reason is known.
type Expectation struct {
	Kernels []string // globs of ids, as MatchKernel reads them
	Tests   []string // globs of tests' names, * matches / too; none: it is about Verdict
	Verdict Verdict  // crash, timeout or no-boot, of the kernel as a whole
	Reason  string   // one line
	Link    string   // "": none
	Expires string   // last day that it is good for, as 2006-01-02; "": it does not expire

	Where string `json:"-"` // file:line, for people
}

// Expectations are the entries of all files.
type Expectations struct {
	Entries []Expectation
	// Lenient has what is stale, an entry that expired or whose failure did
	// not come, be said only: else it fails the kernel's run.
	Lenient bool
}

// Limits of a file of expected failures.
const (
	maxExpectFile = 4 << 20
	maxExpect     = 10_000 // entries
	maxReason     = 1000   // bytes
)

// ExpectError is a file of expected failures that cannot be used: the user's to
// mend. Its text is one line and names file and line.
type ExpectError struct {
	Where string
	Msg   string
}

func (e *ExpectError) Error() string { return e.Where + ": " + e.Msg }

// ReadExpectations reads a YAML list of entries:
//
//   - kernels: debian/5.10.*   # a glob, or a list of them
//     tests: TestRingbuf*      # a glob, or a list of them
//     reason: ringbuf needs 5.8 and a backport that 5.10 lacks
//     link: https://example.org/issues/7
//     expires: 2027-01-31
//
// or, in the place of tests, "verdict: crash" (timeout, no-boot). name is the
// file's, for messages. Every error is an *ExpectError.
func ReadExpectations(r io.Reader, name string) ([]Expectation, error) {
	bad := func(line int, format string, args ...any) error {
		where := name
		if line > 0 {
			where = fmt.Sprintf("%s:%d", name, line)
		}
		return &ExpectError{where, OneLine(fmt.Sprintf(format, args...), 500)}
	}
	b, err := io.ReadAll(io.LimitReader(r, maxExpectFile+1))
	if err != nil {
		return nil, bad(0, "read: %v", err)
	}
	if len(b) > maxExpectFile {
		return nil, bad(0, "it has more than %d MiB", maxExpectFile>>20)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil // nothing, or comments alone
	case err != nil:
		return nil, bad(0, "it is no YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, bad(0, "it holds more than one YAML document: want one list")
	}
	list := doc.Content[0]
	if list.Kind == yaml.ScalarNode && list.Tag == "!!null" {
		return nil, nil
	}
	if list.Kind != yaml.SequenceNode {
		return nil, bad(list.Line, "want a list of entries, each with kernels, tests or verdict, and reason")
	}
	if len(list.Content) > maxExpect {
		return nil, bad(list.Line, "more than %d entries", maxExpect)
	}
	var entries []Expectation
	for _, n := range list.Content {
		e, line, err := readExpectation(n)
		if err != nil {
			return nil, bad(line, "%v", err)
		}
		e.Where = fmt.Sprintf("%s:%d", name, n.Line)
		entries = append(entries, e)
	}
	return entries, nil
}

func readExpectation(n *yaml.Node) (e Expectation, line int, err error) {
	if n.Kind != yaml.MappingNode {
		return e, n.Line, errors.New("want an entry with kernels, tests or verdict, and reason")
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if seen[key.Value] {
			return e, key.Line, fmt.Errorf("%s stands twice in one entry", key.Value)
		}
		seen[key.Value] = true
		switch key.Value {
		case "kernels":
			e.Kernels, err = globs(value, CheckKernelGlob)
		case "tests":
			e.Tests, err = globs(value, checkTestGlob)
		case "verdict":
			e.Verdict, err = expectedVerdict(value)
		case "reason":
			e.Reason, err = text(value)
		case "link":
			if e.Link, err = text(value); err == nil {
				err = CheckLink(e.Link)
			}
		case "expires":
			e.Expires, err = day(value)
		default:
			err = errors.New("no such key: want kernels, tests, verdict, reason, link, expires")
		}
		if err != nil {
			return e, key.Line, fmt.Errorf("%.60s: %w", key.Value, err)
		}
	}
	switch {
	case e.Reason == "":
		return e, n.Line, errors.New("the entry has no reason: say why this failure is expected")
	case len(e.Kernels) == 0:
		return e, n.Line, errors.New("the entry has no kernels: want a glob of kernel ids, such as debian/5.10.*, or '*' for all")
	case len(e.Tests) == 0 && e.Verdict == Unknown:
		return e, n.Line, errors.New("the entry has neither tests nor verdict: want one of them")
	case len(e.Tests) > 0 && e.Verdict != Unknown:
		return e, n.Line, errors.New("the entry has tests and verdict: want an entry for each")
	}
	return e, 0, nil
}

// CheckLink refuses what is no address of a page.
func CheckLink(link string) error {
	if u, err := url.Parse(link); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("%q: want the address of a page, https://...", OneLine(link, 100))
	}
	return nil
}

func text(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return "", errors.New("want a text")
	}
	if len(n.Value) > maxReason {
		return "", fmt.Errorf("want at most %d bytes", maxReason)
	}
	return OneLine(n.Value, maxReason), nil
}

// globs reads one glob or a list of them.
func globs(n *yaml.Node, check func(string) error) ([]string, error) {
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	if len(nodes) == 0 || len(nodes) > 1000 {
		return nil, errors.New("want 1 to 1000 globs")
	}
	var all []string
	for _, n := range nodes {
		s, err := text(n)
		switch {
		case err != nil:
			return nil, err
		case s == "":
			return nil, errors.New("an empty glob: want one such as 'debian/6.1.*'")
		case len(s) > maxWord:
			return nil, fmt.Errorf("a glob of %d bytes: want at most %d", len(s), maxWord)
		}
		if err := check(s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func checkTestGlob(glob string) error {
	if _, err := path.Match(glob, ""); err != nil {
		return fmt.Errorf("%q is no glob: quote [, * and ? that stand for themselves with a backslash", glob)
	}
	return nil
}

func expectedVerdict(n *yaml.Node) (Verdict, error) {
	switch v, err := ParseVerdict(n.Value); {
	case n.Kind != yaml.ScalarNode, err != nil:
	case v == Crash || v == Timeout || v == NoBoot:
		return v, nil
	}
	return Unknown, errors.New("want crash, timeout or no-boot; tests that fail are named by tests, and what was not tested cannot be expected")
}

func day(n *yaml.Node) (string, error) {
	if _, err := time.Parse(time.DateOnly, n.Value); n.Kind != yaml.ScalarNode || err != nil {
		return "", fmt.Errorf("%.40q: want a day such as 2027-01-31", n.Value)
	}
	return n.Value, nil
}

// Digest names what is expected: shards with different expectations make no
// one result. It is "" without entries.
func (x *Expectations) Digest() string {
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
func (x *Expectations) Unused(ids []string) []string {
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
func (x *Expectations) UnusedTests(kernels []Kernel) []string {
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
				used = used || slices.ContainsFunc(k.Tests, func(t Test) bool { return matchAcross(glob, t.Name) })
			}
			if tested && !used {
				unused = append(unused, fmt.Sprintf("%s: no test that ran has the name %s", e.Where, OneLine(glob, 200)))
			}
		}
	}
	return unused
}

func (e Expectation) ofKernel(id string) bool { return MatchKernel(e.Kernels, id) }

// ofTest: subtests' names hold slashes, and a star means them too.
func (e Expectation) ofTest(name string) bool {
	return slices.ContainsFunc(e.Tests, func(g string) bool { return matchAcross(g, name) })
}

// passedAlone returns the first passed test that a glob means, "" when it means
// none, or one that failed.
func (k *Kernel) passedAlone(glob string) string {
	passed := ""
	for _, t := range k.Tests {
		if !matchAcross(glob, t.Name) {
			continue
		}
		switch testVerdict(t) {
		case testFail:
			return ""
		case testPass:
			passed = cmp.Or(passed, t.Name)
		}
	}
	return passed
}

// expired says whether the entry is past its day, in UTC.
func (e Expectation) expired(now time.Time) bool {
	return e.Expires != "" && now.UTC().Format(time.DateOnly) > e.Expires
}

// Expected is a failure of a kernel that was expected.
type Expected struct {
	Test    string  `json:"test,omitempty"`    // its name; empty: it is about the kernel's verdict
	Verdict Verdict `json:"verdict,omitempty"` // of the kernel, where Test is empty
	Reason  string  `json:"reason"`
	Link    string  `json:"link,omitempty"`
	Expires string  `json:"expires,omitempty"`
}

// Apply says in a result which of its failures were expected, and which
// expectations are stale. The verdict stays what it is.
func (x *Expectations) Apply(k *Kernel, now time.Time) {
	if x == nil {
		return
	}
	for _, e := range x.Entries {
		if !e.ofKernel(k.ID) {
			continue
		}
		late := e.expired(now)
		note := Expected{Reason: e.Reason, Link: e.Link, Expires: e.Expires}
		stale := func(format string, args ...any) {
			s := OneLine(fmt.Sprintf("%s: %s (%s)", e.Where, fmt.Sprintf(format, args...), e.Reason), maxReason)
			if x.Lenient {
				k.Problems = append(k.Problems, s)
			} else {
				k.Surprises = append(k.Surprises, s)
			}
		}
		if e.Verdict != Unknown {
			note.Verdict = e.Verdict
			switch {
			case late:
				stale("the verdict %s was expected until %s: renew the entry or remove it", e.Verdict, e.Expires)
			case k.Verdict != e.Verdict && k.Verdict != Infra && k.Verdict != Missing:
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
			switch testVerdict(t) {
			case testPass:
				passed = append(passed, t.Name)
			case testFail:
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
				if name := k.passedAlone(glob); name != "" {
					stale("%s was expected to fail, and passed: remove it from the entry", name)
				}
			}
		}
	}
	k.Expected = k.Expected[:min(len(k.Expected), maxList)]
	k.Surprises = k.Surprises[:min(len(k.Surprises), maxList)]
}

// Forgiven says that a kernel did not pass and that nothing is wrong with it
// but what was expected. A test that is expected to fail forgives neither a
// crash nor another test, and what was not tested is never forgiven.
func (k *Kernel) Forgiven() bool {
	if len(k.Expected) == 0 || len(k.Surprises) > 0 {
		return false
	}
	whole := false
	tests := make(map[string]bool, len(k.Expected))
	for _, e := range k.Expected {
		switch {
		case e.Reason == "":
			return false
		case e.Test != "":
			tests[e.Test] = true
		case e.Verdict == k.Verdict:
			whole = true
		}
	}
	switch k.Verdict {
	case Fail:
		if !k.TestsOnly {
			return false
		}
		whole = true
	case Crash, Timeout, NoBoot:
		// What ran at its end could not but fail with it.
		for _, t := range k.Running {
			tests[t] = true
		}
	default:
		return false
	}
	failed := 0
	for _, t := range k.Tests {
		if testVerdict(t) == testFail {
			failed++
			if !tests[t.Name] {
				return false
			}
		}
	}
	return whole && (k.Verdict != Fail || failed > 0)
}

// expects says whether a test's failure was expected.
func (k *Kernel) expects(test string) bool {
	return slices.ContainsFunc(k.Expected, func(e Expected) bool { return e.Test != "" && e.Test == test })
}

// Green says whether nothing about a kernel keeps a run from being a pass.
func (k *Kernel) Green() bool {
	return len(k.Surprises) == 0 && (k.Verdict == Pass || k.Forgiven())
}

// ExpectedWords says in one line why a kernel's failure was expected.
func (k *Kernel) ExpectedWords() string {
	var words []string
	for _, e := range k.Expected {
		what := e.Test
		if what == "" {
			what = e.Verdict.String()
		}
		w := OneLine(what, 100) + ": " + e.Reason
		if e.Link != "" {
			w += " (" + e.Link + ")"
		}
		words = append(words, w)
	}
	s := strings.Join(words[:min(len(words), 5)], "; ")
	if len(words) > 5 {
		s += fmt.Sprintf("; and %d more", len(words)-5)
	}
	return OneLine(s, 500)
}

// checkExpected holds what a shard file says of expectations to its limits.
func (k *Kernel) checkExpected() error {
	for _, e := range k.Expected {
		if e.Reason == "" || e.Test == "" && e.Verdict != Crash && e.Verdict != Timeout && e.Verdict != NoBoot {
			return errors.New("an expected failure has no reason, or is neither of a test nor a crash, timeout or no-boot")
		}
		if err := checkTexts([]string{e.Test, e.Reason, e.Link, e.Expires}); err != nil {
			return err
		}
	}
	return checkTexts(k.Surprises, k.Running)
}
