// Package junit writes a result as JUnit XML, in the dialect that GitLab, Jenkins
// and GitHub's actions read: a suite for each kernel, a case for each test.
//
// It owns the file's size, the characters of XML, and that no failure is lost
// when something is left out. It decides nothing about the result.
package junit

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// Limits of junit.xml.
const (
	maxJUnit        = 28 << 20 // bytes of the file; GitLab takes 30 MB
	maxJUnitExcerpt = 64 << 10 // bytes of all outputs of a kernel
	maxJUnitName    = 500      // bytes of a name or message
)

// The types of package junit, with what it lacks: tests that were run again.
// The names are those of the schema of Maven's Surefire and of Jenkins.
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		junit.Testsuites
		Inner []byte `xml:",innerxml"`
	}
	junitSuite struct {
		XMLName xml.Name `xml:"testsuite"`
		junit.Testsuite
		Cases []junitCase `xml:"testcase"`
	}
	junitCase struct {
		junit.Testcase
		FlakyFailures []junitRerun `xml:"flakyFailure"` // failures of a test that passed when it ran again
		FlakyErrors   []junitRerun `xml:"flakyError"`   // attempts before one that passed
		RerunErrors   []junitRerun `xml:"rerunError"`   // attempts before one that did not
	}
	junitRerun struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
	}
)

func (s *junitSuite) add(c junitCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	switch {
	case c.Error != nil:
		s.Errors++
	case c.Failure != nil:
		s.Failures++
	case c.Testcase.Skipped != nil:
		s.Testsuite.Skipped++
	}
}

// Write writes the result as JUnit XML: a suite for each kernel with its
// single tests, and one named "merge" for why the whole is no pass. It is never
// green when the result is not. Whatever guests said, it is valid XML of less
// than 30 MB; what is left out for that is said in its place.
func Write(w io.Writer, m *report.Merged) error {
	return writeJUnit(w, m, maxJUnit)
}

func writeJUnit(w io.Writer, m *report.Merged, limit int) error {
	var total junitSuites
	var body bytes.Buffer
	put := func(s *junitSuite, b []byte) {
		total.Tests += s.Tests
		total.Testsuites.Errors += s.Errors
		total.Testsuites.Failures += s.Failures
		body.Write(b)
	}
	if s := mergeSuite(m); s.Tests > 0 {
		b, err := encodeSuite(s)
		if err != nil {
			return err
		}
		put(s, b)
	}
	reasons, stand := map[string]string{}, analysis.NewStanding(m)
	for i := range m.Kernels {
		// Each kernel may take its part of what is left, so that the last ones
		// have as much as the first.
		room := (limit - body.Len()) / (len(m.Kernels) - i)
		s, b, err := fittingSuite(m, stand, &m.Kernels[i], i+1, room, reasons)
		if err == nil && body.Len()+len(b) > limit {
			s = leftOutSuite(m, m.Kernels[i:], i+1)
			b, err = encodeSuite(s)
		}
		if err != nil {
			return err
		}
		put(s, b)
		if s.Testsuite.Name == leftOut {
			break
		}
	}
	total.Testsuites.Name = "bpf-kernel-check"
	total.Testsuites.Time = junitTime(m.VMTime())
	total.Inner = append([]byte("\n"), body.Bytes()...)
	b, err := xml.Marshal(total)
	if err != nil {
		return fmt.Errorf("encode the JUnit report: %w", err)
	}
	if _, err := fmt.Fprintf(w, "%s%s\n", xml.Header, b); err != nil {
		return fmt.Errorf("write the JUnit report: %w", err)
	}
	return nil
}

func encodeSuite(s *junitSuite) ([]byte, error) {
	b, err := xml.MarshalIndent(s, "", " ")
	if err != nil {
		return nil, fmt.Errorf("encode the JUnit report of %s: %w", s.Testsuite.Name, err)
	}
	return append(b, '\n'), nil
}

