package output

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Limits of JUnit XML.
const (
	MaxXML      = 16 << 20 // bytes of a file
	MaxXMLs     = 64 << 20 // bytes of all files
	MaxXMLFiles = 1000

	maxXMLDepth = 64
	maxXMLCases = 10 * MaxTests // of all files
	maxXMLText  = 256 << 10     // bytes of an element's text, before it is cut to a test's output
)

// Frameworks whose attribute tests counts assertions.
var countsAssertions = []string{"catch2", "doctest"}

// junit reads the JUnit XML that a program wrote. Every framework has its own idea of
// it: suites in suites or not, several failures in a case, cases that are listed and
// did not run. What none of them writes is a failure.
type junit struct {
	framework string // "": not known
	out       sink
	held      []Test // failures in the program's text
	cases     int
	failed    []string // names
	bad       int      // elements that tell of a failure
	dec       *xml.Decoder
}

// ExpectJUnit has the tests taken from JUnit XML that the program writes, and no
// longer from its text, which can only add failures. Reading it is for ReadJUnit,
// which has to be called before Finish. framework, such as "catch2", tells how to
// understand what is not the same in all: "" for none.
func (p *Parser) ExpectJUnit(framework string) {
	j := &junit{framework: framework, out: p.out}
	p.junit = j
	mark := p.out.mark
	p.out = newSink(p.out.program, func(t Test) {
		if t.Verdict == wire.TestFail {
			j.held = append(j.held, t)
		}
	})
	p.out.mark, p.out.now, p.out.sure = mark, j.out.now, j.out.sure
}

// ReadJUnit takes one file. What is wrong with it is reported as a failure.
func (p *Parser) ReadJUnit(file string, text []byte) {
	if err := p.junit.read(text); err != nil {
		p.NoJUnit(fmt.Sprintf("%s: %s", file, err))
	}
}

// NoJUnit says why the XML, or a part of it, cannot be read.
func (p *Parser) NoJUnit(why string) {
	why = "JUnit XML: " + why
	p.junit.out.cutShort(why)
	p.junit.out.problem(p.junit.out.program, why, 0)
}

// finish takes over what the program's text told, of which kind is the format: "" for
// none. It returns what the exit status contradicts: "" for nothing.
func (j *junit) finish(text sink, kind kind, told *told, code int) string {
	j.out.ok = text.ok
	if text.cut != "" {
		j.out.cutShort(text.cut)
	}
	// The same test, where the text tells of it in its own way.
	inText := make([]string, len(j.held))
	inXML := make(map[string]bool, len(j.held)) // whether the XML has it too
	for i, t := range j.held {
		inText[i] = batsTime().ReplaceAllString(t.Name, "")
		if kind == kindNextest {
			inText[i] = strings.Replace(inText[i], " ", ".", 1)
		}
		inXML[inText[i]] = false
	}
	for _, name := range j.failed {
		for name := range withoutPrefixes(name) {
			if _, ok := inXML[name]; ok {
				inXML[name] = true
			}
		}
	}
	for i, t := range j.held {
		if t.Name == j.out.program || !inXML[inText[i]] {
			j.out.send(t)
		}
	}
	if told.fail != "" && told.failed <= max(j.bad, len(j.failed)) {
		// Another program's failure can be behind it, if that of the XML was expected.
		if slices.ContainsFunc(told.beside, func(name string) bool { return name == "" || j.framework != "" && name != j.framework }) {
			j.out.cutShort(told.fail + ": what writes JUnit XML does not print this beside it")
		}
		told.fail = ""
	}
	if code == 0 && len(j.failed) > 0 {
		return fmt.Sprintf("it ended with exit status 0, and its JUnit XML has %s", plural(len(j.failed), "failed test", "failed tests"))
	}
	return ""
}

// pytestStops is what pytest prints when it does not run all tests, such as "!!! stopping
// after 1 failures !!!" and "!!! Interrupted: 1 error during collection !!!".
var pytestStops = lazy(`^!{3,} .+ !{3,}$`)

// batsTime is what bats adds to a name where it writes JUnit XML as well.
var batsTime = lazy(` in \d+ ms$`)

// withoutPrefixes are the names that a text can have for a test of the XML: it may
// leave out a class, a suite or a file, which "." or "/" ends.
func withoutPrefixes(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for name != "" && yield(name) {
			at := strings.IndexAny(name, "./")
			if at < 0 {
				return
			}
			name = name[at+1:]
		}
	}
}

// MaxXMLEnd is how many bytes JUnitEnds has to see.
const MaxXMLEnd = 4 << 10

