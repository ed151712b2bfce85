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
		FlakyErrors []junitRerun `xml:"flakyError"` // attempts before one that passed
		RerunErrors []junitRerun `xml:"rerunError"` // attempts before one that did not
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

// junitWriter knows what it has read already.
type junitWriter struct {
	m       *report.Merged
	reasons map[string]string // by a test's output
}

func (j *junitWriter) reason(output string) string {
	r, ok := j.reasons[output]
	if !ok {
		r = analysis.TestReason(output)
		j.reasons[output] = r
	}
	return r
}

// WriteJUnit writes the result as JUnit XML: a suite for each kernel with its
// single tests, and one named "merge" for why the whole is no pass. It is never
// green when the result is not. Whatever guests said, it is valid XML of less
// than 30 MB; what is left out for that is said in its place.
func Write(w io.Writer, m *report.Merged) error {
	return writeJUnit(w, m, maxJUnit)
}

func writeJUnit(w io.Writer, m *report.Merged, limit int) error {
	j := junitWriter{m: m, reasons: map[string]string{}}
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
	for i := range m.Kernels {
		// Each kernel may take its part of what is left, so that the last ones
		// have as much as the first.
		room := (limit - body.Len()) / (len(m.Kernels) - i)
		s, b, err := j.kernel(&m.Kernels[i], i+1, room)
		if err != nil {
			return err
		}
		if body.Len()+len(b) > limit {
			s, b, err = leftOutSuite(m, m.Kernels[i:], i+1)
			if err != nil {
				return err
			}
			put(s, b)
			break
		}
		put(s, b)
	}
	total.Testsuites.Name = "bpf-kernel-check"
	total.Testsuites.Time = junitTime(m.VMTime())
	total.Inner = append([]byte("\n"), body.Bytes()...)
	b, err := xml.Marshal(total)
	if err != nil {
		return fmt.Errorf("encode the JUnit report: %w", err)
	}
	for _, part := range [][]byte{[]byte(xml.Header), b, []byte("\n")} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write the JUnit report: %w", err)
		}
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

// mergeSuite holds why the result as a whole is no pass: one error for each
// refusal. It is empty when the kernels tell all there is to tell.
func mergeSuite(m *report.Merged) *junitSuite {
	s := &junitSuite{}
	s.Testsuite.Name, s.Testsuite.Time = "merge", "0.000"
	if !m.At.IsZero() {
		s.SetTimestamp(m.At.UTC())
	}
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

// leftOutSuite stands for kernels that there is no room for at all.
func leftOutSuite(m *report.Merged, kernels []report.Result, id int) (*junitSuite, []byte, error) {
	s := &junitSuite{}
	s.Testsuite.Name, s.Testsuite.Time, s.ID = "left out", "0.000", id
	t := report.CountKernels(kernels)
	message := fmt.Sprintf("the results of %d kernels are left out, the file would be larger than %d MiB: %d passed, %d failed, %d failed as expected, %d were not tested", t.Kernels, maxJUnit>>20, t.Passed, t.Failed, t.FailedAsExpected, t.NotTested)
	s.add(errorCase("bpf."+junitText(m.Arch)+".merge", "left out", "left-out", message))
	b, err := encodeSuite(s)
	return s, b, err
}

// junitTime is a duration as the schema wants it.
func junitTime(d time.Duration) string { return fmt.Sprintf("%.3f", max(0, d).Seconds()) }

// junitText is text for an attribute: one line.
func junitText(s string) string {
	return xmlRunes(report.OneLine(s, maxJUnitName))
}

// junitLines is text for an element, at most limit bytes: its beginning and its
// end. encoding/xml writes the characters of a CDATA section as they are, so
// those that XML does not have must go before.
func junitLines(s string, limit int) string {
	s = xmlRunes(report.Text(s))
	if len(s) <= limit {
		return s
	}
	const note = "\n[... %d bytes are left out ...]\n"
	keep := max(0, limit-len(note)-20)
	head, tail := s[:keep/3], s[len(s)-(keep-keep/3):]
	return strings.ToValidUTF8(head, "") + fmt.Sprintf(note, len(s)-keep) + strings.ToValidUTF8(tail, "")
}

// xmlRunes drops what XML 1.0 has no character for (https://www.w3.org/TR/xml/#charsets).
func xmlRunes(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF {
			return r
		}
		return -1
	}, s)
}