func newSuite(m *report.Merged, name string, id int, took time.Duration) *junitSuite {
	s := &junitSuite{}
	s.Testsuite.Name, s.ID, s.Testsuite.Time = junitText(name), id, junitTime(took)
	if !m.At.IsZero() {
		s.SetTimestamp(m.At.UTC())
	}
	return s
}

// mergeSuite holds why the result as a whole is no pass: one error for each
// refusal, and a failure for each BPF program that grew too much. It is empty when the kernels tell all there is to tell.
func mergeSuite(m *report.Merged) *junitSuite {
	s := newSuite(m, "merge", 0, 0)
	className := "bpf." + junitText(m.Arch) + ".merge"
	const most = 1000
	for i, r := range m.Refusals[:min(len(m.Refusals), most)] {
		name := fmt.Sprintf("refusal %d", i+1)
		switch {
		case r.Kernel != "":
			name += ": " + r.Kernel
		case r.Shard > 0:
			name += fmt.Sprintf(": shard %d", r.Shard)
		}
		s.add(errorCase(className, name, "refusal", r.Reason))
	}
	if n := len(m.Refusals); n > most {
		s.add(errorCase(className, "further refusals", "refusal", fmt.Sprintf("%d more", n-most)))
	}
	for _, p := range analysis.TooCostly(m) {
		c := junitCase{Testcase: junit.Testcase{Classname: className, Name: junitText("instructions of " + p.Name), Time: "0.000"}}
		words := analysis.ChangeWords(p.CostChange, func(s string) string { return s })
		c.Failure = &junit.Result{Message: junitText(words), Type: "max-insns-growth", Data: junitLines(words, maxJUnitName)}
		s.add(c)
	}
	if s.Tests == 0 {
		t := m.Outcome()
		switch {
		case t.Kernels == 0:
			s.add(errorCase(className, "kernels", "missing", "no kernel was tested"))
		case t.OK() && m.Verdict != report.Pass:
			s.add(errorCase(className, "verdict", m.Verdict.String(), "all kernels pass, but the merged verdict is "+m.Verdict.String()))
		}
	}
	return s
}

func errorCase(className, name, kind, message string) junitCase {
	c := junitCase{Testcase: junit.Testcase{Classname: className, Name: junitText(name), Time: "0.000"}}
	c.Error = &junit.Result{Message: junitText(message), Type: junitText(kind), Data: junitLines(message, maxJUnitName)}
	return c
}

// leftOut is the name of the suite that stands for kernels without one.
const leftOut = "left out"

// leftOutSuite stands for kernels that there is no room for at all.
func leftOutSuite(m *report.Merged, kernels []report.Result, id int) *junitSuite {
	s := newSuite(m, leftOut, id, 0)
	t := report.CountKernels(kernels)
	s.add(errorCase("bpf."+junitText(m.Arch)+".merge", leftOut, "left-out", fmt.Sprintf(
		"the results of %d kernels are left out, the file would be larger than %d MiB: %d passed, %d failed, %d failed as expected, %d were not tested",
		t.Kernels, maxJUnit>>20, t.Passed, t.Failed, t.FailedAsExpected, t.NotTested)))
	return s
}

// junitTime is a duration as the schema wants it.
func junitTime(d time.Duration) string { return fmt.Sprintf("%.3f", max(0, d).Seconds()) }

// junitText is text for an attribute: one line.
func junitText(s string) string {
	return xmlRunes(report.OneLine(s, maxJUnitName))
}

// junitLines is text for an element, at most some limit bytes of it.
// encoding/xml writes the characters of a CDATA section as they are, so those
// that XML does not have must go before.
func junitLines(s string, limit int) string { return report.CutMiddle(xmlRunes(report.Text(s)), limit) }

// xmlRunes drops what XML 1.0 has no character for (https://www.w3.org/TR/xml/#charsets).
func xmlRunes(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF {
			return r
		}
		return -1
	}, s)
}