// JUnitEnds says whether the end of a file, of MaxXMLEnd bytes, is that of the whole:
// a program can have ended while a process of its own still writes the file.
func JUnitEnds(end []byte) bool {
	end = bytes.TrimSpace(end)
	last := end[max(0, bytes.LastIndexByte(end, '<')):]
	for _, closes := range []string{"</testsuites>", "</testsuite>"} {
		if string(last) == closes {
			return true
		}
	}
	return bytes.HasPrefix(last, []byte("<testsuite")) && bytes.HasSuffix(last, []byte("/>"))
}

var errXMLCut = errors.New("it ends in the middle: the program ended before it was written, or still writes it")

func (j *junit) read(text []byte) error {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return errors.New("it is empty")
	case bytes.HasPrefix(text, []byte("\xfe\xff")) || bytes.HasPrefix(text, []byte("\xff\xfe")):
		return errors.New("it is UTF-16: have it written as UTF-8")
	}
	j.dec = xml.NewDecoder(bytes.NewReader(legal(text)))
	j.dec.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "us-ascii") || strings.EqualFold(charset, "ascii") {
			return r, nil
		}
		return nil, errors.New("have it written as UTF-8")
	}
	// cmocka writes a root for each group.
	roots := 0
	for {
		t, err := j.token()
		if err == io.EOF && roots > 0 {
			return nil
		}
		if err == io.EOF {
			return errors.New("it has no element: want testsuites or testsuite")
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return errors.New("it has text outside its elements: it is no JUnit XML, or two programs wrote it")
			}
		case xml.StartElement:
			roots++
			if t.Name.Local != "testsuites" && t.Name.Local != "testsuite" {
				return fmt.Errorf("its root is <%.40s>: want testsuites or testsuite", t.Name.Local)
			}
			if _, err := j.suite(t, 1); err != nil {
				return err
			}
		}
	}
}

// token returns the next token that matters. At the end of the file, io.EOF; within
// an element, that is errXMLCut.
func (j *junit) token() (xml.Token, error) {
	for {
		t, err := j.dec.Token()
		var syntax *xml.SyntaxError
		switch {
		case errors.As(err, &syntax) && syntax.Msg == "unexpected EOF":
			return nil, errXMLCut
		case err != nil:
			return nil, err
		}
		switch t.(type) {
		case xml.Directive:
			return nil, errors.New("it has a document type or an entity of its own, which JUnit XML has no need of")
		case xml.Comment, xml.ProcInst:
			continue
		}
		return t, nil
	}
}

// tally counts the cases of a suite.
type tally struct {
	cases, distinct, skipped int
	failures, errors, bad    int // cases
	allFailures, allErrors   int // elements
}

func (t *tally) add(u tally) {
	t.cases += u.cases
	t.distinct += u.distinct
	t.skipped += u.skipped
	t.failures += u.failures
	t.errors += u.errors
	t.bad += u.bad
	t.allFailures += u.allFailures
	t.allErrors += u.allErrors
}

// suite reads an element with cases or suites in it, to its end.
func (j *junit) suite(start xml.StartElement, depth int) (all tally, err error) {
	suite := xmlCase{name: cleanName(cmp.Or(attr(start, "name"), start.Name.Local))}
	var own tally
	names := map[string]bool{}
	for {
		t, err := j.token()
		if err != nil {
			return all, err
		}
		switch t := t.(type) {
		case xml.EndElement:
			own.distinct = len(names)
			all.add(own)
			if suite.elements() > 0 {
				j.bad += suite.elements()
				j.out.problem(j.out.program, "JUnit XML: "+suite.name+" failed: "+suite.output(), 0)
				suite.count(&own)
				suite.count(&all)
			}
			return all, j.check(start, own, all)
		case xml.StartElement:
			switch t.Name.Local {
			case "testsuite", "testsuites":
				if depth >= maxXMLDepth {
					return all, errXMLDepth
				}
				more, err := j.suite(t, depth+1)
				if err != nil {
					return all, err
				}
				all.add(more)
			case "testcase":
				c := xmlCase{name: cleanName(caseName(attr(start, "name"), attr(t, "classname"), attr(t, "name")))}
				if err := j.element(&c, t, depth+1); err != nil {
					return all, err
				}
				if j.cases++; j.cases > maxXMLCases {
					return all, fmt.Errorf("it has more than %d cases", maxXMLCases)
				}
				names[c.name] = true
				own.cases++
				c.read(t)
				j.dialect(&c)
				c.count(&own)
				j.bad += c.elements()
				j.add(c, seconds(attr(t, "time")))
			default:
				if err := j.element(&suite, t, depth+1); err != nil {
					return all, err
				}
			}
		}
	}
}

var errXMLDepth = fmt.Errorf("its elements are more than %d deep", maxXMLDepth)

// caseName is class.name, or suite/name of what has no classes.
func caseName(suite, class, name string) string {
	switch {
	case class == "" && suite == "":
		return name
	case class == "":
		return suite + "/" + name
	case class == name || strings.HasPrefix(name, class+"."):
		return name
	}
	return class + "." + name
}

// seconds reads a time, such as "1,234.5".
func seconds(s string) time.Duration {
	const most = 365 * 24 * time.Hour
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, ",", ""), 64)
	if err != nil || !(f > 0) {
		return 0
	}
	return time.Duration(min(f, most.Seconds()) * float64(time.Second))
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// xmlCase is a testcase, or what a suite tells of itself.
type xmlCase struct {
	name             string
	failures, errors int // elements
	skips, flaky     int
	skipped          int    // the elements among skips
	status           string // that says it failed
	why, printed     []string
	held             int
}

func (c *xmlCase) elements() int { return c.failures + c.errors }

func (c *xmlCase) failed() bool { return c.elements() > 0 || c.status != "" }

func (c *xmlCase) count(t *tally) {
	t.allFailures += c.failures
	t.allErrors += c.errors
	if c.failures > 0 {
		t.failures++
	}
	if c.errors > 0 {
		t.errors++
	}
	if c.failed() {
		t.bad++
	} else if c.skips > 0 {
		t.skipped++
	}
}

// What attributes say of a case: GoogleTest has status and result, Criterion, CTest
// and others status.
var (
	xmlPassed  = []string{"", "run", "passed", "pass", "ok", "success", "successful", "completed"}
	xmlSkipped = []string{"notrun", "skipped", "skip", "suppressed", "disabled", "ignored", "pending"}
)

// mayFail is what Catch2 says of a test whose failures it does not count.
const mayFail = "TEST_CASE tagged with !mayfail"

// skippedByCTest begins what CTest says of a test that was skipped. It writes others
// that did not run, such as one without its program, in the same way, and counts
// them as failed.
const skippedByCTest = "SKIP_"

// dialect understands what one framework alone means by a case.
func (j *junit) dialect(c *xmlCase) {
	switch {
	case j.framework == "catch2" && slices.Contains(c.why, mayFail):
		c.failures, c.errors = 0, 0
	case j.framework == "ctest" && c.skipped > 0 && !strings.HasPrefix(strings.Join(c.why, ""), skippedByCTest):
		c.status = cmp.Or(c.status, "it did not run")
	}
}

// read takes what a testcase's attributes say.
func (c *xmlCase) read(e xml.StartElement) {
	for _, name := range []string{"status", "result"} {
		switch v := strings.ToLower(attr(e, name)); {
		case slices.Contains(xmlPassed, v):
		case slices.Contains(xmlSkipped, v):
			if c.skips++; len(c.why) == 0 {
				c.why = append(c.why, name+": "+v)
			}
		default:
			c.status = cmp.Or(c.status, name+": "+v)
		}
	}
}

// element reads an element of a case, or the case itself, to its end. What tells of
// a failure counts wherever it is.
func (j *junit) element(c *xmlCase, start xml.StartElement, depth int) error {
	if depth > maxXMLDepth {
		return errXMLDepth
	}
	var text []byte
	for {
		t, err := j.token()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "testcase", "testsuite", "testsuites":
				return fmt.Errorf("it has a <%s> in a <%.40s>: it is no JUnit XML, or two programs wrote it", t.Name.Local, start.Name.Local)
			}
			if err := j.element(c, t, depth+1); err != nil {
				return err
			}
		case xml.CharData:
			if len(text) < maxXMLText {
				text = append(text, t[:min(len(t), maxXMLText)]...)
			}
		case xml.EndElement:
			c.end(start, strings.TrimSpace(strings.ToValidUTF8(string(text), "?")))
			return nil
		}
	}
}

// end takes an element's text.
func (c *xmlCase) end(e xml.StartElement, text string) {
	why := func() {
		message := strings.TrimSpace(attr(e, "message"))
		if text != "" && (strings.EqualFold(message, "failure") || strings.EqualFold(message, "failed")) {
			message = "" // of Boost.Test and go-junit-report
		}
		c.keep(&c.why, cmp.Or(lead(message, text), attr(e, "type")))
	}
	switch name := e.Name.Local; strings.ToLower(name) {
	case "testcase", "properties", "property":
	case "failure":
		c.failures++
		why()
	case "error":
		c.errors++
		why()
	case "skipped":
		c.skips++
		c.skipped++
		why()
	case "flakyfailure", "flakyerror":
		c.flaky++
		why()
	case "rerunfailure", "rerunerror":
		why()
	case "system-out", "system-err":
		c.keep(&c.printed, text)
	default:
		if name := strings.ToLower(name); strings.Contains(name, "fail") || strings.Contains(name, "error") {
			c.errors++
			c.keep(&c.why, "<"+name+">")
			why()
		}
	}
}

// keep keeps text, within a limit for a case.
func (c *xmlCase) keep(in *[]string, text string) {
	if text = strings.Trim(text, "\n"); text != "" && c.held < maxXMLText {
		c.held += len(text)
		*in = append(*in, text)
	}
}

func (c *xmlCase) output() string {
	words := c.why
	if c.status != "" && len(words) == 0 {
		words = []string{c.status}
	}
	if c.failed() {
		words = slices.Concat(words, c.printed)
	}
	if c.flaky > 0 && !c.failed() {
		words = slices.Insert(slices.Clone(words), 0, fmt.Sprintf("flaky: it passed after %s", plural(c.flaky, "failure", "failures")))
	}
	return strings.Join(words, "\n")
}

func (j *junit) add(c xmlCase, took time.Duration) {
	t := Test{Name: c.name, Verdict: wire.TestPass, Duration: took, Output: c.output()}
	switch {
	case c.failed():
		t.Verdict = wire.TestFail
		j.failed = append(j.failed, c.name)
	case c.skips > 0:
		t.Verdict = wire.TestSkip
	}
	j.out.add(t)
}

// check compares what a suite's attributes count with its cases: its own, or those of
// the suites in it as well.
func (j *junit) check(e xml.StartElement, own, all tally) error {
	bad := func(name string, n int, what string) error {
		return fmt.Errorf("<%s name=%q> counts %s=%d, and has %s: tests are missing from it", e.Name.Local, shorten(attr(e, "name"), 80), name, n, what)
	}
	either := func(ok func(t tally) bool) bool { return ok(all) || ok(own) }
	assertions := slices.Contains(countsAssertions, j.framework)
	numbers := map[string]int{}
	for _, a := range e.Attr {
		switch a.Name.Local {
		case "tests", "failures", "errors", "skipped", "disabled":
			n, err := strconv.Atoi(a.Value)
			if err != nil || n < 0 {
				return fmt.Errorf("<%s> has %s=%.40q, which is no number", e.Name.Local, a.Name.Local, a.Value)
			}
			numbers[a.Name.Local] = n
		}
	}
	if n, ok := numbers["tests"]; ok && !assertions && !either(func(t tally) bool {
		// Boost.Test leaves skipped ones out, pytest counts a test and the error after it.
		return n == t.cases || n == t.distinct || n == t.cases-t.skipped || (j.framework == "pytest" || attr(e, "name") == "pytest") && n >= t.distinct && n <= t.cases+t.errors
	}) {
		err := bad("tests", n, plural(all.cases, "case", "cases"))
		if j.framework == "" && n > all.cases {
			err = fmt.Errorf("%w; Catch2 and doctest count assertions: say so by --framework", err)
		}
		return err
	}
	// Some count cases, others what failed in them, and Criterion a crash as both.
	if n, ok := numbers["failures"]; ok && !either(func(t tally) bool {
		return n == t.failures || n == t.allFailures || n == t.bad || n == t.allFailures+t.allErrors
	}) {
		return bad("failures", n, strconv.Itoa(all.failures))
	}
	if n, ok := numbers["errors"]; ok && !either(func(t tally) bool { return n == t.errors || n == t.allErrors }) {
		return bad("errors", n, strconv.Itoa(all.errors))
	}
	skipped, has := numbers["skipped"]
	disabled := numbers["disabled"]
	if !assertions && j.framework != "ctest" && !either(func(t tally) bool {
		return has && (skipped == t.skipped || skipped+disabled == t.skipped) || !has && disabled <= t.skipped
	}) {
		return bad("skipped", skipped, strconv.Itoa(all.skipped))
	}
	return nil
}

// legal returns XML as UTF-8, with what tests print and XML may not have replaced by
// a character that is no part of its markup.
func legal(text []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return utf8.RuneError
		}
		return r
	}, text)
}
